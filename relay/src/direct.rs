//! `fanlight-relay direct` and `screens`: tells screens what to show, and lists them, by asking the relay that runs here.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
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
    /// Leave the screen to its own settings
    #[arg(long, conflicts_with_all = ["streams", "freeze", "card"])]
    release: bool,
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
const DIRECTION: [&str; 4] = ["streams", "freeze", "card", "release"];

impl Direct {
    /// Says why it asks for nothing.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let lasts = !self.streams.is_empty() || self.freeze || self.card.is_some() || self.release;
        let passes =
            self.identify.is_some() || self.popup_stream.is_some() || self.popup_text.is_some();
        if !lasts && !passes {
            bail!(
                "say what the screen is to do: --stream, --card, --freeze, --release, --identify, --popup-stream or --popup-text"
            );
        }
        Ok(())
    }

    /// Address and body of the request.
    fn request(&self) -> (&'static str, String, Value) {
        let path = format!("/api/screens/{}", encoded(&self.name));
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

        let streams: Vec<_> = self.streams.iter().map(StreamName::as_str).collect();
        let body = json!({
            "streams": streams,
            "cycle_s": self.cycle.map(|cycle| cycle.as_secs_f64()),
            "frozen": self.freeze,
            "card": self.card,
        });
        let wait = self
            .wait
            .map(|wait| format!("?wait_ms={}", wait.as_millis()));
        ("PUT", path + &wait.unwrap_or_default(), body)
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
    let rows = answer["screens"].as_array().map_or(&[][..], Vec::as_slice);
    let head = ["SCREEN", "STATE", "TOLD TO SHOW", "SHOWS", "TOLD BY"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head)
        .chain(rows.iter().map(cells))
        .collect();
    write!(io::stdout(), "{}", table(&rows))?;
    Ok(ExitCode::SUCCESS)
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

/// A part of a path, of which only letters, digits, `-`, `.`, `_` and `~` stand for themselves (RFC 3986, section 2.3).
pub(crate) fn encoded(part: &str) -> String {
    let byte = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    part.bytes().map(byte).collect()
}

fn cells(screen: &Value) -> [String; 5] {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let direction = &screen["direction"];
    let mut told = names(&direction["streams"], |stream| stream);
    if let Some(card) = direction["card"].as_str() {
        told = format!("card {card:?}");
    } else if direction["frozen"] == true {
        told.push_str(" (paused)");
    }

    [
        text(&screen["name"]).escape_debug().to_string(),
        text(&screen["state"]),
        told.trim().to_owned(),
        names(&screen["showing"], |shown| &shown["stream"]),
        text(&direction["by"]).escape_debug().to_string(),
    ]
}

fn names(list: &Value, name: impl Fn(&Value) -> &Value) -> String {
    let list = list.as_array().into_iter().flatten();
    let names: Vec<_> = list.filter_map(|item| name(item).as_str()).collect();
    names.join(",")
}

/// Rows with their columns one below the other; an empty cell is a dash.
fn table(rows: &[[String; 5]]) -> String {
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max();
    let widths: [_; 5] = std::array::from_fn(|at| width(at).unwrap_or(0).max(1));
    let line = |row: &[String; 5]| {
        let cell = |at: usize| if row[at].is_empty() { "-" } else { &row[at] };
        let cells: Vec<_> = (0..5)
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
    fn any_name_of_a_screen_fits_a_path() {
        assert_eq!(encoded("lobby-left"), "lobby-left");
        assert_eq!(encoded("Küche 2/ä?"), "K%C3%BCche%202%2F%C3%A4%3F");
    }

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
}
