//! Programs of others that read the stream.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanlight_tests::http::Site;
use fanlight_tests::viewer_process::hash;
use fanlight_tests::wait::{SOON, until};

use super::{Fixture, assert_picture};

/// Pictures that each player reads.
const PICTURES: usize = 30;

const FRAMINGS: [&str; 2] = ["plain", "advance"];

/// What the relay sends while `play` runs, by its hashes: all that a player has must be among it.
fn sent_while(site: Site, play: impl FnOnce()) -> BTreeSet<u64> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut socket = site.socket("/ws", &[]).unwrap();
            // Ahead, so that no frame is missed between a frame and its credit.
            socket.subscribe(1, "cam", None);
            (0..3).for_each(|_| socket.credit(1));
            let mut hashes = BTreeSet::new();

            while !done.load(Ordering::Relaxed) {
                hashes.insert(hash(&socket.frame().unwrap().jpeg));
                socket.credit(1);
            }

            hashes
        });

        play();
        // The newest that a player has may still be on its way to us.
        fanlight_tests::wait::pause(Duration::from_millis(300));
        done.store(true, Ordering::Relaxed);
        watching.join().unwrap()
    })
}

/// Asserts that the files in `folder` are pictures as they were sent, and that none comes twice.
#[track_caller]
fn assert_as_sent(what: &str, folder: &Path, sent: &BTreeSet<u64>) {
    let files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();

    let pictures: Vec<_> = files
        .iter()
        .map(|path| fs::read(path).unwrap())
        .filter(|bytes| !bytes.is_empty())
        .collect();

    pictures
        .iter()
        .for_each(|bytes| assert_picture(bytes, 320, 240));
    let hashes: BTreeSet<_> = pictures.iter().map(|bytes| hash(bytes)).collect();
    let strange = hashes.difference(sent).count();
    // What came before we watched beside it is not known to us.
    assert!(
        strange <= 3,
        "{what}: {strange} of {} pictures were not sent so",
        hashes.len()
    );

    assert!(
        hashes.len() >= PICTURES - 1,
        "{what}: {} pictures",
        hashes.len()
    );

    assert_eq!(hashes.len(), pictures.len(), "{what}: a picture came twice");
}

/// Runs a player to its end; false when it is not installed.
fn run(command: &mut Command) -> bool {
    let mut child = match command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
    {
        Ok(child) => child,
        Err(error) => {
            fanlight_tests::skip(&format!(
                "{:?} cannot be run: {error}",
                command.get_program()
            ));
            return false;
        }
    };

    let ended = until("the player ends", SOON * 2, || child.try_wait().unwrap());
    let mut words = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut words).unwrap();
    assert!(
        ended.success(),
        "{:?}: {ended}: {words}",
        command.get_program()
    );

    true
}

#[test]
fn ffmpeg_reads_every_picture_bit_by_bit() {
    let fixture = Fixture::new("");
    for framing in FRAMINGS {
        let folder = fixture.env.path(framing);
        fs::create_dir(&folder).unwrap();
        let mut ran = false;
        let sent = sent_while(fixture.site, || {
            ran = run(Command::new("ffmpeg")
                .args(["-loglevel", "error", "-f", "mpjpeg", "-i"])
                .arg(
                    fixture
                        .site
                        .url(&format!("/stream/cam.mjpeg?framing={framing}")),
                )
                .args([
                    "-frames:v",
                    &PICTURES.to_string(),
                    "-c",
                    "copy",
                    "-f",
                    "image2",
                ])
                .arg(folder.join("%d.jpg")));
        });

        if !ran {
            return;
        }

        assert_as_sent(&format!("ffmpeg, {framing}"), &folder, &sent);
    }
}

#[test]
fn gstreamer_reads_every_picture_bit_by_bit() {
    let fixture = Fixture::new("");
    for framing in FRAMINGS {
        let folder = fixture.env.path(framing);
        fs::create_dir(&folder).unwrap();
        let mut ran = false;
        let sent = sent_while(fixture.site, || {
            let url = fixture
                .site
                .url(&format!("/stream/cam.mjpeg?framing={framing}"));
            ran = run(Command::new("gst-launch-1.0")
                .args([
                    "-q",
                    "souphttpsrc",
                    &format!("location={url}"),
                    "!",
                    "multipartdemux",
                    "single-stream=true",
                ])
                .args([
                    "!",
                    "identity",
                    &format!("eos-after={}", PICTURES + 1),
                    "!",
                    "multifilesink",
                ])
                .arg(format!("location={}/%d.jpg", folder.display())));
        });

        if !ran {
            return;
        }

        assert_as_sent(&format!("GStreamer, {framing}"), &folder, &sent);
    }
}

#[test]
fn curl_gets_what_anybody_can_take_apart() {
    let fixture = Fixture::new("");
    let file = fixture.env.path("stream");
    let mut ran = false;
    let sent = sent_while(fixture.site, || {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "3", "--output"])
            .arg(&file)
            .arg(fixture.site.url("/?action=stream"));
        let Ok(status) = curl.status() else {
            return fanlight_tests::skip("there is no curl");
        };

        // 28: the time is over.
        assert_eq!(status.code(), Some(28));
        ran = true;
    });

    if !ran {
        return;
    }

    let bytes = fs::read(&file).unwrap();
    let mut rest = bytes.as_slice();
    let folder = fixture.env.path("parts");
    fs::create_dir(&folder).unwrap();
    let mut count = 0;

    // By the length that each part tells.
    while let Some(at) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&rest[..at]);
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .unwrap()
            .parse()
            .unwrap();

        let Some(picture) = rest[at + 4..].get(..length) else {
            break;
        };

        fs::write(folder.join(count.to_string()), picture).unwrap();
        rest = &rest[at + 4 + length..];
        count += 1;
    }

    assert_as_sent("curl", &folder, &sent);
}

#[test]
fn opencv_in_python_reads_the_stream() {
    let Some(python) = fanlight_tests::python::python() else {
        return;
    };

    let fixture = Fixture::new("");
    for framing in FRAMINGS {
        let script = "import sys, cv2\n\
                      stream = cv2.VideoCapture(sys.argv[1])\n\
                      assert stream.isOpened()\n\
                      shown = set()\n\
                      for _ in range(30):\n\
                      \x20   good, picture = stream.read()\n\
                      \x20   assert good and picture.shape == (240, 320, 3), picture\n\
                      \x20   shown.add(picture.tobytes())\n\
                      assert len(shown) >= 29, len(shown)\n";

        let url = fixture
            .site
            .url(&format!("/stream/cam.mjpeg?framing={framing}"));
        assert!(run(Command::new(&python).args(["-c", script, &url])));
    }
}
