//! The sources of a config file that the programs of a box share.

use anyhow::ensure;
use fanlight_daemon::config::sections::{Part, Section};

use super::Config;

/// Cameras are sources that run while the camera is plugged in; both are named by their stream.
pub(crate) const SECTIONS: &[Section] = &[
    Section {
        name: "source",
        named_by: Some("stream"),
        alone: false,
    },
    Section {
        name: "camera",
        named_by: Some("stream"),
        alone: true,
    },
];

/// Says which sources of one file would publish the same stream, or at the same endpoint.
///
/// # Errors
/// Names both.
pub(crate) fn check_together(parts: &[(Part, Config)]) -> anyhow::Result<()> {
    // A camera that has no part of its own gets its name from the place where it is plugged in.
    let named = parts.iter().filter(|(part, _)| part.instance.is_some());
    let named: Vec<_> = named.collect();
    for (index, (part, config)) in named.iter().enumerate() {
        for (other, before) in &named[..index] {
            ensure!(
                config.stream != before.stream,
                "{other} and {part} both have the stream {}: give one of them another `stream`",
                config.stream
            );

            let shared = config.publish.iter().find(|it| before.publish.contains(it));
            if let Some(endpoint) = shared {
                anyhow::bail!(
                    "{other} and {part} both publish at {endpoint}: give one of them another `publish`"
                );
            }
        }
    }

    Ok(())
}
