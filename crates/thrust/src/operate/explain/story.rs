//! A story as it is told: paragraphs, and what to do.

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::screen::{print, print_json};
use crate::output::terminal::{Colour, columns, harmless, painted};
use crate::output::words::{count, wrapped};

/// What is told: paragraphs, and what to do.
#[derive(Debug, Default)]
pub struct Story {
    paragraphs: Vec<String>,
    advice: Vec<String>,
}

impl Story {
    /// One more paragraph.
    pub fn tell(&mut self, paragraph: impl Into<String>) {
        self.paragraphs.push(paragraph.into());
    }

    /// Something to do; told once however often it is said.
    pub fn advise(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.advice.contains(&what) {
            self.advice.push(what);
        }
    }

    /// Prints the story, or the facts with the story beside them.
    pub fn print(self, facts: Value, as_json: bool) -> Result<(), Failure> {
        if as_json {
            let mut value = facts;
            value["story"] = json!(self.paragraphs);
            value["advice"] = json!(self.advice);
            return print_json(&value);
        }
        let room = columns();
        let mut text = String::new();
        for paragraph in &self.paragraphs {
            text += &format!("{}\n", wrapped(&harmless(paragraph), room, 0));
        }
        if !self.advice.is_empty() {
            text += &format!("\n{}\n", painted("What to do", Colour::Bold));
            for advice in &self.advice {
                text += &format!("{}\n", wrapped(&harmless(&format!("- {advice}")), room, 2));
            }
        }
        print(&text)
    }
}

/// How many members of a group are online, in words.
pub fn online(members: usize) -> String {
    match members {
        0 => "nobody online".to_owned(),
        _ => format!("{} online", count(members, "member")),
    }
}
