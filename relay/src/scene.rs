//! `fanlight-relay scene`: lists scenes and applies them by asking the relay that runs here.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use fanlight_proto::message::StreamName;
use serde_json::Value;

use crate::config::Config;
use crate::direct::ask;

/// What to do with scenes.
#[derive(Clone, Debug, Subcommand)]
pub enum SceneCommand {
    /// Print the names of all scenes, each with its screens
    List,
    /// Direct all screens of a scene at once, and print which did not take it
    Apply {
        /// What it is called
        name: StreamName,
    },
}

/// Does so with the relay of these settings.
pub(crate) fn run(config: &Config, command: &SceneCommand) -> anyhow::Result<ExitCode> {
    let (method, path) = match command {
        SceneCommand::List => ("GET", "/api/scenes".to_owned()),
        SceneCommand::Apply { name } => ("POST", format!("/api/scenes/{name}/apply")),
    };
    let answer = ask(config, method, &path, "", Duration::ZERO)?;
    if let Some(scenes) = answer["scenes"].as_array() {
        for scene in scenes {
            writeln!(io::stdout(), "{}", line(scene))?;
        }
        return Ok(ExitCode::SUCCESS);
    }

    let rows = answer["screens"].as_array().into_iter().flatten();
    let refused: Vec<_> = rows.filter(|row| row["error"].is_string()).collect();
    for row in &refused {
        let text = |key: &str| {
            row[key]
                .as_str()
                .unwrap_or_default()
                .escape_debug()
                .to_string()
        };
        writeln!(io::stdout(), "{}: {}", text("name"), text("message"))?;
    }
    Ok(if refused.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn line(scene: &Value) -> String {
    let screens = scene["screens"].as_object().into_iter().flatten();
    let names: Vec<_> = screens
        .map(|(name, _)| name.escape_debug().to_string())
        .collect();
    let name = scene["name"].as_str().unwrap_or_default();
    format!("{name} {}", names.join(","))
}
