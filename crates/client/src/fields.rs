//! Header fields of a request in the making.

use std::borrow::Cow;

/// Fields in the order they are added; the names are the protocol's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields<'a>(Vec<(&'static str, Cow<'a, str>)>);

impl<'a> Fields<'a> {
    pub fn new() -> Fields<'a> {
        Fields::default()
    }

    #[must_use]
    pub fn text(mut self, name: &'static str, value: impl Into<Cow<'a, str>>) -> Self {
        self.0.push((name, value.into()));
        self
    }

    #[must_use]
    pub fn number(self, name: &'static str, value: impl Into<i64>) -> Self {
        let value: i64 = value.into();
        self.text(name, value.to_string())
    }

    #[must_use]
    pub fn flag(self, name: &'static str, value: bool) -> Self {
        self.text(name, if value { "true" } else { "false" })
    }

    /// Adds a field unless there is nothing to say.
    #[must_use]
    pub fn maybe(self, name: &'static str, value: Option<impl Into<Cow<'a, str>>>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    pub fn pairs(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(name, value)| (*name, &**value)).collect()
    }
}
