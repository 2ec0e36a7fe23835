//! The relay's RTSP side: real programs, and players of others.

mod players;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use fanlight_tests::TestEnv;
use fanlight_tests::program::Program;
use fanlight_tests::viewer_process::hash;
use fanlight_tests::wait::{SOON, until};
use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

/// Pictures that each player reads: each of the files comes a few times.
const PICTURES: usize = 60;

const WIDTH: usize = 320;
const HEIGHT: usize = 240;

/// A source of JPEG files, and a relay that speaks RTSP.
struct Fixture {
    env: TestEnv,
    _source: Program,
    _relay: Program,
    address: SocketAddr,
}

impl Fixture {
    fn of(files: &[Vec<u8>], relay_flags: &str) -> Self {
        let env = TestEnv::new();
        let folder = env.path("files");
        fs::create_dir(&folder).unwrap();
        for (number, file) in files.iter().enumerate() {
            fs::write(folder.join(format!("{number:02}.jpg")), file).unwrap();
        }

        let source = env
            .source("cam")
            .flags("--input files --rate 20")
            .flag("path", &folder)
            .ready();
        let relay = env
            .relay(0, &[env.ipc("cam")])
            .flag("rtsp", format!("{}:0", env.relay_address(0).ip()))
            .flags(relay_flags)
            .ready();

        let line = relay.wait_for_line(" rtsp=").text;
        relay.wait_for_line("live stream=cam");
        let word = line.split_once(" rtsp=").map_or("", |(_, rest)| rest);
        let address = word.split(' ').next().unwrap_or("").parse().unwrap();
        Self {
            env,
            _source: source,
            _relay: relay,
            address,
        }
    }

    fn url(&self) -> String {
        format!("rtsp://{}/cam", self.address)
    }

    /// Opens a connection, sends requests, and reads until `end` has come or the relay closes the connection.
    fn ask(&self, requests: &[u8], end: &str) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(requests).unwrap();

        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            // A connection that is closed with something unread ends with an error.
            let count = stream.read(&mut chunk).unwrap_or(0);
            answer.extend(&chunk[..count]);
            let text = String::from_utf8_lossy(&answer);
            if count == 0 || text.contains(end) {
                return (stream, text.into_owned());
            }
        }
    }
}

/// A picture whose colours depend on `number`.
fn picture(number: usize, subsampling: Subsamp, optimized: bool) -> Vec<u8> {
    let pixels: Vec<u8> = (0..WIDTH * HEIGHT * 3)
        .map(|place| (place / 5 + place / (WIDTH * 6) * (number + 1)) as u8)
        .collect();
    compressed(&pixels, (WIDTH, HEIGHT), subsampling, optimized)
}

/// RGB as JPEG.
fn compressed(
    pixels: &[u8],
    (width, height): (usize, usize),
    subsampling: Subsamp,
    optimized: bool,
) -> Vec<u8> {
    let mut compressor = Compressor::new().unwrap();
    compressor.set_quality(75).unwrap();
    compressor.set_subsamp(subsampling).unwrap();
    compressor.set_optimize(optimized).unwrap();
    let image = Image {
        pixels,
        width,
        pitch: width * 3,
        height,
        format: PixelFormat::RGB,
    };
    compressor.compress_to_vec(image).unwrap()
}

/// 4:2:0 and 4:2:2, each with the usual Huffman tables, without any, and with optimised ones.
fn kinds() -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for subsampling in [Subsamp::Sub2x2, Subsamp::Sub2x1] {
        files.push(picture(files.len(), subsampling, false));
        files.push(without_huffman_tables(&picture(
            files.len(),
            subsampling,
            false,
        )));
        files.push(picture(files.len(), subsampling, true));
    }
    files
}

fn without_huffman_tables(jpeg: &[u8]) -> Vec<u8> {
    let mut stripped = jpeg[..2].to_vec();
    let mut rest = &jpeg[2..];
    while rest[1] != 0xda {
        let length = 2 + usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        if rest[1] != 0xc4 {
            stripped.extend(&rest[..length]);
        }
        rest = &rest[length..];
    }
    stripped.extend(rest);
    stripped
}

fn decoded(jpeg: &[u8]) -> u64 {
    hash(
        &turbojpeg::decompress(jpeg, PixelFormat::RGB)
            .unwrap()
            .pixels,
    )
}

/// Runs a player to its end; its words are kept to be shown when it fails.
fn run(command: &mut Command, log: &Path) -> bool {
    let file = fs::File::create(log).unwrap();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .spawn();
    let Ok(mut child) = child else {
        fanlight_tests::skip(&format!("{:?} cannot be run", command.get_program()));
        return false;
    };

    let ended = until("the player ends", SOON * 2, || child.try_wait().unwrap());
    let words = fs::read_to_string(log).unwrap();
    assert!(ended.success(), "{:?}: {words}", command.get_program());
    true
}

/// Asserts that the pictures in `folder` are those of `files`, and that none of these is missing.
#[track_caller]
fn assert_decodes_to(files: &[Vec<u8>], folder: &Path, what: &str) {
    let expected: BTreeSet<_> = files.iter().map(|jpeg| decoded(jpeg)).collect();
    assert_eq!(expected.len(), files.len(), "the pictures differ");

    let got: BTreeSet<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .filter(|jpeg| !jpeg.is_empty())
        .map(|jpeg| decoded(&jpeg))
        .collect();
    assert_eq!(got, expected, "{what}");
}

#[test]
fn ffmpeg_reads_every_kind_of_jpeg_bit_by_bit_over_tcp_and_udp() {
    let files = kinds();
    let fixture = Fixture::of(&files, "");
    for transport in ["tcp", "udp"] {
        let folder = fixture.env.path(transport);
        fs::create_dir(&folder).unwrap();
        let ran = run(
            Command::new("ffmpeg")
                .args([
                    "-loglevel",
                    "error",
                    "-rtsp_transport",
                    transport,
                    "-i",
                    &fixture.url(),
                ])
                .args([
                    "-frames:v",
                    &PICTURES.to_string(),
                    "-c",
                    "copy",
                    "-f",
                    "image2",
                ])
                .arg(folder.join("%d.jpg")),
            &fixture.env.path("ffmpeg.log"),
        );
        if !ran {
            return;
        }
        assert_decodes_to(&files, &folder, transport);
    }
}

#[test]
fn gstreamer_reads_every_kind_of_jpeg_bit_by_bit_over_tcp_and_udp() {
    let files = kinds();
    let fixture = Fixture::of(&files, "");
    for transport in ["tcp", "udp"] {
        let folder = fixture.env.path(transport);
        fs::create_dir(&folder).unwrap();
        let ran = run(
            Command::new("gst-launch-1.0")
                .args(["-q", "rtspsrc", &format!("location={}", fixture.url())])
                .args([
                    &format!("protocols={transport}"),
                    "latency=0",
                    "!",
                    "rtpjpegdepay",
                    "!",
                ])
                .args([
                    "identity",
                    &format!("eos-after={PICTURES}"),
                    "!",
                    "multifilesink",
                ])
                .arg(format!("location={}/%d.jpg", folder.display())),
            &fixture.env.path("gstreamer.log"),
        );
        if !ran {
            return;
        }
        assert_decodes_to(&files, &folder, transport);
    }
}

#[test]
fn a_token_is_the_password_and_nothing_is_told_without_it() {
    let token = "a-token-of-the-rtsp-test";
    let keys = TestEnv::new();
    let file = keys.path("token");
    fs::write(&file, format!("{token}\n")).unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let flags = format!("--http-access token --http-view-token {}", file.display());
    let fixture = Fixture::of(&kinds(), &flags);

    let url = fixture.url();
    let describe = format!("DESCRIBE {url} RTSP/1.0\r\nCSeq: 7\r\n\r\n");
    let (_, answer) = fixture.ask(describe.as_bytes(), "\r\n\r\n");
    assert!(
        answer.starts_with("RTSP/1.0 401 Unauthorized\r\nCSeq: 7\r\n"),
        "{answer}"
    );
    assert!(
        answer.contains("Digest realm=") && !answer.contains("m=video"),
        "{answer}"
    );

    for (password, admitted) in [(token, true), ("another-token-of-the-test", false)] {
        let output = Command::new("ffmpeg")
            .args(["-loglevel", "error", "-rtsp_transport", "tcp", "-i"])
            .arg(url.replace("//", &format!("//anybody:{password}@")))
            .args(["-frames:v", "1", "-f", "null", "-"])
            .stdin(Stdio::null())
            .output();
        let Ok(output) = output else {
            return fanlight_tests::skip("there is no ffmpeg");
        };
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), admitted, "{words}");
    }
}

#[test]
fn pictures_that_rtp_jpeg_cannot_carry_get_a_status_that_says_so() {
    let fixture = Fixture::of(&[picture(0, Subsamp::None, false)], "");
    let describe = format!("DESCRIBE {} RTSP/1.0\r\nCSeq: 1\r\n\r\n", fixture.url());
    let (_, answer) = fixture.ask(describe.as_bytes(), "\r\n\r\n");
    assert!(answer.starts_with("RTSP/1.0 415 "), "{answer}");
    assert!(answer.contains("4:2:0 and 4:2:2 only"), "{answer}");
}

#[test]
fn garbage_ends_its_own_connection_and_no_other() {
    let fixture = Fixture::of(&kinds(), "");
    let url = fixture.url();
    let options = format!("OPTIONS {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n");
    let (mut good, _) = fixture.ask(options.as_bytes(), "\r\n\r\n");

    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &[b'A'; 20_000]] {
        let (_, answer) = fixture.ask(garbage, "\r\n\r\n");
        assert!(
            answer.is_empty() || answer.starts_with("RTSP/1.0 400 "),
            "{answer}"
        );
    }

    good.write_all(format!("DESCRIBE {url} RTSP/1.0\r\nCSeq: 2\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = [0; 12];
    good.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"RTSP/1.0 200");
}
