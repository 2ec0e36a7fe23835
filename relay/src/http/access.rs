//! Who may do what: tokens, cookies made of tokens, and signed addresses. No token is ever compared byte by byte, kept in
//! a cookie or an address, or logged.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use super::settings::{HttpError, Settings};
use crate::config::HttpAccess;

/// How long a cookie lets one in.
pub(super) const SESSION: Duration = Duration::from_secs(12 * 3600);

/// The longest that a signed address may be good for.
pub(super) const LONGEST_SIGNATURE: Duration = Duration::from_secs(7 * 86_400);

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Watch.
    View,
    /// Watch, and see who else does from where.
    Admin,
}

impl Role {
    /// As clients are told.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Admin => "admin",
        }
    }
}

/// Who is let in.
#[derive(Debug)]
pub(super) struct Access {
    mode: HttpAccess,
    /// The tokens that there are, the one for administrators first.
    tokens: Vec<Token>,
}

/// What a request shows for itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Papers<'a> {
    /// The token in its header.
    pub(super) bearer: Option<&'a str>,
    /// The cookie of ours.
    pub(super) cookie: Option<&'a str>,
    /// Moment (seconds since 1970) and signature in its address.
    pub(super) signed: Option<(u64, &'a str)>,
    /// The path of its address.
    pub(super) path: &'a str,
}

impl Access {
    /// Reads the tokens.
    ///
    /// # Errors
    /// When a token file cannot be used, or both hold the same.
    pub(super) fn load(settings: &Settings) -> Result<Self, HttpError> {
        let mut tokens = Vec::new();
        for (role, path) in [
            (Role::Admin, &settings.admin_token),
            (Role::View, &settings.view_token),
        ] {
            let Some(path) = path else { continue };
            let text = path.token()?;
            if tokens.iter().any(|token: &Token| token.is(&text)) {
                return Err(HttpError::SameToken);
            }
            tokens.push(Token::new(role, &text));
        }
        Ok(Self {
            mode: settings.access,
            tokens,
        })
    }

    /// What one may do who shows `papers` at `now`, in seconds since 1970; none: nothing.
    pub(super) fn role(&self, papers: &Papers<'_>, now: u64) -> Option<Role> {
        let anybody = match self.mode {
            HttpAccess::Loopback => Some(Role::Admin),
            HttpAccess::Open => Some(Role::View),
            HttpAccess::Token => None,
        };
        let signed = papers.signed.filter(|(until, _)| now < *until);
        let shown = self.tokens.iter().filter_map(|token| {
            let bearer = papers.bearer.is_some_and(|text| token.is(text));
            let cookie = papers.cookie.is_some_and(|cookie| token.baked(cookie, now));
            let signed = || {
                signed.is_some_and(|(until, signature)| token.signed(papers.path, until, signature))
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
    pub(super) fn owner(&self, text: &str) -> Option<Role> {
        self.tokens
            .iter()
            .find(|token| token.is(text))
            .map(|token| token.role)
    }

    /// The value of a cookie that lets its owner in as `role` until `until`, in seconds since 1970.
    pub(super) fn bake(&self, role: Role, until: u64) -> Option<String> {
        self.token(role)
            .map(|token| format!("{until}.{}", encode(&token.cookie(until))))
    }

    /// The signature that lets anybody watch at `path` until `until`, in seconds since 1970; none where everybody may.
    pub(super) fn sign(&self, role: Role, path: &str, until: u64) -> Option<String> {
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

    fn baked(&self, cookie: &str, now: u64) -> bool {
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

    fn access(mode: HttpAccess) -> Access {
        Access {
            mode,
            tokens: vec![Token::new(Role::Admin, ADMIN), Token::new(Role::View, VIEW)],
        }
    }

    fn bearer(text: &str) -> Papers<'_> {
        Papers {
            bearer: Some(text),
            ..Papers::default()
        }
    }

    #[test]
    fn who_has_no_token_may_do_what_everybody_may() {
        let role = |mode| access(mode).role(&Papers::default(), NOW);
        assert_eq!(role(HttpAccess::Loopback), Some(Role::Admin));
        assert_eq!(role(HttpAccess::Open), Some(Role::View));
        assert_eq!(role(HttpAccess::Token), None);
    }

    #[test]
    fn each_token_has_its_role_and_a_wrong_one_has_none() {
        let access = access(HttpAccess::Token);
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
        let access = access(HttpAccess::Token);
        let role = |cookie: &str, now| {
            access.role(
                &Papers {
                    cookie: Some(cookie),
                    ..Papers::default()
                },
                now,
            )
        };
        for of in [Role::View, Role::Admin] {
            let cookie = access.bake(of, NOW + 10).unwrap();
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
        let access = access(HttpAccess::Token);
        let signature = access
            .sign(Role::Admin, "/snapshot/cam.jpg", NOW + 10)
            .unwrap();
        let role = |path, until, now| {
            access.role(
                &Papers {
                    signed: Some((until, &signature)),
                    path,
                    ..Papers::default()
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
        let access = access(HttpAccess::Token);
        let cookie = access.bake(Role::View, NOW + 10).unwrap();
        let (_, tag) = cookie.split_once('.').unwrap();
        assert_eq!(
            access.role(
                &Papers {
                    signed: Some((NOW + 10, tag)),
                    path: "",
                    ..Papers::default()
                },
                NOW
            ),
            None
        );
        let signature = access.sign(Role::View, "/ws", NOW + 10).unwrap();
        let forged = format!("{}.{signature}", NOW + 10);
        assert_eq!(
            access.role(
                &Papers {
                    cookie: Some(&forged),
                    ..Papers::default()
                },
                NOW
            ),
            None
        );
    }
}
