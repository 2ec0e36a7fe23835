//! The fuzz targets on their committed corpus, so that what a fuzzer once found stays found.

use std::path::Path;

#[path = "../../fuzz/proto.rs"]
#[allow(
    unreachable_pub,
    reason = "shared with the fuzz targets, which are binaries of another workspace"
)]
mod targets;

fn replay(name: &str, target: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(name);
    let mut runs = 0;
    for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
    {
        let path = entry.expect("the folder can be listed").path();
        eprintln!("{}", path.display());
        target(&std::fs::read(&path).expect("a committed file can be read"));
        runs += 1;
    }

    assert!(runs > 0, "{} is empty", folder.display());
}

#[test]
fn every_datagram_of_the_corpus_is_survived() {
    replay("datagram", targets::datagram);
}

#[test]
fn every_frame_of_the_corpus_is_survived() {
    replay("frame", targets::frame);
}

#[test]
fn every_shard_sequence_of_the_corpus_is_survived() {
    replay("reassembly", targets::reassembly);
}

#[test]
fn every_damaged_sealed_message_of_the_corpus_is_refused() {
    replay("noise", targets::noise);
}

#[test]
fn every_stream_of_zmtp_of_the_corpus_is_survived() {
    replay("zmtp", targets::zmtp);
}

#[test]
fn every_forged_handshake_and_seal_of_the_corpus_is_refused() {
    replay("handshake", targets::handshake);
}

#[test]
fn every_choice_of_shards_of_the_corpus_brings_the_frame_or_nothing() {
    replay("parity", targets::parity);
}

#[test]
fn every_upstream_message_of_the_corpus_is_survived() {
    replay("upstream", targets::upstream);
}
