//! Who may do what: tokens, cookies made of tokens, and signed addresses. Pure functions, used by every output that lets
//! clients in by token. No token is ever compared byte by byte, kept in a cookie or an address, or logged.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::ValueEnum;
use fanlight_daemon::keys::{KeyFileError, KeyPath};
use ring::hmac;

/// Who may come to an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AccessMode {
    /// Programs on this host, because the relay listens on a loopback address only.
    Loopback,
    /// Everyone who can reach the port.
    Open,
    /// Who has a token.
    Token,
}

fanlight_daemon::display_choice!(AccessMode);

/// Why there is no [`Authorizer`].
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A token cannot be had.
    #[error(transparent)]
    Token(#[from] KeyFileError),
    /// Two roles would be one.
    #[error(
        "the tokens to view and to administer are the same: who may only watch would be an administrator"
    )]
    SameToken,
}

/// How long a cookie is valid.
pub const SESSION: Duration = Duration::from_secs(12 * 3600);

/// The longest that a signed address may be valid.
pub const LONGEST_SIGNATURE: Duration = Duration::from_secs(7 * 86_400);

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Watch.
    View,
    /// Watch, and see who else does from where.
    Admin,
}

impl Role {
    /// As clients are told.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Admin => "admin",
        }
    }
}

/// Decides who may do what.
#[derive(Debug)]
pub struct Authorizer {
    mode: AccessMode,
    /// The tokens that there are, the one for administrators first.
    tokens: Vec<Token>,
}

/// What a request shows to be let in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credentials<'a> {
    /// The token in its header.
    pub bearer: Option<&'a str>,
    /// The cookie of ours.
    pub cookie: Option<&'a str>,
    /// Moment (seconds since 1970) and signature in its address.
    pub signed: Option<(u64, &'a str)>,
    /// The path of its address.
    pub path: &'a str,
}

impl Authorizer {
    /// Reads the tokens.
    ///
    /// # Errors
    /// When a token file cannot be used, or both hold the same.
    pub fn load(
        mode: AccessMode,
        view_token: Option<&KeyPath>,
        admin_token: Option<&KeyPath>,
    ) -> Result<Self, AccessError> {
        let mut tokens = Vec::new();
        for (role, path) in [(Role::Admin, admin_token), (Role::View, view_token)] {
            let Some(path) = path else { continue };
            let text = path.token()?;
            if tokens.iter().any(|token: &Token| token.is(&text)) {
                return Err(AccessError::SameToken);
            }
            tokens.push(Token::new(role, &text));
        }

        Ok(Self { mode, tokens })
    }

    /// The role of who shows `credentials` at `now`, in seconds since 1970; none: no access.
    #[must_use]
    pub fn role(&self, credentials: &Credentials<'_>, now: u64) -> Option<Role> {
        let anybody = match self.mode {
            AccessMode::Loopback => Some(Role::Admin),
            AccessMode::Open => Some(Role::View),
            AccessMode::Token => None,
        };

        let signed = credentials.signed.filter(|(until, _)| now < *until);
        let shown = self.tokens.iter().filter_map(|token| {
            let bearer = credentials.bearer.is_some_and(|text| token.is(text));
            let cookie = credentials
                .cookie
                .is_some_and(|cookie| token.accepts_cookie(cookie, now));
            let signed = || {
                signed.is_some_and(|(until, signature)| {
                    token.signed(credentials.path, until, signature)
                })
            };

            if bearer || cookie {
                Some(token.role)
            } else {
                signed().then_some(Role::View)
            }
        });

        shown.chain(anybody).max()
    }

    /// The role of a token.
    #[must_use]
    pub fn owner(&self, text: &str) -> Option<Role> {
        self.tokens
            .iter()
            .find(|token| token.is(text))
            .map(|token| token.role)
    }

    /// The value of a cookie that lets its owner in as `role` until `until`, in seconds since 1970.
    #[must_use]
    pub fn cookie_value(&self, role: Role, until: u64) -> Option<String> {
        self.token(role)
            .map(|token| format!("{until}.{}", encode(&token.cookie(until))))
    }

    /// The signature that lets anybody watch at `path` until `until`, in seconds since 1970; none where everybody may.
    #[must_use]
    pub fn sign(&self, role: Role, path: &str, until: u64) -> Option<String> {
        self.token(role)
            .map(|token| encode(&token.signature(path, until)))
    }

    fn token(&self, role: Role) -> Option<&Token> {
        self.tokens.iter().find(|token| token.role == role)
    }
}

/// A token, of which only keys made of it are kept. They change with it: so do cookies and signatures.
#[derive(Debug)]
struct Token {
    role: Role,
    compare: hmac::Key,
    tag: hmac::Tag,
    cookies: hmac::Key,
    addresses: hmac::Key,
}

impl Token {
    fn new(role: Role, text: &str) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes());
        let derived = |use_of: &str| {
            let bytes = hmac::sign(
                &root,
                format!("fanlight http 1 {use_of} {}", role.word()).as_bytes(),
            );
            hmac::Key::new(hmac::HMAC_SHA256, bytes.as_ref())
        };

        let compare = derived("compare");
        let tag = hmac::sign(&compare, text.as_bytes());
        Self {
            role,
            tag,
            compare,
            cookies: derived("cookie"),
            addresses: derived("address"),
        }
    }

    /// Takes as long for any text of the same length.
    fn is(&self, text: &str) -> bool {
        hmac::verify(&self.compare, text.as_bytes(), self.tag.as_ref()).is_ok()
    }

    fn cookie(&self, until: u64) -> hmac::Tag {
        hmac::sign(&self.cookies, until.to_string().as_bytes())
    }

    fn accepts_cookie(&self, cookie: &str, now: u64) -> bool {
        let Some((until, tag)) = cookie.split_once('.') else {
            return false;
        };
        let fresh = until.parse().is_ok_and(|until: u64| now < until);
        let tag = URL_SAFE_NO_PAD.decode(tag).unwrap_or_default();
        fresh && hmac::verify(&self.cookies, until.as_bytes(), &tag).is_ok()
    }

    fn signature(&self, path: &str, until: u64) -> hmac::Tag {
        hmac::sign(&self.addresses, message(path, until).as_bytes())
    }

    fn signed(&self, path: &str, until: u64, signature: &str) -> bool {
        let tag = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        hmac::verify(&self.addresses, message(path, until).as_bytes(), &tag).is_ok()
    }
}

fn message(path: &str, until: u64) -> String {
    format!("{until} {path}")
}

fn encode(tag: &hmac::Tag) -> String {
    URL_SAFE_NO_PAD.encode(tag.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEW: &str = "view-token-of-the-test";
    const ADMIN: &str = "admin-token-of-the-test";
    const NOW: u64 = 1_800_000_000;

    fn access(mode: AccessMode) -> Authorizer {
        Authorizer {
            mode,
            tokens: vec![Token::new(Role::Admin, ADMIN), Token::new(Role::View, VIEW)],
        }
    }

    fn bearer(text: &str) -> Credentials<'_> {
        Credentials {
            bearer: Some(text),
            ..Credentials::default()
        }
    }

    #[test]
    fn who_has_no_token_may_do_what_everybody_may() {
        let role = |mode| access(mode).role(&Credentials::default(), NOW);
        assert_eq!(role(AccessMode::Loopback), Some(Role::Admin));
        assert_eq!(role(AccessMode::Open), Some(Role::View));
        assert_eq!(role(AccessMode::Token), None);
    }

    #[test]
    fn each_token_has_its_role_and_a_wrong_one_has_none() {
        let access = access(AccessMode::Token);
        assert_eq!(access.role(&bearer(VIEW), NOW), Some(Role::View));
        assert_eq!(access.role(&bearer(ADMIN), NOW), Some(Role::Admin));

        for wrong in [
            "",
            "view-token-of-the-tesT",
            "view-token-of-the-test ",
            "view-token-of-the-tes",
        ] {
            assert_eq!(access.role(&bearer(wrong), NOW), None, "{wrong:?}");
        }

        assert_eq!(
            (access.owner(VIEW), access.owner("x")),
            (Some(Role::View), None)
        );
    }

    #[test]
    fn a_cookie_lets_in_as_its_role_until_it_expires_and_cannot_be_prolonged() {
        let access = access(AccessMode::Token);
        let role = |cookie: &str, now| {
            access.role(
                &Credentials {
                    cookie: Some(cookie),
                    ..Credentials::default()
                },
                now,
            )
        };

        for of in [Role::View, Role::Admin] {
            let cookie = access.cookie_value(of, NOW + 10).unwrap();
            assert_eq!(role(&cookie, NOW), Some(of));
            assert_eq!(role(&cookie, NOW + 10), None);
            assert_eq!(
                role(
                    &cookie.replace(&(NOW + 10).to_string(), &(NOW + 99).to_string()),
                    NOW
                ),
                None
            );
        }

        for wrong in ["", ".", "1800000010.", "x.y", "1800000010.AAAA"] {
            assert_eq!(role(wrong, NOW), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_signed_address_lets_anybody_watch_that_address_until_it_expires() {
        let access = access(AccessMode::Token);
        let signature = access
            .sign(Role::Admin, "/snapshot/cam.jpg", NOW + 10)
            .unwrap();
        let role = |path, until, now| {
            access.role(
                &Credentials {
                    signed: Some((until, &signature)),
                    path,
                    ..Credentials::default()
                },
                now,
            )
        };

        assert_eq!(role("/snapshot/cam.jpg", NOW + 10, NOW), Some(Role::View));
        assert_eq!(role("/snapshot/cam.jpg", NOW + 10, NOW + 10), None);
        assert_eq!(role("/snapshot/cam.jpg", NOW + 11, NOW), None);
        assert_eq!(role("/snapshot/cam2.jpg", NOW + 10, NOW), None);
    }

    #[test]
    fn what_is_for_one_use_is_good_for_no_other() {
        let access = access(AccessMode::Token);
        let cookie = access.cookie_value(Role::View, NOW + 10).unwrap();
        let (_, tag) = cookie.split_once('.').unwrap();
        assert_eq!(
            access.role(
                &Credentials {
                    signed: Some((NOW + 10, tag)),
                    path: "",
                    ..Credentials::default()
                },
                NOW
            ),
            None
        );

        let signature = access.sign(Role::View, "/ws", NOW + 10).unwrap();
        let forged = format!("{}.{signature}", NOW + 10);
        assert_eq!(
            access.role(
                &Credentials {
                    cookie: Some(&forged),
                    ..Credentials::default()
                },
                NOW
            ),
            None
        );
    }
}
