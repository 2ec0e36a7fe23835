//! The pictures, made by `python/foreign_jpegs.py`, and the table of what became of them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use fanlight_tests::python::script;
use serde::Deserialize;

use super::look::{Seen, Surface};

/// Fields of a picture: four across, three down, from the upper left.
pub(super) const ACROSS: usize = 4;
pub(super) const DOWN: usize = 3;

/// The mean colours of the fields: red, green, blue.
pub(super) type Grid = Vec<[f64; 3]>;

/// The exit code of the script where an encoder is not installed.
const NOT_INSTALLED: i32 = 3;

/// Largest difference of a colour between two decoders' pictures of one JPEG: they scale chroma and four colours in their
/// own ways. Two pictures of the table differ by more in most of their fields.
const TOLERANCE: f64 = 26.0;

/// A picture. See `python/foreign_jpegs.py`.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) maker: String,
    pub(super) file: PathBuf,
    says: String,
    pub(super) grid: Option<Grid>,
    pub(super) size: Option<(u32, u32)>,
}

impl Row {
    /// Whether `text` names what is wrong with the picture.
    pub(super) fn is_named_by(&self, text: &str) -> bool {
        self.says.split('|').any(|words| text.contains(words))
    }
}

/// Whether two pictures are the same, but for the arithmetic of their decoders.
pub(super) fn same(a: &Grid, b: &Grid) -> bool {
    a.len() == b.len()
        && a.iter()
            .flatten()
            .zip(b.iter().flatten())
            .all(|(a, b)| (a - b).abs() < TOLERANCE)
}

/// Makes the pictures; else says what is not installed.
pub(super) fn make(python: &Path, folder: &Path) -> Result<Vec<Row>, String> {
    std::fs::create_dir(folder).unwrap();
    let made = Command::new(python)
        .arg(script("foreign_jpegs.py"))
        .arg(folder)
        .output()
        .unwrap();

    let said = String::from_utf8_lossy(&made.stderr);
    if made.status.code() == Some(NOT_INSTALLED) {
        return Err(said.trim().to_owned());
    }

    assert!(made.status.success(), "{said}");
    let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
    Ok(serde_json::from_slice(&manifest).unwrap())
}

/// What became of each picture, in Markdown.
#[derive(Debug)]
pub(super) struct Table {
    text: String,
    folder: String,
}

impl Table {
    /// An empty table; `folder` is left out of what was said.
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            text: String::new(),
            folder: format!("{}/", folder.display()),
        }
    }

    /// Adds a line, or one for each input where they differ.
    pub(super) fn add(&mut self, row: &Row, seen: &[Seen]) {
        let cells: Vec<String> = seen.iter().map(|seen| self.cells(seen)).collect();
        let alike = cells.iter().all(|other| *other == cells[0]);
        let count = if alike { 1 } else { cells.len() };
        let cells_count = cells.len();
        for (seen, cells) in seen.iter().zip(&cells).take(count) {
            let input = match seen.input {
                _ if alike && cells_count > 1 => "both",
                "cam" => "camera",
                input => input,
            };
            let line = format!("| {} | {} | {input} | {cells} |", row.name, row.maker);
            println!("{line}");
            writeln!(self.text, "{line}").unwrap();
        }
    }

    fn cells(&self, seen: &Seen) -> String {
        let surface = |surface: &Surface| {
            let shows = surface.shows.word();
            let says = surface.says.replace(&self.folder, "").replace('|', "/");
            format!("{shows}: {says}")
        };

        let said = |text: &str| text.replace(&self.folder, "").replace('|', "/");
        [
            said(&seen.source),
            said(&seen.relay),
            surface(&seen.headless),
            surface(&seen.window),
            surface(&seen.page),
        ]
        .join(" | ")
    }

    /// Writes it as its part of a file below target/, or of that in docs/ when that is asked for.
    pub(super) fn write(&self, part: Part) {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign-jpegs.md");
        self.write_to(&target, part);
        if std::env::var_os("FANLIGHT_WRITE_DOCS").is_some() {
            let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/foreign-jpegs.md");
            self.write_to(&docs, part);
        }
    }

    fn write_to(&self, file: &Path, part: Part) {
        let before = std::fs::read_to_string(file).unwrap_or_default();
        let (files, camera) = before.split_at(before.find(CAMERA_HEAD).unwrap_or(before.len()));
        let text = match part {
            Part::Files => format!("{HEAD}{TITLES}{}{camera}", self.text),
            Part::Camera => format!("{files}{CAMERA_HEAD}{TITLES}{}", self.text),
        };
        std::fs::write(file, text).unwrap();
    }
}

/// The parts of the document, in its order. Each is written by a test of its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Files,
    Camera,
}

const HEAD: &str = "\
# Foreign JPEGs

What becomes of pictures of other encoders, whole and damaged. Written by

    FANLIGHT_WRITE_DOCS=1 cargo test --workspace --test screens foreign_jpegs

Each picture goes by a file and by a pipe through a source and a relay to a viewer without a window, a window and the page in
Chromium. `same`: the surface shows new frames with the picture that Pillow decodes, upright. `nothing`: it shows none. Behind
the colon is what it says. The columns of source and relay are what `fanlight-source status` and `/api` say. That damaged
pictures do not leave the source is decision 051: viewers show none of them, but browsers draw what is left of one.

";

const TITLES: &str = "\
| picture | encoder | input | source | relay | viewer | window | page |
|---|---|---|---|---|---|---|---|
";

const CAMERA_HEAD: &str = "
## By a webcam

The same by the kernel's own webcam driver (uvcvideo, V4L2) in a virtual machine, from a webcam in user space that sends these
files as its pictures; the first of each name. Of an empty picture this driver hands on nothing, so it is not told apart from
none. Webcams that are hardware were not tried. Written by

    FANLIGHT_WRITE_DOCS=1 integration-tests/camera-rig/test foreign_jpegs::camera

";
