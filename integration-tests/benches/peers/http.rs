//! The best that a simple HTTP server can do with MJPEG: one thread; each frame's part of the multipart body is made
//! once and given to all sockets by writev(2); who has not taken the last one yet skips to the newest.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::pictures::{Pictures, stamp};

/// The name of the server's thread.
pub(crate) const THREAD: &str = "plain-http";

const RESPONSE: &str =
    "HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=frame\r\n\r\n";

/// A running server.
pub(crate) struct Server {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A frame as it is sent.
struct Part {
    head: String,
    jpeg: Vec<u8>,
}

impl Part {
    fn len(&self) -> usize {
        self.head.len() + self.jpeg.len()
    }
}

struct Client {
    stream: TcpStream,
    /// The part that is being sent, and how many bytes of it are gone.
    sending: Option<(Arc<Part>, usize)>,
}

impl Client {
    /// Sends what the socket takes; an error ends the connection.
    fn go_on(&mut self) -> io::Result<()> {
        while let Some((part, sent)) = &mut self.sending {
            let head = &part.head.as_bytes()[(*sent).min(part.head.len())..];
            let jpeg = &part.jpeg[sent.saturating_sub(part.head.len())..];
            match self
                .stream
                .write_vectored(&[IoSlice::new(head), IoSlice::new(jpeg)])
            {
                Ok(count) => *sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }

            if *sent == part.len() {
                self.sending = None;
            }
        }

        Ok(())
    }
}

impl Server {
    pub(crate) fn start(listener: TcpListener, pictures: &Pictures, rate: u32) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let over = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&over);
        let jpegs = pictures.jpegs.clone();
        let serve = move || serve(&listener, &jpegs, Duration::from_secs(1) / rate, &end);
        Ok(Self {
            over,
            thread: Some(
                thread::Builder::new()
                    .name(THREAD.to_owned())
                    .spawn(serve)?,
            ),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(listener: &TcpListener, jpegs: &[Vec<u8>], interval: Duration, over: &AtomicBool) {
    let mut clients = Vec::new();
    let mut due = clock::now();

    for jpeg in jpegs.iter().cycle() {
        if over.load(Ordering::Relaxed) {
            return;
        }

        attend_until(due, listener, &mut clients);
        due = due + interval;
        let mut jpeg = jpeg.clone();
        stamp(&mut jpeg, clock::now());
        let head = format!(
            "\r\n--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
            jpeg.len()
        );

        let part = Arc::new(Part { head, jpeg });
        clients.retain_mut(|client: &mut Client| {
            client.sending.get_or_insert_with(|| (Arc::clone(&part), 0));
            client.go_on().is_ok()
        });
    }
}

/// Lets clients in, and goes on with those who could not take all of their part.
fn attend_until(due: Time, listener: &TcpListener, clients: &mut Vec<Client>) {
    loop {
        let left = due.saturating_since(clock::now());
        if left.is_zero() {
            return;
        }

        let mut waiting = vec![PollFd::new(listener, PollFlags::IN)];
        let held_up = clients.iter().filter(|client| client.sending.is_some());
        waiting.extend(held_up.map(|client| PollFd::new(&client.stream, PollFlags::OUT)));
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: left.subsec_nanos().into(),
        };

        // Interrupted or not, what can be done is tried.
        let _ = poll(&mut waiting, Some(&timeout));
        clients.retain_mut(|client| client.go_on().is_ok());

        while let Ok((stream, _)) = listener.accept() {
            // Whoever does not ask is let go.
            clients.extend(welcome(stream));
        }
    }
}

fn welcome(mut stream: TcpStream) -> io::Result<Client> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    // Whatever is asked, there is one thing to be had.
    let mut request = [0; 1024];

    if stream.read(&mut request)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }

    stream.write_all(RESPONSE.as_bytes())?;
    stream.set_nonblocking(true)?;
    Ok(Client {
        stream,
        sending: None,
    })
}
