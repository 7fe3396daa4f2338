//! Options of every command: where the repository is, what opens it, what is shown.

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgAction, ArgMatches, Args, parser::ValueSource};
use zeroize::Zeroizing;

use super::values::Hidden;
use crate::{location::Location, output::log::LogFormat};

/// Environment variable of a passphrase. It has no option: arguments are seen by everybody on the machine.
pub(crate) const PASSPHRASE_VARIABLE: &str = "SLUICE_PASSPHRASE";

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Where the repository is: a folder, or `s3://BUCKET/PREFIX?endpoint=URL`
    ///
    /// Options of an s3 address: endpoint, region, path-style, ca-file, profile, sign-payload. Credentials come from the
    /// AWS environment variables and profiles.
    #[arg(
        id = "repository",
        short,
        long = "repository",
        global = true,
        env = "SLUICE_REPOSITORY",
        hide_env_values = true,
        value_name = "LOCATION",
        help_heading = "Repository"
    )]
    written: Option<OsString>,

    /// The same, read. Later, as an option wins over a variable that cannot be read.
    #[arg(skip)]
    pub(crate) repository: Option<Location>,

    #[command(flatten)]
    pub(crate) secret: SecretArgs,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What opens the repository. Options win over environment variables.
///
/// Besides these, the passphrase may be in the variable `SLUICE_PASSPHRASE`, and is asked for on a terminal.
#[derive(Clone, Debug, Args)]
pub(crate) struct SecretArgs {
    /// File that holds the repository's key
    #[arg(
        long,
        global = true,
        env = "SLUICE_KEY_FILE",
        value_name = "FILE",
        help_heading = "Repository"
    )]
    pub(crate) key_file: Option<PathBuf>,

    /// File that holds the passphrase
    #[arg(
        long,
        global = true,
        env = "SLUICE_PASSPHRASE_FILE",
        value_name = "FILE",
        help_heading = "Repository"
    )]
    pub(crate) passphrase_file: Option<PathBuf>,

    /// Command that prints the passphrase, run by `sh -c`
    #[arg(
        long,
        global = true,
        env = "SLUICE_PASSPHRASE_COMMAND",
        hide_env_values = true,
        value_name = "COMMAND",
        help_heading = "Repository"
    )]
    pub(crate) passphrase_command: Option<Hidden>,
}

/// What is shown, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct OutputArgs {
    /// Print results as JSON
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,

    /// Say nothing but results, warnings and errors
    #[arg(short, long, global = true, help_heading = "Output")]
    pub(crate) quiet: bool,

    /// Do not show progress
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) no_progress: bool,

    /// Say more about what happens; twice for details
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,

    /// What to log
    ///
    /// `error`, `warn`, `info`, `debug` or `trace`, or by part, such as `agent=debug,repository=trace`. Never keys, nor what is in
    /// a volume.
    #[arg(
        long = "log",
        global = true,
        env = "SLUICE_LOG",
        value_name = "LEVELS",
        hide_short_help = true,
        help_heading = "Output"
    )]
    pub(crate) log: Option<String>,

    /// How the log is written
    ///
    /// It goes to standard error, as everything does that is no result.
    #[arg(
        long,
        global = true,
        env = "SLUICE_LOG_FORMAT",
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        hide_short_help = true,
        help_heading = "Output"
    )]
    pub(crate) log_format: LogFormat,
}

impl Global {
    /// Reads the location.
    ///
    /// # Errors
    /// Says what is wrong, and does not repeat one that cannot be right: credentials may have strayed into it.
    pub(super) fn read_location(&mut self) -> Result<(), String> {
        let Some(written) = self.written.take() else {
            return Ok(());
        };
        let text = written.to_str().ok_or("--repository: it is not UTF-8")?;
        let location = text.parse();
        let location = location.map_err(|error: anyhow::Error| format!("--repository: {error:#}"));
        self.repository = Some(location?);
        Ok(())
    }
}

impl SecretArgs {
    /// Forgets what environment variables say when an option says it too.
    ///
    /// # Errors
    /// Names two options that were given together.
    pub(super) fn prefer_options(&mut self, matches: &ArgMatches) -> Result<(), String> {
        let typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let options = ["key_file", "passphrase_file", "passphrase_command"];
        let given: Vec<&str> = options.into_iter().filter(|option| typed(option)).collect();
        match given[..] {
            [] => {}
            [one] => {
                self.key_file = self.key_file.take().filter(|_| one == "key_file");
                self.passphrase_file = self
                    .passphrase_file
                    .take()
                    .filter(|_| one == "passphrase_file");
                self.passphrase_command = self
                    .passphrase_command
                    .take()
                    .filter(|_| one == "passphrase_command");
            }
            [one, other, ..] => {
                let name = |option: &str| format!("--{}", option.replace('_', "-"));
                return Err(format!(
                    "{} and {} cannot be given together",
                    name(one),
                    name(other)
                ));
            }
        }
        Ok(())
    }

    /// Whether an option or variable names a secret; the passphrase variable aside.
    pub(crate) fn is_given(&self) -> bool {
        self.key_file.is_some()
            || self.passphrase_file.is_some()
            || self.passphrase_command.is_some()
    }
}

/// The passphrase in the environment, if there is one.
pub(crate) fn passphrase_variable() -> Option<Zeroizing<String>> {
    let value = std::env::var_os(PASSPHRASE_VARIABLE)?
        .into_string()
        .ok()
        .map(Zeroizing::new)?;
    (!value.is_empty()).then_some(value)
}
