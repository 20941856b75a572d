//! `thrust bench echo`: answers each frame as a broker answers a send, and does nothing else.
//!
//! What `bench send` reaches against it is the limit of this machine, its loopback and the generator; no broker
//! on the same machine can be faster with one request per message.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use wire::code::response;
use wire::frame::{Frame, FrameError};
use wire::header::{Dialect, FrameWriter, Head, HeaderError};

use super::answer::{Inbox, Scanner};
use super::args::EchoArgs;
use super::error::BenchError;
use super::slots::OPAQUE_BASE;
use super::template::write_decimal;

const CONNECTIONS_MAX: usize = 4096;
/// A client that does not read its answers for this long is dropped.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const THREAD_STACK_BYTES: usize = 256 << 10;

/// Serves until the time is over, or until it is stopped.
pub fn run(args: &EchoArgs) -> Result<(), BenchError> {
    let addr = format!("127.0.0.1:{}", args.port);
    let cannot = |cause| BenchError::Listen { addr: addr.clone(), cause };
    let listener = TcpListener::bind(&addr).map_err(cannot)?;
    let local = listener.local_addr().map_err(cannot)?;
    std::thread::Builder::new().spawn(move || accept(&listener)).map_err(BenchError::Thread)?;
    tell!("echo ready on {local} pid {}", std::process::id());
    let deadline = args.secs.map(|secs| Instant::now() + Duration::from_secs_f64(secs));
    loop {
        match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
            Some(left) if left.is_zero() => return Ok(()),
            Some(left) => std::thread::park_timeout(left),
            None => std::thread::park(),
        }
    }
}

fn accept(listener: &TcpListener) {
    let connections = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming().flatten() {
        if connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let ours = Arc::clone(&connections);
        let serve = move || {
            // A broken connection ends its thread; whoever was measuring says so.
            let _ = serve(&stream);
            ours.fetch_sub(1, Ordering::Relaxed);
        };
        let thread = std::thread::Builder::new().stack_size(THREAD_STACK_BYTES).spawn(serve);
        if thread.is_err() {
            connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn serve(mut stream: &TcpStream) -> Result<(), Broken> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let mut inbox = Inbox::new();
    let mut scanner = Scanner::default();
    let template = Template::new();
    let mut answers = Vec::with_capacity(64 << 10);
    while inbox.read(stream)? > 0 {
        inbox.frames(|frame| {
            let (_, opaque) = scanner.scan(frame)?;
            template.answer(frame, opaque, &mut answers);
            Ok::<_, Broken>(())
        })?;
        stream.write_all(&answers)?;
        answers.clear();
    }
    Ok(())
}

struct Broken;

impl From<std::io::Error> for Broken {
    fn from(_: std::io::Error) -> Broken {
        Broken
    }
}

impl From<FrameError> for Broken {
    fn from(_: FrameError) -> Broken {
        Broken
    }
}

impl From<HeaderError> for Broken {
    fn from(_: HeaderError) -> Broken {
        Broken
    }
}

/// The JSON answer with ten digits for the opaque number, which is what `bench send` uses.
struct Template {
    bytes: Vec<u8>,
    opaque_at: usize,
}

impl Template {
    fn new() -> Template {
        let mut bytes = Vec::new();
        write(Dialect::Json, OPAQUE_BASE, &mut bytes);
        let digits = OPAQUE_BASE.to_string();
        let opaque_at = bytes
            .windows(digits.len())
            .rposition(|window| window == digits.as_bytes())
            .expect("the opaque number was just written");
        Template { bytes, opaque_at }
    }

    fn answer(&self, frame: &Frame<'_>, opaque: i32, out: &mut Vec<u8>) {
        if frame.dialect == Dialect::Json && opaque >= OPAQUE_BASE {
            let start = out.len();
            out.extend_from_slice(&self.bytes);
            write_decimal(&mut out[start + self.opaque_at..][..10], opaque as u32);
        } else {
            write(frame.dialect, opaque, out);
        }
    }
}

fn write(dialect: Dialect, opaque: i32, out: &mut Vec<u8>) {
    let mut writer = FrameWriter::new(out, &Head::response(dialect, response::SUCCESS, opaque));
    writer.field("queueId", "0").field("msgId", "7F00000100002A9F0000000000000000").field("queueOffset", "0");
    writer.empty();
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{frame, header};

    #[test]
    fn every_opaque_number_comes_back_in_its_dialect() {
        let template = Template::new();
        for dialect in [Dialect::Json, Dialect::Binary] {
            for opaque in [-5, 0, 7, 999_999_999, OPAQUE_BASE, 1_987_654_321, i32::MAX] {
                let mut out = Vec::new();
                let request = Frame { dialect, header: b"", body: b"", size: 0 };
                template.answer(&request, opaque, &mut out);
                let frame = frame::split(&out, frame::FRAME_MAX).unwrap().unwrap();
                let header = header::parse(frame.dialect, frame.header).unwrap();
                assert_eq!((header.code, header.opaque, header.is_response()), (0, opaque, true));
                assert_eq!(header.fields.get("queueOffset"), Some("0"));
            }
        }
    }
}
