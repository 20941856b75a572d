//! What commands print, compared with files: what differs from run to run is made equal first.
//!
//! `THRUST_SNAPSHOTS=write` writes the files anew; what changed is then seen in the difference of the versions.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use super::Server;
use crate::process::{printed, said};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/commands.md");

/// What a row of commands prints.
pub struct Snapshot<'a> {
    server: &'a Server,
    /// Commands find the server through contexts of the server's own directory, and not through an argument.
    by_context: bool,
    text: String,
    pub fields: Fields,
}

impl<'a> Snapshot<'a> {
    pub fn of(server: &'a Server) -> Snapshot<'a> {
        Snapshot { server, by_context: false, text: String::new(), fields: Fields::default() }
    }

    /// The same for commands that find their server themselves.
    pub fn by_context(server: &'a Server) -> Snapshot<'a> {
        Snapshot { by_context: true, ..Snapshot::of(server) }
    }

    /// Runs a command, written as in a shell without quotes, and notes what it prints. What `--json` prints must have
    /// the fields that the page of commands lists.
    pub fn run(&mut self, line: &str) {
        let args: Vec<&str> = line.split(' ').collect();
        let done = match self.by_context {
            false => self.server.run(&args),
            true => self.server.runs_by_context(&args),
        };
        let (out, err, code) = (printed(&done), said(&done), done.get_output().status.code());
        if args.contains(&"--json") {
            let values: Vec<Value> = match serde_json::from_str(&out) {
                Ok(value) => vec![value],
                // A line each.
                Err(_) => out.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            };
            values.iter().for_each(|value| self.fields.see(line, value));
        }
        // Writing to a text cannot fail.
        let _ = writeln!(self.text, "$ thrust {}", self.without_names(line));
        if !out.is_empty() {
            let _ = writeln!(self.text, "{}", self.normal(&out));
        }
        if !err.is_empty() {
            let _ = writeln!(self.text, "stderr: {}", self.normal(&err));
        }
        if code != Some(0) {
            let _ = writeln!(self.text, "exit code {}", code.unwrap_or(-1));
        }
        self.text.push('\n');
    }

    /// Both for people and for machines.
    pub fn run_twice(&mut self, line: &str) {
        self.run(line);
        self.run(&format!("{line} --json"));
    }

    /// Compares with the file.
    pub fn compare(self, name: &str) {
        self.fields.are_complete(&[]);
        let path = Path::new(FOLDER).join(format!("{name}.txt"));
        if std::env::var_os("THRUST_SNAPSHOTS").is_some_and(|what| what == "write") {
            std::fs::write(&path, &self.text).unwrap();
            return;
        }
        let known = std::fs::read_to_string(&path).unwrap_or_default();
        let (mut now, mut then) = (self.text.lines(), known.lines());
        for number in 1.. {
            let (now, then) = (now.next(), then.next());
            assert!(
                now == then,
                "{}:{number}: it was {then:?} and is {now:?}; THRUST_SNAPSHOTS=write writes it down",
                path.display()
            );
            if now.is_none() {
                break;
            }
        }
    }

    fn normal(&self, text: &str) -> String {
        normal(&self.without_names(text))
    }

    /// Without the addresses and the directory of this server.
    fn without_names(&self, text: &str) -> String {
        let dir = self.server.dir.path().to_str().unwrap();
        let text = text.replace(&self.server.names, "<nameserver>").replace(dir, "<dir>");
        text.replace(&self.server.broker, "<broker>")
    }
}

/// Makes times, ids, addresses, measured numbers and widths of columns equal.
fn normal(text: &str) -> String {
    let mut out = String::new();
    // Rates are told when there are some, which depends on how long the test takes.
    for line in text.lines().filter(|line| !line.contains("messages come in per second")) {
        let line = match line.split_once("\"spentMs\": ") {
            Some((before, _)) => format!("{before}\"spentMs\": <number>"),
            None => without_times(line),
        };
        let indent = line.len() - line.trim_start().len();
        let words: Vec<&str> = line.trim().split(' ').filter(|word| !word.is_empty()).collect();
        let mut told: Vec<String> = Vec::with_capacity(words.len());
        for (i, word) in words.iter().enumerate() {
            let unit = words.get(i + 1).copied().unwrap_or_default();
            let is_unit = told.last().is_some_and(|before| before.ends_with("<number>"));
            // What takes milliseconds here takes seconds on a busy machine.
            told.push(if is_unit { without_unit(word) } else { normal_word(word, unit) });
        }
        let _ = writeln!(out, "{}{}", " ".repeat(indent), told.join(" "));
    }
    out.trim_end().to_owned()
}

/// `2026-01-31 12:30:00.000Z (5 s ago)` is `<time>`.
fn without_times(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) =
        (0..rest.len()).find(|at| rest.is_char_boundary(*at) && is_date(&rest.as_bytes()[*at..]))
    {
        out += &rest[..at];
        out += "<time>";
        rest = rest[at..].split_once(')').map_or("", |(_, rest)| rest);
    }
    out + rest
}

fn is_date(bytes: &[u8]) -> bool {
    let pattern = b"dddd-dd-dd dd:dd:dd.ddd";
    bytes.len() >= pattern.len()
        && pattern.iter().zip(bytes).all(|(wanted, byte)| match wanted {
            b'd' => byte.is_ascii_digit(),
            _ => wanted == byte,
        })
}

fn without_unit(word: &str) -> String {
    let core = word.trim_matches(|letter: char| !letter.is_ascii_alphanumeric());
    if matches!(core, "ms" | "s" | "min") { word.replacen(core, "<unit>", 1) } else { word.to_owned() }
}

fn normal_word(word: &str, unit: &str) -> String {
    let is_between = |letter: char| "\"=,{}[]()".contains(letter);
    let parts = word.split_inclusive(is_between).map(|part| normal_part(part, unit));
    parts.collect()
}

fn normal_part(part: &str, unit: &str) -> String {
    let core = part.trim_matches(|letter: char| !letter.is_ascii_alphanumeric());
    let is_number = !core.is_empty() && core.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
    let replaced = match core {
        _ if is_id(core) && core.starts_with("7F000001") && core[8..12] == *"0000" => "<offset id>",
        _ if is_id(core) => "<unique key>",
        _ if is_number && core.len() == 13 => "<ms>",
        _ if is_number && core.contains('.') => "<number>",
        _ if is_number && ["ms", "s", "min", "ms,", "%", "per", "GiB", "TiB", "files"].contains(&unit) => {
            "<number>"
        }
        _ if core.starts_with("127.0.0.1:") => "<client>",
        _ => return part.to_owned(),
    };
    part.replacen(core, replaced, 1)
}

fn is_id(word: &str) -> bool {
    word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte))
}

/// A step into a document.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Name(String),
    Each,
}

/// Fields that commands have printed, below the heading of the page that lists those of the command.
#[derive(Default)]
pub struct Fields(BTreeMap<String, Vec<Vec<Step>>>);

impl Fields {
    /// Notes what a command has printed, all of which the page must list.
    pub fn see(&mut self, line: &str, value: &Value) {
        let (heading, listed) = listed(line);
        let mut leaves = Vec::new();
        gather(value, &mut Vec::new(), &mut leaves);
        for leaf in &leaves {
            assert!(
                listed.iter().any(|field| fits(field, leaf)),
                "`thrust {line}` prints {leaf:?}, which docs/commands.md does not list"
            );
        }
        self.0.entry(heading).or_default().append(&mut leaves);
    }

    /// Whatever the page lists of these commands was printed, but for what is excepted.
    pub fn are_complete(&self, except: &[&str]) {
        let except: Vec<Vec<Step>> = except.iter().map(|path| steps(path)).collect();
        for (heading, leaves) in &self.0 {
            let (_, listed) = listed(heading);
            for field in listed.iter().filter(|field| !except.contains(field)) {
                assert!(
                    leaves.iter().any(|leaf| fits(field, leaf)),
                    "docs/commands.md lists {field:?} of `thrust {heading}`, which never prints it"
                );
            }
        }
    }
}

/// A field stands for everything below it; a list or table that is empty for those above it.
fn fits(field: &[Step], leaf: &[Step]) -> bool {
    field.iter().zip(leaf).all(|(field, leaf)| matches(field, leaf))
}

fn matches(field: &Step, leaf: &Step) -> bool {
    matches!(field, Step::Name(name) if name == "*") && matches!(leaf, Step::Name(_)) || field == leaf
}

fn gather(value: &Value, above: &mut Vec<Step>, leaves: &mut Vec<Vec<Step>>) {
    let inner: Vec<(Step, &Value)> = match value {
        Value::Object(table) => table.iter().map(|(name, value)| (Step::Name(name.clone()), value)).collect(),
        Value::Array(list) => list.iter().map(|value| (Step::Each, value)).collect(),
        _ => Vec::new(),
    };
    if inner.is_empty() {
        leaves.push(above.clone());
    }
    for (step, value) in inner {
        above.push(step);
        gather(value, above, leaves);
        above.pop();
    }
}

/// Fields of the command on the page: those of its heading that is longest, of those that list some.
fn listed(line: &str) -> (String, Vec<Vec<Step>>) {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let sections = page.split("\n## thrust ").skip(1);
    let of_line = sections.filter(|section| {
        let name = section.lines().next().unwrap_or_default();
        (line == name || line.starts_with(&format!("{name} "))) && section.contains("| JSON | |")
    });
    let section = of_line.max_by_key(|section| section.find('\n')).unwrap_or_default();
    let heading = section.lines().next().unwrap_or_default().to_owned();
    let (_, table) =
        section.split_once("| JSON | |").unwrap_or_else(|| panic!("`{line}` has no fields listed"));
    let paths = table.lines().filter_map(|row| row.strip_prefix("| `")?.split_once("` |"));
    (heading, paths.map(|(path, _)| steps(path)).collect())
}

fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let name = part.trim_end_matches("[]");
        if !name.is_empty() {
            steps.push(Step::Name(name.to_owned()));
        }
        steps.extend(part.ends_with("[]").then_some(Step::Each));
    }
    steps
}

#[test]
fn what_differs_from_run_to_run_is_made_equal() {
    let told = normal(
        "  at 2026-01-31 12:30:00.000+01:00 (5 s ago), 0 ms later: 7F00000110D6D212E4BB6CF733000000 \
         (7F000001000055970000000000000000)\n{\"storedMs\":1700000000000,\"x\":\"127.0.0.1:5\"}   10 messages",
    );
    assert_eq!(
        told,
        "  at <time>, <number> <unit> later: <unique key> (<offset id>)\n{\"storedMs\":<ms>,\"x\":\"<client>\"} 10 messages"
    );
    assert_eq!(steps("a[].b.*"), steps("a[].b.*"));
    assert_eq!(steps("[].a"), [Step::Each, Step::Name("a".into())]);
}
