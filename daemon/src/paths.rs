//! Where programs of one host meet.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Where the system units keep their sockets.
const SYSTEM_DIR: &str = "/run/fanlight";

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
    choose(variable("RUNTIME_DIRECTORY"), Path::new(SYSTEM_DIR), variable("XDG_RUNTIME_DIR"), Path::new("/tmp"), uid)
}

fn choose(
    given: Option<PathBuf>,
    system: &Path,
    user: Option<PathBuf>,
    temporary: &Path,
    uid: u32,
) -> Result<PathBuf, PathError> {
    let given = given.and_then(|dirs| std::env::split_paths(&dirs).find(|dir| dir.is_absolute()));
    if let Some(dir) = given {
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
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(PathError::Unusable { dir, error }),
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
