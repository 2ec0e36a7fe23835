//! A Python interpreter with the packages that peers of the programs need.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// The folder of the scripts and of `requirements.txt`.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python");

/// A Python with the packages of `python/requirements.txt`, installed once below `target/`. None, and a word about it,
/// where there is no Python or no package index.
///
/// # Panics
/// When files cannot be read or written, and when Python is missing though every test must run.
#[must_use]
pub fn python() -> Option<PathBuf> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let _alone = crate::test_env::lock("python");

    let requirements = script("requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).expect("requirements.txt is committed");
    let folder = crate::target_directory().join("tmp/python");
    let python = folder.join("bin/python");
    let stamp = folder.join("requirements.txt");

    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Some(python);
    }

    match install(&folder, &python, &requirements) {
        Ok(()) => {
            std::fs::write(&stamp, wanted).expect("a test may write below target/");
            Some(python)
        }
        Err(problem) => {
            let packages = wanted.trim().replace('\n', ", ");
            crate::skip(&format!("no Python with {packages}: {problem}"));
            None
        }
    }
}

/// The path of a file in `python/`.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

fn install(folder: &Path, python: &Path, requirements: &Path) -> Result<(), String> {
    let venv = Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(folder)
        .output();

    succeeded(venv)?;

    let packages = Command::new(python)
        .args(["-m", "pip", "install", "--quiet"])
        .args(["--only-binary", ":all:", "-r"])
        .arg(requirements)
        .output();

    succeeded(packages)
}

fn succeeded(output: std::io::Result<Output>) -> Result<(), String> {
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            Err(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}
