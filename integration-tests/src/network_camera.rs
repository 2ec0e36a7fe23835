//! A network camera that sends JPEGs over HTTP, well or badly, as it is told from one connection to the next.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::jpeg;
use crate::wait::{SOON, pause};

/// Between two pictures.
const INTERVAL: Duration = Duration::from_millis(40);

/// How many pictures it sends in turn.
const PICTURES: u64 = 32;

/// What it writes before its pictures.
const HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=\"b o\"\r\n\r\n";

/// How it serves a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Parts with their lengths.
    Good,
    /// Parts without a length, and a boundary that was not announced.
    WithoutLengths,
    /// Each byte of heads of its own.
    InPieces,
    /// It ends each connection within a part.
    HalfAPart,
    /// Its head never ends.
    EndlessHead,
    /// The head of a part never ends.
    EndlessPartHead,
    /// It takes the connection and says nothing.
    Silent,
    /// It falls silent within a part.
    SilentInPart,
    /// It asks for a password that nobody has.
    OtherPassword,
    /// It answers with a page.
    Page,
    /// It answers with a single picture.
    Single,
}

/// The camera. It lasts as long as the test's process.
#[derive(Debug)]
pub struct NetworkCamera {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it sends.
    pub pictures: Arc<[Vec<u8>]>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    manner: Manner,
    open: Vec<TcpStream>,
}

impl NetworkCamera {
    /// A good one.
    ///
    /// # Panics
    /// When there is no port to be had.
    #[must_use]
    pub fn start() -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(Mutex::new(State {
            manner: Manner::Good,
            open: Vec::new(),
        }));

        let pictures = (0..PICTURES).map(|number| jpeg::numbered(number, 640, 360));
        let pictures: Arc<[Vec<u8>]> = pictures.collect();
        let (shared, sent) = (Arc::clone(&state), Arc::clone(&pictures));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let manner = {
                    let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    state.open.extend(stream.try_clone());
                    state.manner
                };
                let pictures = Arc::clone(&sent);
                thread::spawn(move || {
                    let end = stream.try_clone();
                    // The other side ends it, or `NetworkCamera::serve`.
                    let _ = serve(stream, manner, &pictures);
                    end.and_then(|end| end.shutdown(std::net::Shutdown::Both))
                });
            }
        });

        Self {
            address,
            pictures,
            state,
        }
    }

    /// The address of its stream.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/stream", self.address)
    }

    /// Ends all connections and serves those that come so.
    pub fn serve(&self, manner: Manner) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.manner = manner;
        for stream in state.open.drain(..) {
            // It may have ended already.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn serve(mut stream: TcpStream, manner: Manner, pictures: &[Vec<u8>]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut line = String::new();
    let mut request = BufReader::new(stream.try_clone()?);
    while line != "\r\n" {
        line.clear();
        request.read_line(&mut line)?;
    }

    let mut say = |text: &str| stream.write_all(text.as_bytes());
    match manner {
        Manner::Silent => {}
        Manner::OtherPassword => {
            return say("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"c\"\r\n\r\n");
        }
        Manner::Page => {
            return say("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html></html>");
        }
        Manner::Single => {
            return say("HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n");
        }
        Manner::EndlessHead => loop {
            say("X-Endless: yes\r\n")?;
        },
        Manner::InPieces => in_pieces(&mut stream, HEAD)?,
        _ => say(HEAD)?,
    }

    if manner == Manner::Silent {
        pause(SOON);
        return Ok(());
    }

    let mut turns = pictures.iter().cycle();
    turns.try_for_each(|jpeg| part(&mut stream, manner, jpeg))
}

fn part(stream: &mut TcpStream, manner: Manner, jpeg: &[u8]) -> io::Result<()> {
    let head = format!(
        "\r\n--b o\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
        jpeg.len()
    );

    match manner {
        Manner::InPieces => in_pieces(stream, &head)?,
        Manner::WithoutLengths => stream.write_all(b"--other\r\n\r\n")?,
        Manner::EndlessPartHead => loop {
            stream.write_all(b"X-Endless: yes\r\n")?;
        },
        _ => stream.write_all(head.as_bytes())?,
    }

    match manner {
        Manner::HalfAPart => {
            stream.write_all(&jpeg[..jpeg.len() / 2])?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Manner::SilentInPart => {
            stream.write_all(&jpeg[..jpeg.len() / 2])?;
            pause(SOON);
        }
        _ => stream.write_all(jpeg)?,
    }

    pause(INTERVAL);
    Ok(())
}

fn in_pieces(stream: &mut TcpStream, text: &str) -> io::Result<()> {
    text.bytes().try_for_each(|byte| stream.write_all(&[byte]))
}
