//! JSON files of the broker's state, replaced so that a crash at any point leaves the old or the new one: as with
//! Java (store.md §2.1) the file before stays as `.bak`, and for a moment there may be only that.
//!
//! Java writes the new content straight to its place. If that fails half way, its next save makes the half-written
//! file the backup and the last good one is gone; so here it is written beside and takes its place when it is durable.
//!
//! A flipped bit can make another number of a number, which no parser notices. So the last entry of what is written is
//! `"crc32"`, over the text without that entry. Java passes over it when it reads the file and leaves it out when it
//! writes it; a file without it, or with anything behind it as editors leave, is taken as it is.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{self, Disk};

/// Replaces the content of `path` durably.
pub fn save(disk: &dyn Disk, path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    disk::create_dirs(disk, dir)?;
    let new = with_ending(path, ".tmp");
    let file = disk.create(&new, 0)?;
    file.write_at(&seal(content), 0)?;
    file.sync_data()?;
    // The new file's name must be durable before the old one gives up its own.
    disk.sync_dir(dir)?;
    if disk.stat(path)?.is_some_and(|stat| stat.len > 0) {
        disk.rename(path, &with_ending(path, ".bak"))?;
    }
    disk.rename(&new, path)?;
    disk.sync_dir(dir)
}

/// Content of `path`, or of its backup if `decode` can make nothing of it; `None` if there is neither.
///
/// A file that cannot be read is kept as `.broken`, so that it does not become the backup at the next save. If the
/// backup does not help either, that is an error and nothing is touched: a broker that starts with empty offsets or
/// topics loses more than one that does not start.
pub fn load<T>(
    disk: &dyn Disk,
    path: &Path,
    mut decode: impl FnMut(&[u8]) -> Option<T>,
) -> io::Result<Option<T>> {
    let backup = with_ending(path, ".bak");
    // An empty file is what a crash can leave of one that was being made; it says as much as none.
    let read =
        |path: &Path| Ok::<_, io::Error>(disk::read_all(disk, path)?.filter(|bytes| !bytes.is_empty()));
    let (present, before) = (read(path)?, read(&backup)?);
    let mut sound = |bytes: &[u8]| content_of(bytes).and_then(|content| decode(&content));
    if let Some(value) = present.as_deref().and_then(&mut sound) {
        return Ok(Some(value));
    }
    if let Some(value) = before.as_deref().and_then(&mut sound) {
        if present.is_some() {
            let broken = with_ending(path, ".broken");
            tracing::error!(
                kept = %broken.display(),
                "{} is damaged, or was edited without removing its \"crc32\" entry; its backup is used",
                path.display()
            );
            disk.rename(path, &broken)?;
        }
        return Ok(Some(value));
    }
    if present.is_none() && before.is_none() {
        return Ok(None);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "{} and its backup are damaged; restore one of them, or move both away to start without what they held",
            path.display()
        ),
    ))
}

/// As [`load`], but nothing is moved and nothing reported: for who only wants to know.
pub(crate) fn peek<T>(disk: &dyn Disk, path: &Path, mut decode: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
    [path.to_path_buf(), with_ending(path, ".bak")].iter().find_map(|path| {
        let bytes = disk::read_all(disk, path).ok()??;
        content_of(&bytes).and_then(|content| decode(&content))
    })
}

/// Name and first quote of the entry that guards a file.
const CRC_NAME: &[u8] = b"\"crc32\":\"";
/// Bytes of the whole entry and of the brace behind it.
const CRC_BYTES: usize = CRC_NAME.len() + 8 + 2;

/// The text of an object with its CRC as last entry; any other text as it is.
fn seal(content: &[u8]) -> Cow<'_, [u8]> {
    let Some(body) = content.strip_suffix(b"}").filter(|_| content.starts_with(b"{")) else {
        return Cow::Borrowed(content);
    };
    let mut sealed = body.to_vec();
    if body.trim_ascii_end() != b"{" {
        sealed.push(b',');
    }
    sealed.extend_from_slice(CRC_NAME);
    sealed.extend_from_slice(format!("{:08x}\"}}", crc32fast::hash(content)).as_bytes());
    Cow::Owned(sealed)
}

/// What was given to [`save`], or what Java or an editor wrote; `None` if a CRC says that the bytes have changed.
pub(crate) fn content_of(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    let at = bytes.len().saturating_sub(CRC_BYTES);
    let Some(value) = bytes[at..].strip_prefix(CRC_NAME).and_then(|rest| rest.strip_suffix(b"\"}")) else {
        return Some(Cow::Borrowed(bytes));
    };
    let body = &bytes[..at];
    let mut content = body.strip_suffix(b",").unwrap_or(body).to_vec();
    content.push(b'}');
    let stored = std::str::from_utf8(value).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
    (stored == Some(crc32fast::hash(&content))).then_some(Cow::Owned(content))
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_gives_the_same_content_or_none() {
        for content in [&b"{\n  \"perm\": 6\n}"[..], b"{}", b"{\"a\":{\"b\":[1]}}"] {
            let sealed = seal(content);
            assert_eq!(content_of(&sealed).as_deref(), Some(content));
            for at in 0..sealed.len() {
                for bit in 0..8 {
                    let mut changed = sealed.to_vec();
                    changed[at] ^= 1 << bit;
                    // Where the entry itself is no longer one, it is part of the content: an unknown name, or no JSON.
                    let known = changed[changed.len() - CRC_BYTES..].starts_with(CRC_NAME)
                        && changed.ends_with(b"\"}");
                    let found = content_of(&changed);
                    assert!(
                        !known || found.is_none() || found.as_deref() == Some(content),
                        "byte {at}, bit {bit}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_java_or_an_editor_wrote_is_taken_as_it_is() {
        for text in [&b"{\"table\":{}}"[..], b"", b"}", b"{\"a\":1,\"crc32\":\"00000000\"}\n"] {
            assert_eq!(content_of(text).as_deref(), Some(text));
        }
        assert_eq!(content_of(b"{\"a\":1,\"crc32\":\"00000000\"}"), None);
    }
}
