//! The commands of a document, so that a test can run what people are told to type. A block that is fenced as `sh HOST` is
//! run on the host of that name, in the order of the document; other blocks show what is typed nowhere.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::TestEnv;

/// The folder of the documents.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");

/// A document of `docs/`.
#[derive(Debug)]
pub struct Document {
    name: String,
    blocks: Vec<Block>,
}

/// Commands for one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The host's name in the document.
    pub host: String,
    /// What is typed there.
    pub commands: String,
    /// The line of its first command.
    pub line: usize,
}

impl Document {
    /// Reads `docs/NAME`.
    ///
    /// # Panics
    /// When it is not there, has no commands, or has some for no host.
    #[must_use]
    pub fn read(name: &str) -> Self {
        let path: PathBuf = Path::new(FOLDER).join(name);
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let blocks = blocks(&text);
        assert!(!blocks.is_empty(), "{name} has no commands");
        for block in &blocks {
            let line = block.line;
            assert!(!block.host.is_empty(), "{name}:{line}: on which host?");
        }

        Self {
            name: name.to_owned(),
            blocks,
        }
    }

    /// Its blocks, in their order.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Runs each block by the shell command that `on` makes of it for its host.
    ///
    /// # Panics
    /// When one fails, with the place in the document.
    pub fn run(&self, mut on: impl FnMut(&str, &str) -> Command) {
        for block in &self.blocks {
            let output = on(&block.host, &block.commands).output();
            let output = output.unwrap_or_else(|error| panic!("{}: {error}", self.name));
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            assert!(
                output.status.success(),
                "docs/{}:{}: on {}: {}\n{text}",
                self.name,
                block.line,
                block.host,
                output.status
            );
        }
    }
}

/// Writes a `fanlight-viewer` to `file` that needs no display: it runs `program` without a window until pictures are shown,
/// for a minute at most, and passes on what does not show any.
///
/// # Panics
/// When it cannot be written.
pub fn put_viewer_without_display(file: &Path, program: &Path) {
    let script = format!(
        r#"#!/bin/sh
program={}
case " $* " in *" --list "* | *" keygen "* | *" check-config "*) exec "$program" "$@" ;; esac
trace=$(mktemp)
"$program" --headless --trace "$trace" "$@" &
viewer=$!
for try in $(seq 600); do
  if [ "$(wc -l <"$trace")" -ge 3 ]; then kill $viewer; wait $viewer; exit; fi
  kill -0 $viewer 2>/dev/null || {{ wait $viewer; exit; }}
  sleep 0.1
done
kill $viewer
exit 1
"#,
        program.display()
    );
    fs::write(file, script).expect("a test may write its script");
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("it is the test's own");
}

/// A folder with the programs of the tests, by name, and a viewer that needs no display.
///
/// # Panics
/// When they are not built.
#[must_use]
pub fn put_programs(env: &TestEnv) -> PathBuf {
    let folder = env.path("programs");
    fs::create_dir(&folder).expect("it is the first of this environment");
    for name in ["source", "relay"] {
        let link = folder.join(format!("fanlight-{name}"));
        std::os::unix::fs::symlink(env.program(name).binary(), link).expect("the folder is empty");
    }

    put_viewer_without_display(
        &folder.join("fanlight-viewer"),
        env.program("viewer").binary(),
    );
    folder
}

/// A shell command behind the words `enter`, in the folder of `env`, which finds the programs in `programs`.
#[must_use]
pub fn shell(env: &TestEnv, enter: &[&str], programs: &Path, commands: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(enter[0]);
    command
        .args(&enter[1..])
        .args(["sh", "-ec", commands])
        .current_dir(env.directory())
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("RUNTIME_DIRECTORY", env.directory());
    command
}

/// The blocks of a text that are fenced as `sh`.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Option<Block>> = None;
    for (number, line) in text.lines().enumerate() {
        let fence = line.strip_prefix("```");
        open = match (open, fence) {
            (None, Some(info)) => Some(begun(info, number + 2)),
            (None, None) => None,
            (Some(block), Some(_)) => {
                blocks.extend(block);
                None
            }
            (Some(block), None) => Some(block.map(|mut block| {
                block.commands += line;
                block.commands.push('\n');
                block
            })),
        };
    }

    blocks
}

/// The block that begins behind a fence with this info string; none for other languages.
fn begun(info: &str, line: usize) -> Option<Block> {
    let mut words = info.split_whitespace();
    (words.next() == Some("sh")).then(|| Block {
        host: words.next().unwrap_or_default().to_owned(),
        commands: String::new(),
        line,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_commands_have_their_host_and_line_and_others_are_left_out() {
        let text = "Do:\n\n```sh box\na b\nc\n```\n\n```toml\nd = 1\n```\n```sh screen\ne\n```\n";
        let block = |host: &str, commands: &str, line| Block {
            host: host.to_owned(),
            commands: commands.to_owned(),
            line,
        };
        assert_eq!(
            blocks(text),
            [block("box", "a b\nc\n", 4), block("screen", "e\n", 12)]
        );
    }
}
