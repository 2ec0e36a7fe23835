//! The address of a network camera. What is printed of it holds no secret: neither user and password nor the query, in which
//! some cameras take both.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;

use fanlight_daemon::endpoint::{Host, host_with_default_port};
use fanlight_daemon::keys::{KeyFileError, KeyPath};

/// Longest address, in bytes: far above any camera's, far below what could hurt.
const MAX_ADDRESS: usize = 2048;

/// Largest file of a password, in bytes.
const MAX_PASSWORD_FILE: usize = 1024;

/// An address as a setting has it, which is read before it is used: what is wrong with it is told without repeating it.
#[derive(Clone, PartialEq, Eq)]
pub struct AddressText(String);

/// How a camera is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// RTSP.
    Rtsp,
    /// RTSP over TLS.
    Rtsps,
}

/// `SCHEME://[USER[:PASSWORD]@]HOST[:PORT][/PATH]`.
#[derive(Clone, PartialEq, Eq)]
pub struct CameraAddress {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Who asks; empty: nobody.
    pub user: String,
    /// What proves it.
    password: Option<String>,
    /// Where it is.
    pub host: Host,
    /// At which port.
    pub port: u16,
    /// What is asked for: path and query.
    pub path: String,
}

/// What is wrong with an address. The address itself is not repeated, as there may be a password in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}; write http://HOST:PORT/PATH, https://…, rtsp://… or rtsps://…, with USER@ before HOST if the camera asks for one"
)]
pub struct AddressError(&'static str);

impl AddressText {
    /// An address, if the text begins like one.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        Scheme::split(text).map(|_| Self(text.to_owned()))
    }

    /// Whether it is one for ffmpeg.
    #[must_use]
    pub fn is_rtsp(&self) -> bool {
        matches!(
            Scheme::split(&self.0),
            Some((Scheme::Rtsp | Scheme::Rtsps, _))
        )
    }

    /// The address.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(&self) -> Result<CameraAddress, AddressError> {
        self.0.parse()
    }
}

impl fmt::Debug for AddressText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Scheme::split(&self.0).map_or("", |(scheme, _)| scheme.name()))
    }
}

impl Scheme {
    const ALL: [Self; 4] = [Self::Http, Self::Https, Self::Rtsp, Self::Rtsps];

    const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Rtsp => "rtsp",
            Self::Rtsps => "rtsps",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Rtsp => 554,
            Self::Rtsps => 322,
        }
    }

    fn split(text: &str) -> Option<(Self, &str)> {
        let (name, rest) = text.split_once("://")?;
        let scheme = Self::ALL
            .into_iter()
            .find(|scheme| name.eq_ignore_ascii_case(scheme.name()))?;
        Some((scheme, rest))
    }
}

impl CameraAddress {
    /// What proves the user: of `file`, which is read anew, or else of the address.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn password(&self, file: Option<&KeyPath>) -> Result<Option<String>, KeyFileError> {
        let Some(file) = file else {
            return Ok(self.password.clone());
        };

        let (file, bytes) = file.secret_bytes(MAX_PASSWORD_FILE)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| KeyFileError::NoText { file })?;
        Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
    }

    /// The addresses of the host. May ask the name server, and wait for it.
    ///
    /// # Errors
    /// What the resolver says.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        match &self.host {
            Host::Address(address) => Ok(vec![(*address, self.port).into()]),
            Host::Name(name) => Ok((name.as_str(), self.port).to_socket_addrs()?.collect()),
            Host::Any => Ok(Vec::new()),
        }
    }

    /// Where a redirection from here leads. Who asks is told to the same host alone, and not in the clear behind TLS.
    ///
    /// # Errors
    /// When it leads to no address.
    pub fn join(&self, location: &str) -> Result<Self, AddressError> {
        if Scheme::split(location).is_some() {
            let mut there: Self = location.parse()?;
            let downgrade = self.scheme == Scheme::Https && there.scheme == Scheme::Http;
            if there.host == self.host && !downgrade {
                (there.user, there.password) = (self.user.clone(), self.password.clone());
            }
            return Ok(there);
        }

        let elsewhere = !location.starts_with('/') && location.contains("://");
        if location.is_empty() || elsewhere {
            return Err(AddressError("it leads to no address of HTTP"));
        }

        if location.starts_with("//") {
            return self.join(&format!("{}:{location}", self.scheme.name()));
        }

        let folder = self.path.split('?').next().unwrap_or_default();
        let folder = folder.rsplit_once('/').map_or("", |(folder, _)| folder);
        let path = match location.starts_with('/') {
            true => location.to_owned(),
            false => format!("{folder}/{location}"),
        };
        Ok(Self {
            path: checked_path(&path)?,
            ..self.clone()
        })
    }

    /// `HOST:PORT`, without the port that goes without saying, as a request names it.
    #[must_use]
    pub fn authority(&self) -> String {
        match self.port == self.scheme.default_port() {
            true => self.host.to_string(),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// The whole address, for who speaks to the camera in place of this program. With `password` it is a secret.
    #[must_use]
    pub fn full(&self, password: Option<&str>) -> String {
        let who = match password {
            _ if self.user.is_empty() && password.is_none() => String::new(),
            None => format!("{}@", encode(&self.user)),
            Some(password) => format!("{}:{}@", encode(&self.user), encode(password)),
        };
        let (scheme, authority, path) = (self.scheme.name(), self.authority(), &self.path);
        format!("{scheme}://{who}{authority}{path}")
    }
}

impl CameraAddress {
    /// What nobody may read of [`full`](Self::full), the longest first.
    #[must_use]
    pub fn secrets(&self, password: Option<&str>) -> Vec<String> {
        let query = self.path.find('?').map(|at| self.path[at..].to_owned());
        let known = password.map(|password| [encode(password), password.to_owned()]);
        let known = known.into_iter().flatten().chain(query);
        known.filter(|secret| !secret.is_empty()).collect()
    }
}

impl FromStr for CameraAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = Scheme::split(text).ok_or(AddressError("the scheme is missing"))?;
        if text.len() > MAX_ADDRESS {
            return Err(AddressError("it is too long"));
        }

        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let path = path.split('#').next().unwrap_or_default();
        let path = match path.starts_with('/') {
            true => checked_path(path)?,
            false => checked_path(&format!("/{path}"))?,
        };

        let (who, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match who.split_once(':') {
            Some((user, password)) => (decode(user)?, Some(decode(password)?)),
            None => (decode(who)?, None),
        };
        let (host, port) =
            host_with_default_port(place, scheme.default_port()).map_err(AddressError)?;
        Ok(Self {
            scheme,
            user,
            password,
            host,
            port,
            path,
        })
    }
}

/// It stands in a line of a request, and within quotes in ffmpeg's list.
fn checked_path(path: &str) -> Result<String, AddressError> {
    match path.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(path.replace('\'', "%27")),
        false => Err(AddressError(
            "the path has a character that is written with %, such as %20",
        )),
    }
}

fn decode(text: &str) -> Result<String, AddressError> {
    let bad = AddressError("user and password take %XX in place of a special character");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }

        let digits = rest.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let value = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(value.ok_or(bad)?);
        rest = &rest[2..];
    }

    let text = String::from_utf8(bytes).map_err(|_| bad)?;
    match text.chars().any(char::is_control) {
        true => Err(bad),
        false => Ok(text),
    }
}

fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

/// As people may read it.
impl fmt::Display for CameraAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self
            .path
            .split_once('?')
            .map_or(self.path.as_str(), |it| it.0);
        write!(f, "{}://{}{path}", self.scheme.name(), self.authority())
    }
}

impl fmt::Debug for CameraAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> CameraAddress {
        AddressText::of(text).unwrap().read().unwrap()
    }

    #[test]
    fn an_address_is_told_without_user_password_and_query() {
        for (text, told) in [
            ("http://cam", "http://cam/"),
            ("http://cam:80/a", "http://cam/a"),
            (
                "HTTPS://cam:8443/a?user=me&pwd=geheim",
                "https://cam:8443/a",
            ),
            ("http://cam?action=stream", "http://cam/"),
            (
                "rtsp://me:geheim@10.0.0.5:8554/live",
                "rtsp://10.0.0.5:8554/live",
            ),
            ("http://me:geheim@[fe80::1]/x#y", "http://[fe80::1]/x"),
        ] {
            let address = address(text);
            assert_eq!(address.to_string(), told);
            let debug = format!("{address:?} {:?}", AddressText::of(text));
            assert!(!debug.contains("geheim"), "{debug}");
        }
    }

    #[test]
    fn user_and_password_may_hold_what_has_a_meaning_in_an_address() {
        let camera = address("rtsp://a%40b:p%3A%2F@cam/x?y=1");
        let password = camera.password(None).unwrap();
        assert_eq!(
            (camera.user.as_str(), password.as_deref()),
            ("a@b", Some("p:/"))
        );
        assert_eq!(camera.path, "/x?y=1");
        assert_eq!(
            camera.full(password.as_deref()),
            "rtsp://a%40b:p%3A%2F@cam/x?y=1"
        );
        assert_eq!(address("rtsp://cam/x").full(None), "rtsp://cam/x");
        assert_eq!(address("rtsp://me@cam/x").full(None), "rtsp://me@cam/x");
    }

    #[test]
    fn what_is_no_address_is_refused_and_not_repeated() {
        for text in [
            "http://",
            "http://me:geheim@",
            "http://me:geheim@cam:99999/",
            "http://me:geheim@*/",
            "http://me:geheim@::1/",
            "http://cam/geheim geheim",
            "http://cam/\r\nX: geheim",
            "http://me:geheim%0d%0a@cam/",
            "http://me:%zz@cam/",
            "http://me:%z",
        ] {
            let error = AddressText::of(text).unwrap().read().unwrap_err();
            let error = error.to_string();
            assert!(
                !error.contains("geheim") && error.contains("HOST"),
                "{error}"
            );
        }

        assert!(AddressText::of("ftp://cam").is_none() && AddressText::of("ball").is_none());
    }

    #[test]
    fn a_redirection_keeps_the_user_on_the_same_host_alone() {
        let from = address("https://me:geheim@cam/a/b?c");
        for (location, to, keeps) in [
            ("/x?y", "https://cam/x", true),
            ("x", "https://cam/a/x", true),
            ("https://cam:8443/x", "https://cam:8443/x", true),
            ("//cam/x", "https://cam/x", true),
            ("http://cam/x", "http://cam/x", false),
            ("https://elsewhere/x", "https://elsewhere/x", false),
        ] {
            let there = from.join(location).unwrap();
            assert_eq!(there.to_string(), to);
            let known = there.user == "me" && there.password(None).unwrap().is_some();
            assert_eq!(known, keeps, "{location}");
        }

        for nowhere in ["http://*/", "/a b", "", "ftp://cam/x"] {
            assert!(from.join(nowhere).is_err(), "{nowhere}");
        }
    }
}
