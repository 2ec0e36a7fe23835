//! Peers in Python: interpreters with the packages that they need.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// A Python with what the file `requirements` names, made once in `folder`, which is below target/. None, with the reason
/// printed, where there is no Python or no package index; CI sets FANLIGHT_TESTS_MUST_RUN, and then it is an error.
///
/// # Panics
/// When files cannot be read or written, or when it must be there and is not.
#[must_use]
pub fn python(folder: &Path, requirements: &Path) -> Option<PathBuf> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted =
        std::fs::read_to_string(requirements).expect("the requirements lie beside the test");
    let (python, stamp) = (folder.join("bin/python"), folder.join("requirements.txt"));
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Some(python);
    }
    let venv = Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(folder)
        .output();
    let installed = venv.and_then(|made| {
        if !made.status.success() {
            return Ok(made);
        }
        Command::new(&python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--only-binary",
                ":all:",
                "-r",
            ])
            .arg(requirements)
            .output()
    });
    let problem = match installed {
        Ok(output) if output.status.success() => {
            std::fs::write(&stamp, wanted).expect("a test may write below target/");
            return Some(python);
        }
        Ok(output) => {
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
        }
        Err(error) => error.to_string(),
    };
    crate::skip(&format!(
        "no Python with {}: {problem}",
        wanted.trim().replace('\n', ", ")
    ));
    None
}
