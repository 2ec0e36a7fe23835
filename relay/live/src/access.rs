//! Who may do what: tokens, cookies made of tokens, and signed addresses. Used by every output that lets clients in by token. No token is ever compared byte by byte, kept in a cookie or an address, or logged.

mod grant;
mod links;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::ValueEnum;
use fanlight_daemon::clock;
use fanlight_daemon::file_watch::FileWatch;
use fanlight_daemon::keys::{KeyFileError, KeyPath};
use parking_lot::RwLock;
use ring::hmac;
use zeroize::Zeroizing;

pub use grant::{Grant, unix_seconds};
use grant::{SessionId, SignOuts};
pub use links::{Link, LinkError, LinkName, Links, MAX_LINKS};

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
        "http_view_token and http_admin_token hold the same token: who may only watch would be an administrator"
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

/// Decides who may do what. Its tokens are read again when their files change.
#[derive(Debug)]
pub struct Authorizer {
    mode: AccessMode,
    files: TokenFiles,
    /// The tokens that there are, the one for administrators first.
    tokens: RwLock<Vec<Arc<Token>>>,
    sign_outs: Arc<SignOuts>,
    links: Links,
}

/// Where the tokens are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenFiles {
    /// The one that lets one watch.
    pub view: Option<KeyPath>,
    /// The one of administrators.
    pub admin: Option<KeyPath>,
}

impl TokenFiles {
    /// Looks for changes of them.
    #[must_use]
    pub fn watch(&self, name: &'static str) -> FileWatch {
        let files = [&self.view, &self.admin];
        FileWatch::new(name, files.into_iter().flatten().cloned())
    }

    /// The tokens by role, administrators first.
    ///
    /// # Errors
    /// When a file cannot be used, or both hold the same.
    pub fn read(&self) -> Result<Vec<(Role, Zeroizing<String>)>, AccessError> {
        let files = [(Role::Admin, &self.admin), (Role::View, &self.view)];
        let read = |(role, file): (Role, &Option<KeyPath>)| {
            let file = file.as_ref()?;
            Some(file.token().map(|text| (role, text)))
        };

        let tokens: Vec<_> = files
            .into_iter()
            .filter_map(read)
            .collect::<Result<_, _>>()?;
        match tokens.as_slice() {
            [(_, one), (_, other)] if one == other => Err(AccessError::SameToken),
            _ => Ok(tokens),
        }
    }
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
    /// The secret of a lasting link in its address.
    pub link: Option<&'a str>,
    /// The path of its address.
    pub path: &'a str,
}

impl Authorizer {
    /// Reads the tokens.
    ///
    /// # Errors
    /// When a token file cannot be used, or both hold the same.
    pub fn load(mode: AccessMode, files: TokenFiles) -> Result<Self, AccessError> {
        let sign_outs = Arc::default();
        let authorizer = Self {
            mode,
            tokens: RwLock::default(),
            links: Links::new(Arc::clone(&sign_outs)),
            sign_outs,
            files,
        };
        authorizer.set_tokens(&authorizer.files.read()?);
        Ok(authorizer)
    }

    /// Remembers in `file` who has signed out, also for a relay that starts anew.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn keep_sign_outs(&self, file: PathBuf) -> io::Result<()> {
        self.sign_outs.keep_in(file, unix_seconds())
    }

    /// The lasting links.
    #[must_use]
    pub const fn links(&self) -> &Links {
        &self.links
    }

    /// Reads the tokens again when their files change, for ever on a task.
    pub async fn follow(&self) {
        let watch = self.files.watch("http_view_token or http_admin_token");
        let read = || self.files.read();
        watch.follow(read, |tokens| self.set_tokens(&tokens)).await;
    }

    /// Lets in by these tokens from now on. What others let in ends, what one of them did goes on.
    pub fn set_tokens(&self, tokens: &[(Role, Zeroizing<String>)]) {
        let mut current = self.tokens.write();
        let kept = |(role, text): &(Role, Zeroizing<String>)| {
            let known = current
                .iter()
                .find(|token| token.role == *role && token.is(text));
            known.map_or_else(|| Arc::new(Token::new(*role, text)), Arc::clone)
        };

        let newer: Vec<_> = tokens.iter().map(kept).collect();
        for token in current.iter() {
            if !newer.iter().any(|kept| Arc::ptr_eq(kept, token)) {
                token.is_retired.store(true, Ordering::Release);
            }
        }
        *current = newer;
        drop(current);
        self.sign_outs.announce();
    }

    /// What lets in who shows `credentials` at `now`, in seconds since 1970; none: no access.
    #[must_use]
    pub fn grant(&self, credentials: &Credentials<'_>, now: u64) -> Option<Grant> {
        let anybody = match self.mode {
            AccessMode::Loopback => Some(Role::Admin),
            AccessMode::Open => Some(Role::View),
            AccessMode::Token => None,
        };

        let tokens = self.tokens.read();
        let grant = |role, until, session, token: Option<&Arc<Token>>| {
            let sign_outs = Arc::clone(&self.sign_outs);
            Grant::new(role, until, session, token.cloned(), sign_outs)
        };
        let shown = tokens.iter().flat_map(|token| {
            let bearer = credentials.bearer.filter(|text| token.is(text));
            let cookie = credentials
                .cookie
                .and_then(|cookie| token.read_cookie(cookie));
            let signed = credentials
                .signed
                .filter(|(until, signature)| token.signed(credentials.path, *until, signature));

            [
                bearer.map(|_| grant(token.role, None, None, Some(token))),
                cookie.map(|(session, until)| {
                    grant(token.role, Some(until), Some(session), Some(token))
                }),
                signed.map(|(until, _)| grant(Role::View, Some(until), None, Some(token))),
            ]
        });

        let anybody = anybody.map(|role| grant(role, None, None, None));
        let link = credentials.link;
        let linked = link
            .and_then(|secret| self.links.find(secret, credentials.path))
            .map(|link| grant(Role::View, None, None, None).by_link(link));
        shown
            .chain([anybody, linked])
            .flatten()
            .filter(|grant| !grant.is_over(now))
            .max_by_key(Grant::rank)
    }

    /// Ends the session of a cookie of ours, for all who hold a copy of it.
    pub fn sign_out(&self, cookie: &str, now: u64) {
        let tokens = self.tokens.read();
        let read = tokens.iter().find_map(|token| token.read_cookie(cookie));
        if let Some((session, until)) = read {
            self.sign_outs.add(session, until, now);
        }
    }

    /// The role of a token.
    #[must_use]
    pub fn owner(&self, text: &str) -> Option<Role> {
        let tokens = self.tokens.read();
        let token = tokens.iter().find(|token| token.is(text));
        token.map(|token| token.role)
    }

    /// The value of a cookie that lets its owner in as `role` until `until`, in seconds since 1970.
    #[must_use]
    pub fn cookie_value(&self, role: Role, until: u64) -> Option<String> {
        self.token(role)
            .map(|token| token.write_cookie(clock::random_bytes(), until))
    }

    /// The signature that lets anybody watch at `path` until `until`, in seconds since 1970; none where everybody may.
    #[must_use]
    pub fn sign(&self, role: Role, path: &str, until: u64) -> Option<String> {
        self.token(role)
            .map(|token| encode(&token.signature(path, until)))
    }

    fn token(&self, role: Role) -> Option<Arc<Token>> {
        let tokens = self.tokens.read();
        tokens.iter().find(|token| token.role == role).cloned()
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
    /// Another one has taken its place.
    is_retired: AtomicBool,
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
            is_retired: AtomicBool::new(false),
        }
    }

    /// Takes as long for any text of the same length.
    fn is(&self, text: &str) -> bool {
        hmac::verify(&self.compare, text.as_bytes(), self.tag.as_ref()).is_ok()
    }

    fn write_cookie(&self, session: SessionId, until: u64) -> String {
        let message = format!("{until}.{}", URL_SAFE_NO_PAD.encode(session));
        let tag = hmac::sign(&self.cookies, message.as_bytes());
        format!("{message}.{}", encode(&tag))
    }

    /// The session of a cookie that was made of this token, and until when it is good.
    fn read_cookie(&self, cookie: &str) -> Option<(SessionId, u64)> {
        let (message, tag) = cookie.rsplit_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.cookies, message.as_bytes(), &tag).ok()?;

        let (until, session) = message.split_once('.')?;
        let session = URL_SAFE_NO_PAD.decode(session).ok()?;
        Some((session.try_into().ok()?, until.parse().ok()?))
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
        let access = Authorizer::load(mode, TokenFiles::default()).unwrap();
        access.set_tokens(&tokens(ADMIN, VIEW));
        access
    }

    fn tokens(admin: &str, view: &str) -> [(Role, Zeroizing<String>); 2] {
        [(Role::Admin, admin), (Role::View, view)]
            .map(|(role, text)| (role, text.to_owned().into()))
    }

    impl Authorizer {
        fn role(&self, credentials: &Credentials<'_>, now: u64) -> Option<Role> {
            self.grant(credentials, now).map(|grant| grant.role())
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

        for wrong in [
            "",
            ".",
            "1800000010.",
            "x.y",
            "1800000010.AAAA",
            "1800000010.AAAA.AAAA",
        ] {
            assert_eq!(role(wrong, NOW), None, "{wrong:?}");
        }
    }

    #[test]
    fn who_signs_out_ends_every_copy_of_the_cookie_and_no_other() {
        let access = access(AccessMode::Token);
        let [mine, other] = [(); 2].map(|()| access.cookie_value(Role::View, NOW + 10).unwrap());
        let grant = |cookie: &str| {
            let cookie = Some(cookie);
            let credentials = Credentials {
                cookie,
                ..Credentials::default()
            };
            access.grant(&credentials, NOW)
        };

        let streaming = grant(&mine).unwrap();
        access.sign_out("1800000010.AAAA.AAAA", NOW);
        assert!(!streaming.is_over(NOW));
        access.sign_out(&mine, NOW);
        assert!(streaming.is_over(NOW) && grant(&mine).is_none());
        assert!(!grant(&other).unwrap().is_over(NOW));
    }

    #[tokio::test]
    async fn another_token_ends_what_the_former_let_in_and_nothing_else() {
        let access = access(AccessMode::Token);
        let now = unix_seconds();
        let cookie = access.cookie_value(Role::View, now + 1000).unwrap();
        let by_cookie = Credentials {
            cookie: Some(&cookie),
            ..Credentials::default()
        };
        let [view, admin] = [VIEW, ADMIN].map(|text| access.grant(&bearer(text), now).unwrap());
        let cookie = access.grant(&by_cookie, now).unwrap();
        let waiting =
            [view.clone(), cookie].map(|grant| tokio::spawn(async move { grant.over().await }));
        tokio::task::yield_now().await;

        access.set_tokens(&tokens(ADMIN, "another-token-of-the-test"));
        for waiting in waiting {
            waiting.await.unwrap();
        }
        assert!(view.is_over(now) && !admin.is_over(now));
        assert!(
            access.grant(&bearer(VIEW), now).is_none() && access.grant(&by_cookie, now).is_none()
        );
        assert_eq!(
            access.role(&bearer("another-token-of-the-test"), now),
            Some(Role::View)
        );
        assert_eq!(access.role(&bearer(ADMIN), now), Some(Role::Admin));
    }

    #[tokio::test]
    async fn whoever_waits_for_the_end_of_a_session_is_told_of_the_sign_out() {
        let access = access(AccessMode::Token);
        let now = unix_seconds();
        let cookie = access.cookie_value(Role::View, now + 1000).unwrap();
        let credentials = Credentials {
            cookie: Some(&cookie),
            ..Credentials::default()
        };
        let grant = access.grant(&credentials, now).unwrap();
        let waiting = tokio::spawn(async move { grant.over().await });
        tokio::task::yield_now().await;
        access.sign_out(&cookie, now);
        waiting.await.unwrap();
    }

    #[test]
    fn a_grant_lasts_as_long_as_the_best_that_is_shown() {
        let access = access(AccessMode::Token);
        let cookie = access.cookie_value(Role::View, NOW + 10).unwrap();
        let grant = |bearer| {
            let cookie = Some(cookie.as_str());
            let credentials = Credentials {
                bearer,
                cookie,
                ..Credentials::default()
            };
            access.grant(&credentials, NOW).unwrap()
        };

        assert!(grant(None).is_over(NOW + 10));
        assert!(!grant(Some(VIEW)).is_over(NOW + 10));
        assert_eq!(grant(Some(ADMIN)).role(), Role::Admin);
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
        let (_, tag) = cookie.rsplit_once('.').unwrap();
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
        let forged = format!("{}.AAAAAAAAAAAAAAAAAAAAAA.{signature}", NOW + 10);
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
