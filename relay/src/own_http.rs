//! Asks the relay that runs on this host over HTTP, for the commands of its program. Called by `ready`, `link` and
//! `direct`.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

use crate::config::Config;

/// Longest that the relay may take for each step.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Most bytes of an answer that are read: that of 1024 screens with the longest directions has 2 MB.
const MAX_ANSWER: u64 = 4 << 20;

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

/// What the relay says.
pub(crate) struct Answer {
    /// Such as 200; 0 if it is no answer of HTTP.
    pub(crate) status: u16,
    pub(crate) body: String,
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
        let address = reachable(config.http.context("`http` is not set")?);
        let text = self.exchange(address);
        let text = text.with_context(|| format!("no answer from http://{address}{}", self.path))?;
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        Ok(Answer {
            status: status.unwrap_or(0),
            body: body.to_owned(),
        })
    }

    fn exchange(&self, address: SocketAddr) -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT + self.wait))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let Self {
            method,
            path,
            token,
            body,
            ..
        } = self;
        let shown = token.map_or_else(String::new, |token| {
            format!("Authorization: Bearer {token}\r\n")
        });
        let request = Zeroizing::new(format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{shown}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        stream.write_all(request.as_bytes())?;

        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
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
