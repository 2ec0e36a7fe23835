//! Asks a relay over HTTP: another one of the site, or the one that runs here, for the commands of the program. One request in
//! one connection, and each wait has an end.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Uri;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use zeroize::Zeroizing;

/// Most bytes of an answer that are read: that of 1024 screens with the longest directions has 2 MB.
const MAX_ANSWER: u64 = 4 << 20;

/// Where a relay serves HTTP: `http://HOST` or, with TLS, `https://HOST`, perhaps with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayAddress {
    tls: bool,
    /// IPv6 without brackets.
    host: String,
    port: u16,
}

/// A text that is no [`RelayAddress`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address of a relay: write http://HOST:PORT, or https:// for TLS")]
pub struct RelayAddressError(String);

impl FromStr for RelayAddress {
    type Err = RelayAddressError;

    fn from_str(text: &str) -> Result<Self, RelayAddressError> {
        Self::parse(text).ok_or_else(|| RelayAddressError(text.to_owned()))
    }
}

impl RelayAddress {
    fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let (tls, usual) = match uri.scheme_str()? {
            "http" => (false, 80),
            "https" => (true, 443),
            _ => return None,
        };

        let authority = uri.authority()?;
        let is_bare = uri.path() == "/" && uri.query().is_none();
        let has_user = authority.as_str().contains('@');
        let host = authority.host().trim_matches(['[', ']']);
        ServerName::try_from(host)
            .ok()
            .filter(|_| is_bare && !has_user)?;
        Some(Self {
            tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(usual),
        })
    }

    /// That of a relay which listens without TLS at `address`.
    #[must_use]
    pub fn plain(address: SocketAddr) -> Self {
        Self {
            tls: false,
            host: address.ip().to_string(),
            port: address.port(),
        }
    }

    /// Whether it is asked with TLS.
    #[must_use]
    pub const fn has_tls(&self) -> bool {
        self.tls
    }

    fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }
}

impl fmt::Display for RelayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// What a relay is asked.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Such as GET.
    pub method: &'a str,
    /// With its query.
    pub path: &'a str,
    /// Lets us in.
    pub token: Option<&'a str>,
    /// For whom we ask, if it is not for ourselves.
    pub by: Option<&'a str>,
    /// JSON; empty: none.
    pub body: &'a str,
}

/// What it says.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Such as 200; 0 if it is no answer of HTTP.
    pub status: u16,
    /// What came after the head.
    pub body: String,
}

impl Request<'_> {
    /// Asks the relay at `address`, which has so long for its whole answer.
    ///
    /// # Errors
    /// When none comes.
    pub async fn ask(
        &self,
        address: &RelayAddress,
        tls: Option<&Arc<ClientConfig>>,
        limit: Duration,
    ) -> io::Result<Answer> {
        let exchange = async {
            let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
            let Some(tls) = tls.filter(|_| address.tls) else {
                return self.exchange(stream, &address.authority()).await;
            };

            let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
            let connector = TlsConnector::from(Arc::clone(tls));
            let stream = connector.connect(name, stream).await?;
            self.exchange(stream, &address.authority()).await
        };
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        let answer = tokio::time::timeout(limit, exchange).await;
        answer.unwrap_or_else(|_| Err(late()))
    }

    async fn exchange(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        host: &str,
    ) -> io::Result<Answer> {
        let Self {
            method,
            path,
            token,
            by,
            body,
        } = self;
        let token = token.map_or_else(String::new, |it| format!("Authorization: Bearer {it}\r\n"));
        let by = by.map_or_else(String::new, |it| format!("{}: {it}\r\n", crate::site::BY));
        // By HTTP/1.1 the answer could come in chunks.
        let request = Zeroizing::new(format!(
            "{method} {path} HTTP/1.0\r\nHost: {host}\r\n{token}{by}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;

        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        Ok(Answer {
            status: status.unwrap_or(0),
            body: body.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_named_by_scheme_host_and_port_and_by_nothing_else() {
        for (text, told) in [
            ("http://left", "http://left:80"),
            ("https://left.lan/", "https://left.lan:443"),
            ("http://10.0.0.7:8080", "http://10.0.0.7:8080"),
            ("http://[fd00::7]:8080", "http://[fd00::7]:8080"),
        ] {
            let address: RelayAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), told);
        }
        for text in [
            "left:8080",
            "ftp://left",
            "http://left/page",
            "http://me:pw@left",
            "http://",
        ] {
            assert!(text.parse::<RelayAddress>().is_err(), "{text}");
        }
    }
}
