//! The relays of a config file that the programs of a box share.

use std::net::SocketAddr;

use anyhow::bail;
use fanlight_daemon::config::sections::{Part, Section};

use super::Config;

/// `[relay]` is a relay by itself.
pub(crate) const SECTIONS: &[Section] = &[Section {
    name: "relay",
    named_by: None,
    alone: true,
}];

/// Says which relays of one file want the same port.
///
/// # Errors
/// Names both.
pub(crate) fn check_together(parts: &[(Part, Config)]) -> anyhow::Result<()> {
    for (index, (second, config)) in parts.iter().enumerate() {
        for (first, before) in &parts[..index] {
            for (first_key, taken) in ports(before) {
                let shared = ports(config).find(|(_, wanted)| wanted.collides(taken));
                if let Some((second_key, wanted)) = shared {
                    bail!(
                        "{first} and {second} both listen at {} ({first_key}, {second_key}): give one of them another port",
                        wanted.address
                    );
                }
            }
        }
    }

    Ok(())
}

#[derive(Clone, Copy)]
struct Port {
    udp: bool,
    address: SocketAddr,
}

impl Port {
    fn collides(self, other: Self) -> bool {
        let (ip, others) = (self.address.ip(), other.address.ip());
        let same_place = ip == others || ip.is_unspecified() || others.is_unspecified();
        let port = self.address.port();
        self.udp == other.udp && port == other.address.port() && port != 0 && same_place
    }
}

fn ports(config: &Config) -> impl Iterator<Item = (&'static str, Port)> {
    let all = [
        ("listen", true, Some(config.listen)),
        ("webrtc", true, config.webrtc),
        ("http", false, config.http),
        ("rtsp", false, config.rtsp),
        ("webrtc_tcp", false, config.webrtc_tcp),
        ("webrtc_signalling", false, config.webrtc_signalling),
    ];

    all.into_iter().filter_map(|(key, udp, address)| {
        Some((
            key,
            Port {
                udp,
                address: address?,
            },
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str) -> Part {
        name.parse().unwrap()
    }

    fn relay(listen: &str, http: Option<&str>) -> Config {
        Config {
            listen: listen.parse().unwrap(),
            http: http.map(|http| http.parse().unwrap()),
            ..Config::default()
        }
    }

    #[test]
    fn two_relays_with_one_port_are_both_named() {
        let main = (part("relay"), relay("0.0.0.0:5004", None));
        let second = (part("relay.second"), relay("127.0.0.1:5004", None));
        assert_eq!(
            check_together(&[main, second]).unwrap_err().to_string(),
            "[relay] and [relay.second] both listen at 127.0.0.1:5004 (listen, listen): give one of them another port"
        );
    }

    #[test]
    fn ports_of_other_protocols_addresses_or_of_the_systems_choice_do_not_collide() {
        for (first, second) in [
            (
                relay("127.0.0.1:5004", None),
                relay("127.0.0.1:5005", Some("127.0.0.1:5004")),
            ),
            (relay("127.0.0.1:5004", None), relay("127.0.0.2:5004", None)),
            (relay("127.0.0.1:0", None), relay("127.0.0.1:0", None)),
        ] {
            let parts = [(part("relay"), first), (part("relay.second"), second)];
            check_together(&parts).unwrap();
        }
    }
}
