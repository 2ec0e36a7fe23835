//! A wire with delay, in user space, for kernels without netem: `python/delay.py` between two TAP devices.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::Namespace;
use crate::python::script;

/// A running wire. It ends with this value, and its devices with it.
#[derive(Debug)]
pub(super) struct Delay(Child);

impl Delay {
    /// Makes the devices `near` and `far` in `namespace`; what enters one leaves the other after `each_way`.
    pub(super) fn between(
        namespace: &Namespace,
        near: &str,
        far: &str,
        each_way: Duration,
    ) -> Self {
        let milliseconds = (each_way.as_secs_f64() * 1e3).to_string();
        let [command, rest @ ..] = namespace.enter();
        let mut child = Command::new(command)
            .args(rest)
            .arg("python3")
            .arg(script("delay.py"))
            .args([near, far, &milliseconds])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("ip can be started");

        let mut said = String::new();
        let output = child.stdout.take().expect("stdout is piped");
        BufReader::new(output)
            .read_line(&mut said)
            .expect("a pipe can be read");

        let delay = Self(child);
        assert_eq!(said.trim(), "ready", "delay.py did not start");
        delay
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
