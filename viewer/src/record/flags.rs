//! The flags of a recording.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure};

use super::{Kind, MAX_GIF_FPS, MAX_GIF_WIDTH, Plan};
use crate::config::parse_duration;

/// Columns of a GIF unless told otherwise.
const GIF_WIDTH: u32 = 480;

/// Pictures a second of a GIF unless told otherwise.
const GIF_FPS: u32 = 10;

/// Length of a GIF unless told otherwise: longer ones are too large to be sent to anybody.
const GIF_LENGTH: Duration = Duration::from_secs(10);

/// Least columns of a GIF.
const MIN_GIF_WIDTH: u32 = 16;

/// The flags of a recording.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Flags {
    /// Record what is shown: FILE.avi holds the JPEGs as received, FILE.gif what the screen looks like.
    ///
    /// An AVI goes on until the viewer ends; at 2 GiB, after a million frames, and when the size of the picture changes,
    /// it goes on in FILE-2.avi and so on. A file that is there already is overwritten.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,

    /// Width of a GIF in pixels, at most that of the picture [default: 480]
    #[arg(long, value_name = "PIXELS", requires = "record")]
    pub record_width: Option<u32>,

    /// Pictures a second of a GIF [default: 10]
    #[arg(long, value_name = "RATE", requires = "record")]
    pub record_fps: Option<u32>,

    /// Stop recording after so long: 500ms, 10s, 2m, 1h [default: 10s for a GIF]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "record")]
    pub record_for: Option<Duration>,
}

impl Flags {
    /// What is to be recorded, if anything.
    ///
    /// # Errors
    /// When the flags do not go together, in a sentence that names the flag.
    pub fn plan(&self) -> anyhow::Result<Option<Plan>> {
        let Some(path) = self.record.clone() else {
            return Ok(None);
        };
        let suffix = path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let (kind, length) = match suffix.as_str() {
            "avi" => (self.avi()?, self.record_for),
            "gif" => (self.gif()?, Some(self.record_for.unwrap_or(GIF_LENGTH))),
            _ => bail!(
                "`--record` is {}; its name must end in .avi or .gif",
                path.display()
            ),
        };
        ensure!(
            length != Some(Duration::ZERO),
            "`--record-for` is 0; leave it out to record nothing"
        );
        Ok(Some(Plan { path, kind, length }))
    }

    fn avi(&self) -> anyhow::Result<Kind> {
        const AS_IT_COMES: &str = "is for a GIF; an AVI holds the pictures as they come";
        ensure!(
            self.record_width.is_none(),
            "`--record-width` {AS_IT_COMES}"
        );
        ensure!(self.record_fps.is_none(), "`--record-fps` {AS_IT_COMES}");
        Ok(Kind::Avi)
    }

    fn gif(&self) -> anyhow::Result<Kind> {
        let width = self.record_width.unwrap_or(GIF_WIDTH);
        let fps = self.record_fps.unwrap_or(GIF_FPS);
        let widths = MIN_GIF_WIDTH..=MAX_GIF_WIDTH;
        ensure!(
            widths.contains(&width),
            "`--record-width` is {width}; it must be {MIN_GIF_WIDTH} to {MAX_GIF_WIDTH}"
        );
        ensure!(
            (1..=MAX_GIF_FPS).contains(&fps),
            "`--record-fps` is {fps}; it must be 1 to {MAX_GIF_FPS}"
        );
        Ok(Kind::Gif { width, fps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(file: &str) -> Flags {
        Flags {
            record: Some(file.into()),
            ..Flags::default()
        }
    }

    #[test]
    fn the_suffix_says_what_is_recorded_and_a_gif_is_bounded() {
        let plan = |file| flags(file).plan().unwrap().unwrap();
        assert_eq!(Flags::default().plan().unwrap(), None);
        assert_eq!(
            (plan("a.avi").kind, plan("a.AVI").length),
            (Kind::Avi, None)
        );
        assert_eq!(
            (plan("b.gif").kind, plan("b.gif").length),
            (
                Kind::Gif {
                    width: 480,
                    fps: 10
                },
                Some(GIF_LENGTH)
            )
        );
    }

    #[test]
    fn what_does_not_go_together_is_refused_by_the_flags_name() {
        let bad = [
            ("--record", flags("film.mp4")),
            ("--record", flags("film")),
            (
                "--record-width",
                Flags {
                    record_width: Some(480),
                    ..flags("a.avi")
                },
            ),
            (
                "--record-fps",
                Flags {
                    record_fps: Some(10),
                    ..flags("a.avi")
                },
            ),
            (
                "--record-width",
                Flags {
                    record_width: Some(5000),
                    ..flags("a.gif")
                },
            ),
            (
                "--record-fps",
                Flags {
                    record_fps: Some(0),
                    ..flags("a.gif")
                },
            ),
            (
                "--record-for",
                Flags {
                    record_for: Some(Duration::ZERO),
                    ..flags("a.gif")
                },
            ),
        ];
        for (flag, flags) in bad {
            let error = flags.plan().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{flag}` ")), "{error}");
        }
    }
}
