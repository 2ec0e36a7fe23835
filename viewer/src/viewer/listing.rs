//! `--list`: asks a relay for its streams, or every one that is found.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use fanlight_daemon::{Shutdown, clock};
use fanlight_proto::clock::Time;
use fanlight_proto::handshake::ViewerAccess;
use fanlight_proto::limits::REKEY_INTERVAL;
use fanlight_proto::message::{State, StreamInfo};

use crate::engine::{Engine, EngineConfig, LinkState, Output, Redundancy, Request, state_word};
use crate::found_relays::{LOCAL, fits};
use crate::relay_keys::RelayKeys;
use crate::udp::{Route, Sink, drive};

/// A relay that has not answered by then is not there.
const TIMEOUT: Duration = Duration::from_secs(3);

/// How long to look for relays on the network: answers come within a second (RFC 6762 section 6).
const SEARCH: Duration = Duration::from_millis(1500);

/// How often to see whether the user has had enough.
const TURN: Duration = Duration::from_millis(100);

/// The streams of the relay as a table for people.
///
/// # Errors
/// See [`streams`].
pub(super) fn table(route: &Route, name: String, shutdown: &Shutdown) -> anyhow::Result<String> {
    let (streams, total) = streams(route, name, shutdown)?;
    Ok(render(&streams, total))
}

/// The streams of the relay, as many as an answer holds, and how many there are.
///
/// # Errors
/// When no relay answers within three seconds, or it refuses.
pub(super) fn streams(
    route: &Route,
    name: String,
    shutdown: &Shutdown,
) -> anyhow::Result<(Vec<StreamInfo>, u32)> {
    let config = EngineConfig {
        request: Request::List,
        name,
        max_frame_bytes: 1,
        receive_capacity: 0,
        paths: route.carriers(),
        redundancy: Redundancy::Both,
        rekey_interval: REKEY_INTERVAL,
    };

    let mut engine = Engine::new(config, clock::random_bytes());
    let stop = Shutdown::new();
    let until = clock::now() + TIMEOUT;
    let mut answer = Answer {
        until,
        list: None,
        refusal: None,
        asked_to_end: shutdown,
        stop: stop.clone(),
    };

    drive(route, &mut engine, &mut answer, &stop).context("cannot ask the relay")?;
    match (answer.list, answer.refusal) {
        (Some(answer), _) => Ok(answer),
        (None, Some(LinkState::Unreachable(why))) => {
            bail!("no relay answers at {}: {why}", route.name())
        }
        (None, Some(link_state)) => {
            bail!("the relay at {} gives no list: {link_state}", route.name())
        }
        (None, None) => bail!(
            "no relay answers at {}: is fanlight-relay running there?",
            route.name()
        ),
    }
}

/// The streams of the relay of this host and of all that are found.
///
/// # Errors
/// When there is none.
pub(super) fn all(route: &Route, name: &str, shutdown: &Shutdown) -> anyhow::Result<String> {
    if shutdown.wait_timeout(SEARCH) {
        bail!("asked to stop");
    }

    let mut text = String::new();
    let own = table_of(route, LOCAL, route.accesses[0].clone(), name, shutdown);
    if let Ok(table) = own {
        let _ = writeln!(text, "{LOCAL} (this host)\n{table}");
    }

    for found in route.found.all() {
        let address = found.addresses[0];
        let access = route.accesses.iter().find(|access| fits(&found, access));
        let asked = access
            .context("it takes a key that this viewer does not have")
            .and_then(|access| table_of(route, address, access.clone(), name, shutdown));
        let said = asked.unwrap_or_else(|error| format!("{error:#}\n"));
        let _ = writeln!(text, "{address} ({})\n{said}", found.name);
    }

    ensure!(
        !text.is_empty(),
        "no relay answers at {LOCAL}, and none announces itself on the network: is fanlight-relay running, with \
         --listen *:5004 for other machines?"
    );
    Ok(text.trim_end().to_owned() + "\n")
}

fn table_of(
    route: &Route,
    address: SocketAddr,
    access: ViewerAccess,
    name: &str,
    shutdown: &Shutdown,
) -> anyhow::Result<String> {
    let route = Route {
        relays: vec![address.to_string()],
        keys: RelayKeys::default(),
        accesses: vec![access],
        ..route.clone()
    };
    table(&route, name.to_owned(), shutdown)
}

struct Answer<'a> {
    until: Time,
    list: Option<(Vec<StreamInfo>, u32)>,
    refusal: Option<LinkState>,
    asked_to_end: &'a Shutdown,
    stop: Shutdown,
}

impl Sink for Answer<'_> {
    fn take(&mut self, _now: Time, output: Output) -> ControlFlow<()> {
        match output {
            Output::List(streams, total) => {
                self.list = Some((streams, total));
                return ControlFlow::Break(());
            }
            Output::LinkState(link_state) => {
                self.refusal =
                    Some(link_state).filter(|link_state| *link_state != LinkState::Connecting);
            }
            Output::Send(..)
            | Output::Frame(_)
            | Output::JoinGroup(..)
            | Output::LeaveGroup(_)
            | Output::Credit(..)
            | Output::Direct(_)
            | Output::Transport(..) => {}
        }

        ControlFlow::Continue(())
    }

    fn turn(&mut self, now: Time, _engine: &mut Engine) -> Option<Time> {
        if self.until <= now || self.asked_to_end.requested() {
            self.stop.trigger();
        }
        Some(self.until.min(now + TURN))
    }
}

fn render(streams: &[StreamInfo], total: u32) -> String {
    if streams.is_empty() {
        return "the relay has no stream yet\n".to_owned();
    }

    let rows = streams.iter().map(row);
    let header = ["STREAM", "SIZE", "FPS", "STATE"].map(str::to_owned);
    let rows: Vec<[String; 4]> = std::iter::once(header).chain(rows).collect();
    let mut widths = [0; 4];

    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }

    let mut table = String::new();
    for [name, size, rate, state] in &rows {
        let _ = writeln!(
            table,
            "{name:<0$}  {size:<1$}  {rate:>2$}  {state}",
            widths[0], widths[1], widths[2]
        );
    }

    let untold = (total as usize).saturating_sub(streams.len());
    if untold > 0 {
        let _ = writeln!(table, "and {untold} more");
    }

    table
}

fn row(stream: &StreamInfo) -> [String; 4] {
    let size = match (stream.width, stream.height) {
        (0, _) | (_, 0) => "-".to_owned(),
        (width, height) => format!("{width}x{height}"),
    };

    let rate = match stream.rate_millihertz {
        0 => "-".to_owned(),
        rate => format!("{:.1}", f64::from(rate) / 1e3),
    };

    let status = stream.status.clone().unwrap_or_default();
    let state = if status.source_gone {
        "source gone".to_owned()
    } else {
        let word = state_word(State::try_from(status.state).unwrap_or(State::Unspecified));
        if status.reason.is_empty() {
            word.to_owned()
        } else {
            format!("{word}: {}", status.reason)
        }
    };

    // What comes from elsewhere must not steer the terminal.
    let printable = |text: String| text.chars().filter(|c| !c.is_control()).collect();
    [stream.name.clone(), size, rate, state].map(printable)
}

#[cfg(test)]
mod tests {
    use fanlight_proto::message::Status;

    use super::*;

    #[test]
    fn a_list_is_a_table_that_lines_up() {
        let ball = StreamInfo {
            name: "ball".into(),
            width: 1280,
            height: 720,
            rate_millihertz: 29_970,
            status: Some(Status {
                state: State::Live as i32,
                ..Status::default()
            }),
            ..StreamInfo::default()
        };

        let reason = "camera unplugged: \x1b[2J/dev/video0".to_owned();
        let status = Status {
            state: State::Unplugged as i32,
            reason,
            ..Status::default()
        };

        let lobby = StreamInfo {
            name: "lobby-camera".into(),
            status: Some(status),
            ..StreamInfo::default()
        };

        let gone = Status {
            source_gone: true,
            ..Status::default()
        };

        let gate = StreamInfo {
            name: "gate".into(),
            status: Some(gone),
            ..StreamInfo::default()
        };

        let expected = "\
STREAM        SIZE       FPS  STATE
ball          1280x720  30.0  live
lobby-camera  -            -  unplugged: camera unplugged: [2J/dev/video0
gate          -            -  source gone
and 2 more
";

        assert_eq!(render(&[ball, lobby, gate], 5), expected);
        assert_eq!(render(&[], 0), "the relay has no stream yet\n");
    }
}
