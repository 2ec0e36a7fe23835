//! `fanlight-viewer compare`: a table of UDP and TCP over the user's own network.

use fanlight_tests::TestEnv;

#[test]
fn a_viewer_compares_the_ways_to_its_relay_and_says_why_one_showed_nothing() {
    let env = TestEnv::new();
    let _source = env.source("cam").flags("--input ball").ready();
    let _relay = env
        .relay(0, &[env.ipc("cam")])
        .flag("http", env.http_address(0).to_string())
        .ready();

    let ways = [
        env.relay_address(0).to_string(),
        format!("ws://{}", env.http_address(0)),
        env.relay_address(1).to_string(),
    ];

    let compare = env
        .program("viewer")
        .flags("compare --each 400ms --stream cam --relay")
        .flags(&ways.join(" --relay "))
        .ends_with(0);
    for way in &ways {
        for buffer in ["1000", "10000", "30000", "4194304"] {
            compare.says(&[&format!("| {way} | {buffer} | ")]);
        }
    }

    compare.says(&["| 0.0 | - | - | - | - |", "nobody listens at"]);
}
