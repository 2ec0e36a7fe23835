//! The tracker that comes with the viewer: this program as a process of its own, which speaks as [`wire`](super::wire)
//! tells.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use fanlight_daemon::clock;
use rustix::process::{Signal, set_parent_process_death_signal};

use super::ball::Finder;
use super::wire::{Answer, Format, Found, HEADER_BYTES, Header};
use crate::decode::Decoder;
use crate::grey::Grey;

/// The word of the command line that makes the viewer be a tracker instead. Only viewers use it.
pub const COMMAND: &str = "track-ball";

/// Whether this process is to be a tracker.
#[must_use]
pub fn is_asked() -> bool {
    std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == COMMAND)
}

/// Looks for the ball in what comes on standard input until it ends, and answers on standard output.
#[must_use]
pub fn main() -> ExitCode {
    // Standard input ends with the viewer, too; but a process that was stopped would not see it.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    match serve(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // It goes to the viewer's log, if the viewer is still there.
            let _ = writeln!(io::stderr(), "fanlight-viewer {COMMAND}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Answers each frame of `input` on `output`.
///
/// # Errors
/// Those of the pipes, and for input that is no frame.
pub fn serve(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut looker = Looker::default();
    let mut payload = Vec::new();

    while let Some(header) = next_header(&mut input)? {
        payload.clear();
        let length = u64::from(header.length);
        if (&mut input).take(length).read_to_end(&mut payload)? as u64 != length {
            return Ok(());
        }

        let began = clock::now();
        let found = looker.look(&header, &payload);
        let took = clock::now().saturating_since(began);
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let mut line = serde_json::to_vec(&Answer::new(header.id, found, took_us))?;
        line.push(b'\n');
        output.write_all(&line)?;
        output.flush()?;
    }

    Ok(())
}

fn next_header(input: &mut impl Read) -> io::Result<Option<Header>> {
    let mut bytes = [0; HEADER_BYTES];
    match input.read_exact(&mut bytes) {
        Ok(()) => Header::decode(&bytes)
            .map(Some)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[derive(Default)]
struct Looker {
    decoder: Decoder,
    grey: Grey,
    finder: Finder,
}

impl Looker {
    /// What is in a frame; nothing in one that is no picture.
    fn look(&mut self, header: &Header, payload: &[u8]) -> Option<Found> {
        let width = header.width as usize;
        let height = header.height as usize;

        match header.format {
            Format::Jpeg => self.decoder.decode_grey(payload, &mut self.grey).ok()?,
            Format::Grey => {
                self.grey.reshape(width, height);
                (payload.len() == width * height)
                    .then(|| self.grey.pixels_mut().copy_from_slice(payload))?;
            }
            Format::Rgb => {
                self.grey.reshape(width, height);
                let (colours, rest) = payload.as_chunks::<3>();
                (colours.len() == width * height && rest.is_empty()).then_some(())?;
                self.grey
                    .pixels_mut()
                    .iter_mut()
                    .zip(colours)
                    .for_each(|(grey, colour)| *grey = luma(*colour));
            }
        }

        self.finder.find(&self.grey).map(Found::from)
    }
}

/// ITU-R BT.601, in 256ths.
fn luma(colour: [u8; 3]) -> u8 {
    let [red, green, blue] = colour.map(u32::from);
    ((77 * red + 150 * green + 29 * blue) >> 8) as u8
}
