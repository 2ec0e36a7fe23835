//! The viewer's window in a process of its own (viewer/examples/scenes.rs), driven by the test.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use fanlight_tests::wait;

use super::display::Display;

pub(crate) struct Scenes {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Scenes {
    pub(crate) fn start(display: &Display, arguments: &[&str]) -> Self {
        let mut child = display
            .command(binary())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();

        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });

        Self {
            stdin: child.stdin.take(),
            child,
            lines,
        }
    }

    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Shows colour bars and waits until they were presented.
    pub(crate) fn show_bars(&mut self, number: u32, size: &str) {
        self.tell(&format!("picture {number} {size}"));
        self.wait_presented(number);
    }

    /// Has it show a picture of one colour, and does not wait for it.
    pub(crate) fn tell_flat(&mut self, number: u32, colour: u32, size: &str) {
        self.tell(&format!("flat {number} {size} {colour:06x}"));
    }

    /// Waits until that picture was presented; returns how many were before it.
    pub(crate) fn wait_presented(&mut self, number: u32) -> usize {
        let awaited = format!("presented {number}");
        let next = || {
            let line = self.lines.recv_timeout(wait::SOON);
            line.expect("the picture is presented")
        };
        std::iter::repeat_with(next)
            .take_while(|line| *line != awaited)
            .count()
    }

    /// Ends the input and waits for the end of the window.
    pub(crate) fn close(&mut self, limit: Duration) -> ExitStatus {
        self.stdin = None;
        self.ended(limit)
    }

    /// How it ended, if it does so in time.
    pub(crate) fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = wait::Deadline::after(limit);
        loop {
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || deadline.is_over() {
                return ended;
            }

            wait::pause(Duration::from_millis(5));
        }
    }

    pub(crate) fn ended(&mut self, limit: Duration) -> ExitStatus {
        wait::until("the end of the window's process", limit, || {
            self.child.try_wait().unwrap()
        })
    }
}

impl Drop for Scenes {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where cargo puts it for the profile that this test was built with.
pub(crate) fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let file = profile.join("examples/scenes");
    assert!(
        file.is_file(),
        "{} is not there: run `./dev test`, or `cargo build --workspace --examples`",
        file.display()
    );

    file
}
