//! Asks the relay that runs on this host over HTTP, for the commands of its program. Called by `ready`, `link` and
//! `direct`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
pub(crate) use fanlight_http::client::Answer;
use fanlight_http::client::{self, RelayAddress};

use crate::config::Config;

/// Longest that the relay may take, beside what it is asked to wait.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What is asked.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) token: Option<&'a str>,
    /// JSON; empty: none.
    pub(crate) body: &'a str,
    /// How long the relay is asked to wait before it answers.
    pub(crate) wait: Duration,
}

/// Says why the settings do not tell whom `command` is to ask.
pub(crate) fn check(config: &Config, command: &str) -> anyhow::Result<()> {
    if config.http.is_none() {
        bail!("`{command}` asks the relay over HTTP: give it the `http` that the relay has");
    }

    if config.http_certificate.is_some() {
        bail!(
            "`{command}` asks without TLS, and this relay has http_certificate: ask it by https as HTTP.md says"
        );
    }

    Ok(())
}

impl Request<'_> {
    /// Asks the relay of these settings.
    pub(crate) fn ask(&self, config: &Config) -> anyhow::Result<Answer> {
        let address = RelayAddress::plain(reachable(config.http.context("`http` is not set")?));
        let request = client::Request {
            method: self.method,
            path: self.path,
            token: self.token,
            by: None,
            body: self.body,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let answer = runtime.block_on(request.ask(&address, None, TIMEOUT + self.wait));
        answer.with_context(|| format!("no answer from {address}{}", self.path))
    }
}

/// Where a program of this host reaches what listens at `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };

    (ip, address.port()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_at_every_address_is_asked_at_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("10.0.0.5:80", "10.0.0.5:80"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
