//! `fanlight-relay direct` and `screens`: tells screens what to show, and lists them, by asking the relay that runs here.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use fanlight_http::site::screen_path;
use fanlight_proto::message::StreamName;
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::own_http::{Answer, Request};

/// What a screen is to do.
#[derive(Args, Clone, Debug)]
pub struct Direct {
    /// The name of the screen
    name: String,
    /// Show this stream; several are tiles
    #[arg(long = "stream", value_name = "STREAM")]
    streams: Vec<StreamName>,
    /// Show one of the streams at a time, and the next after so long, such as 10s
    #[arg(long, value_name = "TIME", requires = "streams")]
    cycle: Option<humantime::Duration>,
    /// Keep the picture that is there, marked as paused
    #[arg(long)]
    freeze: bool,
    /// Show this text instead of a picture
    #[arg(long, value_name = "TEXT")]
    card: Option<String>,
    /// How much to draw over pictures
    #[arg(long, value_name = "HOW")]
    overlay: Option<Overlay>,
    /// Leave the screen to its own settings
    #[arg(long, conflicts_with_all = ["streams", "freeze", "card", "overlay"])]
    release: bool,
    /// Start its viewer anew, by its settings as they are then; what it was told stays
    #[arg(long, conflicts_with_all = DIRECTION)]
    reload: bool,
    /// Wait so long until the screen has proved that it does so, and fail if it does not
    #[arg(long, value_name = "TIME", conflicts_with_all = ["identify", "popup_stream", "popup_text"])]
    wait: Option<humantime::Duration>,
    /// Show the screen's own name in large letters for so long; what else it shows stays
    #[arg(long, value_name = "TIME", conflicts_with_all = DIRECTION)]
    identify: Option<humantime::Duration>,
    /// Show this stream over what it shows for some seconds
    #[arg(long, value_name = "STREAM", conflicts_with_all = DIRECTION, conflicts_with_all = ["identify", "popup_text"])]
    popup_stream: Option<StreamName>,
    /// Show this text over what it shows for some seconds
    #[arg(long, value_name = "TEXT", conflicts_with_all = DIRECTION, conflicts_with = "identify")]
    popup_text: Option<String>,
    /// How many seconds a pop-up stays
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    seconds: f64,
}

/// What is kept, and not for a while.
const DIRECTION: [&str; 5] = ["streams", "freeze", "card", "overlay", "release"];

/// How much is drawn over pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Overlay {
    /// Nothing
    None,
    /// Stream, state and age in short
    Caption,
    /// Also figures
    Figures,
    /// Also statistics
    Statistics,
}

fanlight_daemon::display_choice!(Overlay);

impl Direct {
    /// Says why it asks for nothing.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let words = self.card.is_some() || self.overlay.is_some();
        let lasts = !self.streams.is_empty() || self.freeze || words || self.release;
        let passes =
            self.identify.is_some() || self.popup_stream.is_some() || self.popup_text.is_some();
        let passes = passes || self.reload;
        if !lasts && !passes {
            bail!(
                "say what the screen is to do: --stream, --card, --freeze, --overlay, --release, --reload, --identify, --popup-stream or \
                 --popup-text"
            );
        }
        Ok(())
    }

    /// Address and body of the request.
    fn request(&self) -> (&'static str, String, Value) {
        let path = screen_path(&self.name);
        if let Some(length) = self.identify {
            let body = json!({ "seconds": length.as_secs_f64() });
            return ("POST", format!("{path}/identify"), body);
        }

        let mut body = Map::new();
        if self.popup_stream.is_some() || self.popup_text.is_some() {
            let stream = self.popup_stream.as_ref().map(|it| json!(it.as_str()));
            body.extend(stream.map(|stream| ("stream".to_owned(), stream)));
            body.extend(
                self.popup_text
                    .as_ref()
                    .map(|text| ("text".to_owned(), json!(text))),
            );
            body.insert("seconds".to_owned(), json!(self.seconds));
            return ("POST", format!("{path}/popup"), body.into());
        }

        let wait = self
            .wait
            .map(|wait| format!("?wait_ms={}", wait.as_millis()))
            .unwrap_or_default();
        if self.reload {
            return ("POST", format!("{path}/reload{wait}"), json!({}));
        }

        let streams: Vec<_> = self.streams.iter().map(StreamName::as_str).collect();
        let body = json!({
            "streams": streams,
            "cycle_s": self.cycle.map(|cycle| cycle.as_secs_f64()),
            "frozen": self.freeze,
            "card": self.card,
            "overlay": self.overlay.map(|overlay| overlay.to_string()),
        });
        ("PUT", path + &wait, body)
    }
}

/// Directs a screen of the relay of these settings.
pub(crate) fn direct(config: &Config, direct: &Direct) -> anyhow::Result<ExitCode> {
    let (method, path, body) = direct.request();
    let wait = direct.wait.map_or(Duration::ZERO, Into::into);
    let answer = ask(config, method, &path, &body.to_string(), wait)?;
    if let Some(after) = answer["screen"]["shown_after_ms"].as_u64() {
        writeln!(io::stdout(), "{} does so after {after} ms", direct.name)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists the screens of the relay of these settings.
pub(crate) fn screens(config: &Config) -> anyhow::Result<ExitCode> {
    let answer = ask(config, "GET", "/api/screens", "", Duration::ZERO)?;
    let head = ["SCREEN", "STATE", "TOLD TO SHOW", "SHOWS", "TOLD BY"];
    let rows = rows(&answer["screens"], head, cells);
    write!(io::stdout(), "{}", table(&rows))?;
    Ok(ExitCode::SUCCESS)
}

/// Tells all cameras, relays and screens of the site of the relay of these settings.
pub(crate) fn status(config: &Config, as_json: bool) -> anyhow::Result<ExitCode> {
    let site = ask(config, "GET", "/api/site", "", Duration::ZERO)?;
    if as_json {
        writeln!(io::stdout(), "{site:#}")?;
        return Ok(ExitCode::SUCCESS);
    }

    write!(io::stdout(), "{}", site_tables(&site))?;
    Ok(ExitCode::SUCCESS)
}

fn site_tables(site: &Value) -> String {
    let relay = |row: &Value| {
        let state = match row["problem"].as_str() {
            Some(problem) => format!("no answer: {}", problem.escape_debug()),
            None => "reachable".to_owned(),
        };
        [text(&row["name"]), text(&row["url"]), state]
    };
    let camera = |row: &Value| {
        let gone = row["source_gone"] == true;
        let state = if gone {
            "gone".to_owned()
        } else {
            text(&row["state"])
        };
        let watch = ["viewers", "clients"].map(|key| row[key].as_u64().unwrap_or_default());
        let watch = watch.iter().sum::<u64>().to_string();
        let relays = names(&row["relays"], |relay| relay);
        [
            text(&row["name"]),
            state,
            row["fps"].to_string(),
            watch,
            relays,
        ]
    };
    let screen = |row: &Value| {
        let [name, state, told, shows, by] = cells(row);
        let relays = names(&row["relays"], |relay| relay);
        [name, state, told, shows, by, relays]
    };

    let relays = rows(&site["relays"], ["RELAY", "ADDRESS", "STATE"], relay);
    let cameras = ["CAMERA", "STATE", "FPS", "WATCHED BY", "RELAYS"];
    let cameras = rows(&site["cameras"], cameras, camera);
    let screens = [
        "SCREEN",
        "STATE",
        "TOLD TO SHOW",
        "SHOWS",
        "TOLD BY",
        "RELAYS",
    ];
    let screens = rows(&site["screens"], screens, screen);
    format!(
        "{}\n{}\n{}",
        table(&relays),
        table(&cameras),
        table(&screens)
    )
}

/// A head, and a row for each of the list.
fn rows<const N: usize>(
    list: &Value,
    head: [&str; N],
    cells: impl Fn(&Value) -> [String; N],
) -> Vec<[String; N]> {
    let rows = list.as_array().into_iter().flatten().map(cells);
    std::iter::once(head.map(str::to_owned))
        .chain(rows)
        .collect()
}

/// What is printed must not steer a terminal.
fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_default()
        .escape_debug()
        .to_string()
}

/// What the relay answers to a request by its administrator.
pub(crate) fn ask(
    config: &Config,
    method: &str,
    path: &str,
    body: &str,
    wait: Duration,
) -> anyhow::Result<Value> {
    let token = config.http_admin_token.as_ref().map(|file| file.token());
    let token = token.transpose()?;
    let request = Request {
        method,
        path,
        token: token.as_ref().map(|token| token.as_str()),
        body,
        wait,
    };

    let Answer { status, body } = request.ask(config)?;
    if status == 204 {
        return Ok(Value::Null);
    }
    let body: Value =
        serde_json::from_str(&body).with_context(|| format!("the relay answers with {status}"))?;
    if !(200..300).contains(&status) {
        bail!(
            "{}",
            body["message"].as_str().unwrap_or("the relay refuses")
        );
    }
    Ok(body)
}

fn cells(screen: &Value) -> [String; 5] {
    let direction = &screen["direction"];
    let mut told = names(&direction["streams"], |stream| stream);
    if let Some(card) = direction["card"].as_str() {
        told = format!("card {card:?}");
    } else if direction["frozen"] == true {
        told.push_str(" (paused)");
    }

    [
        text(&screen["name"]),
        text(&screen["state"]),
        told.trim().to_owned(),
        names(&screen["showing"], |shown| &shown["stream"]),
        text(&direction["by"]),
    ]
}

fn names(list: &Value, name: impl Fn(&Value) -> &Value) -> String {
    let list = list.as_array().into_iter().flatten();
    let names: Vec<_> = list.filter_map(|item| name(item).as_str()).collect();
    names.join(",").escape_debug().to_string()
}

/// Rows with their columns one below the other; an empty cell is a dash.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max();
    let widths: [_; N] = std::array::from_fn(|at| width(at).unwrap_or(0).max(1));
    let line = |row: &[String; N]| {
        let cell = |at: usize| if row[at].is_empty() { "-" } else { &row[at] };
        let cells: Vec<_> = (0..N)
            .map(|at| format!("{:1$}", cell(at), widths[at]))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_screens_has_a_dash_where_there_is_nothing() {
        let screen = json!({
            "name": "lobby", "state": "showing",
            "direction": { "streams": ["cam1", "cam2"], "by": "admin at ::1", "card": null, "frozen": true },
            "showing": [{ "stream": "cam1" }],
        });
        let other =
            json!({ "name": "bar", "state": "undirected", "direction": null, "showing": [] });
        let text = table(&[cells(&screen), cells(&other)]);
        assert_eq!(
            text,
            "lobby  showing     cam1,cam2 (paused)  cam1  admin at ::1\n\
             bar    undirected  -                   -     -\n"
        );
    }

    #[test]
    fn a_site_has_a_row_for_each_relay_camera_and_screen_and_no_word_steers_the_terminal() {
        let site = json!({
            "relays": [
                { "name": "left 5004", "url": null, "problem": null },
                { "name": "http://right:80", "url": "http://right:80", "problem": "\u{1b}[2J" },
            ],
            "cameras": [{ "name": "cam1", "state": "live", "fps": 30.0, "viewers": 2, "clients": 1, "relays": ["left 5004"] }],
            "screens": [{ "name": "lobby", "state": "away", "direction": null, "showing": [], "relays": [] }],
        });
        assert_eq!(
            site_tables(&site),
            "RELAY            ADDRESS          STATE\n\
             left 5004        -                reachable\n\
             http://right:80  http://right:80  no answer: \\u{1b}[2J\n\
             \n\
             CAMERA  STATE  FPS   WATCHED BY  RELAYS\n\
             cam1    live   30.0  3           left 5004\n\
             \n\
             SCREEN  STATE  TOLD TO SHOW  SHOWS  TOLD BY  RELAYS\n\
             lobby   away   -             -      -        -\n"
        );
    }
}
