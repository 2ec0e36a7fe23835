//! Why there is no connection to a relay, in words for the card and the log.

use std::io;

use rustls::CertificateError;
use tungstenite::Error;
use tungstenite::http::{Response, StatusCode};

use super::RelayUrl;

/// Longest message of a relay that is repeated.
const MAX_REASON: usize = 160;

/// Why a connection could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nobody answers.
    Unreachable(String),
    /// What answers is no relay that lets this viewer in.
    Rejected(String),
}

impl Failure {
    pub(super) fn no_answer(url: &RelayUrl) -> Self {
        Self::Unreachable(format!("{url} does not answer"))
    }

    /// The connection could not be made.
    pub(super) fn of_connecting(url: &RelayUrl, error: &io::Error) -> Self {
        let said = error.to_string();
        let looked_up = said.strip_prefix("failed to lookup address information: ");
        Self::Unreachable(match (error.kind(), looked_up) {
            (_, Some(why)) => format!("{} cannot be resolved ({why})", url.host()),
            (io::ErrorKind::ConnectionRefused, _) => format!("nobody listens at {url}"),
            (io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable, _) => {
                format!("no way to {url}")
            }
            _ => format!("{url}: {said}"),
        })
    }

    /// The handshake of TLS or of the WebSocket failed; `has_token` if one was shown.
    pub(super) fn of_handshake(url: &RelayUrl, has_token: bool, error: &Error) -> Self {
        match error {
            Error::Http(answer) => of_answer(url, has_token, answer),
            Error::Io(error) => match tls_error(error) {
                Some(error) => Self::of_tls(url, error),
                None => Self::Unreachable(format!("{url} ended the connection: {error}")),
            },
            _ => Self::Rejected(format!("what answers at {url} is no relay: {error}")),
        }
    }

    pub(super) fn of_tls(url: &RelayUrl, error: &rustls::Error) -> Self {
        let rustls::Error::InvalidCertificate(wrong) = error else {
            return Self::Rejected(match error {
                rustls::Error::InvalidMessage(_) => {
                    format!("what answers at {url} speaks no TLS: is it ws:// and not wss://?")
                }
                _ => format!("no TLS with {url}: {error}"),
            });
        };

        Self::Rejected(match wrong {
            CertificateError::UnknownIssuer => format!(
                "the certificate of {url} is not trusted: see relay_ca_file and relay_certificate"
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("the certificate of {url} is for another name")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("the certificate of {url} has expired")
            }
            CertificateError::ApplicationVerificationFailure => {
                format!("the certificate of {url} is none of relay_certificate")
            }
            _ => format!("the certificate of {url} is not trusted: {error}"),
        })
    }
}

/// The error of TLS behind one of input and output.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What an answer that is no WebSocket amounts to.
fn of_answer(url: &RelayUrl, has_token: bool, answer: &Response<Option<Vec<u8>>>) -> Failure {
    let status = answer.status();
    let said = reason(answer.body().as_deref().unwrap_or_default());
    Failure::Rejected(match status {
        StatusCode::UNAUTHORIZED if has_token => {
            format!("the relay at {url} does not know this viewer's token (relay_token_file)")
        }
        StatusCode::UNAUTHORIZED => {
            format!("the relay at {url} asks for a token (relay_token_file)")
        }
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            format!("a proxy at {url} does not reach the relay: {status}")
        }
        _ => match said {
            Some(said) => format!("the relay at {url} says no: {said}"),
            None => format!("what answers at {url} is no relay: {status}"),
        },
    })
}

/// What a relay says of an error; none when it is none of ours.
fn reason(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    body["error"].as_str()?;
    let said = body["message"].as_str()?.chars();
    Some(said.filter(|c| !c.is_control()).take(MAX_REASON).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Error {
        let answer = Response::builder().status(status);
        let answer = answer.body(Some(body.as_bytes().to_vec())).unwrap();
        Error::Http(answer.into())
    }

    #[test]
    fn each_answer_that_is_no_web_socket_is_said_in_plain_words() {
        let url: RelayUrl = "ws://relay:8080".parse().unwrap();
        let said = |token, error: &Error| match Failure::of_handshake(&url, token, error) {
            Failure::Rejected(why) => why,
            Failure::Unreachable(why) => panic!("{why}"),
        };

        let unknown = answer(401, r#"{"error":"wrong_token","message":"no"}"#);
        assert!(said(true, &unknown).contains("does not know this viewer's token"));
        assert!(said(false, &unknown).contains("asks for a token"));
        assert!(said(false, &answer(502, "<html>")).contains("a proxy at relay:8080"));
        assert!(said(false, &answer(404, "<html>")).contains("is no relay: 404"));
        let refused = answer(403, r#"{"error":"wrong_host","message":"see http_names"}"#);
        assert!(said(false, &refused).ends_with("says no: see http_names"));
    }
}
