//! What is read and written of SDP (RFC 8866) beside str0m: the credentials of an ICE restart, and fragments (RFC 8840). No
//! I/O. Called on the WebRTC thread.

const UFRAG: &str = "a=ice-ufrag:";
const PASSWORD: &str = "a=ice-pwd:";

/// Lines of an answer that a client needs for an ICE restart.
const OF_FRAGMENT: [&str; 8] = [
    UFRAG,
    PASSWORD,
    "a=ice-lite",
    "a=ice-options:",
    "a=group:BUNDLE",
    "m=",
    "a=mid:",
    "a=candidate:",
];

/// The credentials of an ICE session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Credentials<'a> {
    ufrag: &'a str,
    password: &'a str,
}

impl<'a> Credentials<'a> {
    /// The first in a description.
    pub(crate) fn of(sdp: &'a str) -> Option<Self> {
        let value = |name: &str| sdp.lines().find_map(|line| line.strip_prefix(name));
        Some(Self {
            ufrag: value(UFRAG)?,
            password: value(PASSWORD)?,
        })
    }

    /// A description with these in place of its own.
    pub(crate) fn put_into(self, sdp: &str) -> String {
        let lines = sdp.lines().map(|line| {
            if line.starts_with(UFRAG) {
                format!("{UFRAG}{}\r\n", self.ufrag)
            } else if line.starts_with(PASSWORD) {
                format!("{PASSWORD}{}\r\n", self.password)
            } else {
                format!("{line}\r\n")
            }
        });
        lines.collect()
    }
}

/// What an answer says of ICE.
pub(crate) fn fragment(answer: &str) -> String {
    let is_of_fragment = |line: &&str| OF_FRAGMENT.iter().any(|part| line.starts_with(part));
    let lines = answer.lines().filter(is_of_fragment);
    lines.flat_map(|line| [line, "\r\n"]).collect()
}

/// The name of the first video in our answer: str0m tells it as an event only when the peer is connected.
pub(crate) fn video_mid(answer: &str) -> Option<&str> {
    let (_, video) = answer.split_once("m=video")?;
    let (_, mid) = video.split_once("a=mid:")?;
    mid.split_whitespace().next()
}
