//! Lasting links: each lets whoever has its address watch one stream over HTTP, until it is revoked. For programs that can
//! show nothing but an address. Of its secret only a hash is kept, in a file that several relays may share.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanlight_daemon::clock;
use fanlight_daemon::file_watch::FileWatch;
use fanlight_daemon::keys::KeyPath;
use fanlight_proto::message::StreamName;
use parking_lot::RwLock;
use ring::digest::{SHA256, digest};

use super::grant::SignOuts;

/// Links that there may be.
pub const MAX_LINKS: usize = 1024;

/// Longest file of them that is read, in bytes: a line has at most 174.
const MAX_FILE_BYTES: u64 = 256 * MAX_LINKS as u64;

/// What a link is called: written as the name of a stream is.
pub type LinkName = StreamName;

/// Why a link is not made or revoked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// There is no place to keep it.
    #[error(
        "the relay has no file for links: set http_links, or run it as a service with a state directory"
    )]
    NoFile,
    /// Another one has the name.
    #[error("there is a link {0}: revoke it first, or give the new one another name")]
    Exists(LinkName),
    /// There are too many.
    #[error("there are {MAX_LINKS} links, which is the most: revoke some")]
    TooMany,
    /// None has the name.
    #[error("there is no link {0}")]
    Unknown(LinkName),
    /// The file cannot be written.
    #[error("cannot write the file of links: {0}")]
    Unwritable(#[from] io::Error),
}

/// One link.
#[derive(Debug)]
pub struct Link {
    /// What it is called.
    pub name: LinkName,
    /// What it shows.
    pub stream: StreamName,
    /// SHA-256 of its secret, which is as long and random: nobody finds one by trying.
    hash: String,
    is_revoked: AtomicBool,
}

impl Link {
    /// Whether it opens nothing any more.
    pub(super) fn is_revoked(&self) -> bool {
        self.is_revoked.load(Ordering::Acquire)
    }

    /// Whether `path` leads to pictures of its stream.
    fn opens(&self, path: &str) -> bool {
        let file = path
            .strip_prefix("/snapshot/")
            .and_then(|file| file.strip_suffix(".jpg"))
            .or_else(|| {
                let file = path.strip_prefix("/stream/")?;
                file.strip_suffix(".mjpeg")
                    .or_else(|| file.strip_suffix(".mjpg"))
            });
        file == Some(self.stream.as_str())
    }

    /// As it stands in the file.
    fn line(&self) -> String {
        format!("{} {} {}\n", self.hash, self.stream, self.name)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (hash, stream, name) = (words.next()?, words.next()?, words.next()?);
        let bytes = URL_SAFE_NO_PAD.decode(hash).ok()?;
        let is_whole = bytes.len() == SHA256.output_len() && words.next().is_none();
        is_whole.then_some(())?;
        Some(Self {
            name: name.parse().ok()?,
            stream: stream.parse().ok()?,
            hash: hash.to_owned(),
            is_revoked: AtomicBool::new(false),
        })
    }
}

/// All links of a relay.
#[derive(Debug)]
pub struct Links {
    kept: RwLock<Kept>,
    /// Tells those that watch when a link is revoked.
    grants: Arc<SignOuts>,
}

#[derive(Debug, Default)]
struct Kept {
    file: Option<PathBuf>,
    links: Vec<Arc<Link>>,
}

impl Links {
    pub(super) fn new(grants: Arc<SignOuts>) -> Self {
        Self {
            kept: RwLock::default(),
            grants,
        }
    }

    /// Keeps them in `file`, and takes those that stand there. It need not be there yet.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn keep_in(&self, file: PathBuf) -> io::Result<()> {
        let links = read(&file)?;
        self.kept.write().file = Some(file);
        self.replace(links);
        Ok(())
    }

    /// Reads the file again when somebody else changes it, for ever on a task.
    pub async fn follow(&self) {
        let file = self.kept.read().file.clone();
        let Some(file) = file else {
            return std::future::pending().await;
        };
        let watch = FileWatch::new("the file of links", [KeyPath::File(file.clone())]);
        watch
            .follow(|| read(&file), |links| self.replace(links))
            .await;
    }

    /// Makes a link, and returns its secret, which is kept nowhere.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn add(&self, name: LinkName, stream: StreamName) -> Result<String, LinkError> {
        let mut kept = self.kept.write();
        if kept.links.iter().any(|link| link.name == name) {
            return Err(LinkError::Exists(name));
        }
        if kept.links.len() >= MAX_LINKS {
            return Err(LinkError::TooMany);
        }

        let secret = URL_SAFE_NO_PAD.encode(clock::random_bytes::<32>());
        let link = Link {
            name,
            stream,
            hash: hash(&secret),
            is_revoked: AtomicBool::new(false),
        };
        let links = kept.links.iter().cloned().chain([Arc::new(link)]).collect();
        kept.save(links)?;
        Ok(secret)
    }

    /// Revokes a link: who watches by it is cut off at once.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn revoke(&self, name: &LinkName) -> Result<(), LinkError> {
        let mut kept = self.kept.write();
        let found = kept.links.iter().find(|link| link.name == *name).cloned();
        let link = found.ok_or_else(|| LinkError::Unknown(name.clone()))?;
        let links = kept.links.iter().filter(|other| other.name != *name);
        let links = links.cloned().collect();
        kept.save(links)?;
        drop(kept);

        link.is_revoked.store(true, Ordering::Release);
        self.grants.announce();
        Ok(())
    }

    /// All links, in the order in which they were made.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Link>> {
        self.kept.read().links.clone()
    }

    /// The link of this secret, if `path` leads to its stream.
    pub(super) fn find(&self, secret: &str, path: &str) -> Option<Arc<Link>> {
        let hash = hash(secret);
        let kept = self.kept.read();
        let mut links = kept.links.iter();
        links
            .find(|link| link.hash == hash && link.opens(path))
            .cloned()
    }

    /// Has `links` from now on; those that are no longer there are revoked.
    fn replace(&self, links: Vec<Link>) {
        let mut kept = self.kept.write();
        let same = |one: &Link, other: &Link| {
            one.hash == other.hash && one.stream == other.stream && one.name == other.name
        };
        let (mut before, mut newer) = (std::mem::take(&mut kept.links), Vec::new());
        for link in links.into_iter().take(MAX_LINKS) {
            let known = before.iter().position(|known| same(known, &link));
            newer.push(known.map_or_else(|| Arc::new(link), |place| before.remove(place)));
        }
        kept.links = newer;
        drop(kept);

        for link in before {
            link.is_revoked.store(true, Ordering::Release);
        }
        self.grants.announce();
    }
}

impl Kept {
    /// Writes `links` to the file, and then has them.
    fn save(&mut self, links: Vec<Arc<Link>>) -> Result<(), LinkError> {
        let file = self.file.as_ref().ok_or(LinkError::NoFile)?;
        let text: String = links.iter().map(|link| link.line()).collect();
        let newer = file.with_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&newer)?.write_all(text.as_bytes())?;
        fs::rename(newer, file)?;
        self.links = links;
        Ok(())
    }
}

fn hash(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, secret.as_bytes()))
}

/// Reads the links of a file, and passes over lines that are none.
fn read(file: &Path) -> io::Result<Vec<Link>> {
    let mut text = String::new();
    match File::open(file) {
        Ok(found) => drop(found.take(MAX_FILE_BYTES).read_to_string(&mut text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(text.lines().filter_map(Link::parse).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> StreamName {
        text.parse().unwrap()
    }

    fn kept_in(file: &Path) -> Links {
        let links = Links::new(Arc::default());
        links.keep_in(file.to_owned()).unwrap();
        links
    }

    #[test]
    fn a_link_opens_the_pictures_of_its_stream_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let links = kept_in(&folder.path().join("links"));
        let secret = links.add(name("hall"), name("cam")).unwrap();
        for path in ["/snapshot/cam.jpg", "/stream/cam.mjpeg", "/stream/cam.mjpg"] {
            assert!(links.find(&secret, path).is_some(), "{path}");
        }
        for path in [
            "/snapshot/cam2.jpg",
            "/stream/cam",
            "/ws",
            "/",
            "/api/viewers",
            "/stream/cam.jpg",
        ] {
            assert!(links.find(&secret, path).is_none(), "{path}");
        }
        assert!(links.find("", "/snapshot/cam.jpg").is_none());
        assert!(
            links.find(&hash(&secret), "/snapshot/cam.jpg").is_none(),
            "the hash opens nothing"
        );
    }

    #[test]
    fn the_file_has_no_secret_and_another_relay_that_reads_it_knows_the_link() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("links");
        let first = kept_in(&file);
        let secret = first.add(name("hall"), name("cam")).unwrap();
        assert!(!fs::read_to_string(&file).unwrap().contains(&secret));

        let second = kept_in(&file);
        let link = second.find(&secret, "/snapshot/cam.jpg").unwrap();
        first.revoke(&name("hall")).unwrap();
        second.replace(read(&file).unwrap());
        assert!(link.is_revoked() && second.all().is_empty());
    }

    #[test]
    fn names_are_of_one_link_and_there_are_only_so_many() {
        let folder = tempfile::tempdir().unwrap();
        let links = kept_in(&folder.path().join("links"));
        links.add(name("hall"), name("cam")).unwrap();
        assert!(matches!(
            links.add(name("hall"), name("b")),
            Err(LinkError::Exists(_))
        ));
        assert!(matches!(
            links.revoke(&name("door")),
            Err(LinkError::Unknown(_))
        ));
        let more = (1..MAX_LINKS).map(|n| format!("{} cam {n}", hash(&n.to_string())));
        let lines: Vec<_> = more.map(|line| Link::parse(&line).unwrap()).collect();
        let hall = read(&folder.path().join("links")).unwrap();
        links.replace(hall.into_iter().chain(lines).collect());
        assert!(matches!(
            links.add(name("door"), name("cam")),
            Err(LinkError::TooMany)
        ));
    }

    #[test]
    fn without_a_file_no_link_is_made_and_lines_that_are_none_are_passed_over() {
        let links = Links::new(Arc::default());
        assert!(matches!(
            links.add(name("hall"), name("cam")),
            Err(LinkError::NoFile)
        ));

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("links");
        let good = format!("{} cam hall", hash("secret"));
        fs::write(
            &file,
            format!("\n# hash stream name\nx cam y\n{good} more\n{good}\nAAAA cam z\n"),
        )
        .unwrap();
        assert_eq!(kept_in(&file).all().len(), 1);
        fs::write(&file, [0xff, 0xfe]).unwrap();
        assert!(links.keep_in(file).is_err(), "it is no text");
    }
}
