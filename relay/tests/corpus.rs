//! The fuzz target on its committed corpus, so that what a fuzzer once found stays found, and on random bytes.

#[path = "../../fuzz/relay.rs"]
#[allow(
    unreachable_pub,
    reason = "shared with the fuzz target, which is a binary of another workspace"
)]
mod targets;

#[test]
fn every_sequence_of_the_corpus_is_survived() {
    fanlight_daemon::testing::replay_corpus("relay_engine", targets::engine);
}

/// A linear congruential generator (Knuth's MMIX): the same numbers in every run.
#[test]
fn random_sequences_are_survived() {
    let mut seed = 2026_u64;
    let mut bytes = Vec::new();

    for _ in 0..10_000 {
        bytes.clear();
        bytes.extend((0..600).map(|_| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            // Often a join, a keep-alive or a frame, with little numbers.
            let byte = (seed >> 40) as u8;
            if seed >> 62 == 0 { byte % 9 } else { byte }
        }));

        targets::engine(&bytes);
    }
}
