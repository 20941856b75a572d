//! The rules of the house that a machine can check, over every text file of the repository.
//!
//! Each message names the place and what to do about it. A rule that is wrong for a good reason gets its exception
//! here, with the reason.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Folders that hold no text of ours.
const SKIPPED: [&str; 7] = ["target", ".git", "node_modules", "thrust-data", "corpus", "artifacts", "golden"];
/// The golden files' page is text of ours all the same.
const GOLDEN_PAGE: &str = "crates/wire/tests/golden/README.md";

/// Files that may hold unsafe code, each with the reason at its top.
const UNSAFE_ALLOWED: [&str; 1] = ["crates/store/src/map.rs"];
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = ["common", "util", "utils", "core", "manager", "helper", "helpers", "misc"];

const LINES_MAX: usize = 1_000;
const COLUMNS_MAX: usize = 120;
/// A line may be longer when it carries a text of this many columns: texts stay whole, so that who sees one in a log
/// finds it in the code.
const TEXT_COLUMNS_MIN: usize = 40;

/// Words that mark unfinished code. Written in two parts so that this file has none of them.
const UNFINISHED: [&str; 5] = [
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
    concat!("db", "g!("),
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
];

/// What names the machine that somebody worked on, or where its packages came from.
const MACHINE: [&str; 9] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("registry.", "npmjs.org"),
    concat!("repo.maven.", "apache.org"),
    concat!("repo1.", "maven.org"),
    concat!("proxy.", "golang.org"),
    concat!("files.", "pythonhosted.org"),
];

/// The page whose every promise names what proves it.
const GUARANTEES: &str = "docs/guarantees.md";

struct Text {
    /// Path from the root of the repository, with `/`.
    name: String,
    content: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every text file of the repository, in order.
fn texts() -> Vec<Text> {
    let root = root();
    let mut folders = vec![root.clone()];
    let mut paths = vec![root.join(GOLDEN_PAGE)];
    while let Some(folder) = folders.pop() {
        // A folder may be another test's, and gone by now.
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // `.git` is a file in a second working tree.
            match path.is_dir() {
                _ if SKIPPED.contains(&name.as_str()) => (),
                true => folders.push(path),
                false => paths.push(path),
            }
        }
    }
    paths.sort();
    paths
        .into_iter()
        // What is no UTF-8 is no text, and what another test has removed meanwhile is no file of ours.
        .filter_map(|path| {
            let name = path.strip_prefix(&root).ok()?.to_string_lossy().replace('\\', "/");
            Some(Text { name, content: std::fs::read_to_string(&path).ok()? })
        })
        .collect()
}

fn rust() -> Vec<Text> {
    let rust: Vec<_> = texts().into_iter().filter(|text| text.name.ends_with(".rs")).collect();
    assert!(rust.len() > 50, "only {} Rust files found; this test looks in the wrong place", rust.len());
    rust
}

/// Crates as (name, folder).
fn crates() -> Vec<(String, PathBuf)> {
    let mut crates: Vec<_> = std::fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("Cargo.toml").exists())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path))
        .collect();
    crates.sort();
    assert!(crates.len() >= 5);
    crates
}

#[derive(Default)]
struct Findings(String);

impl Findings {
    fn at(&mut self, name: &str, line: usize, what: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name}:{line}: {what}");
    }

    fn none(self) {
        assert!(self.0.is_empty(), "\n{}", self.0);
    }
}

/// The part of a line before a `//` comment; a `//` inside a text counts as one, which is good enough here.
fn code_of(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

#[test]
fn no_rust_file_is_too_long_to_read() {
    let mut findings = Findings::default();
    for text in rust() {
        let lines = text.content.lines().count();
        if lines > LINES_MAX {
            let remedy = "split it by what its parts are about";
            findings.at(&text.name, LINES_MAX, format!("{lines} lines, the limit is {LINES_MAX}; {remedy}"));
        }
    }
    findings.none();
}

#[test]
fn no_line_of_code_is_too_wide() {
    let mut findings = Findings::default();
    for text in rust() {
        for (at, line) in text.content.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX && !has_long_text(line) {
                findings.at(
                    &text.name,
                    at + 1,
                    format!("{columns} columns; break it, the limit is {COLUMNS_MAX}"),
                );
            }
        }
    }
    findings.none();
}

/// From the first quote to the last, or to the end when the text goes on in the next line. Rows of a table in a page
/// that the code writes cannot be broken either.
fn has_long_text(line: &str) -> bool {
    if line.starts_with("| ") {
        return true;
    }
    let Some(from) = line.find('"') else { return false };
    let until = line.rfind('"').filter(|until| *until > from).unwrap_or(line.len());
    line[from..until].chars().count() > TEXT_COLUMNS_MIN
}

#[test]
fn nothing_unfinished_is_left_in_the_code() {
    let mut findings = Findings::default();
    for text in rust() {
        for (at, line) in text.content.lines().enumerate() {
            for word in UNFINISHED.iter().filter(|word| line.contains(*word)) {
                findings.at(
                    &text.name,
                    at + 1,
                    format!("{word} is left; finish it, or open an issue and return an error"),
                );
            }
        }
    }
    findings.none();
}

#[test]
fn unsafe_code_stands_only_where_it_is_allowed_and_says_why_it_is_sound() {
    let mut findings = Findings::default();
    for text in rust() {
        let lines: Vec<_> = text.content.lines().collect();
        for at in (0..lines.len()).filter(|at| is_unsafe(lines[*at])) {
            if !UNSAFE_ALLOWED.contains(&text.name.as_str()) {
                let remedy = "use the safe way, or add the file to UNSAFE_ALLOWED in tidy.rs with the reason at its top";
                findings.at(&text.name, at + 1, format!("unsafe code; {remedy}"));
            }
            if !lines[at.saturating_sub(8)..at].iter().any(|line| line.contains("// SAFETY:")) {
                findings.at(
                    &text.name,
                    at + 1,
                    "unsafe without a reason; write a `// SAFETY:` comment above it",
                );
            }
        }
    }
    findings.none();
}

/// Whether the line opens unsafe code: the word before a block, a function, an implementation or a foreign block.
fn is_unsafe(line: &str) -> bool {
    let mut words = code_of(line).split_whitespace().peekable();
    while let Some(word) = words.next() {
        let opens =
            |next: &&str| ["{", "fn", "impl", "extern", "trait"].iter().any(|start| next.starts_with(start));
        if word.trim_start_matches(['(', '=', '{', '|']) == "unsafe" && words.peek().is_none_or(opens) {
            return true;
        }
    }
    false
}

#[test]
fn every_crate_refuses_unsafe_code_and_opens_with_what_it_is_for() {
    let mut findings = Findings::default();
    for (name, folder) in crates() {
        if EMPTY_NAMES.contains(&name.as_str()) {
            findings.at(
                &format!("crates/{name}"),
                1,
                "a name that says nothing; name the crate after what it is for",
            );
        }
        let file = ["src/lib.rs", "src/main.rs"].into_iter().find(|file| folder.join(file).exists());
        let file = file.unwrap_or_else(|| panic!("crates/{name} has neither src/lib.rs nor src/main.rs"));
        let source = std::fs::read_to_string(folder.join(file)).unwrap();
        if !source.starts_with("//!") {
            let remedy = "open it with `//!`: what it is for and what it never does";
            findings.at(&format!("crates/{name}/{file}"), 1, remedy);
        }
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        if !source.contains("#![forbid(unsafe_code)]") && !manifest.contains("[lints]\nworkspace = true") {
            let remedy =
                "write `#![forbid(unsafe_code)]` in it or `[lints] workspace = true` in its Cargo.toml";
            findings.at(&format!("crates/{name}/{file}"), 1, format!("unsafe code is not refused; {remedy}"));
        }
    }
    let workspace = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(
        workspace.contains("unsafe_code = \"deny\""),
        "Cargo.toml: [workspace.lints.rust] denies unsafe_code"
    );
    findings.none();
}

#[test]
fn every_crate_has_its_paragraph_in_the_architecture() {
    let mut findings = Findings::default();
    // Until the page is there, there is nothing to compare with.
    let Ok(page) = std::fs::read_to_string(root().join("ARCHITECTURE.md")) else { return };
    for (name, _) in crates() {
        if !page.contains(&format!("crates/{name}")) && !page.contains(&format!("`{name}`")) {
            findings.at(
                "ARCHITECTURE.md",
                1,
                format!("crates/{name} is not named; say what it is and what it never does"),
            );
        }
    }
    findings.none();
}

#[test]
fn every_file_of_tests_belongs_to_a_program() {
    let rust = rust();
    let mut findings = Findings::default();
    for program in rust.iter().filter(|text| text.name.ends_with("/tests/situations.rs")) {
        let folder = program.name.trim_end_matches("situations.rs");
        let beside = rust.iter().filter_map(|text| text.name.strip_prefix(folder)?.strip_suffix(".rs"));
        for name in beside.filter(|name| !name.contains('/') && *name != "situations") {
            if !program.content.lines().any(|line| line == format!("mod {name};")) {
                findings.at(&program.name, 1, format!("never runs {name}.rs; write `mod {name};`"));
            }
        }
    }
    findings.none();
}

#[test]
fn no_file_names_the_machine_it_was_written_on() {
    let mut findings = Findings::default();
    for text in texts() {
        for (at, line) in text.content.lines().enumerate() {
            for place in MACHINE.iter().filter(|place| names_place(line, place)) {
                let remedy = "use a path from the repository's root, an option, or the tool's default";
                findings.at(
                    &text.name,
                    at + 1,
                    format!("{place} is a place on one machine or network; {remedy}"),
                );
            }
        }
    }
    findings.none();
}

/// Whether `line` holds `place` as the start of a path or name, not as the tail of a longer one.
fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || "._-}*$".contains(before))
    })
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut findings = Findings::default();
    let root = root();
    for text in texts().iter().filter(|text| text.name.ends_with(".md")) {
        let folder = root.join(&text.name).parent().unwrap().to_path_buf();
        let mut in_code = false;
        for (at, line) in text.content.lines().enumerate() {
            in_code ^= line.trim_start().starts_with("```");
            if in_code {
                continue;
            }
            for link in links(line) {
                if !folder.join(link).exists() {
                    findings.at(
                        &text.name,
                        at + 1,
                        format!("the link to {link} leads nowhere; correct or remove it"),
                    );
                }
            }
        }
    }
    findings.none();
}

#[test]
fn every_guarantee_names_a_test_that_is_there() {
    let mut findings = Findings::default();
    let page = std::fs::read_to_string(root().join(GUARANTEES)).unwrap();
    let defined: BTreeMap<_, _> = page.lines().filter_map(definition).collect();
    let (mut proven, mut in_table) = (0, false);
    for (at, line) in page.lines().enumerate() {
        for name in references(line).filter(|name| !defined.contains_key(name)) {
            findings.at(
                GUARANTEES,
                at + 1,
                format!("[{name}] is defined nowhere; say below what it leads to"),
            );
        }
        let proof = line.strip_prefix('|').and_then(|cells| cells.trim_end_matches('|').rsplit('|').next());
        let Some(proof) = proof.map(str::trim) else {
            in_table = false;
            continue;
        };
        in_table |= proof == "proven by";
        if !in_table || proof == "proven by" || proof == "---" {
            continue;
        }
        proven += 1;
        let named = references(proof).filter_map(|name| defined.get(name).copied());
        let tests: Vec<_> = links(proof).into_iter().chain(named).collect();
        for test in tests.iter().filter(|test| !is_test(test)) {
            findings.at(
                GUARANTEES,
                at + 1,
                format!("{test} has no test in it; link to the one that proves this"),
            );
        }
        if tests.is_empty() {
            findings.at(GUARANTEES, at + 1, "nothing proves this; write a test and link to it");
        }
    }
    assert!(proven > 50, "only {proven} rows found; this test looks for the wrong tables");
    findings.none();
}

/// Whether a file, as a page below `docs` names it, has tests: ours, or a program that runs official clients.
fn is_test(target: &str) -> bool {
    let Ok(content) = std::fs::read_to_string(root().join("docs").join(target)) else { return false };
    content.contains("#[test]")
        || content.contains("#[tokio::test")
        || (target.starts_with("../interop/") && target.ends_with(".java"))
}

/// The name and the target of a line such as `[name.rs]: ../name.rs`.
fn definition(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix('[')?.split_once("]: ")
}

/// Names of files in brackets without a target beside them: they are defined elsewhere on the page.
fn references(line: &str) -> impl Iterator<Item = &str> {
    let names = line.split('[').skip(1).filter_map(|rest| rest.split_once(']'));
    let names = names.filter(|(name, rest)| is_file_name(name) && !rest.starts_with('('));
    names.map(|(name, _)| name)
}

fn is_file_name(name: &str) -> bool {
    let is_word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    name.split_once('.').is_some_and(|(stem, ending)| is_word(stem) && ["rs", "java"].contains(&ending))
}

/// Relative targets of the links of a line, without their anchors. Code between backticks has no links.
fn links(line: &str) -> Vec<&str> {
    let outside = line.split('`').enumerate().filter(|(at, _)| at % 2 == 0).map(|(_, part)| part);
    // A link whose text is code, as in [`x`](y), is split at the backticks; its target is outside all the same.
    let defined = definition(line).map(|(_, target)| target);
    outside
        .flat_map(|part| part.split("](").skip(1))
        .chain(defined)
        .filter_map(|rest| rest.split([')', ' ', '#']).next())
        .filter(|target| !target.is_empty() && !target.contains(':'))
        .collect()
}

#[test]
fn the_rules_see_what_they_look_for() {
    assert!(is_unsafe(concat!("    let map = un", "safe { map(file)? };")));
    assert!(is_unsafe(concat!("un", "safe impl Send for X {}")));
    assert!(!is_unsafe("#![forbid(unsafe_code)]"));
    assert!(!is_unsafe(concat!("// un", "safe { } in a comment")));
    assert!(names_place(&format!("see {}main", MACHINE[0]), MACHINE[0]));
    assert!(!names_place(&format!("target{}x", MACHINE[0]), MACHINE[0]));
    assert_eq!(links("[`a`](b.md#c), [d](https://e) and [f](../g)"), ["b.md", "../g"]);
    assert_eq!(links("[a.rs]: ../a.rs"), ["../a.rs"]);
    assert!(references("[a.rs], [b](b.rs), [c.rs](d/c.rs) and [D_e.java] by `f`").eq(["a.rs", "D_e.java"]));
    assert!(is_test("../crates/thrust/tests/tidy.rs") && !is_test("../crates/thrust/Cargo.toml"));
}
