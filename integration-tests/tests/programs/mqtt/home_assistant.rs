//! Home Assistant's documented form of device discovery (www.home-assistant.io/integrations/mqtt, and the pages of the
//! platforms sensor.mqtt, binary_sensor.mqtt, select.mqtt and camera.mqtt): which fields there are, and which must be there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// Fields of the whole message, with those that may stand for all components.
const MESSAGE: &str = "device* origin* components* availability availability_mode availability_template \
    availability_topic payload_available payload_not_available state_topic command_topic qos encoding";

const DEVICE: &str = "identifiers connections manufacturer model model_id name hw_version serial_number sw_version \
    suggested_area via_device configuration_url";

const ORIGIN: &str = "name* sw_version support_url";

/// Fields of every entity.
const ENTITY: &str = "platform* unique_id* name default_entity_id enabled_by_default entity_category entity_picture icon \
    json_attributes_template json_attributes_topic availability availability_mode availability_template \
    availability_topic payload_available payload_not_available qos encoding";

const SENSOR: &str = "device_class expire_after force_update last_reset_value_template options \
    suggested_display_precision state_class state_topic unit_of_measurement value_template";

const BINARY_SENSOR: &str = "device_class expire_after force_update off_delay payload_off payload_on state_topic value_template";

const SELECT: &str =
    "command_topic* options* command_template optimistic retain state_topic value_template";

const CAMERA: &str = "topic* image_encoding";

/// Judges the message at `topic`, whose topics must be among those that are `published`.
#[track_caller]
pub(super) fn check(topic: &str, payload: &str, published: &BTreeMap<String, String>) {
    let levels: Vec<_> = topic.split('/').collect();
    let [prefix, "device", node, object, "config"] = levels[..] else {
        panic!("no topic of discovery: {topic}");
    };
    assert_eq!(prefix, "homeassistant");
    let is_plain = |text: &str| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
    };
    assert!(is_plain(node) && is_plain(object), "{topic}");

    let message: Value = serde_json::from_str(payload).unwrap();
    let message = fields(&message, MESSAGE);
    let device = fields(&message["device"], DEVICE);
    assert!(
        device["identifiers"]
            .as_array()
            .is_some_and(|all| all.len() == 1),
        "{device:?}"
    );
    let page = device["configuration_url"].as_str().unwrap();
    assert!(page.starts_with("http://") || page.starts_with("https://"));
    fields(&message["origin"], ORIGIN);
    assert_eq!(message["availability_mode"], "all");
    for availability in message["availability"].as_array().unwrap() {
        let availability = fields(
            availability,
            "topic* value_template payload_available payload_not_available",
        );
        assert_eq!(published[availability["topic"].as_str().unwrap()], "online");
    }

    let state: Value =
        serde_json::from_str(&published[message["state_topic"].as_str().unwrap()]).unwrap();
    let mut ids = BTreeSet::new();
    for component in message["components"].as_object().unwrap().values() {
        let platform = component["platform"].as_str().unwrap();
        let own = match platform {
            "sensor" => SENSOR,
            "binary_sensor" => BINARY_SENSOR,
            "camera" => CAMERA,
            "select" => SELECT,
            other => panic!("no platform {other}"),
        };
        let component = fields(component, &format!("{ENTITY} {own}"));
        assert!(
            ids.insert(component["unique_id"].to_string()),
            "each has an identifier of its own"
        );
        check_values(platform, component, &state, published);
    }
}

fn check_values(
    platform: &str,
    component: &Map<String, Value>,
    state: &Value,
    published: &BTreeMap<String, String>,
) {
    if platform == "camera" {
        return assert!(published.contains_key(component["topic"].as_str().unwrap()));
    }

    let template = component["value_template"].as_str().unwrap();
    let (_, field) = template.split_once("value_json.").unwrap();
    let field = field.split([' ', '}']).next().unwrap();
    let value = state
        .get(field)
        .unwrap_or_else(|| panic!("{template} of {state}"));
    if platform == "select" {
        return assert!(
            component["options"].as_array().unwrap().contains(value),
            "{value}"
        );
    }

    let class = component.get("device_class").and_then(Value::as_str);
    match class {
        // Neither a unit nor a class of states goes with it, and the state is one of the options.
        Some("enum") => {
            assert!(
                !component.contains_key("unit_of_measurement")
                    && !component.contains_key("state_class")
            );
            assert!(
                component["options"].as_array().unwrap().contains(value),
                "{value}"
            );
        }
        Some("duration") => assert_eq!(component["unit_of_measurement"], "ms"),
        Some("problem" | "connectivity") => assert_eq!(platform, "binary_sensor"),
        Some(other) => panic!("no class {other}"),
        None => {}
    }
    if component.contains_key("state_class") {
        assert!(value.is_number() || value.is_null(), "{field}: {value}");
    }
}

/// The fields of an object: none but those of `known`, and all of these that have a star.
#[track_caller]
fn fields<'a>(value: &'a Value, known: &str) -> &'a Map<String, Value> {
    let object = value
        .as_object()
        .unwrap_or_else(|| panic!("no object: {value}"));
    let names: BTreeSet<_> = known
        .split_whitespace()
        .map(|name| name.trim_end_matches('*'))
        .collect();
    for name in object.keys() {
        assert!(names.contains(name.as_str()), "{name} is not documented");
    }
    for name in known
        .split_whitespace()
        .filter_map(|name| name.strip_suffix('*'))
    {
        assert!(object.contains_key(name), "{name} is missing: {value}");
    }
    object
}
