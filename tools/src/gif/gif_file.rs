//! Writes an animated GIF of what the screen shows. The recording thread of the viewer's library calls it.
//!
//! Only pixels that changed by more than an eye notices are drawn again, so a picture that mostly stands still takes
//! few bytes.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::time::Duration;

use fanlight_daemon::Shutdown;
use fanlight_proto::clock::Time;
use fanlight_viewer::record::{Recording, Sample, ScreenRenderer, Sink};
use gif::{DisposalMethod, Encoder, EncodingError, Frame, Repeat};

use super::Flags;

/// How far each colour of a pixel may be off before it is drawn again, of 255: what JPEG makes of still pictures.
const TOLERANCE: u8 = 10;

/// How carefully colours are chosen, from 1 (best) to 30 (fastest).
const SPEED: i32 = 10;

/// The unit of a GIF's delays.
const HUNDREDTH: Duration = Duration::from_millis(10);

/// The file.
pub(super) struct GifFile {
    file: Option<File>,
    width: u32,
    interval: Duration,
    length: Duration,
    writer: Option<GifWriter>,
    renderer: ScreenRenderer,
    recording: Recording,
    /// Ends the program when the file is closed.
    shutdown: Shutdown,
}

/// What is there once the first picture has told the size.
struct GifWriter {
    encoder: Encoder<BufWriter<File>>,
    size: (usize, usize),
    /// What the screen shows.
    canvas: Vec<u32>,
    /// The colours that each pixel had when it was drawn last; none before the first picture.
    drawn: Vec<u32>,
    began: Time,
    /// When the next picture may be taken.
    due: Time,
    /// The picture that is told when its end is known, and when it began in hundredths.
    pending: Option<(Frame<'static>, u64)>,
}

impl GifFile {
    /// Records to the empty `file` as `flags` ask, and triggers `shutdown` at the end.
    pub(super) fn new(file: File, flags: &Flags, shutdown: Shutdown) -> Self {
        Self {
            file: Some(file),
            width: flags.width,
            interval: Duration::from_secs(1) / flags.fps,
            length: flags.length,
            writer: None,
            renderer: ScreenRenderer::default(),
            recording: Recording::default(),
            shutdown,
        }
    }

    fn begin(&mut self, file: File, sample: &Sample) -> io::Result<()> {
        let (width, height) = self.renderer.size(sample).map_err(io::Error::other)?;
        let columns = width.min(self.width as usize).max(1);
        let rows = ((height * columns + width / 2) / width).clamp(1, usize::from(u16::MAX));
        let mut encoder = Encoder::new(BufWriter::new(file), columns as u16, rows as u16, &[])
            .map_err(into_io)?;
        encoder.set_repeat(Repeat::Infinite).map_err(into_io)?;
        self.recording.files = 1;
        self.writer = Some(GifWriter {
            encoder,
            size: (columns, rows),
            canvas: vec![0; columns * rows],
            drawn: Vec::new(),
            began: sample.at,
            due: sample.at,
            pending: None,
        });

        Ok(())
    }
}

impl Sink for GifFile {
    fn take(&mut self, sample: &Sample) -> io::Result<()> {
        if let Some(file) = self.file.take() {
            self.begin(file, sample)?;
        }

        let Some(writer) = &mut self.writer else {
            return Ok(());
        };

        if sample.at < writer.due {
            return Ok(());
        }

        self.renderer
            .draw(sample, &mut writer.canvas, writer.size)
            .map_err(io::Error::other)?;
        writer.due = (writer.due + self.interval).max(sample.at + self.interval / 2);

        let frame = writer.changed_pixels();
        let now = hundredths(sample.at.saturating_since(writer.began));
        self.recording.frames += 1;
        writer.write_pending(now)?;
        writer.pending = Some((frame, now));
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        self.shutdown.trigger();
        let Some(mut writer) = self.writer.take() else {
            return Ok(());
        };

        let begun = writer.pending.as_ref().map_or(0, |(_, begun)| *begun);
        let whole = hundredths(self.length);
        let end = (begun + hundredths(self.interval)).min(whole.max(begun + 1));
        writer.write_pending(end)?;
        self.recording.seconds = end as f64 / 100.0;
        // The end of the file is written with it.
        writer
            .encoder
            .into_inner()
            .map_err(|error| io::Error::other(error.to_string()))?
            .flush()
    }

    fn recording(&self) -> Recording {
        self.recording.clone()
    }
}

impl GifWriter {
    /// The part of the canvas that differs from what was drawn, and within it only what does; remembers that it was
    /// drawn.
    fn changed_pixels(&mut self) -> Frame<'static> {
        let (width, height) = self.size;
        let first = self.drawn.is_empty();
        if first {
            self.drawn.clone_from(&self.canvas);
        }

        let changed = |at: usize| first || differs(self.canvas[at], self.drawn[at]);
        let rows = span(height, |row| {
            (0..width).any(|column| changed(row * width + column))
        });
        let columns = span(width, |column| {
            rows.clone().any(|row| changed(row * width + column))
        });
        let mut pixels = Vec::with_capacity(columns.len() * rows.len() * 4);
        let mut redrawn = Vec::new();
        for at in rows
            .clone()
            .flat_map(|row| columns.clone().map(move |column| row * width + column))
        {
            let changed = changed(at);
            let [_, red, green, blue] = self.canvas[at].to_be_bytes();
            pixels.extend(if changed {
                [red, green, blue, 255]
            } else {
                [0; 4]
            });

            redrawn.extend(changed.then_some(at));
        }

        redrawn
            .into_iter()
            .for_each(|at| self.drawn[at] = self.canvas[at]);
        let mut frame =
            Frame::from_rgba_speed(columns.len() as u16, rows.len() as u16, &mut pixels, SPEED);
        frame.left = columns.start as u16;
        frame.top = rows.start as u16;
        frame.dispose = DisposalMethod::Keep;
        frame
    }

    /// Writes the picture before the one at `now`, which ends there.
    fn write_pending(&mut self, now: u64) -> io::Result<()> {
        let Some((mut frame, begun)) = self.pending.take() else {
            return Ok(());
        };
        frame.delay = u16::try_from(now.saturating_sub(begun)).unwrap_or(u16::MAX);
        self.encoder.write_frame(&frame).map_err(into_io)?;
        self.encoder.get_mut().flush()
    }
}

/// From the first to the last for which `holds`; one when it never does, because a GIF has no empty picture.
fn span(end: usize, holds: impl Fn(usize) -> bool) -> std::ops::Range<usize> {
    let Some(first) = (0..end).find(|at| holds(*at)) else {
        return 0..1;
    };
    let last = (first..end).rev().find(|at| holds(*at)).unwrap_or(first);
    first..last + 1
}

fn differs(one: u32, other: u32) -> bool {
    let (one, other) = (one.to_be_bytes(), other.to_be_bytes());
    (1..4).any(|colour| one[colour].abs_diff(other[colour]) > TOLERANCE)
}

fn hundredths(length: Duration) -> u64 {
    ((length + HUNDREDTH / 2).as_nanos() / HUNDREDTH.as_nanos()) as u64
}

fn into_io(error: EncodingError) -> io::Error {
    match error {
        EncodingError::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}
