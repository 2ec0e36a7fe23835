//! What let a client in, as long as it does: a cookie and a signed address expire, and whoever signs out ends the cookie for
//! all who hold a copy. Outputs ask at the start of a request, and wait for the end beside what they stream.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanlight_daemon::clock;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Link, Role, SESSION, Token};

/// Sessions that are remembered as ended: 1 MB. When there are more, all cookies given out until then end.
const MAX_SIGN_OUTS: usize = 16_384;

/// Longest file of them that is read, in bytes: a line has 36.
const MAX_FILE_BYTES: u64 = 64 * MAX_SIGN_OUTS as u64;

/// How often a stream looks at the wall clock, which may be set: so long after it expires it ends at the latest.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What a cookie's session is called.
pub(super) type SessionId = [u8; 16];

/// What let a client in.
#[derive(Clone, Debug)]
pub struct Grant {
    role: Role,
    /// Seconds since 1970; none: for ever.
    until: Option<u64>,
    session: Option<SessionId>,
    /// The token that it comes of, if one was needed.
    token: Option<Arc<Token>>,
    /// The link by which the client has come.
    link: Option<Arc<Link>>,
    sign_outs: Arc<SignOuts>,
}

impl Grant {
    pub(super) const fn new(
        role: Role,
        until: Option<u64>,
        session: Option<SessionId>,
        token: Option<Arc<Token>>,
        sign_outs: Arc<SignOuts>,
    ) -> Self {
        Self {
            role,
            until,
            session,
            token,
            link: None,
            sign_outs,
        }
    }

    /// The same, as long as `link` is not revoked.
    pub(super) fn by_link(self, link: Arc<Link>) -> Self {
        Self {
            link: Some(link),
            ..self
        }
    }

    /// One that nothing ends, as where everybody may come.
    #[must_use]
    pub fn unlimited(role: Role) -> Self {
        Self::new(role, None, None, None, Arc::default())
    }

    /// What the client may do.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The one that allows more, and of two that allow the same the one that lasts longer, is greater.
    pub(super) fn rank(&self) -> (Role, u64) {
        (self.role, self.until.unwrap_or(u64::MAX))
    }

    /// Whether it has expired at `now`, in seconds since 1970, its session has been signed out, or its token is another one.
    #[must_use]
    pub fn is_over(&self, now: u64) -> bool {
        let is_retired = |token: &Arc<Token>| token.is_retired.load(Ordering::Acquire);
        if self.token.as_ref().is_some_and(is_retired) {
            return true;
        }

        if self.link.as_ref().is_some_and(|link| link.is_revoked()) {
            return true;
        }

        let Some(until) = self.until else {
            return false;
        };
        let signed_out = |session| self.sign_outs.has(session, until);
        now >= until || self.session.as_ref().is_some_and(signed_out)
    }

    /// Returns when it is over.
    pub async fn over(&self) {
        let mut changes = self.sign_outs.changed.subscribe();
        while !self.is_over(unix_seconds()) {
            tokio::select! {
                // The sender is ours too.
                _ = changes.changed() => {}
                () = tokio::time::sleep(LOOK_INTERVAL), if self.until.is_some() => {}
            }
        }
    }
}

/// The sessions that were signed out before they expired.
#[derive(Debug, Default)]
pub(super) struct SignOuts {
    ended: Mutex<Ended>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Ended {
    /// Until when their cookies would have been good.
    sessions: HashMap<SessionId, u64>,
    /// Cookies that are good until then have ended as well.
    all_until: u64,
    /// Where they are kept, so that a relay that starts anew knows them.
    file: Option<PathBuf>,
}

impl Ended {
    /// A line for each: until when its cookie would have been good, and the session; none on the first, which is for all.
    fn save(&self) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };

        let mut text = format!("{}\n", self.all_until);
        for (session, until) in &self.sessions {
            let _ = writeln!(text, "{until}.{}", URL_SAFE_NO_PAD.encode(session));
        }

        let newer = file.with_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        io::Write::write_all(&mut options.open(&newer)?, text.as_bytes())?;
        fs::rename(newer, file)
    }

    /// Takes what such lines say, and passes over others.
    fn read(&mut self, text: &str, now: u64) {
        for line in text.lines().take(1 + MAX_SIGN_OUTS) {
            let (until, session) = line.split_once('.').unwrap_or((line, ""));
            let Ok(until) = until.parse::<u64>() else {
                continue;
            };

            let id = URL_SAFE_NO_PAD.decode(session).unwrap_or_default();
            match SessionId::try_from(id) {
                Ok(id) if now < until => drop(self.sessions.insert(id, until)),
                Err(_) if session.is_empty() => self.all_until = self.all_until.max(until),
                _ => {}
            }
        }
    }
}

impl SignOuts {
    /// Keeps them in `file` too, and takes those that stand there.
    pub(super) fn keep_in(&self, file: PathBuf, now: u64) -> io::Result<()> {
        let mut text = String::new();
        match File::open(&file) {
            Ok(found) => drop(found.take(MAX_FILE_BYTES).read_to_string(&mut text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }

        let mut ended = self.ended.lock();
        ended.read(&text, now);
        ended.file = Some(file);
        ended.save()
    }

    /// Ends the session of a cookie that is good until `until`.
    pub(super) fn add(&self, session: SessionId, until: u64, now: u64) {
        let mut ended = self.ended.lock();
        if ended.sessions.len() >= MAX_SIGN_OUTS {
            ended.sessions.retain(|_, until| now < *until);
        }

        if ended.sessions.len() >= MAX_SIGN_OUTS {
            ended.sessions.clear();
            ended.all_until = now + SESSION.as_secs();
        }

        ended.sessions.insert(session, until);
        if let Err(error) = ended.save() {
            tracing::error!("a restart will forget who has signed out: {error}");
        }
        drop(ended);
        self.announce();
    }

    /// Tells who waits that something has ended.
    pub(super) fn announce(&self) {
        self.changed.send_replace(());
    }

    fn has(&self, session: &SessionId, until: u64) -> bool {
        let ended = self.ended.lock();
        until <= ended.all_until || ended.sessions.contains_key(session)
    }
}

/// Seconds since 1970: what expires does so by the wall clock, which clients know.
#[must_use]
pub fn unix_seconds() -> u64 {
    let nanos = i64::try_from(clock::now().as_nanos())
        .unwrap_or(i64::MAX)
        .saturating_add(clock::wall_offset_ns());
    u64::try_from(nanos / 1_000_000_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn more_sign_outs_than_are_remembered_end_all_cookies_given_out_before() {
        let sign_outs = SignOuts::default();
        let until = NOW + SESSION.as_secs();
        for session in 0..MAX_SIGN_OUTS as u128 {
            sign_outs.add(session.to_le_bytes(), until, NOW);
        }

        let bystander = [0xff; 16];
        assert!(!sign_outs.has(&bystander, until));
        sign_outs.add([0xfe; 16], until, NOW);
        assert!(sign_outs.has(&bystander, until));
        assert!(!sign_outs.has(&bystander, until + 1), "given out later");
        assert!(sign_outs.has(&0_u128.to_le_bytes(), until));
    }

    #[test]
    fn a_relay_that_starts_anew_knows_who_has_signed_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sign-outs");
        let first = SignOuts::default();
        first.keep_in(file.clone(), NOW).unwrap();
        first.add([1; 16], NOW + 10, NOW);
        first.add([2; 16], NOW + 20, NOW);

        let second = SignOuts::default();
        second.keep_in(file.clone(), NOW + 15).unwrap();
        assert!(second.has(&[2; 16], NOW + 20) && !second.has(&[3; 16], NOW + 20));
        assert_eq!(
            second.ended.lock().sessions.len(),
            1,
            "the other has expired"
        );

        second.ended.lock().all_until = NOW + 30;
        second.add([4; 16], NOW + 40, NOW + 15);
        let third = SignOuts::default();
        third.keep_in(file.clone(), NOW + 15).unwrap();
        assert!(third.has(&[3; 16], NOW + 30) && third.has(&[4; 16], NOW + 40));

        fs::write(&file, "\n.\nnonsense\n18446744073709551616\n5.x\n").unwrap();
        let fourth = SignOuts::default();
        fourth.keep_in(file, NOW).unwrap();
        assert!(!fourth.has(&[3; 16], NOW));
    }

    #[test]
    fn sign_outs_of_cookies_that_have_expired_make_room() {
        let sign_outs = SignOuts::default();
        for session in 0..MAX_SIGN_OUTS as u128 {
            sign_outs.add(session.to_le_bytes(), NOW + 1, NOW);
        }

        let later = NOW + 1;
        sign_outs.add([0xfe; 16], later + SESSION.as_secs(), later);
        assert!(!sign_outs.has(&[0xff; 16], later + 10));
        assert!(sign_outs.has(&[0xfe; 16], later + SESSION.as_secs()));
    }
}
