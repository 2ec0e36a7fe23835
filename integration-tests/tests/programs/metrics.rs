//! `/metrics`, held against what Prometheus asks of names, types and counters (as `promtool check metrics` does), and
//! against the dashboard that is shipped.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use fanlight_tests::http::Site;
use fanlight_tests::program::Program;
use fanlight_tests::wait::{SOON, until};
use fanlight_tests::{TestEnv, skip};

/// Names that every program has in Prometheus' world: they carry no prefix of ours.
const STANDARD: &str = "process_";

/// One family as it was written.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    unit: Option<String>,
    /// By the sample's name with its labels, in the order of the text.
    samples: Vec<(String, f64)>,
}

/// A text in the OpenMetrics format, strictly.
fn parse(text: &str) -> BTreeMap<String, Family> {
    let body = text
        .strip_suffix("# EOF\n")
        .expect("the text ends as OpenMetrics ends");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();

    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let (word, rest) = rest.split_once(' ').unwrap();
            let (name, value) = rest.split_once(' ').unwrap();

            if word == "HELP" {
                assert!(
                    !families.contains_key(name),
                    "{name} is written in one place only"
                );
                current = name.to_owned();
            }

            assert_eq!(name, current, "what is said of a family stands together");
            let family = families.entry(current.clone()).or_default();

            match word {
                "HELP" => family.help = value.to_owned(),
                "TYPE" => family.kind = value.to_owned(),
                "UNIT" => family.unit = Some(value.to_owned()),
                _ => panic!("what is {line:?}?"),
            }

            continue;
        }

        let (sample, value) = line.rsplit_once(' ').unwrap();
        let family = families
            .get_mut(&current)
            .expect("a sample follows the words of its family");
        let name = sample.split('{').next().unwrap();
        assert!(
            name.starts_with(current.as_str()),
            "{name} is none of {current}"
        );

        let known = family.samples.iter().any(|(known, _)| known == sample);
        assert!(!known, "{sample} is written once");
        family
            .samples
            .push((sample.to_owned(), value.parse().unwrap()));
    }

    families
}

fn suffix<'a>(family: &str, sample: &'a str) -> &'a str {
    &sample.split('{').next().unwrap()[family.len()..]
}

fn lint(name: &str, family: &Family) {
    let Family {
        kind,
        help,
        unit,
        samples,
    } = family;

    assert!(
        help.len() > 5 && help.starts_with(|c: char| c.is_uppercase()),
        "{name}: {help:?}"
    );

    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    assert!(name.chars().all(legal) && !name.contains("__"), "{name}");
    assert!(
        name.starts_with("fanlight_relay_") || name.starts_with(STANDARD),
        "{name}"
    );

    for word in [
        "ms",
        "us",
        "milliseconds",
        "microseconds",
        "kilobytes",
        "percent",
        "minutes",
    ] {
        assert!(
            !name.split('_').any(|part| part == word),
            "{name}: seconds and bytes, not {word}"
        );
    }

    for word in [
        "counter",
        "gauge",
        "histogram",
        "total",
        "count",
        "sum",
        "bucket",
    ] {
        assert!(
            !name.split('_').any(|part| part == word),
            "{name}: {word} is for suffixes"
        );
    }

    if let Some(unit) = unit {
        assert!(name.ends_with(&format!("_{unit}")), "{name} is in {unit}");
    }

    let suffixes: BTreeSet<&str> = samples
        .iter()
        .map(|(sample, _)| suffix(name, sample))
        .collect();

    let allowed: &[&str] = match kind.as_str() {
        "counter" => &["_total"],
        "gauge" => &[""],
        "info" => &["_info"],
        "histogram" => &["_sum", "_count", "_bucket"],
        _ => panic!("{name} is a {kind}"),
    };

    assert!(
        suffixes.iter().all(|suffix| allowed.contains(suffix)),
        "{name} is a {kind}: {suffixes:?}"
    );

    for (sample, value) in samples {
        assert!(value.is_finite() && *value >= 0.0, "{sample} {value}");
        for label in labels(sample).keys().filter(|label| *label != "le") {
            assert!(
                [
                    "stream", "kind", "reason", "stage", "state", "version", "source", "resource"
                ]
                .contains(&label.as_str()),
                "{sample}"
            );
        }
    }

    if kind == "histogram" {
        lint_histogram(name, samples);
    }
}

/// Buckets rise, end with all of them, and agree with the count.
fn lint_histogram(name: &str, samples: &[(String, f64)]) {
    let mut last: Option<(BTreeMap<String, String>, f64, f64)> = None;
    for (sample, value) in samples
        .iter()
        .filter(|(sample, _)| suffix(name, sample) == "_bucket")
    {
        let mut labels = labels(sample);
        let edge = match labels.remove("le").expect("a bucket has an edge").as_str() {
            "+Inf" => f64::INFINITY,
            edge => edge.parse().unwrap(),
        };

        if let Some((_, before, below)) = last.as_ref().filter(|(of, ..)| *of == labels) {
            assert!(edge > *before && value >= below, "{sample}");
        }

        if edge.is_infinite() {
            let count = samples.iter().find(|(other, _)| {
                suffix(name, other) == "_count" && self::labels(other) == labels
            });

            assert_eq!(count.map(|(_, count)| count), Some(value), "{sample}");
        }

        last = Some((labels, edge, *value));
    }

    assert!(
        last.is_none_or(|(_, edge, _)| edge.is_infinite()),
        "{name} ends with all"
    );
}

fn labels(sample: &str) -> BTreeMap<String, String> {
    let Some((_, rest)) = sample.split_once('{') else {
        return BTreeMap::new();
    };

    let pairs = rest
        .trim_end_matches('}')
        .split("\",")
        .map(|pair| pair.split_once("=\"").unwrap());

    pairs
        .map(|(name, value)| (name.to_owned(), value.trim_end_matches('"').to_owned()))
        .collect()
}

/// A relay with a stream, watched in every way.
struct Fixture {
    env: TestEnv,
    _source: Program,
    _relay: Program,
    site: Site,
}

impl Fixture {
    fn new() -> Self {
        Self::with("")
    }

    fn with(relay_flags: &str) -> Self {
        let env = TestEnv::new();
        let source = env
            .source("cam")
            .flags("--input ball --size 320x240 --rate 30")
            .ready();

        let http = format!("{}:0", env.relay_address(0).ip());
        let relay = env.relay(0, &[env.ipc("cam")]).flag("http", http);
        let relay = relay.flags(relay_flags).ready();
        let site = Site::of(&relay);
        until("the first picture has come", SOON, || {
            (site.get("/snapshot/cam.jpg").status == 200).then_some(())
        });
        Self {
            env,
            _source: source,
            _relay: relay,
            site,
        }
    }

    fn scrape(&self) -> BTreeMap<String, Family> {
        let answer = self.site.get("/metrics");
        assert_eq!(answer.status, 200);
        assert!(
            answer
                .header("content-type")
                .starts_with("application/openmetrics-text; version=1.0.0")
        );

        parse(&String::from_utf8(answer.body).unwrap())
    }

    fn watch_by_http(&self, frames: usize) {
        let mut socket = self.site.socket("/ws", &[]).unwrap();
        socket.subscribe(1, "cam", None);
        let mut parts = self.site.stream("/stream/cam.mjpeg", &[]);

        for _ in 0..frames {
            socket.frame().unwrap();
            socket.credit(1);
            parts.next_part().unwrap();
        }
    }
}

fn value(families: &BTreeMap<String, Family>, sample: &str) -> f64 {
    let all = families.values().flat_map(|family| &family.samples);
    all.filter(|(name, _)| name == sample)
        .map(|(_, value)| *value)
        .next()
        .unwrap_or_default()
}

#[test]
fn what_is_asked_for_and_not_given_is_counted_by_what_it_is() {
    let fixture = Fixture::with("--max-viewers 1");
    let viewer = || {
        let viewer = fixture.env.viewer(fixture.env.relay_address(0), "cam");
        viewer.start()
    };
    let first = viewer();
    first.wait_shown(1);
    let refused = || {
        let sample = "fanlight_relay_refusals_total{resource=\"sessions\"}";
        value(&fixture.scrape(), sample)
    };
    assert_eq!(refused(), 0.0);
    let _second = viewer();
    until("the refusal is counted", SOON, || {
        (refused() > 0.0).then_some(())
    });
}

#[test]
fn the_figures_are_as_prometheus_wants_them() {
    let fixture = Fixture::new();
    let viewer = fixture
        .env
        .viewer(fixture.env.relay_address(0), "cam")
        .start();

    viewer.wait_shown(30);
    fixture.watch_by_http(10);
    let families = fixture.scrape();
    families
        .iter()
        .for_each(|(name, family)| lint(name, family));
    assert!(families.len() > 25, "{} families", families.len());
}

#[test]
fn counters_never_fall_not_even_when_everybody_leaves() {
    let fixture = Fixture::new();
    let viewer = fixture
        .env
        .viewer(fixture.env.relay_address(0), "cam")
        .start();

    viewer.wait_shown(30);
    fixture.watch_by_http(10);
    let shown = "fanlight_relay_delivered_frames_total{stream=\"cam\",kind=\"udp\"}";
    until("the viewer's frames are counted", SOON, || {
        (value(&fixture.scrape(), shown) >= 20.0).then_some(())
    });

    let before = fixture.scrape();
    let _ = viewer.finish();
    let after = until("everybody is gone", SOON, || {
        let families = fixture.scrape();
        let watching = families["fanlight_relay_viewers"].samples.iter();
        let gone = watching
            .filter(|(sample, _)| !sample.contains("snapshot"))
            .all(|(_, count)| *count == 0.0);
        gone.then_some(families)
    });

    let monotonic = |family: &&Family| matches!(family.kind.as_str(), "counter" | "histogram");
    let mut compared = 0;

    for (sample, earlier) in before
        .values()
        .filter(monotonic)
        .flat_map(|family| &family.samples)
    {
        let later = after
            .values()
            .flat_map(|family| &family.samples)
            .find(|(name, _)| name == sample);
        let (_, later) = later.unwrap_or_else(|| panic!("{sample} is gone"));
        assert!(later >= earlier, "{sample} fell from {earlier} to {later}");
        compared += 1;
    }

    assert!(compared > 60, "{compared} samples");
}

#[test]
fn what_is_counted_is_what_happened() {
    let fixture = Fixture::new();
    fixture.watch_by_http(20);
    let families = fixture.scrape();
    let of = |name: &str, kind: &str| {
        value(
            &families,
            &format!("{name}{{stream=\"cam\",kind=\"{kind}\"}}"),
        )
    };

    for kind in ["ws", "mjpeg"] {
        let frames = of("fanlight_relay_delivered_frames_total", kind);
        assert!(frames >= 20.0, "{frames} by {kind}");
        assert!(of("fanlight_relay_delivered_bytes_total", kind) > frames * 500.0);
        assert_eq!(
            of("fanlight_relay_frame_age_seconds_count", kind),
            frames,
            "{kind}"
        );

        assert!(of("fanlight_relay_frame_age_seconds_sum", kind) > 0.0);
    }

    let received = value(
        &families,
        "fanlight_relay_received_frames_total{stream=\"cam\"}",
    );

    assert!(received >= 20.0, "{received}");
    for stage in ["capture_to_published", "published_to_relay"] {
        let count = value(
            &families,
            &format!("fanlight_relay_stage_seconds_count{{stream=\"cam\",stage=\"{stage}\"}}"),
        );

        assert!(
            count >= received / 2.0 && count > 0.0,
            "{count} of {received} in {stage}"
        );
    }

    assert_eq!(
        value(&families, "fanlight_relay_stream_up{stream=\"cam\"}"),
        1.0
    );

    assert!(value(&families, "process_resident_memory_bytes") > 1e6);
    assert!(value(&families, "process_cpu_seconds_total") > 0.0);
    assert!(value(&families, "process_open_fds") > 5.0);
}

#[test]
fn every_figure_of_the_dashboard_and_of_the_alerts_is_there() {
    let fixture = Fixture::new();
    fixture.watch_by_http(3);
    let families = fixture.scrape();
    let samples: BTreeSet<&str> = families
        .values()
        .flat_map(|family| {
            family
                .samples
                .iter()
                .map(|(sample, _)| sample.split('{').next().unwrap())
        })
        .collect();

    // A counter of something that never happened has no sample with labels: its family is there.
    let known = |name: &str| {
        samples.contains(name) || families.contains_key(name.trim_end_matches("_total"))
    };

    let dashboard: serde_json::Value =
        serde_json::from_str(include_str!("../../../deploy/grafana-dashboard.json")).unwrap();
    let mut texts = Vec::new();
    gather(&dashboard, &mut texts);
    let alerts = include_str!("../../../deploy/prometheus-alerts.yml").lines();
    let alerts = alerts.filter_map(|line| line.trim().strip_prefix("expr: "));
    texts.extend(alerts);
    let mut named = BTreeSet::new();

    for text in texts {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        named.extend(
            words.filter(|word| word.starts_with("fanlight_") || word.starts_with(STANDARD)),
        );
    }

    let missing: Vec<_> = named.iter().filter(|name| !known(name)).collect();
    assert!(
        missing.is_empty(),
        "dashboard or alerts ask for {missing:?}"
    );
    assert!(named.len() > 20, "{named:?}");
}

#[test]
fn prometheus_takes_the_alerts() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/prometheus-alerts.yml"
    );
    match Command::new("promtool")
        .args(["check", "rules", file])
        .output()
    {
        Err(_) => skip("promtool is not installed (Debian package prometheus)"),
        Ok(checked) => {
            let said = String::from_utf8_lossy(&checked.stdout);
            assert!(checked.status.success(), "{said}");
        }
    }
}

/// What the dashboard asks Prometheus.
fn gather<'a>(value: &'a serde_json::Value, into: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::Object(map) => {
            map.iter()
                .for_each(|(key, value)| match (key.as_str(), value.as_str()) {
                    ("expr" | "query" | "definition", Some(text)) => into.push(text),
                    _ => gather(value, into),
                });
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| gather(value, into)),
        _ => {}
    }
}
