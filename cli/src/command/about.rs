//! `sluice version`, shell completions and man pages.

use std::{fs, path::Path};

use anyhow::Context as _;
use clap::CommandFactory;
use clap_complete::Shell;
use repository::format::{FORMAT_MAJOR, FORMAT_MINOR};
use serde::Serialize;

use crate::{
    args::Arguments,
    context::Context,
    exit::Exit,
    output::{json, print},
};

#[derive(Debug, Serialize)]
struct Version {
    version: &'static str,
    format: String,
    s3: bool,
}

pub(super) fn version(context: &Context) -> anyhow::Result<Exit> {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        format: format!("{FORMAT_MAJOR}.{FORMAT_MINOR}"),
        s3: cfg!(feature = "s3"),
    };
    if context.json() {
        json::write(&version)?;
    } else {
        let s3 = if version.s3 { "with" } else { "without" };
        print(format_args!(
            "sluice {} (format {}, {s3} S3)\n",
            version.version, version.format
        ))?;
    }
    Ok(Exit::Done)
}

pub(super) fn completions(shell: Shell) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "sluice", &mut script);
    print(String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// Writes `sluice.1`, `sluice-backup.1` and so on.
pub(super) fn man(folder: &Path) -> anyhow::Result<Exit> {
    fs::create_dir_all(folder).with_context(|| format!("create `{}`", folder.display()))?;
    let command = Arguments::command();
    clap_mangen::generate_to(command, folder)
        .with_context(|| format!("write the man pages into `{}`", folder.display()))?;
    Ok(Exit::Done)
}
