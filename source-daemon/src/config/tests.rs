use super::*;

fn config(set: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    set(&mut config);
    config
}

#[test]
fn the_shipped_file_says_the_defaults() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/source.toml");
    fanlight_daemon::testing::assert_ships_defaults::<Config>(file);
}

#[test]
fn the_defaults_can_be_used() {
    Config::default().check().unwrap();
}

#[test]
fn an_endpoint_that_others_can_reach_has_to_be_allowed() {
    let remote = || vec!["tcp://0.0.0.0:5700".parse().unwrap()];
    let error = config(|o| o.publish = remote())
        .check()
        .unwrap_err()
        .to_string();

    assert!(
        error.contains("allow_remote = true") && error.contains("tcp://0.0.0.0:5700"),
        "{error}"
    );

    let allowed = |o: &mut Config| {
        o.publish = remote();
        o.allow_remote = true;
    };

    config(allowed).check().unwrap();
    let sealed = |o: &mut Config| {
        o.publish = remote();
        o.feed_key = Some("/a/key".parse().unwrap());
    };

    config(sealed).check().unwrap();
    let known = |o: &mut Config| {
        o.publish = remote();
        o.feed_identity = Some("/a/key".parse().unwrap());
        o.relay_keys = Some("/a/list".parse().unwrap());
    };

    config(known).check().unwrap();
    config(|o| o.publish = vec!["tcp://127.0.0.1:5700".parse().unwrap()])
        .check()
        .unwrap();
}

#[test]
fn what_cannot_be_used_is_refused_by_name() {
    type Case = (&'static str, fn(&mut Config));
    let bad: [Case; 19] = [
        ("for the pattern", |o| {
            o.input = InputKind::Pattern;
            o.size = "64x64".parse().ok();
        }),
        ("given twice", |o| {
            o.publish = vec!["ipc:///a".parse().unwrap(), "ipc:///a".parse().unwrap()];
        }),
        ("feed_identity needs relay_keys", |o| {
            o.feed_identity = Some("/a/key".parse().unwrap());
        }),
        ("rate must be", |o| o.rate = Some(0.0)),
        ("rate must be", |o| o.rate = Some(f64::NAN)),
        ("quality", |o| o.quality = 0),
        ("rotate", |o| o.rotate = 45),
        ("scale", |o| o.scale = 2.0),
        ("radius must be", |o| o.radius = Some(400.0)),
        ("speed must be", |o| o.speed = 0.0),
        ("--path", |o| o.input = InputKind::Files),
        ("stall_seconds", |o| o.stall_seconds = 0.0),
        ("max_error", |o| o.max_error = f64::NAN),
        ("max_age", |o| o.max_age = "2m".parse().unwrap()),
        ("history_size", |o| o.history_size = 0),
        ("canary_rate", |o| o.canary_rate = 0.5),
        ("idle_rate", |o| o.idle_rate = 0.0),
        ("idle_after", |o| o.idle_after = "10ms".parse().unwrap()),
        ("standard input", |o| {
            o.input = InputKind::Pipe;
            o.idle = IdlePolicy::Close;
        }),
    ];

    for (says, set) in bad {
        let error = config(set).check().unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn sizes_are_written_with_an_x() {
    assert_eq!(
        "640x480".parse(),
        Ok(Size {
            width: 640,
            height: 480
        })
    );

    for bad in ["640", "640x", "8x8", "16400x480", "640X480", "-1x20"] {
        assert!(bad.parse::<Size>().is_err(), "{bad}");
    }
}
