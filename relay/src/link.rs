//! `fanlight-relay link`: makes, lists and revokes links by asking the relay that runs here, which alone writes their file.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use fanlight_proto::message::StreamName;
use serde_json::{Value, json};

use crate::config::Config;
use crate::own_http::{Answer, Request};

/// What to do with links.
#[derive(Clone, Debug, Subcommand)]
pub enum LinkCommand {
    /// Make a link to the pictures of one stream, and print its two addresses, which are told this once
    Add {
        /// The stream that it shows
        stream: StreamName,
        /// What to call it: letters, digits, `.`, `_` and `-`
        name: StreamName,
    },
    /// Print the names of all links, each with its stream
    List,
    /// Revoke a link: who watches by it is cut off at once
    Revoke {
        /// What it is called
        name: StreamName,
    },
}

/// Prints what the relay of these settings answers.
pub(crate) fn run(config: &Config, command: &LinkCommand) -> anyhow::Result<ExitCode> {
    let token = config.http_admin_token.as_ref().map(|file| file.token());
    let token = token.transpose()?;
    let (method, path, body) = match command {
        LinkCommand::Add { stream, name } => {
            let body = json!({ "stream": stream.as_str(), "name": name.as_str() });
            ("POST", "/api/links".to_owned(), body.to_string())
        }
        LinkCommand::List => ("GET", "/api/links".to_owned(), String::new()),
        LinkCommand::Revoke { name } => ("DELETE", format!("/api/links/{name}"), String::new()),
    };

    let request = Request {
        method,
        path: &path,
        token: token.as_ref().map(|token| token.as_str()),
        body: &body,
        wait: Duration::ZERO,
    };
    let answer = request.ask(config)?;
    let text = told(&answer, &page(config))?;
    write!(io::stdout(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}

/// By which others find this relay, as far as the settings tell.
fn page(config: &Config) -> String {
    let own = || config.http.map(|http| format!("http://{http}"));
    let page = config.mqtt_page.clone().or_else(own).unwrap_or_default();
    page.trim_end_matches('/').to_owned()
}

fn told(answer: &Answer, page: &str) -> anyhow::Result<String> {
    if answer.status == 204 {
        return Ok(String::new());
    }

    let body: Value = serde_json::from_str(&answer.body)
        .with_context(|| format!("the relay answers with {}", answer.status))?;
    if !(200..300).contains(&answer.status) {
        bail!("the relay refuses: {}", word(&body, "error"));
    }

    let Some(links) = body["links"].as_array() else {
        let addresses = ["snapshot", "mjpeg"].map(|kind| format!("{page}{}\n", word(&body, kind)));
        return Ok(addresses.concat());
    };
    let line = |link: &Value| format!("{} {}\n", word(link, "name"), word(link, "stream"));
    Ok(links.iter().map(line).collect())
}

fn word<'a>(body: &'a Value, key: &str) -> &'a str {
    body[key].as_str().unwrap_or_default()
}
