//! Lines of a file or a pipe, and what each of them is as a message.

use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::Path;

use serde_json::Value;
use thrustmq_client::Message;
use tokio::sync::mpsc::{Receiver, channel};
use wire::ids::unhex;

use crate::failure::Failure;

/// Lines that are read ahead.
const AHEAD_MAX: usize = 256;

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// From 1 on.
    pub number: u64,
    pub bytes: Vec<u8>,
}

/// Lines as they come, without empty ones.
pub type Lines = Receiver<std::io::Result<Line>>;

/// What a path is called: `-` is stdin.
pub fn name(path: &Path) -> String {
    if path.as_os_str() == "-" { "stdin".to_owned() } else { path.display().to_string() }
}

/// Whether lines come from somebody who types them.
pub fn is_typed(path: &Path) -> bool {
    path.as_os_str() == "-" && std::io::stdin().is_terminal()
}

/// Opens a file, or stdin, whose lines are read on a thread of their own: a pipe may be silent for long.
///
/// # Errors
/// When the file cannot be opened.
pub fn open(path: &Path) -> Result<Lines, Failure> {
    let input: Box<dyn Read + Send> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        let open = std::fs::File::open(path);
        Box::new(open.map_err(|cause| Failure::File { what: format!("read {}", path.display()), cause })?)
    };
    let (sender, receiver) = channel(AHEAD_MAX);
    std::thread::spawn(move || {
        for line in lines(BufReader::new(input)) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

fn lines(input: impl BufRead) -> impl Iterator<Item = std::io::Result<Line>> {
    // Bodies need not be text.
    let numbered = input.split(b'\n').zip(1..);
    let lines = numbered.map(|(bytes, number)| {
        let mut bytes = bytes?;
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        Ok(Line { number, bytes })
    });
    lines.filter(|line| !line.as_ref().is_ok_and(|line| line.bytes.is_empty()))
}

/// An object with `body` and perhaps `tag`, `keys`, `properties` and `flag`, as `thrust consume --format json` prints
/// them; what else it has is passed over, as are properties that the protocol has given the message.
///
/// # Errors
/// What is wrong with it.
pub fn from_json(topic: &str, text: &[u8]) -> Result<Message, String> {
    let value: Value = serde_json::from_slice(text).map_err(|error| {
        // It is always the first line of its own text.
        error.to_string().replace(" at line 1 column", " at column")
    })?;
    let Value::Object(mut fields) = value else { return Err("it is no object".to_owned()) };
    let mut field = |name: &str| fields.remove(name).filter(|value| !value.is_null());
    let body = field("body").ok_or("\"body\" is missing")?;
    let mut message = Message::new(topic, bytes_of(body, field("bodyEncoding"))?);
    match field("tag") {
        Some(Value::String(tag)) => message = message.tag(tag),
        Some(_) => return Err("\"tag\" is no text".to_owned()),
        None => (),
    }
    for key in keys_of(field("keys"))? {
        message = message.key(key);
    }
    for (name, value) in properties_of(field("properties"))? {
        message = message.property(name, value);
    }
    match field("flag").map(|flag| flag.as_i64().and_then(|flag| i32::try_from(flag).ok())) {
        Some(Some(flag)) => Ok(message.flag(flag)),
        Some(None) => Err("\"flag\" is no number of 32 bits".to_owned()),
        None => Ok(message),
    }
}

fn bytes_of(body: Value, encoding: Option<Value>) -> Result<Vec<u8>, String> {
    match (body, encoding.as_ref().and_then(Value::as_str)) {
        (Value::String(digits), Some("hex")) => {
            unhex(&digits).ok_or("\"body\" is not hexadecimal, as \"bodyEncoding\" says".to_owned())
        }
        (Value::String(text), _) => Ok(text.into_bytes()),
        // A body that is no text is JSON itself.
        (value, _) => Ok(value.to_string().into_bytes()),
    }
}

fn keys_of(value: Option<Value>) -> Result<Vec<String>, String> {
    let wrong = || "\"keys\" is neither a text nor a list of texts".to_owned();
    match value {
        None => Ok(Vec::new()),
        Some(Value::String(key)) => Ok(vec![key]),
        Some(Value::Array(keys)) => {
            keys.into_iter().map(|key| key.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

fn properties_of(value: Option<Value>) -> Result<Vec<(String, String)>, String> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let Value::Object(properties) = value else { return Err("\"properties\" is no object".to_owned()) };
    let own = properties.into_iter().filter(|(name, _)| Message::is_own_property(name));
    let texts = own.map(|(name, value)| match value {
        Value::String(text) => Ok((name, text)),
        _ => Err(format!("property \"{name}\" is no text")),
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_numbers_and_bytes() {
        let read: Vec<Line> = lines(&b"one\r\n\n\xff\nlast"[..]).map(Result::unwrap).collect();
        let line = |number, bytes: &[u8]| Line { number, bytes: bytes.to_vec() };
        assert_eq!(read, [line(1, b"one"), line(3, b"\xff"), line(4, b"last")]);
    }

    #[test]
    fn what_consume_prints_is_a_message_again() {
        let text = r#"{"topic":"orders","messageId":"x","tag":"paid","keys":["7","8"],"flag":9,"body":"a",
            "properties":{"n":"5","UNIQ_KEY":"x","KEYS":"7 8"},"bodyEncoding":"utf-8","bornMs":1}"#;
        let message = from_json("copies", text.as_bytes()).unwrap();
        assert_eq!((message.topic(), &message.body()[..]), ("copies", &b"a"[..]));
        let shown = format!("{message:?}");
        assert!(
            shown.contains("paid") && shown.contains("flag: 9") && !shown.contains("UNIQ_KEY"),
            "{shown}"
        );
        let bytes = from_json("t", br#"{"body":"ff00","bodyEncoding":"hex","tag":null,"keys":"k"}"#).unwrap();
        assert_eq!(bytes.body()[..], b"\xff\0"[..]);
        assert_eq!(from_json("t", br#"{"body":{"x":1}}"#).unwrap().body()[..], br#"{"x":1}"#[..]);
    }

    #[test]
    fn what_is_wrong_with_a_line_is_told() {
        let told = |text: &str| from_json("t", text.as_bytes()).unwrap_err();
        assert_eq!(told("nothing"), "expected ident at column 2");
        assert_eq!(told("[1]"), "it is no object");
        assert_eq!(told("{}"), "\"body\" is missing");
        assert_eq!(told(r#"{"body":"a","tag":5}"#), "\"tag\" is no text");
        assert!(told(r#"{"body":"a","keys":[5]}"#).starts_with("\"keys\" is neither"));
        assert_eq!(told(r#"{"body":"a","properties":{"n":5}}"#), "property \"n\" is no text");
        assert_eq!(told(r#"{"body":"a","properties":"n=5"}"#), "\"properties\" is no object");
        assert_eq!(told(r#"{"body":"a","flag":"5"}"#), "\"flag\" is no number of 32 bits");
        assert!(told(r#"{"body":"f","bodyEncoding":"hex"}"#).contains("not hexadecimal"));
    }
}
