//! A USB webcam in user space: the kernel's vhci_hcd (USB over IP) takes it for a device on its bus, and the kernel's own
//! uvcvideo drives it as it drives any webcam, so `/dev/videoN` behaves as in life.
//!
//! `fakecam DIR [PORT]` plugs it in, at a port of the virtual hub (0). DIR holds its pictures, JPEG files `WIDTHxHEIGHT-*.jpg`, at least one for each size of
//! [`descriptors::SIZES`]. Commands come as lines on standard input:
//! - `stall`: stays on the bus and sends nothing; `go` ends that
//! - `truncate N`: sends only half of each of the next N pictures
//! - `error N`: marks the next N pictures as damaged on the bus
//! - `picture FILE`: from now on sends this file as each picture, whatever it holds
//! - `unplug`: leaves the bus
//!
//! Each JPEG of DIR gets a comment segment `fakecam sequence=N captured_ns=T brightness=B` (T on CLOCK_MONOTONIC), so that one can
//! tell at the far end which pictures came through, when they were taken, and how the camera was set.

mod descriptors;
mod usbip;
mod webcam;

use std::error::Error;
use std::io::BufRead as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_tests::wait;

use self::usbip::Request;
use self::webcam::{Pictures, Webcam};

/// Where vhci_hcd takes devices.
const ATTACH: &str = "/sys/devices/platform/vhci_hcd.0/attach";

/// How long a port of the virtual hub may take to forget the device that was unplugged last.
const PORT_FREE: Duration = Duration::from_secs(5);

/// Events between the threads: the kernel has a handful of requests under way.
const MAX_EVENTS: usize = 64;

enum Event {
    Request(Request),
    Command(String),
    /// The kernel let go of the device.
    Detached,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("usage: fakecam DIR [PORT]")?;
    let port = arguments.next().map_or(Ok(0), |port| port.parse())?;
    let pictures = Pictures::read(Path::new(&dir))?;
    let bus = plug_in(port)?;
    let (sender, events) = sync_channel(MAX_EVENTS);
    read_requests(bus.try_clone()?, sender.clone());
    read_commands(sender);
    serve(Webcam::new(pictures), &bus, &events)
}

/// Puts the device on the bus; requests come on the stream, and closing it unplugs the device.
fn plug_in(port: u32) -> Result<UnixStream, Box<dyn Error>> {
    const DEVICE_ID: u32 = 1 << 16 | 2;
    const HIGH_SPEED: u32 = 3;
    let (ours, kernels) = UnixStream::pair()?;
    let line = format!("{port} {} {DEVICE_ID} {HIGH_SPEED}", kernels.as_raw_fd());
    wait::until("the kernel takes the device", PORT_FREE, || {
        std::fs::write(ATTACH, &line).ok()
    });

    Ok(ours)
}

fn read_requests(mut bus: UnixStream, events: SyncSender<Event>) {
    std::thread::spawn(move || {
        while let Ok(request) = Request::read(&mut bus) {
            if events.send(Event::Request(request)).is_err() {
                return;
            }
        }

        let _ = events.send(Event::Detached);
    });
}

fn read_commands(events: SyncSender<Event>) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if events.send(Event::Command(line)).is_err() {
                return;
            }
        }
    });
}

fn serve(
    mut webcam: Webcam,
    bus: &UnixStream,
    events: &Receiver<Event>,
) -> Result<(), Box<dyn Error>> {
    const IDLE: Duration = Duration::from_secs(3600);
    loop {
        let wait = webcam
            .next_frame()
            .map_or(IDLE, |due| due.saturating_since(clock::now()));
        match events.recv_timeout(wait) {
            Ok(Event::Request(request)) => webcam.on_request(request, bus)?,
            Ok(Event::Command(line)) if line.trim() == "unplug" => return Ok(()),
            Ok(Event::Command(line)) => webcam.on_command(line.trim())?,
            Ok(Event::Detached) => return Err("the kernel let go of the device".into()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }

        webcam.on_time(clock::now());
        webcam.deliver(bus)?;
    }
}
