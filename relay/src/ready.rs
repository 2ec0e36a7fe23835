//! `fanlight-relay ready`: asks the relay of this host over HTTP whether it is of use. Called by health checks of containers,
//! which have no shell and no HTTP client.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};

use crate::config::Config;

/// Longest that the relay may take for each step.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Most bytes of an answer that are read; longer ones are cut.
const MAX_ANSWER: u64 = 64 << 10;

/// Flags of one run.
#[derive(Args, Clone, Debug, Default)]
pub struct Extra {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What else the program can do.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Command {
    /// Tell whether the relay that runs here is ready: for health checks
    ///
    /// Asks for /readyz at the `http` of the same config file or flags.
    ///
    /// Exit codes: 0 it is ready; 1 it is not, or does not answer; 64 flags or config that cannot be used.
    Ready,
}

/// Says why the settings do not tell whom to ask.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    if config.http.is_none() {
        bail!("`ready` asks the relay over HTTP: give it the `http` that the relay has");
    }

    if config.http_certificate.is_some() {
        bail!(
            "`ready` asks without TLS, and this relay has http_certificate: ask for https://HOST/readyz"
        );
    }

    Ok(())
}

/// Prints what the relay of these settings answers.
pub(crate) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let http = config.http.context("`http` is not set")?;
    let asked = reachable(http);
    let answer = ask(asked).with_context(|| format!("no answer from http://{asked}/readyz"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    writeln!(io::stdout(), "{}", body.trim_end())?;
    Ok(match head.split(' ').nth(1) {
        Some("200") => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
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

fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;

    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
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
