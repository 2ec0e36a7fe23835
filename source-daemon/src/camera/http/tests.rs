use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use fanlight_daemon::digest_auth::{Algorithm, Request, parameter};

use super::*;
use crate::jpeg::markers::tests::tiny;

/// Far above what anything here takes, but for what is to be silent.
const LIMIT: Duration = Duration::from_secs(30);

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=xx\r\n\r\n";

/// A camera that answers each connection with the next of some answers, and tells what it was asked.
struct Server {
    address: String,
    asked: Receiver<String>,
}

impl Server {
    fn new(answers: impl IntoIterator<Item = Answer, IntoIter: Send + 'static>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (tell, asked) = channel();
        let answers = answers.into_iter();
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let request = read_request(&mut stream);
                // The test may have seen enough.
                let _ = tell.send(request.clone());
                thread::spawn(move || answer(&request, stream));
            }
        });

        Self { address, asked }
    }

    /// One that answers each connection with these bytes and ends it.
    fn saying(answers: &[&[u8]]) -> Self {
        let answers: Vec<_> = answers.iter().map(|bytes| bytes.to_vec()).collect();
        Self::new(answers.into_iter().map(|bytes| -> Answer {
            Box::new(move |_, mut stream| stream.write_all(&bytes).unwrap())
        }))
    }

    fn input(&self, who: &str) -> HttpInput {
        input(&format!("http://{who}{}/cam?x=1", self.address))
    }
}

type Answer = Box<dyn FnOnce(&str, TcpStream) + Send>;

fn input(address: &str) -> HttpInput {
    HttpInput {
        address: address.parse().unwrap(),
        password: None,
        trust: Trust::default(),
        stall_limit: LIMIT,
    }
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    String::from_utf8(request).unwrap()
}

fn picture(number: u8) -> Vec<u8> {
    tiny(8, 8, &vec![number; 1000])
}

fn failure(input: &mut HttpInput) -> CameraError {
    match input.open() {
        Err(error) => error,
        Ok(mut camera) => loop {
            if let Err(error) = camera.next(0, &mut Raw::default()) {
                break error;
            }
        },
    }
}

/// All pictures until the end of the stream, and how many are missing between them.
fn all(input: &mut HttpInput) -> (Vec<Vec<u8>>, u64) {
    let mut camera = input.open().unwrap();
    let (mut pictures, mut skipped) = (Vec::new(), 0);
    while let Ok(frame) = camera.next(0, &mut Raw::default()) {
        skipped += frame.skipped;
        match frame.content {
            Content::Jpeg(jpeg) => pictures.push(jpeg.jpeg().to_vec()),
            _ => skipped += 1,
        }
    }
    (pictures, skipped)
}

#[test]
fn pictures_come_whatever_the_parts_look_like() {
    let [a, b] = [picture(1), picture(2)];
    let length = format!("Content-Length: {}\r\n", a.len());
    let wrong = "Content-Length: 3\r\n";
    for (before, after) in [
        (
            format!("--xx\r\nContent-Type: image/jpeg\r\n{length}\r\n"),
            "\r\n",
        ),
        (format!("xx\r\n{wrong}\r\n"), "\r\n"),
        ("\r\n----xx\r\n\r\n".to_owned(), ""),
        (
            "--xx\nContent-type: image/jpeg\n\n".to_owned(),
            "\n--xx--\n",
        ),
        (String::new(), ""),
    ] {
        let part = |jpeg: &[u8]| [before.as_bytes(), jpeg, after.as_bytes()].concat();
        let body = [part(&a), part(&b)].concat();
        for (head, ending) in [
            (OK, ""),
            ("HTTP/1.0 200 OK\r\n\r\n", ""),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "0\r\n\r\n",
            ),
        ] {
            let body = match ending.is_empty() {
                true => body.clone(),
                false => body
                    .chunks(7)
                    .flat_map(|chunk| {
                        let size = format!("{:x}\r\n", chunk.len());
                        [size.as_bytes(), chunk, b"\r\n"].concat()
                    })
                    .collect(),
            };
            let answer = [head.as_bytes(), &body, ending.as_bytes()].concat();
            let server = Server::saying(&[&answer]);
            let (pictures, skipped) = all(&mut server.input(""));
            // Of two that wait already the older one may be left out.
            assert_eq!(pictures.last(), Some(&b), "{before:?}");
            assert_eq!(pictures.len() as u64 + skipped, 2, "{before:?}");
        }
    }
}

#[test]
fn a_picture_is_delivered_before_anything_follows_it() {
    let server = Server::new([Box::new(|_: &str, mut stream: TcpStream| {
        let part = [OK.as_bytes(), b"--xx\r\n\r\n", &picture(1)].concat();
        for bytes in part.chunks(5) {
            stream.write_all(bytes).unwrap();
        }
        // Until the other side has seen it.
        let _ = stream.read(&mut [0]);
    }) as Answer]);
    let mut camera = server.input("").open().unwrap();
    let frame = camera.next(0, &mut Raw::default()).unwrap();
    assert!(matches!(frame.content, Content::Jpeg(jpeg) if jpeg.jpeg() == picture(1)));
}

#[test]
fn of_pictures_that_wait_the_newest_is_delivered_and_the_others_are_counted() {
    let (written, all_there) = channel();
    let server = Server::new([Box::new(move |_: &str, mut stream: TcpStream| {
        stream.write_all(OK.as_bytes()).unwrap();
        for number in 0..20 {
            stream.write_all(&picture(number)).unwrap();
        }
        written.send(()).unwrap();
        let _ = stream.read(&mut [0]);
    }) as Answer]);

    let mut camera = server.input("").open().unwrap();
    all_there.recv_timeout(LIMIT).unwrap();
    let frame = camera.next(0, &mut Raw::default()).unwrap();
    assert_eq!(frame.skipped, 19);
    assert!(matches!(frame.content, Content::Jpeg(jpeg) if jpeg.jpeg() == picture(19)));
}

#[test]
fn half_a_picture_costs_only_itself_and_is_counted() {
    let part = |jpeg: &[u8]| [b"\r\n--xx\r\n\r\n", jpeg].concat();
    let body = [
        part(&picture(1)),
        part(&picture(2)[..500]),
        part(&picture(3)),
    ]
    .concat();
    let server = Server::saying(&[&[OK.as_bytes(), &body].concat()]);
    let (pictures, skipped) = all(&mut server.input(""));
    assert_eq!(pictures.last(), Some(&picture(3)));
    assert_eq!(pictures.len() as u64 + skipped, 3);
}

#[test]
fn the_password_is_proved_by_digest_and_a_wrong_one_is_told() {
    let answers = || {
        let challenge = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"cam\"\r\n\
            WWW-Authenticate: Digest realm=\"cam\", nonce=\"n1\", qop=\"auth\", algorithm=SHA-256\r\n\r\n";
        let ask: Answer = Box::new(move |_, mut s| s.write_all(challenge.as_bytes()).unwrap());
        let judge: Answer = Box::new(|request, mut stream| {
            let shown = request.split("Authorization: Digest ").nth(1).unwrap();
            let shown = shown.lines().next().unwrap();
            let value = |name| parameter(shown, name).unwrap();
            let expected = Request {
                algorithm: Algorithm::Sha256,
                user: "me",
                realm: "cam",
                nonce: "n1",
                method: "GET",
                uri: "/cam?x=1",
                protection: Some(("auth", value("nc"), value("cnonce"))),
            };
            let good = value("response") == expected.response("right");
            let refused = &b"HTTP/1.1 401 Unauthorized\r\n\r\n"[..];
            let answer = [OK.as_bytes(), &picture(7)].concat();
            stream
                .write_all(if good { &answer } else { refused })
                .unwrap();
        });
        [ask, judge]
    };

    let (pictures, _) = all(&mut Server::new(answers()).input("me:right@"));
    assert_eq!(pictures, [picture(7)]);

    let error = failure(&mut Server::new(answers()).input("me:wrong@")).to_string();
    assert!(error.ends_with("refuses the password"), "{error}");
    assert!(!error.contains("wrong") && !error.contains("me"), "{error}");
}

#[test]
fn the_password_is_read_from_its_file_at_each_opening() {
    let folder = tempfile::TempDir::new().unwrap();
    let file: PathBuf = folder.path().join("password");
    let write = |password: &str| {
        let _ = std::fs::remove_file(&file);
        fanlight_daemon::keys::write(&file, password).unwrap();
    };

    let asks = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"a\"\r\n\r\n";
    let answer = [OK.as_bytes(), &picture(1)].concat();
    let server = Server::saying(&[asks.as_bytes(), &answer, asks.as_bytes(), &answer]);
    let mut input = HttpInput {
        password: Some(file.display().to_string().parse().unwrap()),
        ..server.input("me@")
    };

    for (password, expected) in [("one", "bWU6b25l"), ("two", "bWU6dHdv")] {
        write(password);
        all(&mut input);
        let requests: Vec<_> = server.asked.try_iter().collect();
        assert_eq!(requests.len(), 2);
        assert!(!requests[0].contains("Authorization"), "{}", requests[0]);
        assert!(requests[1].contains(&format!("Basic {expected}\r\n")));
    }
}

#[test]
fn redirections_are_followed_and_a_circle_is_told() {
    let answer = [OK.as_bytes(), &picture(1)].concat();
    let server = Server::saying(&[b"HTTP/1.1 302 Found\r\nLocation: /there\r\n\r\n", &answer]);
    assert_eq!(all(&mut server.input("")).0, [picture(1)]);
    let requests: Vec<_> = server.asked.try_iter().collect();
    assert!(requests[1].starts_with("GET /there HTTP/1.1\r\n"));

    let circle: [&[u8]; 8] = [b"HTTP/1.1 301 Moved\r\nLocation: /a\r\n\r\n"; 8];
    let error = failure(&mut Server::saying(&circle).input("")).to_string();
    assert!(error.contains("sends on without end"), "{error}");
}

#[test]
fn each_answer_that_is_no_stream_is_told_in_plain_words() {
    let endless = [&b"HTTP/1.1 200 OK\r\nX: "[..], &[b'y'; 20_000]].concat();
    let endless_part = [OK.as_bytes(), b"--xx\r\nX: ", &vec![b'y'; 200_000]].concat();
    let page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>";
    let single = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n";
    for (answer, says) in [
        (
            &b"HTTP/1.1 404 Not Found\r\n\r\n"[..],
            "has nothing there (404)",
        ),
        (
            b"HTTP/1.1 403 Forbidden\r\n\r\n",
            "allows this user no stream",
        ),
        (b"HTTP/1.1 503 Busy\r\n\r\n", "no room"),
        (b"HTTP/1.1 500 Oops\r\n\r\n", "answers with an error (500)"),
        (
            b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\n\r\n",
            "asks for a user",
        ),
        (b"HTTP/1.1 302 Found\r\n\r\n", "sends on to no address"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: ftp://x/\r\n\r\n",
            "sends on to no address",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
        (b"", "without an answer"),
        (page, "is not a stream of JPEGs: it sends text/html"),
        (single, "but a single picture"),
        (
            OK.as_bytes(),
            "is not a stream of JPEGs: it sends no picture",
        ),
        (&endless, "does not speak HTTP"),
        (
            &endless_part,
            "is not a stream of JPEGs: it sends other things",
        ),
    ] {
        let server = Server::saying(&[answer, b"HTTP/1.1 404 No\r\n\r\n"]);
        let error = failure(&mut server.input("")).to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_camera_that_falls_silent_is_stalled_and_one_that_is_away_is_unplugged() {
    let (keep, end) = channel::<()>();
    let end = std::sync::Arc::new(std::sync::Mutex::new(end));
    for bytes in [
        &b""[..],
        b"HTTP/1.1 200",
        &[OK.as_bytes(), &picture(1)[..500]].concat(),
    ] {
        let (bytes, end) = (bytes.to_vec(), std::sync::Arc::clone(&end));
        let server = Server::new([Box::new(move |_: &str, mut stream: TcpStream| {
            stream.write_all(&bytes).unwrap();
            let _ = end.lock().unwrap().recv();
        }) as Answer]);

        let mut input = HttpInput {
            stall_limit: Duration::from_millis(50),
            ..server.input("")
        };
        let error = failure(&mut input);
        assert!(matches!(error, CameraError::Stalled(_)), "{error}");
    }
    drop(keep);

    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for (address, says) in [
        (
            format!("http://{free}/"),
            "cannot be reached: nobody listens there",
        ),
        (
            "http://no-such-camera.invalid/".to_owned(),
            "the name no-such-camera.invalid is not known",
        ),
    ] {
        let error = failure(&mut input(&address));
        assert!(matches!(error, CameraError::Unplugged(_)), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn a_camera_that_speaks_no_tls_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = stream.read(&mut [0; 1024]);
    });

    let mut input = input(&format!("https://{address}/"));
    input.trust.pinned = vec!["00".repeat(32).parse().unwrap()];
    let error = failure(&mut input).to_string();
    assert!(error.contains("speaks no TLS"), "{error}");
}
