//! JSON files of the broker's state, replaced so that a crash at any point leaves the old or the new one: as with
//! Java (store.md §2.1) the file before stays as `.bak`, and for a moment there may be only that.
//!
//! Java writes the new content straight to its place. If that fails half way, its next save makes the half-written
//! file the backup and the last good one is gone; so here it is written beside and takes its place when it is durable.
//!
//! A flipped bit can make another number of a number, which no parser notices. So the last entries of what is written
//! are `"savedAt"`, the second that the file's time of change is set to, and `"crc32"`, over the text before that
//! entry. Java passes over them when it reads the file and leaves them out when it writes it. A text that the CRC does
//! not fit is damaged, if the file has its time; else somebody has edited it, and it is taken as it is. So is a file
//! without these entries, or with anything behind them as editors leave.

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
    let saved_at = disk.stat(&new)?.map_or(0, |stat| stat.modified_millis / 1000);
    file.write_at(&seal(content, saved_at), 0)?;
    // A file system that refuses this makes damage pass for an edit, and nothing worse.
    let _ = file.set_modified(saved_at);
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
    let (present, before) = (read(disk, path)?, read(disk, &backup)?);
    let mut sound = |text: &Text| text.content().and_then(|content| decode(&content));
    if let Some(value) = present.as_ref().and_then(&mut sound) {
        return Ok(Some(value));
    }
    if let Some(value) = before.as_ref().and_then(&mut sound) {
        if present.is_some() {
            let broken = with_ending(path, ".broken");
            tracing::error!(kept = %broken.display(), "{} is damaged; its backup is used", path.display());
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
    [path.to_path_buf(), with_ending(path, ".bak")]
        .iter()
        .find_map(|path| read(disk, path).ok()??.content().and_then(|content| decode(&content)))
}

/// A file as it was found; `None` if there is none, or an empty one, which is what a crash can leave of one that was
/// being made and says as much.
pub(crate) fn read(disk: &dyn Disk, path: &Path) -> io::Result<Option<Text>> {
    let Some(stat) = disk.stat(path)? else { return Ok(None) };
    let text = disk::read_all(disk, path)?.filter(|bytes| !bytes.is_empty());
    Ok(text.map(|bytes| Text { bytes, modified_millis: stat.modified_millis }))
}

/// A text and the time of its file.
pub(crate) struct Text {
    bytes: Vec<u8>,
    modified_millis: i64,
}

/// Names and quotes of the entries that guard a file. Their values have a fixed length.
const TIME_NAME: &[u8] = b"\"savedAt\":\"";
const TIME_DIGITS: usize = 10;
const CRC_NAME: &[u8] = b",\"crc32\":\"";
const CRC_DIGITS: usize = 8;
/// Bytes of the first entry, and of both with the brace behind them.
const TIME_BYTES: usize = TIME_NAME.len() + TIME_DIGITS + 1;
const GUARD_BYTES: usize = TIME_BYTES + CRC_NAME.len() + CRC_DIGITS + 2;

/// The text of an object with the two entries behind its own; any other text as it is.
fn seal(content: &[u8], saved_at: i64) -> Cow<'_, [u8]> {
    let Some(body) = content.strip_suffix(b"}").filter(|_| content.starts_with(b"{")) else {
        return Cow::Borrowed(content);
    };
    let mut sealed = body.to_vec();
    if body.trim_ascii_end() != b"{" {
        sealed.push(b',');
    }
    sealed.extend_from_slice(TIME_NAME);
    sealed.extend_from_slice(format!("{saved_at:0TIME_DIGITS$}\"").as_bytes());
    let crc = crc32fast::hash(&sealed);
    sealed.extend_from_slice(CRC_NAME);
    sealed.extend_from_slice(format!("{crc:0CRC_DIGITS$x}\"}}").as_bytes());
    Cow::Owned(sealed)
}

impl Text {
    /// What was given to [`save`], or what Java or an editor wrote; `None` if the bytes have changed and nobody has
    /// written them.
    pub fn content(&self) -> Option<Cow<'_, [u8]>> {
        let bytes = self.bytes.as_slice();
        let (body, guard) = bytes.split_at(bytes.len().saturating_sub(GUARD_BYTES));
        let Some((saved_at, crc)) = guarded_by(guard) else { return Some(Cow::Borrowed(bytes)) };
        let covered = &bytes[..body.len() + TIME_BYTES];
        let has_its_time = saved_at.checked_mul(1000) == Some(self.modified_millis);
        if crc != Some(crc32fast::hash(covered)) {
            if has_its_time {
                return None;
            }
            tracing::info!("a configuration file was edited since the broker wrote it");
        }
        let mut content = body.strip_suffix(b",").unwrap_or(body).to_vec();
        content.push(b'}');
        Some(Cow::Owned(content))
    }
}

/// The time, and the CRC if it is one, of the two entries that `guard` consists of.
fn guarded_by(guard: &[u8]) -> Option<(i64, Option<u32>)> {
    let (time, rest) = guard.strip_prefix(TIME_NAME)?.split_at_checked(TIME_DIGITS)?;
    let crc = rest.strip_prefix(b"\"")?.strip_prefix(CRC_NAME)?.strip_suffix(b"\"}")?;
    let time = std::str::from_utf8(time).ok()?.parse().unwrap_or(0);
    Some((time, std::str::from_utf8(crc).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok())))
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED_AT: i64 = 1_763_769_600;

    fn text(bytes: &[u8], modified_millis: i64) -> Text {
        Text { bytes: bytes.to_vec(), modified_millis }
    }

    #[test]
    fn a_flipped_bit_gives_the_same_content_or_none() {
        for content in [&b"{\n  \"perm\": 6\n}"[..], b"{}", b"{\"a\":{\"b\":[1]}}"] {
            let sealed = seal(content, SAVED_AT);
            assert_eq!(text(&sealed, SAVED_AT * 1000).content().as_deref(), Some(content));
            for at in 0..sealed.len() {
                for bit in 0..8 {
                    let mut changed = sealed.to_vec();
                    changed[at] ^= 1 << bit;
                    // Where the entries themselves are hit, they are part of the content: unknown names, or no JSON.
                    let known = guarded_by(&changed[changed.len() - GUARD_BYTES..]).is_some();
                    let changed = text(&changed, SAVED_AT * 1000);
                    let found = changed.content();
                    let sound = found.is_none() || found.as_deref() == Some(content);
                    assert!(!known || sound, "byte {at}, bit {bit}");
                }
            }
        }
    }

    #[test]
    fn what_an_editor_wrote_between_the_guards_is_taken() {
        let sealed = String::from_utf8(seal(b"{\"perm\":6}", SAVED_AT).into_owned()).unwrap();
        let edited = sealed.replace("\"perm\":6", "\"perm\":4");
        assert_eq!(text(edited.as_bytes(), SAVED_AT * 1000).content(), None);
        for later in [1, 999, 1000, 86_400_000] {
            let edited = text(edited.as_bytes(), SAVED_AT * 1000 + later);
            assert_eq!(edited.content().as_deref(), Some(&b"{\"perm\":4}"[..]));
        }
    }

    #[test]
    fn what_java_or_an_editor_wrote_without_them_is_taken_as_it_is() {
        for content in [&b"{\"table\":{}}"[..], b"", b"}", b"{\"a\":1,\"crc32\":\"00000000\"}\n"] {
            assert_eq!(text(content, SAVED_AT * 1000).content().as_deref(), Some(content));
        }
    }
}
