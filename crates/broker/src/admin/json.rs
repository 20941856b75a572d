//! Bodies that serde cannot write: objects with members whose keys are objects or bare integers (wire.md §12.2).

use serde::Serialize;
use wire::loose_json;

use crate::exchange::Refusal;

/// A value as JSON text.
pub(super) fn text(value: &(impl Serialize + ?Sized)) -> Result<String, Refusal> {
    serde_json::to_string(value).map_err(Refusal::system)
}

/// A map as JSON text, each key written bare.
pub(super) fn bare_keyed<K: Serialize, V: Serialize>(
    entries: impl IntoIterator<Item = (K, V)>,
) -> Result<String, Refusal> {
    loose_json::write_object_keyed(entries).map_err(Refusal::system)
}

/// An object of members that are JSON text already. Names need no escapes.
pub(super) fn object<const N: usize>(members: [(&str, String); N]) -> String {
    let members = members.map(|(name, value)| format!("\"{name}\":{value}"));
    format!("{{{}}}", members.join(","))
}

/// An array of elements that are JSON text already.
pub(super) fn array(elements: &[String]) -> String {
    format!("[{}]", elements.join(","))
}
