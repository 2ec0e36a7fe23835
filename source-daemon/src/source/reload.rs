//! What a source changes while it runs, when its config file is read again. Called by the event loop: subscribers, the epoch
//! and the numbers of frames stay. An input whose own settings change is closed and opened again; the others go on.

use fanlight_daemon::Context;
use fanlight_proto::clock::Time;

use super::Source;
use crate::config::Config;

/// The keys that change so. The kind of input, the canary's presence, name, sockets and key are those of the start.
pub(crate) const LIVE: &[&str] = &[
    "input_password",
    "input_ca_file",
    "input_certificate",
    "device",
    "pixel_format",
    "controls",
    "controls_file",
    "remote_controls",
    "path",
    "repeat",
    "command",
    "size",
    "rate",
    "radius",
    "speed",
    "stall_seconds",
    "flip_horizontal",
    "flip_vertical",
    "rotate",
    "scale",
    "overlay",
    "overlay_figures",
    "quality",
    "canary_rate",
    "idle",
    "idle_rate",
    "idle_after",
];

/// `config` with the kind of input that it has now.
pub(super) fn decided(config: Config) -> Config {
    Config {
        input: config.input_kind(),
        ..config
    }
}

impl Source {
    /// Reads the config file again when that was asked for.
    pub(super) fn reload(&mut self, now: Time, context: &Context) {
        let Some(newer) = context.reload.take(LIVE, Config::check) else {
            return;
        };

        let Some(old) = &self.config else { return };
        let newer = Config {
            input: old.input.clone(),
            ..newer
        };

        if let Err(error) = self.change(now, &newer) {
            tracing::error!("reload: the input stays as it is: {error:#}");
        }
        self.config = Some(newer);
    }

    fn change(&mut self, now: Time, newer: &Config) -> anyhow::Result<()> {
        let Some(old) = &self.config else {
            return Ok(());
        };

        let main = newer.main_parts()?;
        if let Some(controls) = &self.controls {
            controls.set_target(newer.control_target());
        }

        let reopens =
            input_settings(old) != input_settings(newer) || supervision(old) != supervision(newer);
        let canary_changes =
            old.canary_rate != newer.canary_rate || supervision(old) != supervision(newer);

        self.main.set_picture(&main.picture, main.slow_interval)?;
        if reopens {
            self.main.set_input(now, main.input, main.supervisor);
        }

        if let (Some(canary), Some(parts), true) =
            (&mut self.canary, newer.canary_parts()?, canary_changes)
        {
            canary.set_input(now, parts.input, parts.supervisor);
        }

        Ok(())
    }
}

/// What opening the input takes.
fn input_settings(config: &Config) -> impl PartialEq + '_ {
    (
        (
            &config.input_password,
            &config.input_ca_file,
            &config.input_certificate,
        ),
        (
            &config.device,
            config.pixel_format,
            &config.controls,
            &config.controls_file,
        ),
        (&config.path, config.repeat, &config.command),
        (config.size, config.rate, config.radius, config.speed),
    )
}

/// What the supervisor of an input goes by.
fn supervision(config: &Config) -> impl PartialEq + use<> {
    (
        config.stall_seconds,
        config.idle,
        std::time::Duration::from(config.idle_after),
    )
}
