//! Where every arrow between modules points one way, each can be read by itself, with those below it alone. What
//! several share has a file of its own, below all that use it.
//!
//! The binary is kept so file by file, and so is the store, whose parts know what they stand on and not the store that
//! puts them together. In other libraries a file and the modules in its folder are one thing seen from outside, and may
//! know each other; beside each other, in the crate and in each folder, modules use each other one way. What `lib.rs`
//! shows to other crates does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A module by its names from the root of the crate.
type Module = Vec<String>;

/// Libraries that are free of circles.
const LIBRARIES: [&str; 7] = ["broker", "client", "nameserver", "remoting", "settings", "sim", "wire"];

/// The code of all modules of a crate, without their tests. Its root has no name.
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
                let names: Module = names.filter(|name| name != "main" && name != "lib").collect();
                let code = std::fs::read_to_string(&path).unwrap();
                modules.insert(names, without_tests(&code));
            }
        }
    }
    modules.retain(|module, _| module.last().is_none_or(|name| name != "tests"));
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

/// Who uses whom.
type Arrows = BTreeMap<Module, BTreeSet<Module>>;

/// Whom each module uses.
fn arrows(modules: &BTreeMap<Module, String>) -> Arrows {
    let used = |(from, code): (&Module, &String)| {
        let targets = paths(code).into_iter().filter_map(|path| target(from, &path, modules));
        (from.clone(), targets.collect())
    };
    modules.iter().map(used).collect()
}

/// Arrows between what is in a folder, each module with all that is below it.
fn beside_each_other(arrows: &Arrows, folder: &[String]) -> Arrows {
    let depth = folder.len() + 1;
    let within = |module: &Module| {
        (module.len() >= depth && module.starts_with(folder)).then(|| module[..depth].to_vec())
    };
    let mut folded = Arrows::new();
    for (from, targets) in arrows {
        let Some(from) = within(from) else { continue };
        let others: Vec<Module> =
            targets.iter().filter_map(within).filter(|target| *target != from).collect();
        folded.entry(from).or_default().extend(others);
    }
    folded
}

/// What is left when modules that use nobody, and those that nobody uses, are taken away again and again.
fn circles(mut arrows: Arrows) -> Arrows {
    loop {
        let left: BTreeSet<Module> = arrows.keys().cloned().collect();
        let used: BTreeSet<Module> = arrows.values().flatten().cloned().collect();
        for targets in arrows.values_mut() {
            targets.retain(|target| left.contains(target));
        }
        arrows.retain(|module, targets| !targets.is_empty() && used.contains(module));
        if arrows.len() == left.len() {
            return arrows;
        }
    }
}

/// Circles in words, with nothing to say where there are none.
fn told(circles: &Arrows) -> String {
    let line = |(module, targets): (&Module, &BTreeSet<Module>)| {
        let targets: Vec<String> = targets.iter().map(|target| target.join("::")).collect();
        format!("{} uses {}\n", module.join("::"), targets.join(", "))
    };
    circles.iter().map(line).collect()
}

/// The modules of a crate that lead back to themselves, with those that they use on the way.
fn leading_back(name: &str) -> String {
    let modules = modules(name);
    assert!(modules.len() > 50, "only {} modules found; this test looks in the wrong place", modules.len());
    let arrows = arrows(&modules);
    let count: usize = arrows.values().map(BTreeSet::len).sum();
    assert!(count > 200, "only {count} arrows found; this test reads no paths any more");
    told(&circles(arrows))
}

#[test]
fn no_module_of_the_binary_leads_back_to_itself() {
    let told = leading_back("thrust");
    assert!(told.is_empty(), "move what is shared to a file below both:\n{told}");
}

/// A queue knows the files of all queues, and these list the queues that they have to write.
#[test]
fn no_module_of_the_store_leads_back_to_itself_but_a_queue_and_its_files() {
    let known = "deletion uses queue_files\n\
                 queue uses queue_files\n\
                 queue_ext_files uses queue, queue_files\n\
                 queue_files uses deletion, queue, queue_ext_files\n";
    assert_eq!(
        leading_back("store"),
        known,
        "a part takes what it needs as an argument; what needs several stands above the store"
    );
}

#[test]
fn no_module_of_a_library_leads_back_to_itself_past_those_beside_it() {
    for library in LIBRARIES {
        let modules = modules(library);
        let arrows = arrows(&modules);
        assert!(arrows.values().any(|targets| !targets.is_empty()), "no arrows found in {library}");
        let folders: BTreeSet<&[String]> =
            modules.keys().filter_map(|module| module.split_last()).map(|(_, folder)| folder).collect();
        for folder in folders {
            let told = told(&circles(beside_each_other(&arrows, folder)));
            let place = [&[library.to_owned()][..], folder].concat().join("::");
            assert!(told.is_empty(), "move what is shared in {place} to a file below both:\n{told}");
        }
    }
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
    let arrows = Arrows::from([
        (a.clone(), BTreeSet::from([b.clone()])),
        (b.clone(), BTreeSet::from([a.clone(), c.clone()])),
        (c.clone(), BTreeSet::new()),
    ]);
    let circle = Arrows::from([(a.clone(), BTreeSet::from([b.clone()])), (b, BTreeSet::from([a]))]);
    assert_eq!(circles(arrows), circle);
}

#[test]
fn a_file_and_its_folder_are_one_seen_from_outside() {
    let module = |path: &str| path.split("::").map(str::to_owned).collect::<Module>();
    let arrow = |from: &str, to: &str| (module(from), BTreeSet::from([module(to)]));
    let within = Arrows::from([arrow("a", "a::b"), arrow("a::b", "a"), arrow("c", "a::b")]);
    assert!(circles(beside_each_other(&within, &[])).is_empty());
    let across = Arrows::from([arrow("a::b", "c"), arrow("c", "a::d")]);
    let expected = Arrows::from([arrow("a", "c"), arrow("c", "a")]);
    assert_eq!(circles(beside_each_other(&across, &[])), expected);
    let below = Arrows::from([arrow("a::b", "a::d::e"), arrow("a::d", "a::b")]);
    let expected = Arrows::from([arrow("a::b", "a::d"), arrow("a::d", "a::b")]);
    assert_eq!(circles(beside_each_other(&below, &module("a"))), expected);
}
