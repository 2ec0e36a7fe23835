//! The webcam: answers control requests, takes a picture each interval and sends it in payloads.

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use fanlight_proto::clock::Time;

use super::descriptors::{
    self, DEFAULT_INTERVAL, INTERVALS, MAX_PAYLOAD, MJPEG, PROCESSING_UNIT, SIZES, frame_bytes,
};
use super::usbip::{Request, Submit, answer_submit, answer_unlink};

/// A stall, as USB understands it: the request is not supported.
const EPIPE: i32 = -32;
const ECONNRESET: i32 = -104;

/// The requests of USB and of its video class that are answered.
const SET_CUR: u8 = 0x01;
const GET_CUR: u8 = 0x81;
const GET_MIN: u8 = 0x82;
const GET_MAX: u8 = 0x83;
const GET_RES: u8 = 0x84;
const GET_LEN: u8 = 0x85;
const GET_INFO: u8 = 0x86;
const GET_DEF: u8 = 0x87;

/// The JPEGs of each of [`SIZES`].
pub(crate) struct Pictures([Vec<Vec<u8>>; SIZES.len()]);

impl Pictures {
    /// Reads every `WIDTHxHEIGHT-*.jpg` in `dir`.
    pub(crate) fn read(dir: &Path) -> Result<Self, Box<dyn Error>> {
        let mut files: Vec<_> = std::fs::read_dir(dir)?.collect::<io::Result<_>>()?;
        files.sort_by_key(std::fs::DirEntry::file_name);
        let mut pictures = Self(Default::default());

        for ((width, height), set) in SIZES.iter().zip(&mut pictures.0) {
            let prefix = format!("{width}x{height}-");
            for file in files
                .iter()
                .filter(|file| file.file_name().to_string_lossy().starts_with(&prefix))
            {
                set.push(std::fs::read(file.path())?);
            }

            if set.is_empty() {
                return Err(format!("{} holds no {prefix}*.jpg", dir.display()).into());
            }
        }

        Ok(pictures)
    }
}

/// What host and device agree on before streaming: UVC 1.0, table 4-47.
type Probe = [u8; 26];

/// The device.
pub(crate) struct Webcam {
    pictures: Pictures,
    probe: Probe,
    committed: Probe,
    brightness: [u8; 2],
    contrast: [u8; 2],
    /// When the next picture is due, while streaming.
    due: Option<Time>,
    sequence: u64,
    /// Toggles with each picture, by which the host tells where one ends.
    frame_id: u8,
    /// Transfers that wait for a payload: number and room.
    waiting: VecDeque<(u32, usize)>,
    /// Payloads of the picture being sent.
    payloads: VecDeque<Vec<u8>>,
    stalled: bool,
    truncate: u32,
    errors: u32,
    /// What is sent as each picture, in place of one of its own.
    foreign: Option<Vec<u8>>,
}

impl Webcam {
    pub(crate) fn new(pictures: Pictures) -> Self {
        let mut webcam = Self {
            pictures,
            probe: [0; 26],
            committed: [0; 26],
            brightness: 128i16.to_le_bytes(),
            contrast: 128i16.to_le_bytes(),
            due: None,
            sequence: 0,
            frame_id: 0,
            waiting: VecDeque::new(),
            payloads: VecDeque::new(),
            stalled: false,
            truncate: 0,
            errors: 0,
            foreign: None,
        };

        webcam.probe[4..8].copy_from_slice(&DEFAULT_INTERVAL.to_le_bytes());
        webcam
    }

    /// When the next picture is to be taken; None while no one watches.
    pub(crate) fn next_frame(&self) -> Option<Time> {
        self.due
    }

    /// Obeys a command of [the program](super).
    pub(crate) fn on_command(&mut self, line: &str) -> Result<(), Box<dyn Error>> {
        let (word, count) = line.split_once(' ').unwrap_or((line, "1"));
        match word {
            "stall" => self.stalled = true,
            "go" => self.stalled = false,
            "truncate" => self.truncate = count.parse()?,
            "error" => self.errors = count.parse()?,
            "picture" => self.foreign = Some(std::fs::read(count)?),
            _ => return Err(format!("unknown command {line:?}").into()),
        }

        Ok(())
    }

    /// Answers `request`, or keeps it until there is a payload.
    pub(crate) fn on_request(&mut self, request: Request, mut bus: &UnixStream) -> io::Result<()> {
        match request {
            Request::Unlink { number, victim } => {
                let place = self
                    .waiting
                    .iter()
                    .position(|(waiting, _)| *waiting == victim);
                let removed = place.and_then(|at| self.waiting.remove(at));
                answer_unlink(&mut bus, number, removed.map_or(0, |_| ECONNRESET))
            }
            Request::Submit(submit) if submit.endpoint != 0 => {
                self.waiting.push_back((submit.number, submit.length));
                Ok(())
            }
            Request::Submit(submit) => match self.control(&submit) {
                Some(mut data) if submit.inward => {
                    data.truncate(submit.length);
                    answer_submit(&mut bus, submit.number, 0, data.len(), &data)
                }
                Some(_) => answer_submit(&mut bus, submit.number, 0, submit.length, &[]),
                None => answer_submit(&mut bus, submit.number, EPIPE, 0, &[]),
            },
        }
    }

    /// Takes a picture if one is due. While the host is slow to fetch the last one, the sensor's pictures are lost.
    pub(crate) fn on_time(&mut self, now: Time) {
        let Some(due) = self.due.filter(|due| *due <= now) else {
            return;
        };

        let interval = Duration::from_nanos(u64::from(interval(&self.committed)) * 100);
        let late = now.saturating_since(due) > 5 * interval;
        self.due = Some(if late { now } else { due + interval });
        let sequence = self.sequence;
        self.sequence += 1;

        if self.stalled || !self.payloads.is_empty() {
            return;
        }

        let picture = self.picture(sequence, now);
        self.split(&picture);
    }

    /// Sends payloads for as long as the host waits for some.
    pub(crate) fn deliver(&mut self, mut bus: &UnixStream) -> io::Result<()> {
        while let (Some(&(number, room)), Some(payload)) =
            (self.waiting.front(), self.payloads.front())
        {
            let sent = &payload[..payload.len().min(room)];
            answer_submit(&mut bus, number, 0, sent.len(), sent)?;
            self.waiting.pop_front();
            self.payloads.pop_front();
        }

        Ok(())
    }

    fn picture(&mut self, sequence: u64, now: Time) -> Vec<u8> {
        let size = usize::from(self.committed[3]) - 1;
        if self.committed[2] != MJPEG {
            return bars(SIZES[size], sequence);
        }

        if let Some(foreign) = &self.foreign {
            return foreign.clone();
        }

        let set = &self.pictures.0[size];
        let jpeg = &set[sequence as usize % set.len()];
        let brightness = i16::from_le_bytes(self.brightness);
        let captured = now.as_nanos();
        let comment =
            format!("fakecam sequence={sequence} captured_ns={captured} brightness={brightness}");
        let length = (comment.len() as u16 + 2).to_be_bytes();
        let mut picture = [
            &jpeg[..2],
            &[0xff, 0xfe],
            &length,
            comment.as_bytes(),
            &jpeg[2..],
        ]
        .concat();

        if self.truncate > 0 {
            self.truncate -= 1;
            picture.truncate(picture.len() / 2);
        }

        picture
    }

    /// Cuts a picture into payloads, each with its two bytes of header: UVC 1.0, 2.4.3.3.
    fn split(&mut self, picture: &[u8]) {
        const END_OF_HEADER: u8 = 0x80;
        const ERROR: u8 = 0x40;
        const END_OF_FRAME: u8 = 0x02;
        let error = if self.errors > 0 { ERROR } else { 0 };
        self.errors = self.errors.saturating_sub(1);
        self.frame_id ^= 1;
        let body = MAX_PAYLOAD as usize - 2;
        let last = picture.len().div_ceil(body).saturating_sub(1);
        let empty = picture.is_empty().then_some(picture);

        for (index, part) in picture.chunks(body).chain(empty).enumerate() {
            let end = if index == last { END_OF_FRAME } else { 0 };
            self.payloads
                .push_back([&[2, END_OF_HEADER | error | end | self.frame_id], part].concat());
        }
    }

    /// The answer to a control request; None refuses it.
    fn control(&mut self, submit: &Submit) -> Option<Vec<u8>> {
        let [kind, request, value_low, value, index_low, index, _, _] = submit.setup;
        match (kind, request) {
            (0x80, 6) => descriptor(value, value_low),
            (0x80..=0x82, 0) => Some(vec![0, 0]), // GET_STATUS
            (0x80, 8) => Some(vec![1]),           // GET_CONFIGURATION
            (0x81, 10) => Some(vec![0]),          // GET_INTERFACE
            // SET_ADDRESS, SET_CONFIGURATION, SET_INTERFACE, and CLEAR_FEATURE, by which uvcvideo ends a bulk stream.
            (0x00, 5 | 9) | (0x01, 11) | (0x02, 1) => {
                self.stop();
                Some(Vec::new())
            }
            (0x21 | 0xa1, _) if index_low == 1 => {
                self.streaming_control(value, request, &submit.data)
            }
            (0x21 | 0xa1, _) if index == PROCESSING_UNIT => {
                self.unit_control(value, request, &submit.data)
            }
            _ => None,
        }
    }

    fn streaming_control(&mut self, selector: u8, request: u8, data: &[u8]) -> Option<Vec<u8>> {
        const PROBE: u8 = 1;
        const COMMIT: u8 = 2;

        match (selector, request) {
            (PROBE, SET_CUR) => self.probe = negotiated(self.probe, data),
            (COMMIT, SET_CUR) => {
                self.committed = negotiated(self.probe, data);
                self.start();
            }
            (PROBE, GET_CUR..=GET_RES | GET_DEF) => {
                return Some(negotiated(self.probe, &[]).to_vec());
            }
            (COMMIT, GET_CUR) => return Some(self.committed.to_vec()),
            (_, GET_LEN) => return Some(vec![26, 0]),
            (_, GET_INFO) => return Some(vec![3]),
            _ => return None,
        }

        Some(Vec::new())
    }

    fn unit_control(&mut self, selector: u8, request: u8, data: &[u8]) -> Option<Vec<u8>> {
        const BRIGHTNESS: u8 = 2;
        const CONTRAST: u8 = 3;
        let setting = match selector {
            BRIGHTNESS => &mut self.brightness,
            CONTRAST => &mut self.contrast,
            _ => return None,
        };

        Some(match request {
            SET_CUR => {
                *setting = data.try_into().ok()?;
                Vec::new()
            }
            GET_CUR => setting.to_vec(),
            GET_MIN => 0i16.to_le_bytes().to_vec(),
            GET_MAX => 255i16.to_le_bytes().to_vec(),
            GET_RES => 1i16.to_le_bytes().to_vec(),
            GET_DEF => 128i16.to_le_bytes().to_vec(),
            GET_LEN => vec![2, 0],
            GET_INFO => vec![3],
            _ => return None,
        })
    }

    fn start(&mut self) {
        self.payloads.clear();
        self.due = Some(fanlight_daemon::clock::now());
    }

    fn stop(&mut self) {
        self.payloads.clear();
        self.due = None;
    }
}

fn descriptor(kind: u8, index: u8) -> Option<Vec<u8>> {
    match (kind, index) {
        (1, _) => Some(descriptors::DEVICE.to_vec()),
        (2, _) => Some(descriptors::configuration()),
        (3, 0) => Some(descriptors::LANGUAGES.to_vec()),
        (3, _) => Some(descriptors::string(index)),
        (6, _) => Some(descriptors::QUALIFIER.to_vec()),
        _ => None,
    }
}

/// The nearest that the device can do to what `wanted` says over `current`.
fn negotiated(current: Probe, wanted: &[u8]) -> Probe {
    let mut probe = current;
    let length = wanted.len().min(probe.len());
    probe[..length].copy_from_slice(&wanted[..length]);

    if !(MJPEG..=MJPEG + 1).contains(&probe[2]) {
        probe[2] = MJPEG;
    }

    if !(1..=SIZES.len() as u8).contains(&probe[3]) {
        probe[3] = 2;
    }

    let asked = interval(&probe);
    let nearest = INTERVALS
        .into_iter()
        .min_by_key(|interval| interval.abs_diff(asked))
        .unwrap_or(DEFAULT_INTERVAL);

    probe[4..8].copy_from_slice(&nearest.to_le_bytes());
    let size = SIZES[usize::from(probe[3]) - 1];
    probe[18..22].copy_from_slice(&frame_bytes(size).to_le_bytes());
    probe[22..26].copy_from_slice(&MAX_PAYLOAD.to_le_bytes());
    probe
}

fn interval(probe: &Probe) -> u32 {
    u32::from_le_bytes([probe[4], probe[5], probe[6], probe[7]])
}

/// A grey YUYV picture with a bright line that moves down.
fn bars((width, height): (u16, u16), sequence: u64) -> Vec<u8> {
    let row = usize::from(width) * 2;
    let mut picture = vec![128; row * usize::from(height)];
    let line = (sequence * 8 % u64::from(height)) as usize * row;
    picture[line..line + row].fill(235);
    picture
}
