//! The command `fanlight-source controls`: a camera's controls, while it runs.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context as _;
use fanlight_daemon::config::{Entry, entry};
use fanlight_proto::message::Control;

use crate::camera::v4l;
use crate::config::Config;

/// Flags of `controls`.
#[derive(clap::Args, Clone, Debug)]
pub struct Controls {
    /// What to set before listing. Nothing: only list.
    #[arg(value_name = "NAME=VALUE", value_parser = entry)]
    pub set: Vec<Entry>,

    /// Set it again whenever the camera is opened: it is kept in `controls_file`.
    #[arg(long)]
    pub save: bool,
}

/// Sets and lists.
///
/// # Errors
/// When there is no camera, or it does not have such a control or value.
pub(crate) fn run(config: &Config, controls: &Controls) -> anyhow::Result<ExitCode> {
    let wanted: BTreeMap<_, _> = controls.set.iter().cloned().collect();
    let file = config.controls_file();
    let save = controls.save.then(|| {
        file.as_deref()
            .context("--save needs controls_file (--controls-file): the file that the source reads")
    });
    let (name, listed) = v4l::controls(config.camera_device(), &wanted, save.transpose()?)?;
    println!("{name}");
    for control in &listed {
        println!("  {}", line(control));
    }

    if !wanted.is_empty() && !controls.save {
        println!("It lasts until the camera is unplugged; with --save it is set again then.");
    }

    Ok(ExitCode::SUCCESS)
}

/// A control as an operator reads it.
fn line(control: &Control) -> String {
    let Control { name, usual, .. } = control;
    let value = control
        .value
        .map_or("?".to_owned(), |value| value.to_string());
    let inactive = if control.inactive {
        ", not in effect now"
    } else {
        ""
    };
    let range = v4l::range(control);
    format!("{name}={value}  {range}, usually {usual}{inactive}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_control_says_its_value_and_what_it_takes() {
        let focus = Control {
            name: "focus_absolute".into(),
            value: Some(30),
            maximum: 250,
            inactive: true,
            ..Control::default()
        };
        assert_eq!(
            line(&focus),
            "focus_absolute=30  0 to 250, usually 0, not in effect now"
        );
    }
}
