use super::*;

fn config(set: impl FnOnce(&mut Options)) -> Config {
    let mut options = Options::default();
    set(&mut options);
    options.resolve()
}

#[test]
fn the_shipped_file_says_the_defaults() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/source.toml");
    fanlight_daemon::testing::assert_ships_defaults::<Options>(file);
}

#[test]
fn the_defaults_can_be_used() {
    Config::default().check().unwrap();
}

#[test]
fn an_endpoint_that_others_can_reach_has_to_be_allowed() {
    let remote = || vec!["tcp://0.0.0.0:5700".parse().unwrap()];
    let error = config(|o| o.publish = Some(remote()))
        .check()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("allow_remote = true") && error.contains("tcp://0.0.0.0:5700"),
        "{error}"
    );
    let allowed = |o: &mut Options| (o.publish, o.allow_remote) = (Some(remote()), Some(true));
    config(allowed).check().unwrap();
    let sealed = |o: &mut Options| {
        (o.publish, o.feed_key) = (Some(remote()), Some("/a/key".parse().unwrap()));
    };
    config(sealed).check().unwrap();
    config(|o| o.publish = Some(vec!["tcp://127.0.0.1:5700".parse().unwrap()]))
        .check()
        .unwrap();
}

#[test]
fn what_cannot_be_used_is_refused_by_name() {
    type Case = (&'static str, fn(&mut Options));
    let bad: [Case; 18] = [
        ("for the pattern", |o| {
            (o.input, o.size) = (Some(InputKind::Pattern), "64x64".parse().ok());
        }),
        ("given twice", |o| {
            o.publish = Some(vec![
                "ipc:///a".parse().unwrap(),
                "ipc:///a".parse().unwrap(),
            ]);
        }),
        ("rate must be", |o| o.rate = Some(0.0)),
        ("rate must be", |o| o.rate = Some(f64::NAN)),
        ("quality", |o| o.quality = Some(0)),
        ("rotate", |o| o.rotate = Some(45)),
        ("scale", |o| o.scale = Some(2.0)),
        ("radius must be", |o| o.radius = Some(400.0)),
        ("speed must be", |o| o.speed = Some(0.0)),
        ("--path", |o| o.input = Some(InputKind::Files)),
        ("stall_seconds", |o| o.stall_seconds = Some(0.0)),
        ("max_error", |o| o.max_error = Some(f64::NAN)),
        ("max_age", |o| o.max_age = "2m".parse().ok()),
        ("history_size", |o| o.history_size = Some(0)),
        ("canary_rate", |o| o.canary_rate = Some(0.5)),
        ("idle_rate", |o| o.idle_rate = Some(0.0)),
        ("idle_after", |o| o.idle_after = "10ms".parse().ok()),
        ("standard input", |o| {
            (o.input, o.idle) = (Some(InputKind::Pipe), Some(IdlePolicy::Close));
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
    for bad in ["640", "640x", "8x8", "4000x480", "640X480", "-1x20"] {
        assert!(bad.parse::<Size>().is_err(), "{bad}");
    }
}
