//! The protocol on the socket between the server and a child process that runs a connector.
//!
//! Both ends are the same binary, so this is not a stable contract. Each frame is a call of one slot of the C ABI,
//! with the same protobuf messages. A frame is `kind: u8, a: u64, b: u64, length: u32` in little endian, followed by
//! the body.
//!
//! gRPC over the socket would copy every batch twice more. With these frames both transports speak one protocol, have
//! one set of tests, and need nothing to be installed.

use std::io::{self, Read, Write};

use bytes::Bytes;
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::proto;

/// Maximum size of a message across the boundary, in bytes, wherever the connector runs (SPEC.md, LIMIT-1).
pub(super) const MOST_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

const HEADER: usize = 1 + 8 + 8 + 4;

/// The kind of a frame. "Down" is from the server to the child, "up" from the child to the server. Fields `a` and `b`
/// are zero unless described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Down, first: load and open the connector; the body is an [`Open`].
    Open = 1,
    /// Down: a call with number `a`.
    Call = 2,
    /// Down: cancel the call or pull `a`.
    Cancel = 3,
    /// Down: request the next event of stream `b`, as call `a`.
    StreamNext = 4,
    /// Down: end stream `b`.
    StreamClose = 5,
    /// Down, last: close and exit.
    Close = 6,
    /// Down: a check that slots return; `a` is returned in the answer.
    Ping = 7,
    /// Up: the connector is open.
    Opened = 8,
    /// Up, last: the connector was not opened; the body is a [`Refused`].
    Refused = 9,
    /// Up: the answer to the call or pull `a`.
    Answer = 10,
    /// Up: a log line of level `a`; the first `b` bytes of the body are its target.
    Log = 11,
    /// Up: event `a` of the ABI.
    Notify = 12,
    /// Up: the answer to a ping.
    Pong = 13,
}

impl Kind {
    fn read(byte: u8) -> Option<Self> {
        use Kind::*;
        [
            Open,
            Call,
            Cancel,
            StreamNext,
            StreamClose,
            Close,
            Ping,
            Opened,
            Refused,
            Answer,
            Log,
            Notify,
            Pong,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// A frame.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) a: u64,
    pub(super) b: u64,
    pub(super) body: Bytes,
}

/// How to open a connector in a child.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Open {
    /// The name of the connector, for logs.
    #[prost(string, tag = "1")]
    pub(super) name: String,
    /// The path of the library.
    #[prost(string, tag = "2")]
    pub(super) library: String,
    /// The hash of the library.
    #[prost(string, tag = "3")]
    pub(super) sha256: String,
    /// The least important log level that is kept.
    #[prost(uint32, tag = "4")]
    pub(super) max_log_level: u32,
    /// The encoded `OpenRequest`.
    #[prost(bytes = "bytes", tag = "5")]
    pub(super) request: Bytes,
    /// The server's private copy of the library, with a verified hash; empty if there is none.
    #[prost(string, tag = "6")]
    pub(super) copy: String,
    /// Memory limit of the process, in bytes.
    #[prost(uint64, tag = "7")]
    pub(super) most_memory: u64,
}

/// Why a connector was not opened in a child.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Refused {
    /// The error of the connector.
    #[prost(message, optional, tag = "1")]
    pub(super) error: Option<proto::Error>,
    /// Otherwise, why the library was not loaded.
    #[prost(string, tag = "2")]
    pub(super) reason: String,
}

impl Frame {
    pub(super) fn new(kind: Kind, a: u64, b: u64, body: impl Into<Bytes>) -> Self {
        Self {
            kind,
            a,
            b,
            body: body.into(),
        }
    }

    /// The encoded header.
    pub(super) fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[0] = self.kind as u8;
        header[1..9].copy_from_slice(&self.a.to_le_bytes());
        header[9..17].copy_from_slice(&self.b.to_le_bytes());
        let length = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        header[17..].copy_from_slice(&length.to_le_bytes());
        header
    }

    /// Writes the frame; the caller flushes.
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.header())?;
        to.write_all(&self.body)
    }

    /// Reads the next frame from a blocking socket.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut header = [0; HEADER];
        from.read_exact(&mut header)?;
        let (mut frame, length) = Self::head(&header)?;
        let mut body = Vec::with_capacity(length);
        from.take(length as u64).read_to_end(&mut body)?;
        frame.complete(body, length)?;
        Ok(frame)
    }

    /// Reads the next frame. The future must not be dropped before it completes.
    pub(super) async fn read_async(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut header = [0; HEADER];
        from.read_exact(&mut header).await?;
        let (mut frame, length) = Self::head(&header)?;
        let mut body = Vec::with_capacity(length);
        from.take(length as u64).read_to_end(&mut body).await?;
        frame.complete(body, length)?;
        Ok(frame)
    }

    fn head(header: &[u8; HEADER]) -> io::Result<(Self, usize)> {
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&header[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let [.., l0, l1, l2, l3] = *header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let Some(kind) = Kind::read(header[0]) else {
            return Err(garbage(format!("a frame of the unknown kind {}", header[0])));
        };
        if length > MOST_MESSAGE_BYTES {
            return Err(garbage(format!(
                "a message of {length} bytes, {MOST_MESSAGE_BYTES} are allowed"
            )));
        }
        Ok((Self::new(kind, number(1), number(9), Bytes::new()), length))
    }

    fn complete(&mut self, body: Vec<u8>, length: usize) -> io::Result<()> {
        if body.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.body = body.into();
        Ok(())
    }
}

fn garbage(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_back_as_they_went() {
        let frames = [
            Frame::new(Kind::Call, 7, 0, vec![b'x'; 70_000]),
            Frame::new(Kind::Pong, u64::MAX, 3, Vec::new()),
        ];
        let mut wire = Vec::new();
        for frame in &frames {
            frame.write(&mut wire).unwrap();
        }
        let (mut blocking, mut asynchronous) = (wire.as_slice(), wire.as_slice());
        for frame in &frames {
            for read in [
                Frame::read(&mut blocking).unwrap(),
                Frame::read_async(&mut asynchronous).await.unwrap(),
            ] {
                assert_eq!(
                    (read.kind, read.a, read.b, &read.body),
                    (frame.kind, frame.a, frame.b, &frame.body)
                );
            }
        }
        assert_eq!(
            Frame::read(&mut blocking).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }

    #[test]
    fn garbage_is_told_from_an_end() {
        let mut unknown = Frame::new(Kind::Call, 0, 0, Vec::new()).header();
        unknown[0] = 99;
        let mut large = Frame::new(Kind::Call, 0, 0, Vec::new()).header();
        large[17..].copy_from_slice(&u32::MAX.to_le_bytes());
        for header in [unknown, large] {
            let error = Frame::read(&mut header.as_slice()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        let cut = Frame::new(Kind::Call, 0, 0, vec![1, 2, 3]);
        let mut wire = Vec::new();
        cut.write(&mut wire).unwrap();
        let error = Frame::read(&mut &wire[..wire.len() - 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
