//! How the command ends: its exit code, and the one line that says why.

use std::process::ExitCode;

use agent::JobError;
use repository::{RepositoryError, SecretError, store::ErrorKind};

use crate::output::Closed;

/// The table that `--help` and the man page show.
pub(crate) const CODES: &str = "\
Exit codes:
    0  it is done
    1  it failed; one line on standard error says why
    2  the command line is wrong
    3  damage was found, or the result is not complete
   10  there is no repository
   11  another writer is at work on the series
   12  the key or passphrase is wrong or missing
  130  interrupted; the next backup goes on from what was uploaded";

/// How the command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Partial = 3,
    NoRepository = 10,
    Busy = 11,
    WrongSecret = 12,
    Interrupted = 130,
}

impl Exit {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A command line that contradicts itself, or lacks something.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// No key and no passphrase.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoSecret(pub(crate) String);

/// A repository that could not be made. Nothing is damaged then, whatever kind of error that was.
#[derive(Debug, thiserror::Error)]
#[error("make the repository")]
pub(crate) struct NotMade(#[source] pub(crate) RepositoryError);

/// The user asked to stop.
#[derive(Debug, thiserror::Error)]
#[error("stopped as asked")]
pub(crate) struct Interrupted;

/// Which code an error ends the command with.
pub(crate) fn of(error: &anyhow::Error) -> Exit {
    let codes = error.chain().filter_map(|cause| {
        if let Some(NotMade(error)) = cause.downcast_ref() {
            let exit = of_repository(error);
            Some(if exit == Exit::Partial {
                Exit::Failed
            } else {
                exit
            })
        } else if let Some(error) = cause.downcast_ref::<RepositoryError>() {
            Some(of_repository(error))
        } else if let Some(error) = cause.downcast_ref::<JobError>() {
            Some(of_job(error))
        } else if cause.is::<Usage>() {
            Some(Exit::Usage)
        } else if cause.is::<NoSecret>() || cause.is::<SecretError>() {
            Some(Exit::WrongSecret)
        } else if cause.is::<Interrupted>() {
            Some(Exit::Interrupted)
        } else if cause.is::<Closed>() {
            Some(Exit::Done)
        } else {
            None
        }
    });
    codes.into_iter().next().unwrap_or(Exit::Failed)
}

fn of_job(error: &JobError) -> Exit {
    if let JobError::Repository(error) = error {
        of_repository(error)
    } else if matches!(error, JobError::Cancelled) {
        Exit::Interrupted
    } else {
        Exit::Failed
    }
}

fn of_repository(error: &RepositoryError) -> Exit {
    use RepositoryError::{Busy, Fenced, NotARepository, SlotsUnread, Store, WrongSecret};
    let nowhere = matches!(error, Store(error) if error.kind() == ErrorKind::NoContainer);
    if nowhere || matches!(error, NotARepository { .. }) {
        Exit::NoRepository
    } else if matches!(error, WrongSecret { .. } | SlotsUnread { .. }) {
        Exit::WrongSecret
    } else if matches!(error, Busy { .. } | Fenced { .. }) {
        Exit::Busy
    } else if error.is_damage() {
        Exit::Partial
    } else {
        Exit::Failed
    }
}

/// Whether a store failed, whose errors name objects but not where they are.
pub(crate) fn is_of_store(error: &anyhow::Error) -> bool {
    let of_store = |error: &RepositoryError| matches!(error, RepositoryError::Store(_));
    error.chain().any(|cause| {
        let of_job = matches!(
            cause.downcast_ref(),
            Some(JobError::Repository(error)) if of_store(error)
        );
        of_job || cause.downcast_ref().is_some_and(of_store)
    })
}

/// An error and its causes on one line. A cause that repeats what is said already is left out.
pub(crate) fn line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.is_empty() || line.contains(&text) {
            continue;
        }
        let separator = if line.is_empty() { "" } else { ": " };
        line.push_str(separator);
        line.push_str(&text);
    }
    line
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use repository::store::StoreError;

    use super::*;

    #[test]
    fn codes_tell_apart_what_scripts_branch_on() {
        let location = String::from("/r");
        let wrong = || RepositoryError::WrongSecret {
            secret: "passphrase",
            slots: 1,
            location: location.clone(),
        };
        let none = RepositoryError::NotARepository {
            location: location.clone(),
        };
        let busy = RepositoryError::Busy {
            series: String::new(),
            writer: String::new(),
        };
        let short = || RepositoryError::Store(StoreError::new("get", "p/x", ErrorKind::Short));
        let full = RepositoryError::Store(StoreError::new("put", "p/x", ErrorKind::Full));
        for (error, exit) in [
            (anyhow!("anything"), Exit::Failed),
            (
                anyhow::Error::new(wrong()).context("open"),
                Exit::WrongSecret,
            ),
            (JobError::Repository(wrong()).into(), Exit::WrongSecret),
            (none.into(), Exit::NoRepository),
            (busy.into(), Exit::Busy),
            (NotMade(short()).into(), Exit::Failed),
            (short().into(), Exit::Partial),
            (full.into(), Exit::Failed),
            (JobError::Cancelled.into(), Exit::Interrupted),
            (Usage(String::new()).into(), Exit::Usage),
        ] {
            assert_eq!(of(&error), exit, "{error:?}");
        }
    }

    #[test]
    fn an_error_is_one_line_that_says_nothing_twice() {
        let error = anyhow!("no answer\n  from it")
            .context("put `p/x`: no answer from it")
            .context("upload");
        assert_eq!(line(&error), "upload: put `p/x`: no answer from it");
    }

    #[test]
    fn the_table_has_every_code() {
        for exit in [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::Partial,
            Exit::NoRepository,
            Exit::Busy,
            Exit::WrongSecret,
            Exit::Interrupted,
        ] {
            let listed = CODES
                .lines()
                .any(|line| line.trim_start().starts_with(&format!("{}  ", exit.code())));
            assert!(listed, "{exit:?}");
        }
    }
}
