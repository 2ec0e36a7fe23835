//! What the viewer writes to files, to standard output and to a video device. The main thread calls it.

mod fitted;
mod pipe;
mod video_device;
mod y4m;

use std::io::{ErrorKind, Write as _};

use anyhow::Context as _;
use fanlight_daemon::Shutdown;

use super::presenter::Presenter;
use crate::config::{Extra, PictureOutput};
use crate::cover::CoverSlot;
use crate::scene::SceneSlot;
use crate::stats::Report;
use pipe::Pipe;
use video_device::VideoDevice;
use y4m::Y4mWriter;

/// Writes each frame to `output`. That the reader of standard output has gone ends it, and is no error.
pub(super) fn write_pictures(
    output: &PictureOutput,
    (scenes, cover): (&SceneSlot, &CoverSlot),
    presenter: &mut Presenter,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let stdout = std::io::stdout();
    let mut pipe = Pipe::new(&stdout, shutdown);
    let written = match output {
        PictureOutput::Mjpeg => {
            presenter.run_headless(scenes, cover, |shown| pipe.write_all(&shown.jpeg))
        }
        PictureOutput::Y4m => {
            let mut y4m = Y4mWriter::new(pipe);
            presenter.run_headless(scenes, cover, |shown| {
                y4m.write(&shown.picture, shown.rate_millihertz)
            })
        }
        PictureOutput::Device(path) => {
            let mut device = VideoDevice::open(path)?;
            let written = presenter.run_headless(scenes, cover, |shown| {
                device.write(&shown.picture, shown.rate_millihertz)
            });
            return written.with_context(|| format!("cannot write to {}", path.display()));
        }
    };

    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe && !shutdown.requested() => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Writes the report and the last picture where flags say so.
pub(super) fn write_files(
    extra: &Extra,
    report: &Report,
    presenter: &Presenter,
) -> anyhow::Result<()> {
    if let Some(path) = &extra.report {
        let mut json = serde_json::to_string_pretty(report)?;
        json.push('\n');

        if path.as_os_str() == "-" {
            print(&json);
        } else {
            std::fs::write(path, json)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }

    if let Some(path) = &extra.snapshot {
        let saved = presenter
            .save(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        if !saved {
            tracing::warn!("no picture was shown: {} is not written", path.display());
        }
    }

    Ok(())
}

/// Writes to standard output at once. That nobody reads it is no error.
pub(super) fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}
