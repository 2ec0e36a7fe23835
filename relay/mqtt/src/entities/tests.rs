use fanlight_proto::limits::SOURCE_STALE;
use serde_json::from_slice;

use super::*;

fn settings() -> Settings {
    Settings {
        broker: "mqtt://box".parse().unwrap(),
        user: None,
        password: None,
        ca_file: None,
        prefix: "fanlight".parse().unwrap(),
        id: "box".to_owned(),
        discovery: "homeassistant".parse().ok(),
        page: None,
        pictures: None,
        directs: false,
    }
}

fn at(seconds: u64) -> Time {
    Time::default() + Duration::from_secs(1_000_000 + seconds)
}

fn published(retained: &mut RetainedMessages) -> BTreeMap<String, String> {
    let all = std::iter::from_fn(|| retained.next());
    all.map(|(topic, payload)| (topic, String::from_utf8(payload.to_vec()).unwrap()))
        .collect()
}

#[test]
fn the_relay_is_described_once_and_told_of() {
    let (mut entities, mut retained) = (Entities::new(&settings()), RetainedMessages::default());
    let table = StreamTable::new(SOURCE_STALE);
    retained.publish_all();
    entities.look(&table, at(0), &mut retained);

    let all = published(&mut retained);
    let config: Value =
        from_slice(all["homeassistant/device/box/relay/config"].as_bytes()).unwrap();
    assert_eq!(config["state_topic"], "fanlight/box/relay/state");
    let state: Value = from_slice(all["fanlight/box/relay/state"].as_bytes()).unwrap();
    assert_eq!(state["streams"], 0);
    assert_eq!(all["fanlight/box/relay/availability"], "online");

    entities.look(&table, at(60), &mut retained);
    assert!(published(&mut retained).is_empty(), "nothing has changed");
}

#[test]
fn without_discovery_only_states_are_told() {
    let settings = Settings {
        discovery: None,
        ..settings()
    };
    let (mut entities, mut retained) = (Entities::new(&settings), RetainedMessages::default());
    retained.publish_all();
    entities.look(&StreamTable::new(SOURCE_STALE), at(0), &mut retained);
    assert!(
        published(&mut retained)
            .keys()
            .all(|topic| topic.starts_with("fanlight/"))
    );
    assert!(Topics::new(&settings).subscriptions().is_empty());
}

#[test]
fn what_an_earlier_run_described_is_away_and_after_a_day_forgotten() {
    let (mut entities, mut retained) = (Entities::new(&settings()), RetainedMessages::default());
    let table = StreamTable::new(SOURCE_STALE);
    retained.publish_all();
    entities.note_described("stream-old", at(0));
    entities.note_described("relay", at(0));
    entities.look(&table, at(0), &mut retained);
    let all = published(&mut retained);
    assert_eq!(all["fanlight/box/stream-old/availability"], "offline");
    assert_eq!(
        all["fanlight/box/relay/availability"], "online",
        "it is there"
    );

    entities.look(&table, at(0) + KEPT, &mut retained);
    let all = published(&mut retained);
    for topic in [
        "homeassistant/device/box/stream-old/config",
        "fanlight/box/stream-old/state",
        "fanlight/box/stream-old/availability",
    ] {
        assert_eq!(all[topic], "", "{topic}");
    }
}

#[test]
fn only_so_many_objects_of_others_are_remembered() {
    let mut entities = Entities::new(&settings());
    for n in 0..2 * MAX_ORPHANS {
        entities.note_described(&n.to_string(), at(0));
    }
    assert_eq!(entities.orphans.len(), MAX_ORPHANS);
}

#[test]
fn only_descriptions_of_this_relay_are_its_own() {
    let topics = Topics::new(&settings());
    let described = |topic| topics.described(topic);
    assert_eq!(
        described("homeassistant/device/box/stream-a/config"),
        Some("stream-a")
    );
    for other in [
        "homeassistant/device/box2/stream-a/config",
        "homeassistant/device/box/a/b/config",
        "homeassistant/device/box//config",
        "homeassistant/sensor/box/stream-a/config",
        "homeassistant/status",
        "fanlight/device/box/stream-a/config",
    ] {
        assert_eq!(described(other), None, "{other}");
    }
}
