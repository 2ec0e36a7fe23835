//! Folders of scripts for Node.js with the packages that they need.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The folder below target/ with the files of `integration-tests/NAME` and the packages of its lock file, made when it is not
/// there; else what is missing here.
///
/// # Errors
/// What keeps its scripts from running here.
///
/// # Panics
/// When files cannot be read or written.
pub fn folder(name: &str) -> Result<PathBuf, String> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let _alone = crate::test_env::lock("npm");
    runs("node", &["--version"])?;
    let test = std::env::current_exe().expect("a running test has a file");
    let folder = test
        .ancestors()
        .nth(3)
        .expect("tests are in target/PROFILE/deps")
        .join(name);

    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join(name), &folder);
    let lock = |file: PathBuf| std::fs::read_to_string(file).ok();
    let wanted = lock(folder.join("package-lock.json"));
    let stamp = folder.join("installed.json");

    if wanted.is_some() && lock(stamp.clone()) == wanted {
        return Ok(folder);
    }

    let install = [
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--silent",
        "--prefix",
    ];

    let output = Command::new("npm")
        .args(install)
        .arg(&folder)
        .current_dir(&folder)
        .output();

    let output = output.map_err(|error| format!("npm: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "npm ci: {}",
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim()
        ));
    }

    std::fs::write(stamp, wanted.unwrap_or_default()).map_err(|error| error.to_string())?;
    Ok(folder)
}

/// Whether a program runs here.
///
/// # Errors
/// What it says, when it does not.
pub fn runs(program: &str, words: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(words)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;

    let said = String::from_utf8_lossy(&output.stderr);
    output
        .status
        .success()
        .then_some(())
        .ok_or_else(|| format!("{program} does not run here: {}", said.trim()))
}

/// Copies the files, but not the folders, of a folder.
///
/// # Panics
/// When one cannot be read or written.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a test may write below target/");
    for entry in from
        .read_dir()
        .expect("it is part of the repository")
        .flatten()
    {
        if entry.path().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))
                .expect("a test may write below target/");
        }
    }
}
