//! Where every arrow between modules points one way, each can be read by itself, with those below it alone. The modules
//! of the binary are kept so; what a family of commands shares has a file of its own, below all that use it. So are
//! those of the store, whose parts know what they stand on and not the store that puts them together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A module by its names from the root of the crate.
type Module = Vec<String>;

/// The code of all modules of a crate, without their tests.
fn modules(name: &str) -> BTreeMap<Module, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src");
    let (mut modules, mut folders) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().with_extension("");
                let names = name.iter().map(|name| name.to_str().unwrap().to_owned());
                let code = std::fs::read_to_string(&path).unwrap();
                let names = names.filter(|name| !["main", "lib"].contains(&&**name));
                modules.insert(names.collect(), without_tests(&code));
            }
        }
    }
    assert!(modules.len() > 50, "only {} modules found; this test looks in the wrong place", modules.len());
    modules
}

fn without_tests(code: &str) -> String {
    let code = code.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    // Who may use something is no use of it.
    let code = code.replace("pub(super)", "pub").replace("pub(crate)", "pub");
    code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// All paths in a text of code, those within the braces of a `use` with what stands before the braces. Braces in texts
/// hold no paths, and so do no harm.
fn paths(code: &str) -> Vec<Vec<&str>> {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    let (mut found, mut outer, mut path, mut joined) = (Vec::new(), vec![Vec::new()], Vec::new(), false);
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            _ if is_name(first) => rest.find(|letter| !is_name(letter)).unwrap_or(rest.len()),
            _ if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        rest = after.trim_start();
        if token == "::" {
            joined = true;
            continue;
        }
        let goes_on = joined && (is_name(first) || token == "{");
        if !goes_on && !path.is_empty() {
            let prefix: &[&str] = outer.last().map_or(&[], Vec::as_slice);
            found.push([prefix, &path].concat());
            path.clear();
        }
        match token {
            "{" => {
                let prefix = if joined { outer.last().cloned().unwrap_or_default() } else { Vec::new() };
                outer.push([prefix, std::mem::take(&mut path)].concat());
            }
            "}" => drop(outer.pop()),
            _ if is_name(first) => path.push(token),
            _ => (),
        }
        joined = false;
    }
    found
}

/// The module that a path in `from` leads to, if it is one of ours.
fn target(from: &Module, path: &[&str], modules: &BTreeMap<Module, String>) -> Option<Module> {
    let ups = path.iter().take_while(|name| ["super", "self"].contains(name)).count();
    let mut target = match path.first()? {
        &"crate" => Vec::new(),
        _ => {
            let parents = path[..ups].iter().filter(|name| **name == "super").count();
            from[..from.len().checked_sub(parents)?].to_vec()
        }
    };
    let names = if path[0] == "crate" { &path[1..] } else { &path[ups..] };
    for name in names {
        target.push((*name).to_owned());
        if !modules.contains_key(&target) {
            target.pop();
            break;
        }
    }
    let is_child = ups == 0 && path[0] != "crate";
    (target != *from && modules.contains_key(&target) && !(is_child && path.len() < 2)).then_some(target)
}

/// Whom each module uses.
fn arrows(modules: &BTreeMap<Module, String>) -> BTreeMap<&Module, BTreeSet<Module>> {
    let used = |(from, code): (_, &String)| {
        let targets = paths(code).into_iter().filter_map(|path| target(from, &path, modules));
        (from, targets.collect())
    };
    modules.iter().map(used).collect()
}

/// What is left when modules that use nobody, and those that nobody uses, are taken away again and again.
fn circles(mut arrows: BTreeMap<&Module, BTreeSet<Module>>) -> BTreeMap<&Module, BTreeSet<Module>> {
    loop {
        let left: BTreeSet<Module> = arrows.keys().map(|module| (*module).clone()).collect();
        let used: BTreeSet<Module> = arrows.values().flatten().cloned().collect();
        for targets in arrows.values_mut() {
            targets.retain(|target| left.contains(target));
        }
        arrows.retain(|module, targets| !targets.is_empty() && used.contains(*module));
        if arrows.len() == left.len() {
            return arrows;
        }
    }
}

/// The modules of a crate that lead back to themselves, with those that they use on the way.
fn leading_back(name: &str) -> Vec<String> {
    let modules = modules(name);
    let arrows = arrows(&modules);
    let count: usize = arrows.values().map(BTreeSet::len).sum();
    assert!(count > 200, "only {count} arrows found; this test reads no paths any more");
    let told = circles(arrows).into_iter().map(|(module, targets)| {
        let targets: Vec<String> = targets.iter().map(|target| target.join("::")).collect();
        format!("{} uses {}", module.join("::"), targets.join(", "))
    });
    told.collect()
}

#[test]
fn no_module_of_the_binary_leads_back_to_itself() {
    let told = leading_back("thrust");
    assert!(told.is_empty(), "move what is shared to a file below both:\n{}", told.join("\n"));
}

/// A queue knows the files of all queues, and these list the queues that they have to write.
#[test]
fn no_module_of_the_store_leads_back_to_itself_but_a_queue_and_its_files() {
    let told = leading_back("store");
    let known = [
        "deletion uses queue_files",
        "queue uses queue_files",
        "queue_ext_files uses queue, queue_files",
        "queue_files uses deletion, queue, queue_ext_files",
    ];
    assert_eq!(
        told, known,
        "a part takes what it needs as an argument; what needs several stands above the store"
    );
}

#[test]
fn paths_are_seen_wherever_they_stand() {
    assert_eq!(
        paths("use a::{b, c::{D, self}};\nlet x = crate::e::f(g::H { i: 'j' });"),
        [
            &["use"][..],
            &["a", "b"],
            &["a", "c", "D"],
            &["a", "c", "self"],
            &["let"],
            &["x"],
            &["crate", "e", "f"],
            &["g", "H"],
            &["i"],
            &["j"],
        ]
    );
    let module = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Module>();
    let modules: BTreeMap<Module, String> =
        [module(&[]), module(&["a"]), module(&["a", "b"]), module(&["c"])]
            .map(|one| (one, String::new()))
            .into();
    let leads = |from: &[&str], path: &[&str]| target(&module(from), path, &modules);
    assert_eq!(leads(&["a", "b"], &["super", "X"]), Some(module(&["a"])));
    assert_eq!(leads(&["a"], &["b", "X"]), Some(module(&["a", "b"])));
    assert_eq!(leads(&["c"], &["crate", "a", "b", "X"]), Some(module(&["a", "b"])));
    assert_eq!(leads(&["c"], &["self", "X"]), None);
    assert_eq!(leads(&["a"], &["b"]), None, "a variable");

    let (a, b, c) = (module(&["a"]), module(&["b"]), module(&["c"]));
    let circle = circles(BTreeMap::from([
        (&a, BTreeSet::from([b.clone()])),
        (&b, BTreeSet::from([a.clone(), c.clone()])),
        (&c, BTreeSet::new()),
    ]));
    assert_eq!(
        circle,
        BTreeMap::from([(&a, BTreeSet::from([b.clone()])), (&b, BTreeSet::from([a.clone()]))])
    );
}
