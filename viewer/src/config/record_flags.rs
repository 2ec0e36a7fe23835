//! The flags of a recording, and the plan that they make. The main thread calls it when the program starts.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure};

use super::parse_duration;
use crate::record::{FilmFormat, Plan};

/// What a loop keeps unless told otherwise.
const DEFAULT_KEEP: u64 = 10_000_000_000;

/// The least that a loop can keep: a file of it is an eighth, and has some frames.
const LEAST_KEEP: u64 = 10_000_000;

/// How long each file of a loop goes on unless told otherwise.
const DEFAULT_SEGMENT: Duration = Duration::from_secs(300);

/// The flags of a recording.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct RecordFlags {
    /// Record what is shown to FILE.mkv, FILE.mp4 or FILE.avi: the JPEGs as received. (fanlight-gif makes animated GIFs.)
    ///
    /// In an .mkv (Matroska) or .mp4 each frame has the time of its capture; an .avi has a constant rate. It goes on until the
    /// viewer ends. When the size of the picture changes, and an AVI also at 2 GiB and after a million frames, it goes on in
    /// FILE-2.mkv and so on. A file that is there already is overwritten.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,

    /// Record what is shown to DIR, and keep the newest: --keep says how much
    ///
    /// The files are STREAM-DATE.mkv or .mp4, by when they begin in UTC; each goes on for --segment. The oldest of the stream are
    /// removed, also those of runs before. A disk that is full or away is tried again, and never holds up the picture.
    #[arg(long, value_name = "DIR", conflicts_with = "record")]
    pub record_loop: Option<PathBuf>,

    /// The format of a loop's files [default: mkv]
    #[arg(long, value_name = "FORMAT", requires = "record_loop")]
    pub loop_format: Option<FilmFormat>,

    /// How much of a loop to keep: 500MB, 10GB, 1TB [default: 10GB]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, requires = "record_loop")]
    pub keep: Option<u64>,

    /// How long each file of a loop goes on: 30s, 5m, 1h [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "record_loop")]
    pub segment: Option<Duration>,

    /// Record a frame each TIME, for a film that plays 25 of them a second: 500ms, 10s, 1h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub record_every: Option<Duration>,

    /// Stop recording after so long: 500ms, 10s, 2m, 1h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub record_for: Option<Duration>,
}

impl RecordFlags {
    /// What is to be recorded, if anything.
    ///
    /// # Errors
    /// When the flags do not go together, in a sentence that names the flag.
    pub fn plan(&self) -> anyhow::Result<Option<Plan>> {
        for (flag, time) in [
            ("--segment", self.segment),
            ("--record-every", self.record_every),
            ("--record-for", self.record_for),
        ] {
            ensure!(
                time != Some(Duration::ZERO),
                "`{flag}` is 0; it must be longer, such as 10s"
            );
        }

        let plan = match (&self.record, &self.record_loop) {
            (Some(file), _) => film(file.clone())?,
            (None, Some(folder)) => {
                let format = self.loop_format.unwrap_or_default();
                Plan::looped(folder.clone(), format, self.kept()?, self.segment())
            }
            (None, None) => {
                let lonely = self.record_every.or(self.record_for);
                ensure!(
                    lonely.is_none(),
                    "`--record-every` and `--record-for` say how to record; `--record` or `--record-loop` where to"
                );
                return Ok(None);
            }
        };

        Ok(Some(Plan {
            length: self.record_for,
            every: self.record_every,
            ..plan
        }))
    }

    fn kept(&self) -> anyhow::Result<u64> {
        let keep = self.keep.unwrap_or(DEFAULT_KEEP);
        ensure!(
            keep >= LEAST_KEEP,
            "`--keep` is {keep} bytes; it must be 10MB or more"
        );
        Ok(keep)
    }

    fn segment(&self) -> Duration {
        self.segment.unwrap_or(DEFAULT_SEGMENT)
    }
}

fn film(path: PathBuf) -> anyhow::Result<Plan> {
    let suffix = path
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();

    if let Some(format) = FilmFormat::of_suffix(&suffix) {
        return Ok(Plan::film(path, format));
    }

    match suffix.as_str() {
        "avi" => Ok(Plan::avi(path)),
        "gif" => bail!(
            "`--record` is {}; fanlight-gif records GIFs",
            path.display()
        ),
        _ => bail!(
            "`--record` is {}; its name must end in .mkv, .mp4 or .avi",
            path.display()
        ),
    }
}

/// Reads `500MB`, `10GB`, `1TB`: decimal, as disks are sold.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return Err("expected a number and MB, GB or TB, such as 10GB".to_owned()),
    };

    let number: u64 = digits
        .parse()
        .map_err(|_| format!("{digits:?} is no whole number"))?;
    number
        .checked_mul(unit)
        .ok_or_else(|| format!("{text} is more than any disk has"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(file: &str) -> RecordFlags {
        RecordFlags {
            record: Some(file.into()),
            ..RecordFlags::default()
        }
    }

    #[test]
    fn a_film_is_recorded_until_the_end_unless_told_otherwise() {
        assert!(RecordFlags::default().plan().unwrap().is_none());
        for name in ["a.avi", "a.AVI", "a.mkv", "a.mp4"] {
            let plan = flags(name).plan().unwrap().unwrap();
            assert_eq!(
                (plan.path, plan.length, plan.every),
                (name.into(), None, None)
            );
        }
    }

    #[test]
    fn what_cannot_be_recorded_is_refused_by_the_name_of_its_flag() {
        let no_time = RecordFlags {
            record_for: Some(Duration::ZERO),
            ..flags("a.avi")
        };

        let lonely = RecordFlags {
            record_every: Some(Duration::from_secs(1)),
            ..RecordFlags::default()
        };
        let small = RecordFlags {
            record_loop: Some("folder".into()),
            keep: Some(1_000_000),
            ..RecordFlags::default()
        };

        for (flag, flags, word) in [
            ("--record", flags("film.mov"), ".mkv"),
            ("--record", flags("film"), ".avi"),
            ("--record", flags("film.gif"), "fanlight-gif"),
            ("--record-for", no_time, "is 0"),
            ("--record-every", lonely, "where to"),
            ("--keep", small, "10MB or more"),
        ] {
            let error = flags.plan().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{flag}` ")), "{error}");
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn sizes_are_decimal() {
        assert_eq!(parse_bytes("500MB"), Ok(500_000_000));
        assert_eq!(parse_bytes("2tb"), Ok(2_000_000_000_000));
        for text in ["10", "10G", "1.5GB", "99999999999TB", ""] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }
}
