//! Loads and checks settings. `check-config` of a file that several programs share checks every part of it: the program's
//! own here, those of the others by their own `check-config`, since no program knows the keys of another.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

use super::Program;
use crate::cli::{CHECK_CONFIG, OWN_SECTIONS};
use crate::config::sections::{ConfigFile, MAIN, Part};
use crate::config::{self, Flags, Settings};

/// The programs that a shared file has sections for.
const PROGRAMS: [&str; 3] = ["fanlight-source", "fanlight-relay", "fanlight-viewer"];

/// The settings that a program is to run with.
pub(super) fn settings<P: Program>(
    file: &ConfigFile,
    flags: &Flags,
) -> anyhow::Result<Settings<P::Config>> {
    if let Some(part) = &file.part {
        let own = P::SECTIONS.iter().map(|section| section.name);
        let own: Vec<_> = own.collect();
        ensure!(
            own.contains(&part.section.as_str()),
            "--section: {part} is not a section of {}, which has: {}",
            P::NAME,
            own.join(", ")
        );
        ensure!(
            file.path.is_some(),
            "--section {part} needs --config, the file that has it"
        );
    }

    let settings = config::load(file, flags)?;
    P::check(&settings.config)?;
    Ok(settings)
}

/// Checks a file: the part that is asked for, or all of it.
pub(super) fn file<P: Program>(file: &ConfigFile, flags: &Flags, own: bool) -> anyhow::Result<()> {
    let parts = match file.part {
        None => config::parts::<P::Config>(file)?,
        Some(_) => None,
    };

    let Some(parts) = parts else {
        let settings = settings::<P>(file, flags)?;
        return check_key_files(&settings);
    };

    let path = file.path.as_deref().unwrap_or(Path::new(""));
    let others_good = own || check_other_programs::<P>(path);
    check_parts::<P>(file, flags, &parts).with_context(|| path.display().to_string())?;
    ensure!(
        others_good,
        "{}: another program's part is not good",
        path.display()
    );
    Ok(())
}

fn check_parts<P: Program>(file: &ConfigFile, flags: &Flags, parts: &[Part]) -> anyhow::Result<()> {
    let has_main = |section: &str| {
        let is_main = |part: &&Part| part.instance.as_deref() == Some(MAIN);
        parts
            .iter()
            .filter(is_main)
            .any(|part| part.section == section)
    };

    let mut together = Vec::new();
    for part in parts {
        let settings: Settings<P::Config> = config::load(&file.with_part(part.clone()), flags)?;
        let section = P::SECTIONS.iter().find(|it| it.name == part.section);
        let alone = section.is_some_and(|section| section.alone) && !has_main(&part.section);
        if part.instance.is_none() && !alone {
            continue;
        }

        P::check(&settings.config)
            .and_then(|()| check_key_files(&settings))
            .with_context(|| part.to_string())?;
        together.push((part.clone(), settings.config));
    }

    P::check_together(&together)
}

fn check_key_files<C>(settings: &Settings<C>) -> anyhow::Result<()> {
    match settings.missing_key_files().next() {
        Some((key, file)) => bail!(
            "`{key}`: there is no file {}: make it with `keygen`, or copy it there",
            file.display()
        ),
        None => Ok(()),
    }
}

/// Whether the other programs find their parts good; they say on stderr what is not. One that is not here is named.
fn check_other_programs<P: Program>(file: &Path) -> bool {
    let beside = std::env::current_exe().ok();
    let mut good = true;
    for name in PROGRAMS.into_iter().filter(|name| *name != P::NAME) {
        let sibling = beside.as_ref().map(|own| own.with_file_name(name));
        let program = sibling.filter(|program| program.exists());
        let checked = Command::new(program.as_deref().unwrap_or(Path::new(name)))
            .arg(CHECK_CONFIG)
            .arg(format!("--{OWN_SECTIONS}"))
            .arg(file)
            .stdout(Stdio::null())
            .status();

        match checked {
            Ok(status) => good &= status.success(),
            // Not an error: a box may have one of the programs only. Nothing is left to report to when this fails.
            Err(_) => drop(writeln!(
                std::io::stderr(),
                "{name} is not installed here, so its part is not checked"
            )),
        }
    }

    good
}
