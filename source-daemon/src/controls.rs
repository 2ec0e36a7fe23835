//! The command `fanlight-source controls`: a camera's controls, while it runs.

use std::collections::BTreeMap;
use std::process::ExitCode;

use fanlight_daemon::config::{Entry, entry};

use crate::camera::v4l;
use crate::config::Config;

/// Flags of `controls`.
#[derive(clap::Args, Clone, Debug)]
pub struct Controls {
    /// What to set before listing. Nothing: only list.
    #[arg(value_name = "NAME=VALUE", value_parser = entry)]
    pub set: Vec<Entry>,
}

/// Sets and lists.
///
/// # Errors
/// When there is no camera, or it does not have such a control or value.
pub(crate) fn run(config: &Config, controls: &Controls) -> anyhow::Result<ExitCode> {
    let wanted: BTreeMap<_, _> = controls.set.iter().cloned().collect();
    let (name, listed) = v4l::controls(config.camera_device(), &wanted)?;
    println!("{name}");
    for control in &listed {
        println!("  {control}");
    }

    if !wanted.is_empty() {
        let entries: Vec<_> = wanted
            .iter()
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        println!(
            "To have it after the camera is plugged in again, put this into the config file: controls = {{ {} }}",
            entries.join(", ")
        );
    }

    Ok(ExitCode::SUCCESS)
}
