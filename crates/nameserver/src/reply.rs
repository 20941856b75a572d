//! An answer before it is bytes.

use remoting::ReplyTo;
use serde::Serialize;
use wire::code::response::SUCCESS;
use wire::header::FrameWriter;

/// What a handler answers.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    code: i32,
    remark: Option<String>,
    fields: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Reply {
    /// It worked.
    pub fn success() -> Reply {
        Reply { code: SUCCESS, ..Reply::default() }
    }

    /// It worked, and here is the result.
    pub fn json<T: Serialize>(value: &T) -> Reply {
        Reply::success().with_json(value)
    }

    /// It did not work.
    pub fn failure(code: i32, remark: impl ToString) -> Reply {
        Reply { code, remark: Some(remark.to_string()), ..Reply::default() }
    }

    /// Adds a header field.
    pub fn with_field(mut self, name: &'static str, value: impl ToString) -> Reply {
        self.fields.push((name, value.to_string()));
        self
    }

    /// Sets the body.
    pub fn with_json<T: Serialize>(self, value: &T) -> Reply {
        // Serialising our own plain structs into memory cannot fail; a failure would leave an empty body.
        self.with_body(serde_json::to_vec(value).unwrap_or_default())
    }

    /// Sets the body.
    pub fn with_body(self, body: Vec<u8>) -> Reply {
        Reply { body, ..self }
    }

    /// Appends the frame, unless the request wanted none.
    pub fn write(&self, to: ReplyTo, out: &mut Vec<u8>) {
        if to.oneway {
            return;
        }
        let mut writer = FrameWriter::new(out, &to.head(self.code, self.remark.as_deref()));
        for (name, value) in &self.fields {
            writer.field(name, value);
        }
        writer.body(&self.body);
    }
}
