//! The file of controls that were set to last: a line `name = value` for each. Read at each opening of the camera, on the
//! capture thread; written by whoever sets controls.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// Controls that are kept: more than cameras have.
const MAX_SAVED: usize = 256;

/// No file of so many controls is longer.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// What `file` keeps. A file that is missing keeps nothing; one that cannot be read is said.
pub(super) fn read(file: &Path) -> BTreeMap<String, i64> {
    load(file).unwrap_or_else(|error| {
        let file = file.display();
        tracing::warn!(%file, "no control is set as it was saved: {error}");
        BTreeMap::new()
    })
}

/// Keeps `set` too.
pub(super) fn add(file: &Path, set: BTreeMap<String, i64>) -> io::Result<()> {
    let mut saved = load(file)?;
    saved.extend(set);
    if saved.len() > MAX_SAVED {
        return Err(io::Error::other("it is full: remove lines"));
    }

    let lines = saved
        .iter()
        .map(|(name, value)| format!("{name} = {value}\n"));
    let newer = file.with_extension("new");
    fs::write(&newer, lines.collect::<String>())?;
    fs::rename(newer, file)
}

fn load(file: &Path) -> io::Result<BTreeMap<String, i64>> {
    let mut text = String::new();
    match File::open(file) {
        Ok(found) => drop(found.take(MAX_FILE_BYTES).read_to_string(&mut text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }

    let entry = |line: &str| {
        let (name, value) = line.split_once('=')?;
        Some((name.trim().to_owned(), value.trim().parse().ok()?))
    };
    Ok(text.lines().filter_map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_last_of_each_control_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cam.controls");
        assert!(read(&file).is_empty());
        let entries = |set: &[(&str, i64)]| -> BTreeMap<String, i64> {
            set.iter()
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect()
        };

        add(
            &file,
            entries(&[("brightness", 9), ("pan_absolute", -3600)]),
        )
        .unwrap();
        add(&file, entries(&[("brightness", 10)])).unwrap();
        assert_eq!(
            read(&file),
            entries(&[("brightness", 10), ("pan_absolute", -3600)])
        );
        assert!(add(&folder.path().join("none/cam.controls"), BTreeMap::new()).is_err());
    }
}
