//! The code of a child process that runs a connector: `tether connector-host`.
//!
//! Its standard input is the socket. One thread reads the socket, one calls the slots of the library, and one writes
//! answers. So the end of the server is noticed even while a slot does not return: the process then exits at once,
//! whatever the library does. Output of the library on standard output and error goes through pipes to the server's
//! log.

use std::io::{BufReader, BufWriter, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use prost::Message as _;

use super::LoadError;
use super::ffi::{self, Instance, Library};
use super::frame::{Frame, Kind, Open, Refused};
use super::upstream::{Asked, Upstream};

/// Serves one connector to the process that started this one, until that process ends or sends `Close`.
#[must_use]
pub fn run() -> ExitCode {
    match socket() {
        Ok(socket) => serve(&socket),
        Err(error) => {
            eprintln!("connector-host must be started by tether, with a socket as standard input: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes the socket from standard input, so that the library cannot read it there.
fn socket() -> std::io::Result<UnixStream> {
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    socket.peer_addr()?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    // No core files, because they could contain secrets. If memory runs out, this process is killed instead of the
    // server.
    let none = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    Ok(socket)
}

fn serve(socket: &UnixStream) -> ExitCode {
    let (Ok(read), Ok(write)) = (socket.try_clone(), socket.try_clone()) else {
        return ExitCode::FAILURE;
    };
    let (frames, waiting) = channel();
    let upstream: &'static Upstream = Box::leak(Box::new(Upstream::new(frames)));
    let (requests, asked) = channel();
    spawn("reader", move || reader(read, &requests));
    let writer = spawn("writer", move || writer(write, &waiting, upstream));
    let ended = dispatch(&asked, upstream);
    // Closing has answered all calls; wait until the answers are written.
    upstream.finish(writer);
    ended
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let thread = std::thread::Builder::new()
        .name(format!("tether-{name}"))
        .spawn(work);
    thread.unwrap_or_else(|error| {
        eprintln!("cannot start the {name} thread: {error}");
        end();
    })
}

/// Kills this process and the processes that it started, without a call to the library.
fn end() -> ! {
    use rustix::process::{Signal, getpgrp, getpid, kill_process, kill_process_group};
    if getpgrp() == getpid() {
        let _ = kill_process_group(getpgrp(), Signal::KILL);
    }
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}

fn reader(socket: UnixStream, requests: &Sender<Frame>) {
    let mut socket = BufReader::with_capacity(64 * 1024, socket);
    while let Ok(frame) = Frame::read(&mut socket) {
        let last = frame.kind == Kind::Close;
        if requests.send(frame).is_err() || last {
            break;
        }
    }
    // After `Close` the server sends nothing more; this waits until it closes the socket.
    while Frame::read(&mut socket).is_ok() {}
    end()
}

fn writer(socket: UnixStream, frames: &Receiver<Option<Frame>>, upstream: &Upstream) {
    let mut socket = BufWriter::with_capacity(64 * 1024, socket);
    let mut last = false;
    while !last && let Ok(first) = frames.recv() {
        // Writes all waiting frames together.
        let written = std::iter::once(first)
            .chain(frames.try_iter())
            .try_for_each(|frame| {
                let Some(frame) = frame else {
                    last = true;
                    return Ok(());
                };
                if frame.kind == Kind::Log {
                    upstream.wrote_line();
                }
                frame.write(&mut socket)
            });
        if written.and_then(|()| socket.flush()).is_err() {
            end();
        }
    }
}

/// Calls the slots of the library in the order of the frames.
fn dispatch(frames: &Receiver<Frame>, upstream: &'static Upstream) -> ExitCode {
    let Ok(first) = frames.recv() else {
        return ExitCode::FAILURE;
    };
    let open = match Open::decode(first.body) {
        Ok(open) if first.kind == Kind::Open => open,
        _ => return ExitCode::FAILURE,
    };
    ffi::pass_on(upstream, open.max_log_level);
    let memory = rustix::process::Rlimit {
        current: Some(open.most_memory),
        maximum: Some(open.most_memory),
    };
    // An allocation beyond the limit fails. A library that does not handle this crashes here and does not exhaust the
    // machine.
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Data, memory) {
        eprintln!("cannot limit the memory of this process: {error}");
    }
    let (library, instance, _registered) = match load(&open) {
        Ok(opened) => opened,
        Err(error) => {
            let refused = Refused::from(error);
            upstream.send(Frame::new(Kind::Refused, 0, 0, refused.encode_to_vec()));
            // The server closes the socket after it has read this.
            loop {
                std::thread::park();
            }
        }
    };
    upstream.send(Frame::new(Kind::Opened, 0, 0, Bytes::new()));
    for frame in frames {
        match frame.kind {
            Kind::Call => {
                upstream.expect(frame.a, Asked::Call);
                library.call(instance, frame.a, &frame.body);
            }
            Kind::StreamNext => {
                upstream.expect(frame.a, Asked::Pull);
                library.stream_next(instance, frame.a, frame.b, &frame.body);
            }
            Kind::Cancel => library.cancel(instance, frame.a),
            Kind::StreamClose => library.stream_close(instance, frame.b),
            Kind::Ping => upstream.send(Frame::new(Kind::Pong, frame.a, 0, Bytes::new())),
            Kind::Close => {
                library.close(instance);
                return ExitCode::SUCCESS;
            }
            _ => return ExitCode::FAILURE,
        }
    }
    ExitCode::FAILURE
}

fn load(open: &Open) -> Result<(Library, u64, std::sync::Arc<Instance>), LoadError> {
    let copy = Some(Path::new(&open.copy)).filter(|copy| !copy.as_os_str().is_empty());
    let library = Library::load_copy(copy, Path::new(&open.library), &open.sha256)?;
    let (number, registered) = Instance::register(&open.name);
    let instance = library.open(number, &open.request).map_err(LoadError::Open)?;
    Ok((library, instance, registered))
}

impl From<LoadError> for Refused {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Open(error) => Self {
                error: Some(error),
                reason: String::new(),
            },
            other => Self {
                error: None,
                reason: other.to_string(),
            },
        }
    }
}
