//! Basic (RFC 7617) and Digest (RFC 2617, MD5, which is what RTSP clients know) with a token as the password. The name
//! of the user is free.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanlight_daemon::clock::random_bytes;
use fanlight_live::access::{AccessError, Authorizer, Credentials, Grant, Role, TokenFiles};
use md5::{Digest as _, Md5};
use parking_lot::RwLock;
use zeroize::Zeroizing;

use crate::Settings;

const REALM: &str = "Fanlight";

/// Who may watch. Digest needs the tokens themselves, so they are kept here as long as the output runs.
#[derive(Debug)]
pub(crate) struct Authenticator {
    authorizer: Authorizer,
    files: TokenFiles,
    tokens: RwLock<Vec<(Role, Zeroizing<String>)>>,
}

impl Authenticator {
    pub(crate) fn load(settings: &Settings) -> Result<Self, AccessError> {
        let files = settings.tokens.clone();
        Ok(Self {
            authorizer: Authorizer::load(settings.access, files.clone())?,
            tokens: RwLock::new(files.read()?),
            files,
        })
    }

    /// Reads the tokens again when their files change, for ever on a task.
    pub(crate) async fn follow(&self) {
        let watch = self
            .files
            .watch("http_view_token or http_admin_token (RTSP)");
        let apply = |tokens: Vec<_>| {
            self.authorizer.set_tokens(&tokens);
            *self.tokens.write() = tokens;
        };
        watch.follow(|| self.files.read(), apply).await;
    }

    /// What lets a request with this `Authorization` field watch; none: nothing. A nonce is good for one connection.
    pub(crate) fn admits(&self, field: Option<&str>, method: &str, nonce: &str) -> Option<Grant> {
        let shown = field.and_then(|field| field.split_once(' '));
        let token = shown.and_then(|(scheme, rest)| {
            if scheme.eq_ignore_ascii_case("Basic") {
                Self::basic(rest.trim())
            } else if scheme.eq_ignore_ascii_case("Digest") {
                self.digest(rest, method, nonce)
            } else {
                None
            }
        });

        let credentials = Credentials {
            bearer: token.as_ref().map(|token| token.as_str()),
            ..Credentials::default()
        };
        self.authorizer.grant(&credentials, 0)
    }

    /// The password.
    fn basic(text: &str) -> Option<Zeroizing<String>> {
        let decoded = STANDARD.decode(text).ok().map(Zeroizing::new);
        let pair = decoded
            .as_ref()
            .and_then(|bytes| std::str::from_utf8(bytes).ok());
        let (_, token) = pair?.split_once(':')?;
        Some(token.to_owned().into())
    }

    /// The token by which the response was made (RFC 2617, 3.2.2). Its result cannot be guessed byte by byte: who does not know the token cannot choose it.
    fn digest(&self, text: &str, method: &str, nonce: &str) -> Option<Zeroizing<String>> {
        let value = |name| parameter(text, name).unwrap_or("");
        if value("nonce") != nonce || value("realm") != REALM {
            return None;
        }

        let request = md5(&[method, value("uri")]);
        let made_by = |token: &str| {
            let user = md5(&[value("username"), REALM, token]);
            let expected = match value("qop") {
                "" => md5(&[&user, nonce, &request]),
                qop => md5(&[&user, nonce, value("nc"), value("cnonce"), qop, &request]),
            };
            value("response").eq_ignore_ascii_case(&expected)
        };

        let tokens = self.tokens.read();
        let token = tokens.iter().find(|(_, token)| made_by(token));
        token.map(|(_, token)| token.clone())
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
