//! The programs in containers on a network of their own, as compose.yaml starts them, and viewers on other hosts.

mod engine;

use std::fs;
use std::net::SocketAddr;

use fanlight_tests::TestEnv;
use fanlight_tests::document::{Document, put_programs, shell};
use fanlight_tests::http::Site;
use fanlight_tests::lab::Lab;
use fanlight_tests::wait::{SOON, until};

use engine::Engine;

#[test]
fn viewers_beyond_the_network_of_the_containers_watch_both_relays_and_the_page() {
    let Some(lab) = Lab::open() else { return };
    let (env, host, screen) = (TestEnv::new(), lab.host("box"), lab.host("screen"));
    let Some(engine) = Engine::on(&host) else {
        return;
    };

    let programs = put_programs(&env);
    Document::read("containers.md").run(|name, commands| {
        let commands = commands.replace("192.168.1.10", &host.address().to_string());
        match name {
            "box" => engine.command(&commands),
            _ => shell(&env, &screen.enter(), &programs, &commands),
        }
    });
    let picture = fs::read(env.path("picture.jpg")).unwrap();
    assert!(picture.starts_with(&[0xFF, 0xD8]));

    let relay = |port| SocketAddr::from((host.address(), port)).to_string();
    let viewing = env
        .viewer_at(&relay(5004), "camera")
        .flag("relay", relay(5005))
        .under(&screen.enter())
        .start();
    viewing.wait_shown(30);
    let site = Site((host.address(), 8080).into());
    let viewers = screen.within(|| site.get("/api/viewers").json());
    assert_eq!(viewers["viewers"][0]["kind"], "udp", "{viewers}");
    engine.sh("podman kill fanlight-relay-second");
    viewing.wait_more(30);
    engine.sh("podman kill --signal HUP fanlight-relay");
    viewing.wait_more(10);
    let (report, _) = viewing.finish();
    report.assert_balanced();
    assert_eq!(report.joins, 2, "{report:?}");

    assert_nothing_to_break_out_with(&engine);
    engine.sh("podman stop fanlight-source");
    until("the relay's container is unhealthy", SOON, || {
        let check = engine
            .command("podman healthcheck run fanlight-relay")
            .status();
        (!check.unwrap().success()).then_some(())
    });
}

/// Neither a shell nor rights.
fn assert_nothing_to_break_out_with(engine: &Engine) {
    for container in ["fanlight-source", "fanlight-relay"] {
        let shell = engine.command(&format!("podman exec {container} /bin/sh -c true"));
        let refused = { shell }.output().unwrap();
        assert!(!refused.status.success());

        let pid = engine.sh(&format!(
            "podman inspect -f '{{{{.State.Pid}}}}' {container}"
        ));
        let status = fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap();
        for right in [
            "Uid:\t65532\t65532",
            "CapEff:\t0000000000000000",
            "NoNewPrivs:\t1",
        ] {
            assert!(status.contains(right), "{container}: {status}");
        }
    }
}
