//! Finding the name servers: a page that lists them, which is looked at again and again (client.md §1.4).
//!
//! The page is a line of text that changes once in months, so it is fetched by the few lines of HTTP below rather than
//! by a library with a connection pool. They understand what RFC 9112 lets a server answer to one GET: a length,
//! chunks, or the end of the connection. There are no redirects and no encryption; a page that needs them is refused.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::Error;
use crate::names;

/// How long one look may take, as the official clients have it.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Largest answer, in bytes: head and list together.
const ANSWER_MAX: u64 = 64 << 10;

/// A page that lists name servers: `http://host:8080/rocketmq/nsaddr`, or with a unit `…/nsaddr-unit?nofix=1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// `host:port`.
    authority: String,
    /// Path and query.
    target: String,
}

impl Page {
    /// Reads the address of a page.
    pub fn parse(url: &str) -> Result<Page, Error> {
        let wrong = |what: &str| Error::Illegal(format!("\"{url}\" {what}"));
        let rest = url.strip_prefix("http://").ok_or_else(|| wrong("does not begin with http://"))?;
        let (authority, path) = rest.split_once('/').ok_or_else(|| wrong("has no path"))?;
        // Nothing may end the line of the request before its time.
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains('#') || authority.contains('@')
        {
            return Err(wrong("has characters that an address of a list cannot have"));
        }
        let with_port = authority.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !host.ends_with(':') && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        let authority = match (with_port, authority.contains(':')) {
            (true, _) => authority.to_owned(),
            (false, false) if !authority.is_empty() => format!("{authority}:80"),
            _ => return Err(wrong("has no host, or no port behind it")),
        };
        Ok(Page { authority, target: format!("/{path}") })
    }

    /// The name servers that the page lists now.
    ///
    /// # Errors
    /// [`Error::NoList`] when it cannot be had or lists none.
    pub async fn look(&self) -> Result<Vec<String>, Error> {
        let failed = |what: String| Error::NoList { page: self.to_string(), what };
        let fetched = tokio::time::timeout(TIMEOUT, self.fetch()).await;
        let answer = fetched
            .map_err(|_| failed(format!("no answer within {} s", TIMEOUT.as_secs())))?
            .map_err(|error| failed(error.to_string()))?;
        let text = content(&answer).map_err(|what| failed(what.to_owned()))?;
        let first = text.trim().lines().next().unwrap_or_default();
        match names::parse(first) {
            Ok(servers) if servers.is_empty() => Err(failed("it is empty".to_owned())),
            Ok(servers) => Ok(servers),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    async fn fetch(&self) -> std::io::Result<Vec<u8>> {
        let Page { authority, target } = self;
        let mut stream = TcpStream::connect(authority).await?;
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {authority}\r\nAccept: text/plain, */*\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX + 1).read_to_end(&mut answer).await?;
        if answer.len() as u64 > ANSWER_MAX {
            return Err(std::io::Error::other("the answer is too long"));
        }
        Ok(answer)
    }
}

impl std::fmt::Display for Page {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "http://{}{}", self.authority, self.target)
    }
}

/// The text that an answer carries, if it is one of success and came whole.
fn content(answer: &[u8]) -> Result<String, &'static str> {
    let end =
        answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or("the answer has no end of its head")?;
    let head = std::str::from_utf8(&answer[..end]).map_err(|_| "the head of the answer is no text")?;
    let body = &answer[end + 4..];
    let (first, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let mut words = first.split(' ');
    if !words.next().is_some_and(|version| version.starts_with("HTTP/1.")) {
        return Err("the answer is not HTTP/1");
    }
    if words.next() != Some("200") {
        return Err("the answer is not 200");
    }
    let named = |name: &str| {
        let pairs = headers.split("\r\n").filter_map(|line| line.split_once(':'));
        pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).last()
    };
    let body = match (named("transfer-encoding"), named("content-length")) {
        (Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => unchunked(body)?,
        (Some(_), _) => return Err("the answer is encoded in a way that is not understood"),
        (None, Some(length)) => {
            let length: usize = length.parse().map_err(|_| "the length of the answer is no number")?;
            body.get(..length).ok_or("the answer was cut off")?.to_vec()
        }
        (None, None) => body.to_vec(),
    };
    String::from_utf8(body).map_err(|_| "the list is no text")
}

fn unchunked(mut rest: &[u8]) -> Result<Vec<u8>, &'static str> {
    const CUT: &str = "the answer was cut off";
    let mut whole = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").ok_or(CUT)?;
        let line = std::str::from_utf8(&rest[..end]).map_err(|_| "a chunk has no length")?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let length = usize::from_str_radix(digits, 16).map_err(|_| "a chunk has no length")?;
        if length == 0 {
            return Ok(whole);
        }
        let behind = &rest[end + 2..];
        whole.extend_from_slice(behind.get(..length).ok_or(CUT)?);
        rest = behind[length..].strip_prefix(b"\r\n").ok_or(CUT)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(url: &str) -> Page {
        Page::parse(url).unwrap()
    }

    #[test]
    fn addresses_of_pages_are_strict() {
        let unit = page("http://names.example:8080/rocketmq/nsaddr-east?nofix=1");
        assert_eq!(
            (unit.authority.as_str(), unit.target.as_str()),
            ("names.example:8080", "/rocketmq/nsaddr-east?nofix=1")
        );
        assert_eq!(page("http://names.example/x").to_string(), "http://names.example:80/x");
        assert_eq!(page("http://[::1]:8080/x").authority, "[::1]:8080");
        let wrong = [
            "https://a/x",
            "a:8080/x",
            "http://a:8080",
            "http:///x",
            "http://a:0/x",
            "http://:80/x",
            "http://a:b/x",
            "http://a/x y",
            "http://a/x\r\nB: c",
            "http://me@a/x",
            "http://a/x#y",
            "http://ä/x",
        ];
        for url in wrong {
            assert!(Page::parse(url).is_err(), "{url:?}");
        }
    }

    #[test]
    fn answers_are_read_however_they_are_framed() {
        let read = |text: &str| content(text.as_bytes());
        assert_eq!(read("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na:1\r\n").unwrap(), "a:1");
        assert_eq!(read("HTTP/1.0 200 \r\n\r\na:1\nb:2").unwrap(), "a:1\nb:2");
        let chunked =
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2;x=y\r\na:\r\n1\r\n1\r\n0\r\n\r\n";
        assert_eq!(read(chunked).unwrap(), "a:1");
        let wrong = [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/2 200\r\n\r\na:1",
            "HTTP/1.1 302 Found\r\n\r\na:1",
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na:1",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\na:1",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\na:1",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\na:1\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\na:1",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na:1\r\n",
        ];
        for text in wrong {
            assert!(read(text).is_err(), "{text:?}");
        }
        // Cut anywhere, it is an error and no panic.
        for end in 0..chunked.len() - 4 {
            assert!(content(&chunked.as_bytes()[..end]).is_err(), "{end}");
        }
    }
}
