use clap::Args;

use super::*;
use crate::config::{self, Entry, Flags, entry};

/// A few keys.
#[derive(Args, Clone, Debug, PartialEq)]
struct Config {
    /// The name.
    #[arg(default_value = "camera")]
    stream: String,
    /// A number.
    #[arg(default_value_t = 80)]
    quality: u8,
    /// A table.
    #[arg(value_parser = entry)]
    controls: Vec<Entry>,
}

const OWN: &[Section] = &[
    Section {
        name: "source",
        named_by: Some("stream"),
        alone: false,
    },
    Section {
        name: "camera",
        named_by: Some("stream"),
        alone: true,
    },
];

const FILE: &str = "
[source]
quality = 50
controls = { gain = 1, focus = 2 }

[source.hall]
quality = 60
controls = { gain = 3 }

[camera.\"c920_1.4\"]
stream = \"lobby\"

[relay]
listen = \"5004\"

[relay.second]
whatever = 7
";

fn file(part: Option<&str>) -> ConfigFile {
    ConfigFile {
        path: Some("fanlight.toml".into()),
        sections: OWN,
        part: part.map(|part| part.parse().unwrap()),
    }
}

fn load(part: Option<&str>, text: &str) -> Result<Config, String> {
    config::parse(&file(part), text, &Flags::default())
        .map(|settings| settings.config)
        .map_err(|error| error.to_string())
}

#[test]
fn an_instance_goes_over_its_section_and_a_table_entry_by_entry() {
    let hall = load(Some("source.hall"), FILE).unwrap();
    assert_eq!((hall.stream.as_str(), hall.quality), ("hall", 60));
    let gain = hall.controls.iter().filter(|(name, _)| name == "gain");
    assert_eq!(gain.map(|(_, value)| *value).collect::<Vec<_>>(), [1, 3]);
    assert!(hall.controls.contains(&("focus".to_owned(), 2)));
}

#[test]
fn an_instance_without_a_section_has_its_name_and_the_settings_of_all() {
    let yard = load(Some("source.yard"), FILE).unwrap();
    assert_eq!((yard.stream.as_str(), yard.quality), ("yard", 50));
    let main = load(Some("source.main"), FILE).unwrap();
    assert_eq!((main.stream.as_str(), main.quality), ("camera", 50));
}

#[test]
fn a_section_of_another_kind_is_not_mixed_in() {
    let lobby = load(Some("camera.c920_1.4"), FILE).unwrap();
    assert_eq!((lobby.stream.as_str(), lobby.quality), ("lobby", 80));
    assert_eq!(load(Some("source"), "").unwrap(), config::defaults());
}

#[test]
fn without_a_part_the_first_section_of_a_shared_file_is_read_and_all_of_another() {
    assert_eq!(load(None, FILE).unwrap().quality, 50);
    assert_eq!(load(None, "quality = 7").unwrap().quality, 7);
    let error = load(None, "[sorce]").unwrap_err();
    assert!(error.contains("unknown section `sorce`"), "{error}");
    let alone = load(None, "[controls]\ngain = 1").unwrap();
    assert_eq!(alone.controls, [("gain".to_owned(), 1)]);
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_what_was_meant() {
    for (text, wanted) in [
        (
            "[sourcee]\n",
            "unknown section `sourcee` (line 1, column 2), did you mean `source`?",
        ),
        (
            "[source]\nqualty = 1\n",
            "unknown key `qualty` (line 2, column 1), did you mean `quality`?",
        ),
        (
            "[source.hall]\nqualty = 1\n",
            "unknown key `qualty` (line 2, column 1), did you mean `quality`?",
        ),
        (
            "[source.hall]\nquality = 300\n",
            "`quality`: 300 is not in 0..=255 (line 2, column 11)",
        ),
        (
            "quality = 1\n[source]\n",
            "`quality` stands before the first section (line 1, column 1), write it below the one that it is for, such as [relay]",
        ),
        (
            "[[relay]]\n[source]\n",
            "`relay`: expected a section (line 1, column 3), written as [relay] or [relay.NAME]",
        ),
        (
            "[source.hall.left]\nquality = 1\n",
            "unknown key `left` (line 1, column 14), a name with a dot takes quotes: [source.\"hall.left\"]",
        ),
        (
            "[source.\"the hall\"]\n",
            "`the hall` is no name of an instance (line 1, column 9), which has letters, digits and . _ - : only",
        ),
    ] {
        let error = load(Some("source.hall"), text).unwrap_err();
        assert_eq!(error, format!("fanlight.toml: {wanted}"), "{text}");
    }
}

#[test]
fn parts_are_written_as_the_file_has_them_and_others_refused() {
    for (text, written) in [
        ("relay", "[relay]"),
        ("relay.second", "[relay.second]"),
        ("camera.c920_1.4", "[camera.\"c920_1.4\"]"),
    ] {
        assert_eq!(text.parse::<Part>().unwrap().to_string(), written);
    }

    for text in ["", "relays", "relay.", "relay.a/b", "relay.a b"] {
        let error = text.parse::<Part>().unwrap_err().to_string();
        assert!(error.contains("SECTION.NAME"), "{error}");
    }
}

#[test]
fn every_part_of_the_program_is_found_and_none_in_a_file_of_its_own() {
    let keys = config::keys::<Config>();
    let parts = |text: &str| {
        parts(text, &keys, &file(None)).ok().unwrap().map(|parts| {
            let written = parts.iter().map(ToString::to_string);
            written.collect::<Vec<_>>()
        })
    };

    assert_eq!(
        parts(FILE).unwrap(),
        [
            "[source]",
            "[source.hall]",
            "[camera]",
            "[camera.\"c920_1.4\"]"
        ]
    );
    assert_eq!(parts("quality = 7"), None);
}
