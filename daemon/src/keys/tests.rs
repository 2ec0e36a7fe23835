//! What key files must hold.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;
use crate::config::sections::ConfigFile;
use crate::config::{self, Flags, Settings};

const DIGITS: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> KeyPath {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        KeyPath::File(path)
    }
}

fn psk() -> String {
    format!("fanlight-psk:{DIGITS}\n")
}

#[test]
fn a_key_path_is_a_path_or_names_a_credential() {
    for text in [
        "/etc/fanlight/wall.psk",
        "wall.psk",
        "credential:wall",
        "./credential:wall",
    ] {
        assert_eq!(text.parse::<KeyPath>().unwrap().to_string(), text);
    }

    assert_eq!(
        "credential:wall".parse(),
        Ok(KeyPath::Credential("wall".to_owned()))
    );

    for text in [
        "credential:",
        "credential:.",
        "credential:..",
        "credential:../wall",
        "credential:/etc/shadow",
    ] {
        assert_eq!(
            text.parse::<KeyPath>(),
            Err(KeyPathError::Name(text.to_owned()))
        );
    }

    assert_eq!("".parse::<KeyPath>(), Err(KeyPathError::Empty));
}

#[test]
fn a_key_path_is_a_setting() {
    /// Keys.
    #[derive(clap::Args)]
    struct Config {
        /// Of all.
        key: Option<KeyPath>,
    }

    let parse = |text| {
        let settings = config::parse(&ConfigFile::default(), text, &Flags::default());
        settings.map(|settings: Settings<Config>| settings.config.key)
    };

    let key = parse("key = 'credential:wall'").unwrap();
    assert_eq!(key, Some(KeyPath::Credential("wall".to_owned())));
    let error = parse("key = 'credential:/'").unwrap_err();
    assert!(error.to_string().contains("LoadCredential"), "{error}");
}

#[test]
fn a_credential_lies_in_the_folder_that_the_service_manager_names() {
    let credential = KeyPath::Credential("wall".to_owned());
    assert_eq!(
        credential.resolve_in(Some(Path::new("/run/x"))).unwrap(),
        Path::new("/run/x/wall")
    );

    let error = credential.resolve_in(None).unwrap_err().to_string();
    assert!(
        error.contains("credential:wall") && error.contains("LoadCredential=wall:/path"),
        "{error}"
    );

    assert_eq!(
        KeyPath::File("a".into()).resolve_in(None).unwrap(),
        Path::new("a")
    );
}

#[test]
fn a_secret_that_anyone_else_could_read_or_write_is_refused() {
    let folder = Folder::new();
    for mode in [0o600, 0o400, 0o700] {
        assert!(
            folder.file("wall.psk", &psk(), mode).shared().is_ok(),
            "{mode:o}"
        );
    }

    for bit in [0o040, 0o020, 0o010, 0o004, 0o002, 0o001] {
        let path = folder.file("wall.psk", &psk(), 0o600 | bit);
        let error = path.shared().unwrap_err();
        assert!(
            matches!(error, KeyFileError::Exposed { mode, .. } if mode == 0o600 | bit),
            "{error}"
        );

        let words = format!("chmod 600 {path}");
        assert!(
            error.to_string().contains(&words) && !error.to_string().contains("0001"),
            "{error}"
        );
    }

    let private = folder.file("own", &format!("fanlight-private:{DIGITS}"), 0o640);
    assert!(matches!(
        private.private(),
        Err(KeyFileError::Exposed { .. })
    ));

    let feed = folder.file("feed", &format!("fanlight-feed:{DIGITS}"), 0o604);
    assert!(matches!(feed.feed(), Err(KeyFileError::Exposed { .. })));
}

#[test]
fn a_key_file_of_another_user_is_refused_unless_that_is_root() {
    let path = Path::new("wall.psk");
    assert!(check_owner(path, 1000, 1000).is_ok());
    assert!(check_owner(path, 0, 1000).is_ok());

    for (owner, user) in [(1001, 1000), (1000, 0)] {
        let error = check_owner(path, owner, user).unwrap_err().to_string();
        assert!(error.contains(&format!("chown {user} wall.psk")), "{error}");
    }
}

/// The bits of a credential that systemd gave to a user by an access control list: 0440, where the group is root's.
#[test]
fn a_credential_may_show_the_mask_of_an_access_control_list() {
    for (mode, good) in [
        (0o400, true),
        (0o440, true),
        (0o444, false),
        (0o420, false),
        (0o410, false),
    ] {
        assert_eq!(
            Kept::Credential.check(Path::new("wall"), mode).is_ok(),
            good,
            "{mode:o}"
        );
    }
}

#[test]
fn what_is_public_may_be_read_but_not_written_by_others() {
    let folder = Folder::new();
    let public = PrivateKey::new([7; KEY_BYTES]).public();

    for (mode, good) in [(0o644, true), (0o600, true), (0o664, false), (0o646, false)] {
        let list = folder.file("viewers", &format!("{public} hall\n"), mode);
        let key = folder.file("relay.pub", &public.to_string(), mode);
        assert_eq!(
            (list.names().is_ok(), key.public().is_ok()),
            (good, good),
            "{mode:o}"
        );

        if !good {
            assert!(
                list.names()
                    .unwrap_err()
                    .to_string()
                    .contains(&format!("chmod go-w {list}"))
            );
        }
    }
}

#[test]
fn what_is_no_key_file_is_named_with_what_to_do() {
    let folder = Folder::new();
    let say = |path: KeyPath| {
        let error = path.shared().unwrap_err().to_string();
        assert!(
            error.contains(&path.to_string()) && !error.contains("0001"),
            "{error}"
        );
        error
    };

    assert!(say(KeyPath::File(folder.path("none"))).contains("keygen"));
    assert!(say(KeyPath::File(folder.path(""))).contains("no regular file"));
    assert!(say(KeyPath::File("/dev/null".into())).contains("no regular file"));
    let pipe = folder.path("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();

    assert!(say(KeyPath::File(pipe)).contains("no regular file"));
    assert!(
        say(folder.file("large", &"#\n".repeat(MAX_KEY_FILE_BYTES), 0o600))
            .contains("more than 4096 bytes")
    );

    assert!(say(folder.file("other", &psk().replace("psk", "private"), 0o600)).contains("line 1"));
    assert!(say(folder.file("empty", "", 0o600)).contains("fanlight-psk:"));
    let binary = folder.path("binary");
    fs::write(&binary, [0xff, 0xfe]).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(say(KeyPath::File(binary)).contains("no text"));
}

#[test]
fn a_link_to_a_key_file_is_followed_and_the_file_itself_checked() {
    let folder = Folder::new();
    folder.file("wall.psk", &psk(), 0o644);
    symlink(folder.path("wall.psk"), folder.path("link")).unwrap();
    let link = KeyPath::File(folder.path("link"));
    assert!(matches!(link.shared(), Err(KeyFileError::Exposed { .. })));
    folder.file("wall.psk", &psk(), 0o600);
    assert!(link.shared().is_ok());
}

#[test]
fn a_written_key_is_its_owners_alone_and_never_overwritten() {
    let folder = Folder::new();
    let path = folder.path("wall.psk");
    write(&path, psk().trim()).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o600
    );

    assert_eq!(fs::read_to_string(&path).unwrap(), psk());
    assert!(matches!(
        write(&path, "other"),
        Err(KeyFileError::Exists { .. })
    ));

    assert_eq!(fs::read_to_string(&path).unwrap(), psk());
    symlink(folder.path("elsewhere"), folder.path("dangling")).unwrap();
    assert!(matches!(
        write(&folder.path("dangling"), "x"),
        Err(KeyFileError::Exists { .. })
    ));

    assert!(!folder.path("elsewhere").exists());
    assert!(matches!(
        write(&folder.path("no/such/folder"), "x"),
        Err(KeyFileError::Unwritable { .. })
    ));

    assert!(matches!(
        write(Path::new("/dev/full"), "x"),
        Err(KeyFileError::Exists { .. })
    ));
}

#[test]
fn made_keys_are_good_and_different() {
    use keygen::{Keygen, Place};
    let folder = Folder::new();
    let place = |name: &str| Place {
        file: folder.path(name),
    };
    let path = |name: &str| KeyPath::File(folder.path(name));
    Keygen::Psk(place("a.psk")).run().unwrap();
    Keygen::Psk(place("b.psk")).run().unwrap();
    assert_ne!(
        path("a.psk").shared().unwrap(),
        path("b.psk").shared().unwrap()
    );

    Keygen::Feed(place("a.feed")).run().unwrap();
    assert_ne!(*path("a.feed").feed().unwrap(), [0; KEY_BYTES]);
    let public = Keygen::Pair(place("a.key")).run().unwrap();
    assert_eq!(
        path("a.key").private().unwrap().public().to_string(),
        public
    );

    assert_eq!(Keygen::Public(place("a.key")).run().unwrap(), public);
    assert!(matches!(
        Keygen::Public(place("a.psk")).run(),
        Err(KeyFileError::Content { .. })
    ));
}
