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
    let only_binary = ["--only-binary", ":all:"];
    environment(Path::new("python3"), "requirements.txt", &only_binary)
}

/// A Python 3.13 (of PATH or pyenv) with Home Assistant, as [`python`]. One of its packages comes as source only.
///
/// # Panics
/// As [`python`].
#[must_use]
pub fn home_assistant() -> Option<PathBuf> {
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let root = root.or_else(|| Some(std::env::home_dir()?.join(".pyenv")));
    let versions = root.and_then(|root| std::fs::read_dir(root.join("versions")).ok());
    let installed = versions.into_iter().flatten().flatten();
    let mut found = installed.map(|version| version.path().join("bin/python3.13"));
    let found = found.find(|python| python.is_file());
    let interpreter = found.unwrap_or_else(|| "python3.13".into());
    let pinned = ["--prefer-binary", "--no-deps"];
    environment(&interpreter, "home_assistant.txt", &pinned)
}

/// An environment of `interpreter` with the packages of the file `packages` in `python/`.
fn environment(interpreter: &Path, packages: &str, flags: &[&str]) -> Option<PathBuf> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let _alone = crate::test_env::lock("python");

    let requirements = script(packages);
    let wanted = std::fs::read_to_string(&requirements).expect("the file is committed");
    let name = match packages {
        "requirements.txt" => "python",
        other => other.trim_end_matches(".txt"),
    };
    let folder = crate::target_directory().join("tmp").join(name);
    let python = folder.join("bin/python");
    let stamp = folder.join("requirements.txt");

    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Some(python);
    }

    match install(interpreter, &folder, &requirements, flags) {
        Ok(()) => {
            std::fs::write(&stamp, wanted).expect("a test may write below target/");
            Some(python)
        }
        Err(problem) => {
            crate::skip(&format!(
                "no Python with the packages of {packages}: {problem}"
            ));
            None
        }
    }
}

/// The path of a file in `python/`.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

fn install(
    interpreter: &Path,
    folder: &Path,
    requirements: &Path,
    flags: &[&str],
) -> Result<(), String> {
    let venv = Command::new(interpreter)
        .args(["-m", "venv", "--clear"])
        .arg(folder)
        .output();

    succeeded(venv)?;

    let packages = Command::new(folder.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet"])
        .args(flags)
        .arg("-r")
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
