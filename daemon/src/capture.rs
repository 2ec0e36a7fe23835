//! The last seconds of a program's datagrams, kept in memory and written to a file when an operator asks for them
//! (SIGUSR1) or when a second was bad: where they came from or went to, when, and how they begin. `./dev sim --replay FILE`
//! plays such a file to the engine.
//!
//! The owner of the socket notes what passes, without a lock and without allocating; only with `capture_dir` set is there
//! anything to note into. Pictures are not kept: of media there is the header only.

mod pcapng;
mod ring;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use fanlight_proto::clock::Time;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock;
pub use pcapng::{FormatError, Recording};
use ring::Ring;
pub use ring::{Direction, HEAD_BYTES, Record, Role, Snapshot};

/// Datagrams that are kept: at 30 frames of 100 kB a second about 20 s of a viewer.
pub const RECORDS: usize = 1 << 16;

/// Seconds of counts that are kept beside them.
const SNAPSHOTS: usize = 128;

/// So many frames lost on the way within a second make it bad: a tenth of 30.
pub const BAD_SECOND: u64 = 3;

/// Bad seconds in a row have one cause: at most one file by itself in so long.
const WRITE_INTERVAL: Duration = Duration::from_secs(60);

/// Files of one program that are kept in the folder; the oldest give way.
pub const MAX_FILES: usize = 8;

/// How often the counts are noted.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes that are written to a file at once.
const WRITE_BYTES: usize = 16 << 10;

/// What the files are called at the end.
const SUFFIX: &str = ".pcapng";

/// Requests of the operator (SIGUSR1). Make it early: without it the signal ends the program.
#[derive(Debug)]
pub struct Requests(Option<Signal>);

impl Requests {
    /// Listens from now on. Must be called within a runtime with signals; without them there are no requests.
    #[must_use]
    pub fn listen() -> Self {
        let listening = signal(SignalKind::user_defined1());
        if let Err(error) = &listening {
            tracing::warn!("SIGUSR1 cannot be listened for: {error}");
        }
        Self(listening.ok())
    }

    /// Nobody ever asks.
    #[must_use]
    pub const fn never() -> Self {
        Self(None)
    }

    /// Waits for the next request. Cancel safe.
    pub async fn next(&mut self) {
        let heard = match &mut self.0 {
            Some(signal) => signal.recv().await.is_some(),
            None => false,
        };
        if !heard {
            std::future::pending::<()>().await;
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Capture {
    program: &'static str,
    role: Role,
    names: &'static [&'static str],
    folder: Option<PathBuf>,
    ring: Option<Ring>,
    counts_due: Time,
    lost: u64,
    written: Option<Time>,
    writer: Option<JoinHandle<()>>,
}

impl Capture {
    /// Keeps datagrams when there is a `folder` to write them to. `names` are those of the counts that
    /// [`Capture::turn`] takes.
    #[must_use]
    pub fn new(
        program: &'static str,
        role: Role,
        names: &'static [&'static str],
        folder: Option<&Path>,
    ) -> Self {
        Self {
            program,
            role,
            names,
            ring: folder.map(|_| Ring::new(RECORDS, SNAPSHOTS)),
            folder: folder.map(Path::to_owned),
            counts_due: Time::default(),
            lost: 0,
            written: None,
            writer: None,
        }
    }

    /// Notes a datagram, or a train of them that begins with it.
    pub fn note(&mut self, now: Time, direction: Direction, peer: SocketAddr, datagram: &[u8]) {
        if let Some(ring) = &mut self.ring {
            ring.note(now, direction, peer, datagram);
        }
    }

    /// Call it now and then. Once a second notes the counts: as many as there are names, the first being the frames
    /// lost on the way, which decide whether the second was bad.
    pub fn turn(&mut self, now: Time, counts: impl FnOnce() -> Vec<u64>) {
        let Some(ring) = self.ring.as_mut().filter(|_| now >= self.counts_due) else {
            return;
        };

        let first = self.counts_due == Time::default();
        self.counts_due = now + COUNT_INTERVAL;
        let counts = counts();
        debug_assert_eq!(counts.len(), self.names.len());
        let lost = counts.first().copied().unwrap_or_default();
        let bad = !first && lost.saturating_sub(self.lost) >= BAD_SECOND;
        self.lost = lost;
        ring.snapshot(now, counts);

        if bad
            && self
                .written
                .is_none_or(|written| now.saturating_since(written) >= WRITE_INTERVAL)
        {
            self.write(now, "a bad second");
        }
    }

    /// The operator asks for the file; the counts as in [`Capture::turn`].
    pub fn on_request(&mut self, now: Time, counts: impl FnOnce() -> Vec<u64>) {
        match &mut self.ring {
            Some(ring) => {
                ring.snapshot(now, counts());
                self.write(now, "SIGUSR1");
            }
            None => tracing::info!(
                "no datagrams are kept to be written: set capture_dir to a folder for them"
            ),
        }
    }

    /// Hands all that is kept to a thread that writes it, and begins anew: the socket does not wait for a disk.
    fn write(&mut self, now: Time, why: &'static str) {
        let Some(folder) = self.folder.clone() else {
            return;
        };

        if self
            .writer
            .as_ref()
            .is_some_and(|writer| !writer.is_finished())
        {
            return;
        }
        let Some(ring) = self.ring.replace(Ring::new(RECORDS, SNAPSHOTS)) else {
            return;
        };

        self.written = Some(now);
        let (program, role, names) = (self.program, self.role, self.names);
        let work = move || match store(&folder, program, |file| {
            pcapng::write(&ring, file, role, now, names)
        }) {
            Ok(path) => {
                tracing::info!(file = %path.display(), datagrams = ring.len(), "capture written: {why}");
            }
            Err(error) => {
                tracing::warn!(folder = %folder.display(), "the capture cannot be written: {error}");
            }
        };

        self.writer = std::thread::Builder::new()
            .name("capture".to_owned())
            .spawn(work)
            .ok();
    }
}

impl Drop for Capture {
    /// What is being written is finished.
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            // It has said itself what went wrong.
            let _ = writer.join();
        }
    }
}

/// Writes a file, which appears under its name when it is complete, and takes away the oldest when there are too many.
fn store(
    folder: &Path,
    program: &str,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let wall = i128::from(clock::now().as_nanos()) + i128::from(clock::wall_offset_ns());
    // Sixteen digits are enough for microseconds until the year 2286: names sort by time.
    let path = folder.join(format!(
        "{program}-{:016}-{}{SUFFIX}",
        wall / 1000,
        std::process::id()
    ));

    let unfinished = path.with_extension("unfinished");
    // Nobody else may read it: it tells addresses and sessions.
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;

    let mut file = BufWriter::with_capacity(WRITE_BYTES, file);
    write(&mut file)?;
    file.flush()?;
    fs::rename(&unfinished, &path)?;
    prune(folder, program)?;
    Ok(path)
}

fn prune(folder: &Path, program: &str) -> io::Result<()> {
    let ours = |name: &str| name.starts_with(&format!("{program}-")) && name.ends_with(SUFFIX);
    let mut files: Vec<_> = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(ours)
        })
        .collect();

    files.sort_unstable();
    files
        .iter()
        .take(files.len().saturating_sub(MAX_FILES))
        .try_for_each(fs::remove_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5004);
    const NAMES: &[&str] = &["lost", "whole"];

    fn at(seconds: u64) -> Time {
        Time::from_nanos(1) + Duration::from_secs(seconds)
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files
    }

    /// The capture's file, once its thread has written it.
    fn finished(mut capture: Capture) -> Capture {
        capture.writer.take().unwrap().join().unwrap();
        capture
    }

    #[test]
    fn what_is_asked_for_is_written_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut capture = Capture::new("fanlight-test", Role::Viewer, NAMES, Some(folder.path()));
        capture.turn(at(1), || vec![0, 0]);
        capture.note(at(1), Direction::In, PEER, &[0xf1; 300]);
        capture.note(at(2), Direction::Out, PEER, &[7; 12]);
        capture.on_request(at(3), || vec![2, 60]);
        let capture = finished(capture);
        let files = files(folder.path());
        assert_eq!(files.len(), 1);
        let recording = Recording::parse(&fs::read(&files[0]).unwrap()).unwrap();
        assert_eq!((recording.role, recording.written), (Role::Viewer, at(3)));
        assert_eq!(recording.names, NAMES);
        assert_eq!(recording.snapshots.last().unwrap().counts, [2, 60]);

        let [first, second] = &recording.records[..] else {
            panic!("{recording:?}")
        };

        assert_eq!(
            (first.time, first.direction, first.peer, first.length),
            (at(1), Direction::In, PEER, 300)
        );

        assert_eq!(first.head(), [0xf1; HEAD_BYTES]);
        assert_eq!(
            (second.direction, second.head()),
            (Direction::Out, &[7; 12][..])
        );

        drop(capture);
    }

    #[test]
    fn a_bad_second_is_written_by_itself_and_the_next_one_a_minute_later() {
        let folder = tempfile::tempdir().unwrap();
        let mut capture = Capture::new("fanlight-test", Role::Viewer, NAMES, Some(folder.path()));
        let second =
            |capture: &mut Capture, second, lost| capture.turn(at(second), || vec![lost, 0]);
        second(&mut capture, 1, 100);
        second(&mut capture, 2, 100 + BAD_SECOND - 1);
        assert!(
            capture.writer.is_none(),
            "what was lost before the first second, and a little"
        );

        second(&mut capture, 3, 200);
        let mut capture = finished(capture);
        second(&mut capture, 4, 300);
        second(&mut capture, 62, 400);
        assert!(capture.writer.is_none());
        second(&mut capture, 63, 500);
        finished(capture);
        assert_eq!(files(folder.path()).len(), 2);
    }

    #[test]
    fn the_oldest_files_give_way_and_those_of_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.pcapng"), "").unwrap();

        for number in 0..MAX_FILES + 3 {
            let name = format!("fanlight-test-{number:016}-1{SUFFIX}");
            fs::write(folder.path().join(name), "").unwrap();
        }

        store(folder.path(), "fanlight-test", |_| Ok(())).unwrap();
        let files = files(folder.path());
        assert_eq!(files.len(), MAX_FILES + 1);
        assert!(
            files[0]
                .to_str()
                .unwrap()
                .ends_with("0000000000000004-1.pcapng"),
            "{files:?}"
        );
    }

    #[test]
    fn without_a_folder_nothing_is_kept() {
        let mut capture = Capture::new("fanlight-test", Role::Relay, NAMES, None);
        capture.note(at(1), Direction::In, PEER, &[1; 100]);
        capture.turn(at(1), || panic!("nobody needs the counts"));
        capture.on_request(at(2), || panic!("nor here"));
        assert!(capture.ring.is_none() && capture.writer.is_none());
    }
}
