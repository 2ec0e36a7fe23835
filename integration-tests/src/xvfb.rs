//! A display in memory, for programs that are measured in a window.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// An X server of its own. It ends with this value.
#[derive(Debug)]
pub struct Xvfb {
    name: String,
    server: Child,
}

impl Xvfb {
    /// One screen of that size; none, and a word about it, where Xvfb is not installed.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(width: u32, height: u32) -> Option<Self> {
        if !crate::lab::installed("Xvfb") {
            crate::skip("Xvfb is not installed");
            return None;
        }

        let screen = format!("{width}x{height}x24");
        let mut server = Command::new("Xvfb")
            .args([
                "-screen",
                "0",
                &screen,
                "-displayfd",
                "1",
                "-nolisten",
                "tcp",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Xvfb can be started");

        let mut number = String::new();
        let said = server.stdout.take().expect("stdout is piped");
        let read = BufReader::new(said).read_line(&mut number);
        assert!(read.is_ok_and(|count| count > 1), "Xvfb did not start");
        let name = format!(":{}", number.trim());
        Some(Self { name, server })
    }

    /// What DISPLAY has to be.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.id()
    }
}

impl Drop for Xvfb {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
