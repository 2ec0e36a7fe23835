//! For the fuzzer and for tests with its corpus: what a broker sends, taken apart as the output does.

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::Packet;

use crate::names::is_object_id;
use crate::{Settings, TopicPrefix, topics::Topics};

/// Reads packets until there is none any more.
///
/// # Panics
/// When something is wrong with the program.
pub fn mqtt(bytes: &[u8]) {
    let discovery: Option<TopicPrefix> = "homeassistant".parse().ok();
    let Some((prefix, broker)) = "fanlight".parse().ok().zip("mqtt://box".parse().ok()) else {
        return;
    };
    let topics = Topics::new(&Settings {
        broker,
        user: None,
        password: None,
        ca_file: None,
        prefix,
        id: "box".to_owned(),
        discovery,
        page: None,
        pictures: None,
        directs: false,
    });

    let mut input = BytesMut::from(bytes);
    while let Ok(packet) = Packet::read(&mut input, 64 << 10) {
        if let Packet::Publish(message) = packet
            && let Some(object) = topics.described(&message.topic)
        {
            assert!(is_object_id(object), "{object}");
        }
    }
}

#[cfg(test)]
mod tests {
    use fanlight_daemon::testing::replay_corpus;

    #[test]
    fn corpus_of_mqtt_runs() {
        replay_corpus("mqtt", super::mqtt);
    }
}
