//! The fuzz target of what a network camera answers.

use super::credentials;
use super::head::{Chunks, parse};
use crate::camera::address::{AddressText, CameraAddress};
use crate::jpeg::check_scans;
use crate::jpeg::splitter::{MAX_PUSH, Splitter};

/// A whole answer: however its body is cut, the same pictures come out whole. What it asks for and where it sends on is
/// answered, and nothing of it stands in a line of its own. The first byte says how the body is cut.
///
/// # Panics
/// When something is wrong with the program.
pub fn multipart(bytes: &[u8]) {
    let Some((step, bytes)) = bytes.split_first() else {
        return;
    };

    let Ok(Some((head, length))) = parse(bytes) else {
        return;
    };
    assert_eq!(parse(&bytes[..length]), Ok(Some((head.clone(), length))));

    let known = ("user", "never in clear");
    if let Some(field) = credentials::answer(&head.challenges, known, "/x", "1") {
        assert!(!field.contains(['\r', '\n']) && !field.contains(known.1));
    }

    let from: CameraAddress = "http://me:geheim@cam/a/b"
        .parse()
        .expect("it is an address");
    if let Some(there) = head.location.as_deref().and_then(|it| from.join(it).ok()) {
        let again = AddressText::of(&there.full(None)).expect("it has a scheme");
        assert_eq!(again.read().map(|it| it.to_string()), Ok(there.to_string()));
        assert!(there.path.bytes().all(|byte| byte.is_ascii_graphic()));
    }

    let body = &bytes[length..];
    let step = usize::from(*step).max(1);
    assert_eq!(
        pictures(body, step, head.is_chunked),
        pictures(body, MAX_PUSH, head.is_chunked)
    );
}

/// The pictures, and whether the body could be read to its end.
fn pictures(body: &[u8], step: usize, is_chunked: bool) -> (Vec<Vec<u8>>, bool) {
    let (mut splitter, mut chunks) = (Splitter::default(), Chunks::default());
    let mut pictures = Vec::new();
    let mut is_whole = true;
    for bytes in body.chunks(step) {
        if is_chunked {
            is_whole &= chunks.decode(bytes, |bytes| splitter.push(bytes)).is_ok();
        } else {
            splitter.push(bytes);
        }

        while let Some(picture) = splitter.pop() {
            check_scans(picture.jpeg()).expect("pictures come out whole");
            pictures.push(picture.jpeg().to_vec());
        }
        if !is_whole {
            break;
        }
    }

    (pictures, is_whole)
}

#[cfg(test)]
#[test]
fn every_answer_of_the_corpus_is_survived() {
    fanlight_daemon::testing::replay_corpus("multipart", multipart);
}
