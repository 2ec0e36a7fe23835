//! Basic (RFC 7617) and Digest (RFC 2617, MD5, which is what RTSP clients know) with a token as the password. The name
//! of the user is free.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanlight_daemon::clock::random_bytes;
use fanlight_live::access::{AccessError, AccessMode, Authorizer, Credentials};
use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

use crate::Settings;

const REALM: &str = "Fanlight";

/// Who may watch. Digest needs the tokens themselves, so they are kept here as long as the output runs.
#[derive(Debug)]
pub(crate) struct Authenticator {
    authorizer: Authorizer,
    tokens: Vec<Zeroizing<String>>,
    open: bool,
}

impl Authenticator {
    pub(crate) fn load(settings: &Settings) -> Result<Self, AccessError> {
        let paths = [settings.view_token.as_ref(), settings.admin_token.as_ref()];
        let tokens = paths.into_iter().flatten().map(|path| path.token());
        Ok(Self {
            authorizer: Authorizer::load(settings.access, paths[0], paths[1])?,
            tokens: tokens.collect::<Result<_, _>>()?,
            open: settings.access != AccessMode::Token,
        })
    }

    /// Whether a request with this `Authorization` field may watch. A nonce is good for one connection.
    pub(crate) fn admits(&self, field: Option<&str>, method: &str, nonce: &str) -> bool {
        let Some((scheme, rest)) = field.and_then(|field| field.split_once(' ')) else {
            return self.open;
        };

        let shown = if scheme.eq_ignore_ascii_case("Basic") {
            self.basic(rest.trim())
        } else {
            scheme.eq_ignore_ascii_case("Digest") && self.digest(rest, method, nonce)
        };
        shown || self.open
    }

    fn basic(&self, text: &str) -> bool {
        let decoded = STANDARD.decode(text).ok().map(Zeroizing::new);
        let pair = decoded
            .as_ref()
            .and_then(|bytes| std::str::from_utf8(bytes).ok());
        let bearer = pair
            .and_then(|pair| pair.split_once(':'))
            .map(|(_, token)| token);
        let credentials = Credentials {
            bearer,
            ..Credentials::default()
        };
        self.authorizer.grant(&credentials, 0).is_some()
    }

    /// RFC 2617, 3.2.2. Its result cannot be guessed byte by byte: who does not know the token cannot choose it.
    fn digest(&self, text: &str, method: &str, nonce: &str) -> bool {
        let value = |name| parameter(text, name).unwrap_or("");
        if value("nonce") != nonce || value("realm") != REALM {
            return false;
        }

        let request = md5(&[method, value("uri")]);
        self.tokens.iter().any(|token| {
            let user = md5(&[value("username"), REALM, token]);
            let expected = match value("qop") {
                "" => md5(&[&user, nonce, &request]),
                qop => md5(&[&user, nonce, value("nc"), value("cnonce"), qop, &request]),
            };
            value("response").eq_ignore_ascii_case(&expected)
        })
    }
}

/// The challenges of a connection with this nonce.
pub(crate) fn challenges(nonce: &str) -> String {
    format!(
        "WWW-Authenticate: Digest realm=\"{REALM}\", nonce=\"{nonce}\", algorithm=MD5\r\n\
         WWW-Authenticate: Basic realm=\"{REALM}\"\r\n"
    )
}

/// A nonce that nobody can foresee.
pub(crate) fn nonce() -> String {
    hex(&random_bytes::<16>())
}

fn md5(parts: &[&str]) -> String {
    hex(&Md5::digest(parts.join(":")))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A parameter of `name=value, name="value"`.
fn parameter<'a>(mut text: &'a str, name: &str) -> Option<&'a str> {
    while let Some((key, rest)) = text.split_once('=') {
        let (value, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at(rest.find(',').unwrap_or(rest.len())),
        };
        if key.trim_matches([',', ' ']).eq_ignore_ascii_case(name) {
            return Some(value.trim());
        }
        text = behind;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_2617_gives_its_response() {
        let user = md5(&["Mufasa", "testrealm@host.com", "Circle Of Life"]);
        let request = md5(&["GET", "/dir/index.html"]);
        let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
        let response = md5(&[&user, nonce, "00000001", "0a4f113b", "auth", &request]);
        assert_eq!(response, "6629fae49393a05397450978507c4ef1");
    }

    #[test]
    fn parameters_may_hold_commas_and_come_in_any_order() {
        let text = "username=\"a, b\", qop=auth,nc=1, uri=\"rtsp://h/x?a=b\"";
        assert_eq!(parameter(text, "username"), Some("a, b"));
        assert_eq!(parameter(text, "QOP"), Some("auth"));
        assert_eq!(parameter(text, "nc"), Some("1"));
        assert_eq!(parameter(text, "uri"), Some("rtsp://h/x?a=b"));
        assert_eq!(parameter(text, "response"), None);
    }
}
