//! The settings of the relay.

use super::*;
use fanlight_daemon::testing::assert_ships_defaults;
use fanlight_proto::limits::MAX_FRAME_BYTES;

#[test]
fn the_shipped_file_says_the_defaults() {
    assert_ships_defaults::<Config>(concat!(env!("CARGO_MANIFEST_DIR"), "/../config/relay.toml"));
    Config::default().check().unwrap();
}

#[test]
fn a_port_that_others_can_reach_is_opened_only_on_purpose() {
    for (listen, loopback) in [
        ("127.0.0.1:1", true),
        ("[::1]:1", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("0.0.0.0:1", false),
        ("[::]:1", false),
    ] {
        let listen = listen.parse().unwrap();
        let config = Config {
            listen,
            ..Config::default()
        };
        assert_eq!(
            config.check(),
            if loopback {
                Ok(())
            } else {
                Err(ConfigError::NotOpen(listen))
            }
        );
        Config {
            access: Access::Open,
            ..config.clone()
        }
        .check()
        .unwrap();
        let key_file = Some("/k".parse().unwrap());
        Config {
            access: Access::Psk,
            key_file,
            ..config
        }
        .check()
        .unwrap();
    }
}

#[test]
fn access_by_key_needs_its_files_and_nothing_else_takes_them() {
    let key: Option<KeyPath> = Some("/k".parse().unwrap());
    let check = |access, key_file: &Option<KeyPath>, viewer_keys: &Option<KeyPath>| {
        let (key_file, viewer_keys) = (key_file.clone(), viewer_keys.clone());
        Config {
            access,
            key_file,
            viewer_keys,
            ..Config::default()
        }
        .check()
        .is_ok()
    };

    for (access, with_key, with_viewers) in [
        (Access::Loopback, false, false),
        (Access::Open, false, false),
        (Access::Psk, true, false),
        (Access::Keys, true, true),
    ] {
        for (key_file, viewer_keys) in [(&None, &None), (&key, &None), (&None, &key), (&key, &key)]
        {
            let wanted = (key_file.is_some(), viewer_keys.is_some()) == (with_key, with_viewers);
            assert_eq!(
                check(access, key_file, viewer_keys),
                wanted,
                "{access} {key_file:?} {viewer_keys:?}"
            );
        }
    }
}

#[test]
fn a_source_on_another_host_needs_a_key_or_the_word_that_it_needs_none() {
    let far: Endpoint = "tcp://192.168.1.10:5010".parse().unwrap();
    let sources = vec![
        "ipc:///run/fanlight/source.ipc".parse().unwrap(),
        far.clone(),
    ];

    let config = Config {
        sources,
        ..Config::default()
    };

    assert_eq!(config.check(), Err(ConfigError::Unsealed(far)));
    Config {
        allow_remote_sources: true,
        ..config.clone()
    }
    .check()
    .unwrap();

    Config {
        feed_key: Some("/a/key".parse().unwrap()),
        ..config.clone()
    }
    .check()
    .unwrap();

    let own = Config {
        feed_identity: Some("/a/key".parse().unwrap()),
        ..config
    };

    let half = own.check().unwrap_err().to_string();
    assert!(
        half.starts_with("feed_identity needs source_keys"),
        "{half}"
    );
    Config {
        source_keys: Some("/a/list".parse().unwrap()),
        ..own
    }
    .check()
    .unwrap();
}

#[test]
fn a_source_to_which_nobody_can_connect_is_refused() {
    for source in ["tcp://*:5010", "tcp://127.0.0.1:0"] {
        let config = Config {
            sources: vec![source.parse().unwrap()],
            allow_remote_sources: true,
            ..Config::default()
        };
        let error = config.check().unwrap_err().to_string();
        assert!(
            error.starts_with("sources: ") && error.contains(source),
            "{error}"
        );
    }
}

#[test]
fn groups_are_sixty_four_and_their_interface_is_known_and_fits_who_may_come() {
    let config = |multicast: &str, listen: &str| Config {
        multicast: Some(multicast.parse().unwrap()),
        listen: listen.parse().unwrap(),
        access: Access::Open,
        ..Config::default()
    };

    for bad in [
        "10.0.0.1:5005",
        "224.0.0.1:5005",
        "223.255.255.250:5005",
        "239.255.255.193:5005",
        "239.1.0.0:0",
    ] {
        let bad = config(bad, "10.0.0.1:5004");
        assert_eq!(
            bad.check(),
            Err(ConfigError::NotAGroup("multicast", bad.multicast.unwrap()))
        );
    }

    let good = config("239.255.255.192:5005", "10.0.0.1:5004");
    good.check().unwrap();
    let (multicast, reach) = good.multicast().unwrap();
    assert_eq!(
        (multicast.from, reach.interface, reach.ttl, reach.looped),
        (LISTEN, LISTEN, 1, false)
    );

    assert_eq!(multicast.group(63).to_string(), "239.255.255.255:5005");
    let anywhere = config("239.1.0.0:5005", "0.0.0.0:5004");
    assert_eq!(
        anywhere.check(),
        Err(ConfigError::NoInterface(anywhere.listen))
    );

    let told = Config {
        multicast_interface: Some(LISTEN),
        ..anywhere
    };

    told.check().unwrap();
    assert_eq!(told.multicast().unwrap().0.from, LISTEN);
    assert!(matches!(
        config("239.1.0.0:5005", "[::]:5004").check(),
        Err(ConfigError::NotIpv4(_))
    ));

    let local = Config {
        access: Access::Loopback,
        ..config("239.1.0.0:5005", "127.0.0.1:5004")
    };

    local.check().unwrap();
    let leaving = Config {
        multicast_interface: Some(LISTEN),
        ..local
    };

    assert_eq!(leaving.check(), Err(ConfigError::Leaves(LISTEN)));
    assert_eq!(Config::default().multicast(), None);
    assert!(
        Config {
            multicast_ttl: 0,
            ..Config::default()
        }
        .check()
        .is_err()
    );
}

const LISTEN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

#[test]
fn a_number_out_of_range_is_named() {
    let config = Config {
        max_viewers: 0,
        ..Config::default()
    };

    assert!(
        config
            .check()
            .unwrap_err()
            .to_string()
            .starts_with("max_viewers = 0 is out of range")
    );

    assert!(
        Config {
            max_frame_bytes: MAX_FRAME_BYTES + 1,
            ..Config::default()
        }
        .check()
        .is_err()
    );

    assert!(
        Config {
            key_rotation_s: 1,
            ..Config::default()
        }
        .check()
        .is_err()
    );

    assert!(
        Config {
            source_stale_ms: 250,
            ..Config::default()
        }
        .check()
        .is_err()
    );
}

#[test]
fn groups_of_rtsp_are_for_relays_that_everyone_may_watch_and_ports_are_even() {
    let good = Config {
        rtsp: Some("10.0.0.1:8554".parse().unwrap()),
        rtsp_multicast: Some("239.255.43.0:5006".parse().unwrap()),
        http_access: HttpAccess::Open,
        listen: "10.0.0.1:5004".parse().unwrap(),
        access: Access::Open,
        ..Config::default()
    };
    good.check().unwrap();

    let with = |change: fn(&mut Config)| {
        let mut config = good.clone();
        change(&mut config);
        config
    };
    let bad = [
        with(|config| config.http_access = HttpAccess::Loopback),
        with(|config| config.http = config.rtsp.take()),
        with(|config| config.rtsp_multicast = Some("239.255.43.0:5007".parse().unwrap())),
        with(|config| config.rtsp_multicast = Some("239.255.255.200:5006".parse().unwrap())),
    ];
    let errors = bad.map(|config| config.check().unwrap_err());
    assert!(
        matches!(
            errors,
            [
                ConfigError::GroupsAskNobody,
                ConfigError::NoRtsp("rtsp_multicast"),
                ConfigError::OddPort(_),
                ConfigError::NotAGroup("rtsp_multicast", _)
            ]
        ),
        "{errors:?}"
    );
}

#[test]
fn streams_are_published_to_other_hosts_only_sealed_or_on_purpose() {
    let remote = |publish_unsealed| Config {
        publish: vec!["tcp://*:5020".parse().unwrap()],
        publish_unsealed,
        ..Config::default()
    };
    let refused = remote(false).check().unwrap_err().to_string();
    assert!(refused.contains("publish_unsealed"), "{refused}");
    remote(true).check().unwrap();

    let local = Config {
        publish: vec!["ipc:///run/a.ipc".parse().unwrap()],
        ..Config::default()
    };
    local.check().unwrap();
    let keys = Config {
        publish_keys: Some("/a".parse().unwrap()),
        ..local
    };
    assert_eq!(keys.check(), Err(ConfigError::PublishKeysAlone));
}
