//! A server that answers as its test says, request by request.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use wire::frame::{FRAME_MAX, split};
use wire::header::{self, FrameWriter, Head};

/// What is answered: a code, fields, and a body.
pub type Said = (i32, &'static [(&'static str, &'static str)], String);

/// Answers each request by its code and the address that it came to, on any free port, until the test ends.
pub fn stub(answer: impl Fn(i32, SocketAddr) -> Said + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            std::thread::spawn(move || serve(stream, |asked| answer(asked, address)));
        }
    });
    address
}

fn serve(mut stream: TcpStream, answer: impl Fn(i32) -> Said) {
    let (mut read, mut chunk) = (Vec::new(), [0; 4 << 10]);
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        read.extend_from_slice(&chunk[..count]);
        while let Some(frame) = split(&read, FRAME_MAX).unwrap() {
            let header = header::parse(frame.dialect, frame.header).unwrap();
            let (code, fields, body) = answer(header.code);
            let mut bytes = Vec::new();
            let mut writer =
                FrameWriter::new(&mut bytes, &Head::response(frame.dialect, code, header.opaque));
            for (name, value) in fields {
                writer.field(name, value);
            }
            writer.body(body.as_bytes());
            let size = frame.size;
            if stream.write_all(&bytes).is_err() {
                return;
            }
            read.drain(..size);
        }
    }
}
