//! What Digest authentication computes (RFC 7616, and RFC 2617 before it), for the relay's RTSP, which asks for it, and for
//! cameras, which ask the source. No I/O.

use std::fmt::Write as _;

use md5::{Digest as _, Md5};
use ring::digest::{SHA256, digest};

/// The hash of a challenge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// What all know.
    #[default]
    Md5,
    /// RFC 7616.
    Sha256,
}

/// What the response is made of, besides the password.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The hash.
    pub algorithm: Algorithm,
    /// The user's name.
    pub user: &'a str,
    /// What the password is for, in the server's words.
    pub realm: &'a str,
    /// The server's number.
    pub nonce: &'a str,
    /// `GET`, `DESCRIBE`.
    pub method: &'a str,
    /// What is asked for, as the request says it.
    pub uri: &'a str,
    /// Quality of protection, count and the client's number; empty for servers of before RFC 2617.
    pub protection: Option<(&'a str, &'a str, &'a str)>,
}

impl Request<'_> {
    /// The response that proves the password, in hexadecimal.
    #[must_use]
    pub fn response(&self, password: &str) -> String {
        let user = self.hash(&[self.user, self.realm, password]);
        let request = self.hash(&[self.method, self.uri]);
        match self.protection {
            None => self.hash(&[&user, self.nonce, &request]),
            Some((qop, count, client)) => {
                self.hash(&[&user, self.nonce, count, client, qop, &request])
            }
        }
    }

    fn hash(&self, parts: &[&str]) -> String {
        let text = parts.join(":");
        match self.algorithm {
            Algorithm::Md5 => hex(&Md5::digest(text)),
            Algorithm::Sha256 => hex(digest(&SHA256, text.as_bytes()).as_ref()),
        }
    }
}

/// Bytes in hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A text takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A parameter of `name=value, name="value"`.
#[must_use]
pub fn parameter<'a>(mut text: &'a str, name: &str) -> Option<&'a str> {
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
        let request = Request {
            algorithm: Algorithm::Md5,
            user: "Mufasa",
            realm: "testrealm@host.com",
            nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            method: "GET",
            uri: "/dir/index.html",
            protection: Some(("auth", "00000001", "0a4f113b")),
        };
        let response = request.response("Circle Of Life");
        assert_eq!(response, "6629fae49393a05397450978507c4ef1");
    }

    /// Section 3.9.1 has both hashes of one request.
    #[test]
    fn the_examples_of_rfc_7616_give_their_responses() {
        for (algorithm, response) in [
            (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (
                Algorithm::Sha256,
                "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
            ),
        ] {
            let request = Request {
                algorithm,
                user: "Mufasa",
                realm: "http-auth@example.org",
                nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
                method: "GET",
                uri: "/dir/index.html",
                protection: Some((
                    "auth",
                    "00000001",
                    "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
                )),
            };
            assert_eq!(request.response("Circle of Life"), response);
        }
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
