//! The command line. Nothing else reads arguments or environment variables.

pub(crate) mod values;
mod global;
mod commands;

use clap::{CommandFactory, FromArgMatches, Parser, error::ErrorKind};

pub(crate) use self::{
    commands::{
        Backup, Command, Compression, Diff, Doctor, Forget, Init, JobArgs, Key, Layout, NewSecret,
        PointArgs, Points, Restore, Show, Stats, Verify,
    },
    global::{Global, PASSPHRASE_VARIABLE, SecretArgs, passphrase_variable},
    values::{PointKind, PointName},
};
use crate::exit;

const EXAMPLES: &str = "\
Examples:
  sluice init -r /backup/db --new-key ~/db.key      make a repository in a folder
  export SLUICE_REPOSITORY=/backup/db SLUICE_KEY_FILE=~/db.key
  sluice backup /dev/vg/db-snapshot                 make a recovery point
  sluice points                                     list them
  sluice restore latest db.img                      get the newest one back
  sluice verify --read-data 5%                      prove that they can be restored";

const NOTATION: &str = "\
Sizes are written 64K, 10MiB or 1.5G in units of 1024 (10MB is 10,000,000). Times are written 2026-11-20T14:00:00Z, \
\"2026-11-20 14:00\" (local), 2026-11-20 (the end of that day) or \"2h ago\".";

const ENVIRONMENT: &str = "\
Options that name a variable can be given by it; the option wins. The passphrase may be in the variable \
SLUICE_PASSPHRASE; on a terminal it is asked for. S3 is reached by the AWS variables and profiles.";

/// Back up volumes to encrypted, deduplicated recovery points, and prove that they can be restored
///
/// Sluice makes recovery points of block devices and image files in a repository: a folder or a bucket on S3. Everything in
/// it is encrypted, and only what changed is stored.
#[derive(Debug, Parser)]
#[command(
    name = "sluice",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{NOTATION}\n\n{ENVIRONMENT}\n\n{}", exit::CODES)
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,

    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// Reads the command line and the environment.
    ///
    /// # Errors
    /// Shows what is wrong, or the help that was asked for.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches()?;
        let mut arguments = Self::from_arg_matches(&matches)?;
        let conflict = arguments.global.secret.prefer_options(&matches);
        conflict.map_err(|message| Self::command().error(ErrorKind::ArgumentConflict, message))?;
        let read = arguments.global.read_location();
        read.map_err(|message| Self::command().error(ErrorKind::ValueValidation, message))?;
        Ok(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_of_every_command_may_stand_anywhere() {
        for line in [
            "sluice -r /r points --json",
            "sluice points -r /r --json",
            "sluice --json points -r /r",
        ] {
            let mut arguments = Arguments::try_parse_from(line.split(' ')).expect("it is right");
            arguments.global.read_location().expect("it is a path");
            assert!(
                arguments.global.output.json && arguments.global.repository.is_some(),
                "{line}"
            );
        }
    }

    #[test]
    fn contradictions_are_refused() {
        for line in [
            "sluice backup x --changed-extents y",
            "sluice backup x --changed-extents y --base z --reflink-base w",
            "sluice backup create",
            "sluice restore latest describe",
            "sluice forget abc --keep-last 3",
            "sluice forget --keep-last 0",
            "sluice backup x --memory 1M",
            "sluice backup x --limit-upload 0",
            "sluice key add --new-key a --new-key-file b",
        ] {
            assert!(
                Arguments::try_parse_from(line.split(' ')).is_err(),
                "{line}"
            );
        }
    }
}
