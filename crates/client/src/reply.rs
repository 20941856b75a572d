//! What comes back to who sent a request over a topic (client.md §2.8).

use bytes::Bytes;
use remoting::Request;
use wire::properties as props;

use crate::body::Room;

/// What somebody replied.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// The body, unpacked.
    pub body: Bytes,
    /// Properties of the replier and of the protocol.
    pub properties: Vec<(String, String)>,
}

impl Reply {
    /// Value of a property; the last of equal names wins.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// From what a broker pushes, with the id of the request it belongs to.
    pub(crate) fn read(asked: &Request<'_>) -> Option<(String, Reply)> {
        let text = asked.field("properties")?;
        let properties: Vec<_> =
            props::iter(text.as_bytes()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let flags = asked.header.fields.number("sysFlag").unwrap_or(0);
        let sent = Bytes::copy_from_slice(asked.body);
        // The Go client says that a reply is compressed when it is not.
        let body = Room::of_answer().unpack(sent.clone(), flags).unwrap_or(sent);
        let reply = Reply { body, properties };
        Some((reply.property(props::CORRELATION_ID)?.to_owned(), reply))
    }
}
