//! Header fields of a request in the making.

use std::borrow::Cow;

use wire::header::FrameWriter;

/// Fields in the order they are added; the names are the protocol's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields<'a>(Vec<(&'static str, Value<'a>)>);

#[derive(Debug, Clone)]
enum Value<'a> {
    Text(Cow<'a, str>),
    Number(i64),
}

impl<'a> Fields<'a> {
    pub fn new() -> Fields<'a> {
        Fields(Vec::with_capacity(16))
    }

    #[must_use]
    pub fn text(mut self, name: &'static str, value: impl Into<Cow<'a, str>>) -> Self {
        self.0.push((name, Value::Text(value.into())));
        self
    }

    #[must_use]
    pub fn number(mut self, name: &'static str, value: impl Into<i64>) -> Self {
        self.0.push((name, Value::Number(value.into())));
        self
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

    /// As texts, which is what signatures are made of.
    pub fn texts(&self) -> Vec<(&'static str, Cow<'_, str>)> {
        self.0
            .iter()
            .map(|(name, value)| match value {
                Value::Text(text) => (*name, Cow::Borrowed(&**text)),
                Value::Number(number) => (*name, Cow::Owned(number.to_string())),
            })
            .collect()
    }

    /// Writes them into a header.
    pub fn write(&self, writer: &mut FrameWriter<'_>) {
        for (name, value) in &self.0 {
            match value {
                Value::Text(text) => writer.field(name, text),
                Value::Number(number) => writer.number(name, *number),
            };
        }
    }
}
