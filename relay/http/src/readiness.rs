//! Whether the relay is of use, and what is missing of what its settings name.

use std::time::Duration;

use fanlight_live::access::Role;
use fanlight_live::{EngineStatus, SourceEntry};
use fanlight_proto::clock::Time;
use fanlight_proto::message::StreamName;

use super::AppState;
use super::settings::Readiness;

/// The event loop publishes a status twice a second or more: with none for so long, it hangs.
const STATUS_STALE: Duration = Duration::from_secs(2);

/// Whether the event loop turns, which is all that a restart could mend.
pub(super) fn is_alive(app: &AppState, now: Time) -> bool {
    turns(app.table().status().at, now)
}

fn turns(published: Time, now: Time) -> bool {
    now.saturating_since(published) <= STATUS_STALE
}

/// Why the relay is of no use at all; empty: it is of some.
pub(super) fn faults(app: &AppState, now: Time) -> Vec<&'static str> {
    let status = app.table().status();
    if app.shutdown.requested() {
        return vec!["the relay stops"];
    }

    if !turns(status.at, now) {
        return vec!["the event loop does not turn"];
    }

    if status.streams.is_empty() {
        return vec!["no source has been heard yet"];
    }

    if status.streams.iter().all(|stream| stream.source_gone) {
        return vec!["no source has been heard lately"];
    }

    Vec::new()
}

/// Why the relay is not ready, by the setting `http_ready`; empty: it is.
pub(super) fn reasons(app: &AppState, now: Time, role: Option<Role>) -> Vec<String> {
    let mut reasons: Vec<String> = faults(app, now).iter().map(ToString::to_string).collect();
    let problems = match &app.settings.ready {
        Readiness::Any => Vec::new(),
        Readiness::All => problems(app, now, role),
        Readiness::Streams(wanted) => {
            let missing = missing(&app.table().status(), wanted);
            let summary = format!("{} streams are missing", missing.len());
            told(missing, summary, role)
        }
    };

    reasons.extend(problems);
    reasons
}

/// What is missing of what the settings name, one sentence each. Who may not watch gets numbers in place of names, and
/// only an administrator gets the addresses of sources.
pub(super) fn problems(app: &AppState, now: Time, role: Option<Role>) -> Vec<String> {
    let sources = app.table().sources().all(now);
    let missing = missing(&app.table().status(), &app.settings.streams);
    // A source that has none of the streams does no harm while others have them all.
    let mut problems: Vec<_> = sources
        .iter()
        .filter(|source| source.is_away() || !source.refused.is_empty() || !missing.is_empty())
        .flat_map(|source| of_source(source, role))
        .collect();

    problems.extend(missing);
    let away = sources.iter().filter(|source| source.is_away());
    let count = (away.count(), sources.len(), problems.len());
    told(problems, summary(count), role)
}

/// The `problems` for those who may watch, else the `summary` alone.
fn told(problems: Vec<String>, summary: String, role: Option<Role>) -> Vec<String> {
    match role {
        None if !problems.is_empty() => vec![summary],
        _ => problems,
    }
}

fn summary((away, sources, problems): (usize, usize, usize)) -> String {
    if away > 0 {
        format!("{away} of {sources} sources are not heard")
    } else {
        format!("{problems} streams are missing or not taken")
    }
}

fn of_source(source: &SourceEntry, role: Option<Role>) -> Vec<String> {
    let mut name = format!("source {}", source.origin + 1);
    if role == Some(Role::Admin) {
        name.push_str(&format!(" ({})", source.endpoint));
    }

    let refused = source
        .refused
        .iter()
        .map(|(stream, why)| format!("{name}: stream {stream} is not taken: {why}"));

    source
        .problem
        .iter()
        .map(|problem| format!("{name}: {problem}"))
        .chain(refused)
        .collect()
}

/// The streams of `wanted` that no source sends.
fn missing(status: &EngineStatus, wanted: &[StreamName]) -> Vec<String> {
    let is_there = |name: &&StreamName| {
        let mut streams = status.streams.iter();
        streams.any(|stream| stream.name == **name && !stream.source_gone)
    };

    let missing = wanted.iter().filter(|name| !is_there(name));
    missing
        .map(|name| format!("no source sends the stream {name}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use fanlight_live::{Problem, Refused};

    use super::*;

    fn source() -> SourceEntry {
        SourceEntry {
            origin: 1,
            endpoint: "tcp://10.0.0.9:5000".to_owned(),
            problem: Some(Problem::Away("it is silent".to_owned())),
            refused: vec![("cam".parse().unwrap(), Refused::Taken(0))],
            spare: Vec::new(),
        }
    }

    #[test]
    fn only_an_administrator_learns_where_a_source_is() {
        let problems = of_source(&source(), Some(Role::Admin));
        assert_eq!(problems[0], "source 2 (tcp://10.0.0.9:5000): it is silent");
        assert!(problems[1].contains("stream cam is not taken: source 1 has"));
        let problems = of_source(&source(), Some(Role::View));
        assert_eq!(problems[0], "source 2: it is silent");
    }

    #[test]
    fn who_may_not_watch_learns_a_number() {
        let problems = of_source(&source(), None);
        let problems = told(problems, summary((1, 60, 2)), None);
        assert_eq!(problems, ["1 of 60 sources are not heard"]);
        assert!(told(Vec::new(), summary((0, 1, 0)), None).is_empty());
    }

    #[test]
    fn a_relay_lives_while_its_event_loop_publishes_a_status() {
        let published = Time::from_nanos(5_000_000_000);
        assert!(turns(published, published + STATUS_STALE));
        assert!(!turns(published, published + STATUS_STALE * 2));
    }

    #[test]
    fn a_stream_whose_source_is_gone_is_missing() {
        let wanted = ["cam".parse().unwrap()];
        let missing = missing(&EngineStatus::default(), &wanted);
        assert_eq!(missing, ["no source sends the stream cam"]);
    }
}
