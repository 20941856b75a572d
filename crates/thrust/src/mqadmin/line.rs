//! Command lines as the official tool reads them: the dialect of commons-cli.
//!
//! `-t x`, `-tx`, `-t=x`, `--topic x`, `--topic=x`, `-topic x` and `--top x` all mean the same. A word that begins with
//! `-` is a value only if it is a number or no flag is called so. What belongs to no flag is passed over.

/// One flag of a command.
#[derive(Debug)]
pub struct Flag {
    /// The short name, or "" where there is none.
    pub letter: &'static str,
    /// The long name.
    pub word: &'static str,
    /// What it means.
    pub help: &'static str,
    /// Whether a value follows it.
    pub takes_value: bool,
    pub required: bool,
    /// Flags of one number exclude each other, and one of them must be there.
    pub group: Option<u8>,
}

/// A flag with a value.
pub const fn flag(letter: &'static str, word: &'static str, help: &'static str) -> Flag {
    Flag { letter, word, help, takes_value: true, required: false, group: None }
}

/// A flag with a value that must be there.
pub const fn required(letter: &'static str, word: &'static str, help: &'static str) -> Flag {
    Flag { required: true, ..flag(letter, word, help) }
}

/// A flag without a value.
pub const fn bare(letter: &'static str, word: &'static str, help: &'static str) -> Flag {
    Flag { takes_value: false, ..flag(letter, word, help) }
}

/// A flag with a value, of which exactly one of its group must be there.
pub const fn one_of(letter: &'static str, word: &'static str, help: &'static str) -> Flag {
    Flag { group: Some(0), ..flag(letter, word, help) }
}

impl Flag {
    fn name(&self) -> &'static str {
        if self.letter.is_empty() { self.word } else { self.letter }
    }

    fn form(&self) -> String {
        let dashes = if self.letter.is_empty() { "--" } else { "-" };
        let value = if self.takes_value { " <arg>" } else { "" };
        format!("{dashes}{}{value}", self.name())
    }
}

/// Flags that all commands have.
pub const EVERYWHERE: [Flag; 2] = [
    bare("h", "help", "print this help"),
    flag("n", "namesrvAddr", "name servers, host:port;host:port [default: NAMESRV_ADDR, or 127.0.0.1:9876]"),
];

/// A command line that was understood.
#[derive(Debug, Default)]
pub struct Line {
    /// Names of flags with their values, in the order they came.
    given: Vec<(&'static str, String)>,
    /// Words that belong to no flag.
    pub rest: Vec<String>,
}

impl Line {
    /// Whether the flag with this name is there.
    pub fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| *given == name)
    }

    /// Value of a flag, without blanks around it; the first of several.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(given, _)| *given == name).map(|(_, value)| value.trim())
    }

    /// Value of a flag that the command cannot do without, and so is there.
    pub fn text(&self, name: &str) -> &str {
        self.value(name).unwrap_or_default()
    }

    /// Value of a flag as a number.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(text) = self.value(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| format!("-{name} wants a number, not \"{text}\""))
    }

    /// Whether the value of a flag is `true`, in any case; `None` without the flag. All other words mean `false`.
    pub fn truth(&self, name: &str) -> Option<bool> {
        self.value(name).map(|text| text.eq_ignore_ascii_case("true"))
    }
}

/// Why a command line is not understood; the texts are those of the official tool.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    #[error("Unrecognized option: {0}")]
    Unknown(String),
    #[error("Ambiguous option: '{0}'  (could be: {1})")]
    Ambiguous(String, String),
    #[error("Missing argument for option: {0}")]
    NoValue(&'static str),
    #[error("Missing required option{}: {}", if .0.len() == 1 { "" } else { "s" }, .0.join(", "))]
    Missing(Vec<String>),
    #[error("The option '{0}' was specified but an option from this group has already been selected: '{1}'")]
    Excluded(&'static str, &'static str),
    /// Help is wanted, whatever else is there.
    #[error("help is wanted")]
    Help,
}

/// Reads the words behind the name of a command.
///
/// # Errors
/// When they do not fit the flags.
pub fn parse(flags: &'static [Flag], words: &[String]) -> Result<Line, LineError> {
    let mut reading = Reading { flags, line: Line::default(), open: None };
    let mut words = words.iter();
    for word in words.by_ref() {
        if word == "--" {
            break;
        }
        reading.word(word)?;
    }
    reading.close()?;
    reading.line.rest.extend(words.cloned());
    if reading.line.has("h") {
        return Err(LineError::Help);
    }
    reading.check_complete()?;
    Ok(reading.line)
}

struct Reading {
    flags: &'static [Flag],
    line: Line,
    /// The flag that waits for its value.
    open: Option<&'static Flag>,
}

impl Reading {
    fn all(&self) -> impl Iterator<Item = &'static Flag> + use<> {
        // A command's own flag hides the common one of the same name.
        let own = self.flags;
        let common =
            EVERYWHERE.iter().filter(move |common| own.iter().all(|flag| flag.letter != common.letter));
        own.iter().chain(common)
    }

    fn short(&self, name: &str) -> Option<&'static Flag> {
        self.all().find(|flag| !flag.letter.is_empty() && flag.letter == name)
    }

    /// Flags whose long name is this or begins like this.
    fn long(&self, name: &str) -> Vec<&'static Flag> {
        if let Some(exact) = self.all().find(|flag| flag.word == name) {
            return vec![exact];
        }
        self.all().filter(|flag| flag.word.starts_with(name)).collect()
    }

    fn word(&mut self, word: &str) -> Result<(), LineError> {
        let dashed = word.len() > 1 && word.starts_with('-');
        if let Some(flag) = self.open
            && (!dashed || word.parse::<f64>().is_ok() || !self.is_flag(word))
        {
            self.open = None;
            self.put(flag, word);
            return Ok(());
        }
        if let Some(name) = word.strip_prefix("--") {
            return self.long_word(word, name);
        }
        match word.strip_prefix('-').filter(|_| dashed) {
            Some(name) => self.short_word(word, name),
            None => {
                self.line.rest.push(word.to_owned());
                Ok(())
            }
        }
    }

    fn is_flag(&self, word: &str) -> bool {
        let name = word.trim_start_matches('-');
        let name = name.split_once('=').map_or(name, |(name, _)| name);
        let first = name.chars().next().map(String::from).unwrap_or_default();
        let is_short =
            !word.starts_with("--") && (self.short(name).is_some() || self.short(&first).is_some());
        is_short || (!name.is_empty() && !self.long(name).is_empty())
    }

    fn long_word(&mut self, word: &str, name: &str) -> Result<(), LineError> {
        let (name, value) = name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value)));
        let found = self.long(name);
        match (found.as_slice(), value) {
            ([flag], None) => self.begin(flag),
            ([flag], Some(value)) if flag.takes_value => self.whole(flag, value),
            ([_], Some(_)) | ([], _) => Err(LineError::Unknown(word.to_owned())),
            (_, _) => {
                let names: Vec<String> = found.iter().map(|flag| format!("'{}'", flag.word)).collect();
                Err(LineError::Ambiguous(format!("--{name}"), names.join(", ")))
            }
        }
    }

    fn short_word(&mut self, word: &str, name: &str) -> Result<(), LineError> {
        if let Some((before, value)) = name.split_once('=') {
            return match self.short(before) {
                Some(flag) if flag.takes_value => self.whole(flag, value),
                _ => self.long_word(word, name),
            };
        }
        if let Some(flag) = self.short(name) {
            return self.begin(flag);
        }
        if name.len() > 1 && !self.long(name).is_empty() {
            return self.long_word(word, name);
        }
        // Several letters in one word, or a value that follows its letter at once.
        for (at, letter) in name.char_indices() {
            let mut bytes = [0; 4];
            let Some(flag) = self.short(letter.encode_utf8(&mut bytes)) else {
                return Err(LineError::Unknown(word.to_owned()));
            };
            let rest = &name[at + letter.len_utf8()..];
            if flag.takes_value && !rest.is_empty() {
                return self.whole(flag, rest);
            }
            self.begin(flag)?;
        }
        Ok(())
    }

    fn begin(&mut self, flag: &'static Flag) -> Result<(), LineError> {
        self.close()?;
        self.select(flag)?;
        if flag.takes_value {
            self.open = Some(flag);
        } else {
            self.put(flag, "");
        }
        Ok(())
    }

    fn whole(&mut self, flag: &'static Flag, value: &str) -> Result<(), LineError> {
        self.close()?;
        self.select(flag)?;
        self.put(flag, value);
        Ok(())
    }

    fn select(&self, flag: &'static Flag) -> Result<(), LineError> {
        let Some(group) = flag.group else { return Ok(()) };
        let others =
            self.flags.iter().filter(|other| other.group == Some(group) && other.name() != flag.name());
        match others.map(Flag::name).find(|name| self.line.has(name)) {
            Some(other) => Err(LineError::Excluded(flag.name(), other)),
            None => Ok(()),
        }
    }

    fn put(&mut self, flag: &'static Flag, value: &str) {
        let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let value = inner.filter(|inner| !inner.contains('"')).unwrap_or(value);
        self.line.given.push((flag.name(), value.to_owned()));
    }

    fn close(&mut self) -> Result<(), LineError> {
        self.open.take().map_or(Ok(()), |flag| Err(LineError::NoValue(flag.name())))
    }

    fn check_complete(&self) -> Result<(), LineError> {
        let mut missing: Vec<String> = Vec::new();
        for flag in self.flags.iter().filter(|flag| flag.required && !self.line.has(flag.name())) {
            missing.push(flag.name().to_owned());
        }
        for group in 0..=self.flags.iter().filter_map(|flag| flag.group).max().unwrap_or(0) {
            let members: Vec<&Flag> = self.flags.iter().filter(|flag| flag.group == Some(group)).collect();
            if !members.is_empty() && !members.iter().any(|flag| self.line.has(flag.name())) {
                let told = members.iter().map(|flag| format!("-{} {}", flag.name(), flag.help));
                missing.push(format!("[{}]", told.collect::<Vec<_>>().join(", ")));
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(LineError::Missing(missing)) }
    }
}

/// Letters of a line of the usage.
const WIDTH: usize = 110;

/// How a command is used, in the layout of commons-cli.
pub fn usage(program: &str, flags: &'static [Flag]) -> String {
    let reading = Reading { flags, line: Line::default(), open: None };
    let mut all: Vec<&Flag> = reading.all().collect();
    all.sort_by_key(|flag| flag.name().to_lowercase());
    let mut words = Vec::new();
    let mut seen = Vec::new();
    for flag in &all {
        match flag.group {
            None if flag.required => words.push(flag.form()),
            None => words.push(format!("[{}]", flag.form())),
            Some(group) if !seen.contains(&group) => {
                seen.push(group);
                let members = all.iter().filter(|other| other.group == Some(group)).map(|other| other.form());
                words.push(members.collect::<Vec<_>>().join(" | "));
            }
            Some(_) => (),
        }
    }
    let start = format!("usage: {program}");
    let mut text =
        wrapped(&start, &words.join(" "), "usage: ".len() + program.find(' ').unwrap_or(program.len()) + 1);
    let left = |flag: &Flag| match flag.letter {
        "" => format!("    --{}{}", flag.word, if flag.takes_value { " <arg>" } else { "" }),
        letter => format!(" -{letter},--{}{}", flag.word, if flag.takes_value { " <arg>" } else { "" }),
    };
    let column = all.iter().map(|flag| left(flag).len()).max().unwrap_or(0) + 3;
    for flag in all {
        text += &wrapped(&format!("{:<column$}", left(flag)), flag.help, column);
    }
    text
}

/// A text behind a start, broken between words; what follows is indented.
fn wrapped(start: &str, text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut line = start.to_owned();
    for word in text.split(' ') {
        if line.len() + 1 + word.len() > WIDTH && line.trim() != "" {
            out += line.trim_end();
            out.push('\n');
            line = " ".repeat(indent.saturating_sub(1));
        }
        if !line.ends_with(' ') || line.trim() == "" {
            line.push(' ');
        }
        line += word;
    }
    out + line.trim_end() + "\n"
}

/// Parts of a list with commas between them; blanks around them are not theirs.
pub fn parts(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        required("t", "topic", "the topic"),
        one_of("b", "brokerAddr", "one broker"),
        one_of("c", "clusterName", "a cluster"),
        bare("l", "list", "as a list"),
        flag("a", "attributes", "attributes"),
        flag("", "attributesFile", "a file"),
        flag("bn", "brokerName", "a name"),
    ];

    fn read(line: &str) -> Result<Line, LineError> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(FLAGS, &words)
    }

    fn values(line: &str) -> [Option<String>; 4] {
        let line = read(line).unwrap();
        ["t", "b", "n", "a"].map(|name| line.value(name).map(str::to_owned))
    }

    #[test]
    fn every_spelling_of_a_flag_means_the_same() {
        for line in [
            "-t x -b y",
            "-tx -by",
            "-t=x -b=y",
            "--topic x --brokerAddr y",
            "--topic=x --brokerAddr=y",
            "-topic x -brokerAddr y",
            "--top x --brokerA y",
            "-lt x -b y",
            "-ltx -by ignored words",
        ] {
            assert_eq!(values(line), [Some("x".into()), Some("y".into()), None, None], "{line}");
        }
        assert_eq!(read("-t x -c y -bn z").unwrap().value("bn"), Some("z"));
        assert!(read("-t x -c y --list").unwrap().has("l"));
        assert_eq!(read("-t x -c y --attributesFile z").unwrap().value("attributesFile"), Some("z"));
    }

    #[test]
    fn numbers_and_words_that_name_no_flag_are_values() {
        assert_eq!(values("-t -1 -b y")[0], Some("-1".into()));
        assert_eq!(values("-t x -b y -a -k")[3], Some("-k".into()), "an attribute to remove");
        assert_eq!(values("-t x -b y -a +k=v,-x")[3], Some("+k=v,-x".into()));
        assert_eq!(values("-t x -b y -n a:1;b:2")[2], Some("a:1;b:2".into()));
        assert_eq!(
            parse(FLAGS, &["-t".into(), "\" x \"".into(), "-b=y".into()]).unwrap().value("t"),
            Some("x")
        );
        assert_eq!(values("-t x -t z -b y")[0], Some("x".into()), "the first wins");
    }

    #[test]
    fn what_is_wrong_is_told_in_the_words_of_the_official_tool() {
        let told = |line| read(line).unwrap_err().to_string();
        assert_eq!(told("-b y"), "Missing required option: t");
        assert_eq!(told(""), "Missing required options: t, [-b one broker, -c a cluster]");
        assert_eq!(told("-t x -b"), "Missing argument for option: b");
        assert_eq!(told("-t -b y"), "Missing argument for option: t");
        assert_eq!(told("-t x -b y --wrong"), "Unrecognized option: --wrong");
        assert_eq!(told("-t x -b y -z"), "Unrecognized option: -z");
        assert_eq!(told("-t x -b y --list=1"), "Unrecognized option: --list=1");
        assert_eq!(
            told("-t x -b y -c z"),
            "The option 'c' was specified but an option from this group has already been selected: 'b'"
        );
        assert_eq!(
            told("-t x --broker y"),
            "Ambiguous option: '--broker'  (could be: 'brokerAddr', 'brokerName')"
        );
        assert_eq!(read("-h").unwrap_err(), LineError::Help);
    }

    #[test]
    fn a_list_has_commas_between_its_parts() {
        assert_eq!(parts("a, b,,c").collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn the_usage_has_the_layout_of_the_official_tool() {
        assert_eq!(usage("mqadmin x", FLAGS), include_str!("layouts/usage.txt"));
    }
}
