//! The fuzz target of AVI files.

use std::io::Cursor;

use super::Pictures as _;
use super::avi::Avi;
use crate::jpeg::check_scans;
use crate::jpeg::splitter::MAX_PICTURE;

/// A file that begins as an AVI or not: what comes out is whole pictures, as often as there are chunks for them at most, and
/// after going back the same ones again.
///
/// # Panics
/// When something is wrong with the program.
pub fn avi(bytes: &[u8]) {
    let Ok(mut avi) = Avi::new(Cursor::new(bytes), bytes.len() as u64) else {
        return;
    };

    let mut play = || {
        let mut pictures = Vec::new();
        while let Some(picture) = avi.next().ok().flatten() {
            assert!(picture.jpeg().len() <= MAX_PICTURE && avi.moments() > 0);
            check_scans(picture.jpeg()).expect("pictures come out whole");
            pictures.push(picture.jpeg().len());
        }

        assert!(pictures.len() + avi.broken() as usize <= bytes.len() / 4);
        let _ = (avi.fault(), avi.place(), avi.rate_millihertz());
        avi.rewind().expect("memory can be gone back in");
        pictures
    };

    assert_eq!(play(), play());
}

#[cfg(test)]
#[test]
fn every_avi_file_of_the_corpus_is_survived() {
    fanlight_daemon::testing::replay_corpus("avi", avi);
}
