//! The fuzz target of the walk through a JPEG's markers.

use super::splitter::Splitter;
use super::{check_scans, inspect};

/// Bytes in which pictures may stand, one after the other: however they are cut, the same pictures come out whole, and each
/// other byte is counted. The first byte says how they are cut.
///
/// # Panics
/// When something is wrong with the program.
pub fn jpeg(bytes: &[u8]) {
    let Some((step, bytes)) = bytes.split_first() else {
        return;
    };

    let _ = (inspect(bytes), check_scans(bytes));
    let pictures = split(bytes, bytes.len().max(1));
    assert_eq!(split(bytes, usize::from(*step).max(1)), pictures);
}

fn split(bytes: &[u8], step: usize) -> Vec<Vec<u8>> {
    let mut splitter = Splitter::default();
    let mut pictures = Vec::new();
    for chunk in bytes.chunks(step) {
        splitter.push(chunk);
        while let Some(picture) = splitter.pop() {
            let jpeg = picture.jpeg();
            check_scans(jpeg).expect("pictures come out whole");
            let _ = inspect(jpeg);
            pictures.push(jpeg.to_vec());
        }
    }

    splitter.finish();
    let taken: usize = pictures.iter().map(Vec::len).sum();
    assert_eq!(taken as u64 + splitter.garbage(), bytes.len() as u64);
    assert_eq!(splitter.offset(), bytes.len() as u64);
    pictures
}

#[cfg(test)]
#[test]
fn every_jpeg_of_the_corpus_is_survived() {
    fanlight_daemon::testing::replay_corpus("jpeg", jpeg);
}
