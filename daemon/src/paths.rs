//! Where programs of one host meet.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Where the system units keep their sockets.
const SYSTEM_DIR: &str = "/run/fanlight";

/// Where, in the runtime directory, sources publish by default, each as STREAM.ipc; relays look there.
pub const STREAMS_DIR: &str = "streams";

/// There is no directory for sockets.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// The directory cannot be made or looked at.
    #[error("cannot use {} for sockets: {error}", .dir.display())]
    Unusable {
        /// The directory.
        dir: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Someone else owns the directory or may write to it, and could put their own sockets there.
    #[error("{} is not a directory of this user alone: remove it, or set XDG_RUNTIME_DIR", .dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
    },
}

/// The directory of the sockets by which the programs of one user on one host meet, made when it is missing:
///
/// 1. the first of `$RUNTIME_DIRECTORY`, which the units set to /run/fanlight for all instances;
/// 2. /run/fanlight when this user may write there, so that what user `fanlight` or root starts by hand meets the units;
/// 3. `$XDG_RUNTIME_DIR/fanlight`, where user units and what a user starts by hand meet;
/// 4. /tmp/fanlight-UID, when nobody but this user can write there.
///
/// # Errors
/// When that directory cannot be made, or is the last one and someone else's.
pub fn runtime_dir() -> Result<PathBuf, PathError> {
    let uid = rustix::process::geteuid().as_raw();
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    choose(
        variable("RUNTIME_DIRECTORY"),
        Path::new(SYSTEM_DIR),
        variable("XDG_RUNTIME_DIR"),
        Path::new("/tmp"),
        uid,
    )
}

/// The first directory of `$STATE_DIRECTORY`, which units set: what is kept there survives a restart.
#[must_use]
pub fn state_dir() -> Option<PathBuf> {
    first_of(std::env::var_os("STATE_DIRECTORY")?)
}

fn first_of(dirs: impl AsRef<OsStr>) -> Option<PathBuf> {
    std::env::split_paths(&dirs).find(|dir| dir.is_absolute())
}

fn choose(
    given: Option<PathBuf>,
    system: &Path,
    user: Option<PathBuf>,
    temporary: &Path,
    uid: u32,
) -> Result<PathBuf, PathError> {
    if let Some(dir) = given.and_then(first_of) {
        return made(dir);
    }

    if system.is_dir() && access(system, Access::WRITE_OK | Access::EXEC_OK).is_ok() {
        return Ok(system.to_owned());
    }

    if let Some(dir) = user.filter(|dir| dir.is_absolute()) {
        return made(dir.join("fanlight"));
    }

    own(made(temporary.join(format!("fanlight-{uid}")))?, uid)
}

fn made(dir: PathBuf) -> Result<PathBuf, PathError> {
    match DirBuilder::new().mode(0o700).create(&dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(PathError::Unusable { dir, error })
        }
        _ => Ok(dir),
    }
}

fn own(dir: PathBuf, uid: u32) -> Result<PathBuf, PathError> {
    // Not following a symbolic link, which someone else may have put here.
    match fs::symlink_metadata(&dir) {
        Ok(found) if found.is_dir() && found.uid() == uid && found.mode() & 0o022 == 0 => Ok(dir),
        Ok(_) => Err(PathError::Foreign { dir }),
        Err(error) => Err(PathError::Unusable { dir, error }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Host {
        root: tempfile::TempDir,
        uid: u32,
    }

    impl Host {
        fn new() -> Self {
            Self {
                root: tempfile::tempdir().unwrap(),
                uid: rustix::process::geteuid().as_raw(),
            }
        }

        fn dir(&self, name: &str) -> PathBuf {
            let dir = self.root.path().join(name);
            fs::create_dir_all(&dir).unwrap();
            dir
        }

        fn choose(&self, given: Option<&str>, user: Option<PathBuf>) -> Result<PathBuf, PathError> {
            let system = self.root.path().join("run-fanlight");
            choose(
                given.map(PathBuf::from),
                &system,
                user,
                &self.dir("tmp"),
                self.uid,
            )
        }
    }

    #[test]
    fn the_first_directory_that_the_unit_gives_goes_before_all() {
        let host = Host::new();
        host.dir("run-fanlight");
        let (first, second) = (host.dir("first"), host.dir("second"));
        let given = format!("{}:{}", first.display(), second.display());
        assert_eq!(
            host.choose(Some(&given), Some(host.dir("user"))).unwrap(),
            first
        );
    }

    #[test]
    fn who_may_write_to_the_system_directory_meets_the_units_there() {
        let host = Host::new();
        let system = host.dir("run-fanlight");
        assert_eq!(host.choose(None, Some(host.dir("user"))).unwrap(), system);
    }

    #[test]
    fn a_user_meets_their_user_units_in_their_runtime_directory() {
        let host = Host::new();
        let chosen = host.choose(None, Some(host.dir("user"))).unwrap();
        assert_eq!(chosen, host.root.path().join("user/fanlight"));
        assert_eq!(
            fs::metadata(chosen).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn the_last_resort_is_a_private_directory() {
        let host = Host::new();
        let chosen = host
            .choose(Some("relative"), Some("relative".into()))
            .unwrap();
        assert_eq!(
            chosen,
            host.root.path().join(format!("tmp/fanlight-{}", host.uid))
        );

        assert_eq!(
            host.choose(None, None).unwrap(),
            chosen,
            "the second program finds the same"
        );

        assert_eq!(
            fs::metadata(chosen).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn a_last_resort_that_is_not_this_users_alone_is_refused() {
        let host = Host::new();
        let last = host.dir(&format!("tmp/fanlight-{}", host.uid));
        fs::set_permissions(&last, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(
            host.choose(None, None),
            Err(PathError::Foreign { .. })
        ));

        fs::remove_dir(&last).unwrap();
        std::os::unix::fs::symlink(host.dir("elsewhere"), &last).unwrap();
        assert!(matches!(
            host.choose(None, None),
            Err(PathError::Foreign { .. })
        ));

        let temporary = host.dir("tmp");
        let other = host.uid + 1;
        fs::create_dir(temporary.join(format!("fanlight-{other}"))).unwrap();
        let chosen = choose(None, Path::new("/nonexistent"), None, &temporary, other);
        assert!(matches!(chosen, Err(PathError::Foreign { .. })));
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let error = choose(
            None,
            Path::new("/nonexistent"),
            Some("/nonexistent".into()),
            Path::new("/tmp"),
            0,
        )
        .unwrap_err();

        assert!(
            error
                .to_string()
                .starts_with("cannot use /nonexistent/fanlight for sockets: "),
            "{error}"
        );
    }
}
