//! The ROCKETMQ binary header (wire.md §4).

use std::borrow::Cow;

use super::{Fields, Header, HeaderError, Language};

pub(super) fn parse(bytes: &[u8]) -> Result<Header<'_>, HeaderError> {
    let mut reader = Reader { bytes, at: 0 };
    let code = i32::from(i16::from_be_bytes(reader.array()?));
    let [language] = reader.array()?;
    let version = i32::from(i16::from_be_bytes(reader.array()?));
    let opaque = i32::from_be_bytes(reader.array()?);
    let flag = i32::from_be_bytes(reader.array()?);
    let remark_length = reader.length32()?;
    let remark = reader.text(remark_length)?;
    let ext_length = reader.length32()?;
    let ext = reader.take(ext_length)?;
    Ok(Header {
        code,
        language: Language(language),
        version,
        opaque,
        flag,
        remark: (!remark.is_empty()).then_some(remark),
        fields: parse_fields(ext)?,
    })
}

/// A zero-length key or value means "absent" in this dialect.
fn parse_fields(bytes: &[u8]) -> Result<Fields<'static>, HeaderError> {
    let mut reader = Reader { bytes, at: 0 };
    let mut fields = Fields::of("");
    while reader.at < bytes.len() {
        let key_length = usize::try_from(i16::from_be_bytes(reader.array()?))
            .map_err(|_| reader.error("a key has a negative length"))?;
        let key = reader.text(key_length)?;
        let value_length = reader.length32()?;
        let value = reader.text(value_length)?;
        if !key.is_empty() && !value.is_empty() {
            // No part of this header is known to be text as a whole.
            fields.push_copy(&key, &value)?;
        }
    }
    Ok(fields)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn error(&self, what: &'static str) -> HeaderError {
        HeaderError::Binary { at: self.at, what }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], HeaderError> {
        let rest = &self.bytes[self.at..];
        let part = rest.get(..length).ok_or_else(|| self.error("a length leads outside the header"))?;
        self.at += length;
        Ok(part)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], HeaderError> {
        let error = self.error("the header ends inside a number");
        self.take(N)?.try_into().map_err(|_| error)
    }

    fn length32(&mut self) -> Result<usize, HeaderError> {
        let length = i32::from_be_bytes(self.array()?);
        usize::try_from(length).map_err(|_| self.error("a length is negative"))
    }

    /// Java replaces malformed UTF-8 and goes on; so does this.
    fn text(&mut self, length: usize) -> Result<Cow<'a, str>, HeaderError> {
        Ok(String::from_utf8_lossy(self.take(length)?))
    }
}
