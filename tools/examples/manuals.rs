//! Writes the man pages and the shell completions of all programs, made from their flags. Called by `./dev package`:
//!
//! cargo run -p fanlight-tools --example manuals -- DIRECTORY
//!
//! DIRECTORY then has man/PROGRAM.1 and completions/ for bash, zsh and fish.

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap_complete::Shell;
use fanlight_daemon::{Program, cli};
use fanlight_relay::Relay;
use fanlight_source::program::Daemon as Source;
use fanlight_tools::gif::GifMaker;
use fanlight_tools::load::LoadTester;
use fanlight_viewer::viewer::Viewer;

fn main() -> anyhow::Result<()> {
    let directory = std::env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .context("usage: manuals DIRECTORY")?;

    for kind in ["man", "completions"] {
        let made = directory.join(kind);
        fs::create_dir_all(&made).with_context(|| made.display().to_string())?;
    }

    write::<Source>(&directory)?;
    write::<Relay>(&directory)?;
    write::<Viewer>(&directory)?;
    write::<LoadTester>(&directory)?;
    write::<GifMaker>(&directory)
}

fn write<P: Program>(directory: &Path) -> anyhow::Result<()> {
    let command = cli::command::<P::Config, P::Extra>(P::NAME, P::ABOUT, P::VERSION);
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let folder = directory.join("completions");
        clap_complete::generate_to(shell, &mut command.clone(), P::NAME, folder)?;
    }

    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    let file = directory.join("man").join(format!("{}.1", P::NAME));
    fs::write(&file, page).with_context(|| file.display().to_string())
}
