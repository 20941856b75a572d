//! SQL92 expressions over the properties of a message (broker.md §11.3 and §11.4): the language of Java's broker with
//! all its peculiarities, since a consumer must get the same messages from either.
//!
//! An expression is compiled once and evaluated on the raw properties of each record without allocating. Bounded in
//! size and in depth, so that no expression can exhaust a stack.

mod evaluate;
mod lexer;
mod node;
mod numbers;
mod parser;

use node::Node;

/// Longest expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 64 << 10;
/// Most operations within one another. Chains of AND and OR do not count: they are one operation.
pub const DEPTH_MAX: usize = 128;
/// Characters of an expression that an error repeats.
const EXCERPT_CHARS: usize = 24;

/// A compiled expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    root: Node,
}

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {position} of the expression, {}: {reason}", place(near))]
pub struct SqlError {
    /// Where the fault is, in characters from 1 on.
    pub position: usize,
    /// The text from there on, cut short.
    pub near: String,
    /// What is wrong there.
    pub reason: String,
}

impl SqlError {
    fn new(text: &str, at: usize, reason: impl Into<String>) -> SqlError {
        let (before, from) = text.split_at_checked(at).unwrap_or((text, ""));
        SqlError {
            position: before.chars().count() + 1,
            near: from.chars().take(EXCERPT_CHARS).collect(),
            reason: reason.into(),
        }
    }
}

fn place(near: &str) -> String {
    if near.is_empty() { "at its end".to_owned() } else { format!("before {near:?}") }
}

/// Why an expression has no value for a message. To a consumer it is a message that does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// The property stands beside a number.
    #[error("a property that is compared with a number is none")]
    NoNumber,
    /// The outcome of a comparison on the left of a text.
    #[error("a boolean cannot be compared with a text on its right")]
    BooleanAndText,
}

impl Expression {
    /// Compiles a text.
    pub fn compile(text: &str) -> Result<Expression, SqlError> {
        parser::parse(text).map(|root| Expression { root })
    }

    /// Its value for a message with these properties ([`wire::properties`]); `None` is NULL.
    pub fn evaluate(&self, properties: &[u8]) -> Result<Option<bool>, EvaluationError> {
        evaluate::outcome(&self.root, properties)
    }

    /// Whether a message with these properties is wanted: neither NULL nor an error is.
    pub fn matches(&self, properties: &[u8]) -> bool {
        self.evaluate(properties) == Ok(Some(true))
    }
}

#[cfg(test)]
mod tests;
