use std::fs::File;

use super::fuzz::Config;
use super::*;

fn settings(text: &str, flags: &[&str]) -> Result<Settings<Config>, String> {
    let words = std::iter::once(&"program").chain(flags).map(OsString::from);
    let command = add_flags::<Config>(Command::new("program"));
    let flags = parse_flags::<Config>(command, words).map_err(|error| error.to_string())?;
    let file = ConfigFile {
        path: Some("relay.toml".into()),
        ..ConfigFile::default()
    };
    parse(&file, text, &flags).map_err(|error| error.to_string())
}

fn from_text(text: &str) -> Result<Config, String> {
    settings(text, &[]).map(|settings| settings.config)
}

fn from_flags(flags: &[&str]) -> Result<Config, String> {
    settings("", flags).map(|settings| settings.config)
}

fn table(entries: &[(&str, i64)]) -> Vec<Entry> {
    let entries = entries.iter();
    entries
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect()
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_a_suggestion() {
    assert_eq!(
        from_text("# sizes\nname = \"é\"\n sise = 3\n").unwrap_err(),
        "relay.toml: unknown key `sise` (line 3, column 2), did you mean `size`?"
    );

    assert_eq!(
        from_text("flip-x = true").unwrap_err(),
        "relay.toml: unknown key `flip-x` (line 1, column 1), did you mean `flip_x`?"
    );

    assert_eq!(
        from_text("[birds]\nred = 1").unwrap_err(),
        "relay.toml: unknown key `birds` (line 1, column 2)"
    );
}

#[test]
fn a_value_that_the_key_does_not_take_is_refused_with_its_key_and_place() {
    for (text, wanted) in [
        (
            "name = 'é' # é\nsize = true",
            "`size`: expected a whole number (line 2, column 8)",
        ),
        (
            "size = -1",
            "`size`: -1 is not in 0..=4294967295 (line 1, column 8)",
        ),
        (
            "gso = 'of'",
            "`gso`: `of` is none of auto|off (line 1, column 7), did you mean `off`?",
        ),
        (
            "listen = 'here'",
            "`listen`: invalid socket address syntax (line 1, column 10)",
        ),
        (
            "listen = 5004",
            "`listen`: expected a string (line 1, column 10)",
        ),
        (
            "size = 1\n[controls]\ngain = 'much'",
            "`controls`: expected a table of whole numbers (line 3, column 8)",
        ),
        (
            "sources = ['a', 2]",
            "`sources`: expected a list of strings (line 1, column 17)",
        ),
    ] {
        assert_eq!(
            from_text(text).unwrap_err(),
            format!("relay.toml: {wanted}")
        );
    }
}

#[test]
fn what_is_not_toml_is_refused_with_its_place() {
    for text in [
        "size = 1\nsize = 2",
        "size = ",
        "= 3",
        "size",
        "name = \"a",
        "\u{feff}\u{0}",
    ] {
        let error = from_text(text).unwrap_err();
        assert!(error.contains("(line ") && !error.contains('\n'), "{error}");
    }
}

#[test]
fn a_flag_goes_over_the_file_and_the_file_over_the_default() {
    let file = "size = 8\nname = 'file'\nparity = 1\nrepeat = false\n";
    let config = settings(file, &["--name", "flag"]).unwrap().config;
    let name = config.name.as_deref();
    assert_eq!((config.size, name), (8, Some("flag")));
    assert_eq!((config.parity, config.repeat), (1.0, false));
    assert_eq!(from_text("").unwrap(), defaults());
    assert_eq!(from_text("size = 0x10").unwrap().size, 16);
}

#[test]
fn a_switch_can_be_set_to_either_value() {
    for (flags, flip_x) in [
        (&["--flip-x"][..], true),
        (&["--flip-x=true"], true),
        (&["--flip-x", "false"], false),
        (&["--flip-x", "--size=1"], true),
        (&[], false),
    ] {
        assert_eq!(from_flags(flags).unwrap().flip_x, flip_x);
    }

    let over = settings("flip_x = true", &["--flip-x=false"]);
    assert!(!over.unwrap().config.flip_x);
    assert!(from_flags(&["--flip-x=maybe"]).is_err());
    assert!(!from_flags(&["--repeat=false"]).unwrap().repeat);
    assert_eq!(from_flags(&["--stats"]).unwrap().stats, Some(true));
}

#[test]
fn a_number_can_be_negative() {
    assert_eq!(from_flags(&["--shift", "-3"]).unwrap().shift, -3);
    assert_eq!(from_text("shift = -3").unwrap().shift, -3);
}

#[test]
fn a_list_is_repeated_or_separated_by_commas_and_replaces_the_one_below() {
    let flags = ["--sources", "a,b", "--source=c"];
    let sources = settings("sources = ['d']", &flags).unwrap().config.sources;
    assert_eq!(sources, ["a", "b", "c"]);
    assert_eq!(from_text("sources = ['d']").unwrap().sources, ["d"]);
    assert_eq!(from_text("sources = 'd'").unwrap().sources, ["d"]);
    assert!(from_text("sources = []").unwrap().sources.is_empty());
    let emptied = settings("sources = ['d']", &["--sources="]);
    assert!(emptied.unwrap().config.sources.is_empty());
    assert_eq!(from_flags(&[]).unwrap().sources, ["ipc:///a"]);
}

#[test]
fn a_list_leaves_what_follows_it_to_others() {
    let command = add_flags::<Config>(Command::new("program")).arg(Arg::new("file"));
    let words = ["program", "--sources", "ipc:///b,ipc:///c", "film.gif"];
    let matches = command.try_get_matches_from(words).unwrap();
    assert_eq!(matches.get_one::<String>("file").unwrap(), "film.gif");
}

#[test]
fn a_table_goes_entry_by_entry_over_the_one_below() {
    let flags = ["--control", "gain=-3", "--controls=focus=7"];
    let file = "controls = { gain = 2, zoom = 4 }";
    let settings = settings(file, &flags).unwrap();
    let all: BTreeMap<_, _> = settings.config.controls.iter().cloned().collect();
    let wanted = table(&[("focus", 7), ("gain", -3), ("zoom", 4)]);
    assert_eq!(all.into_iter().collect::<Vec<_>>(), wanted);
    let text = settings.render();
    assert!(
        text.contains("controls = { focus = 7, gain = -3, zoom = 4 }"),
        "{text}"
    );
}

#[test]
fn a_table_entry_without_a_value_is_refused() {
    let error = from_flags(&["--control", "gain"]).unwrap_err();
    assert!(error.contains("expected name=value"), "{error}");
    assert!(from_flags(&["--control", "gain=much"]).is_err());
}

#[test]
fn what_is_printed_loads_as_the_same_settings() {
    let text = "controls = { 'Gain, auto' = -1 }\ngso = 'off'\nname = \"\\\"é\\\"\\n\"\nsources = []\nparity = 1";
    for settings in [settings("", &[]), settings(text, &[])] {
        let settings = settings.unwrap();
        let text = settings.render();
        assert_eq!(from_text(&text).as_ref(), Ok(&settings.config), "{text}");
    }
}

#[test]
fn what_is_printed_documents_every_key() {
    let text = settings("", &[]).unwrap().render();
    let begin = "# Where to listen.\n#\n# Anywhere else needs keys. Then";
    assert!(text.starts_with(begin), "{text}");

    for line in [
        "\n# A name that may be absent\n# name =\n",
        "\nparity = 0.5\n",
        "\nlisten = \"127.0.0.1:5004\"\n",
        "\nflip_x = false\n",
        "\ncontrols = {}\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
}

#[test]
fn the_help_tells_the_meaning_and_the_default_of_every_key() {
    let help = add_flags::<Config>(Command::new("program"))
        .render_long_help()
        .to_string();
    for text in [
        "--size <SIZE>\n          A size\n          \n          [default: 7]",
        "--flip-x [<true|false>]",
        "[default: ipc:///a]",
        "--controls <NAME=VALUE>",
        "A name that may be absent",
    ] {
        assert!(help.contains(text), "{text:?} is not in {help}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let huge = dir.path().join("huge.toml");
    File::create(&huge)
        .unwrap()
        .set_len(MAX_FILE_BYTES + 1)
        .unwrap();

    for file in [dir.path().join("missing.toml"), dir.path().to_owned(), huge] {
        let wanted = format!("cannot read the config file {}: ", file.display());
        let file = ConfigFile {
            path: Some(file),
            ..ConfigFile::default()
        };
        let error = load::<Config>(&file, &Flags::default()).unwrap_err();
        assert!(error.to_string().starts_with(&wanted), "{error}");
    }
}
