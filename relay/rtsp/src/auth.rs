//! Basic (RFC 7617) and Digest (RFC 2617, MD5, which is what RTSP clients know) with a token as the password. The name
//! of the user is free.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanlight_daemon::clock::random_bytes;
use fanlight_daemon::digest_auth::{Algorithm, Request, hex, parameter};
use fanlight_live::access::{AccessError, Authorizer, Credentials, Grant, Role, TokenFiles};
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

        let request = Request {
            algorithm: Algorithm::Md5,
            user: value("username"),
            realm: REALM,
            nonce,
            method,
            uri: value("uri"),
            protection: Some((value("qop"), value("nc"), value("cnonce")))
                .filter(|(qop, ..)| !qop.is_empty()),
        };
        let made_by =
            |token: &str| value("response").eq_ignore_ascii_case(&request.response(token));

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
