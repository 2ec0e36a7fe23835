//! The flags of a recording, and the plan that they make. The main thread calls it when the program starts.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure};

use super::parse_duration;
use crate::record::Plan;

/// The flags of a recording.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct RecordFlags {
    /// Record what is shown to FILE.avi: the JPEGs as received. (fanlight-gif makes animated GIFs.)
    ///
    /// An AVI goes on until the viewer ends; at 2 GiB, after a million frames, and when the size of the picture changes,
    /// it goes on in FILE-2.avi and so on. A file that is there already is overwritten.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,

    /// Stop recording after so long: 500ms, 10s, 2m, 1h
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "record")]
    pub record_for: Option<Duration>,
}

impl RecordFlags {
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

        match suffix.as_str() {
            "avi" => {}
            "gif" => bail!(
                "`--record` is {}; fanlight-gif records GIFs",
                path.display()
            ),
            _ => bail!(
                "`--record` is {}; its name must end in .avi",
                path.display()
            ),
        }

        ensure!(
            self.record_for != Some(Duration::ZERO),
            "`--record-for` is 0; leave it out to record until the end"
        );

        Ok(Some(Plan::avi(path, self.record_for)))
    }
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
    fn an_avi_is_recorded_until_the_end_unless_told_otherwise() {
        assert!(RecordFlags::default().plan().unwrap().is_none());
        for name in ["a.avi", "a.AVI"] {
            let plan = flags(name).plan().unwrap().unwrap();
            assert_eq!((plan.path, plan.length), (name.into(), None));
        }
    }

    #[test]
    fn what_cannot_be_recorded_is_refused_by_the_name_of_its_flag() {
        let no_time = RecordFlags {
            record_for: Some(Duration::ZERO),
            ..flags("a.avi")
        };

        for (flag, flags, word) in [
            ("--record", flags("film.mp4"), ".avi"),
            ("--record", flags("film"), ".avi"),
            ("--record", flags("film.gif"), "fanlight-gif"),
            ("--record-for", no_time, "is 0"),
        ] {
            let error = flags.plan().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{flag}` ")), "{error}");
            assert!(error.contains(word), "{error}");
        }
    }
}
