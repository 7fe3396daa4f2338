//! `--result FILE`: what became of a job, for whoever started it.

use std::{
    fs::{self, File, OpenOptions},
    hash::{BuildHasher, RandomState},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use nix::errno::Errno;
use serde::Serialize;

use crate::{
    exit::{self, Exit, Usage},
    output::json,
};

/// The longest file that may be an earlier result: beyond a few KiB it is something else.
const RESULT_BYTES_MAX: u64 = 1 << 20;

/// Where the result goes.
#[derive(Debug)]
pub(super) struct ResultFile {
    path: PathBuf,
}

/// How a job ended: the fields of its report, or why there is none.
#[derive(Debug, Serialize)]
struct Ended<'a, T> {
    /// `done`, `failed` or `interrupted`.
    outcome: &'static str,
    exit_code: u8,
    error: Option<String>,
    #[serde(flatten)]
    report: Option<&'a T>,
}

impl ResultFile {
    /// Looks whether a result can be written there, before hours of work.
    ///
    /// # Errors
    /// When its folder does not exist, it is a folder itself, or it holds what is no earlier result.
    pub(super) fn check(path: &Path) -> anyhow::Result<Self> {
        let folder = folder(path);
        let named = || format!("check the result file `{}`", path.display());
        if !fs::metadata(folder).with_context(named)?.is_dir() || path.is_dir() {
            bail!(
                "result file `{}`: give the name of a file in a folder that exists",
                path.display()
            );
        }
        let file = Self {
            path: path.to_path_buf(),
        };
        file.check_replaceable()?;
        Ok(file)
    }

    /// The same, for a job that makes a file of its own.
    ///
    /// # Errors
    /// Also when that file is this one.
    pub(super) fn check_beside(path: &Path, other: &Path) -> anyhow::Result<Self> {
        let same = |left: &Path, right: &Path| matches!((std::path::absolute(left), std::path::absolute(right)), (Ok(left), Ok(right)) if left == right);
        if same(path, other) {
            return Err(Usage(format!(
                "`{}` cannot take the volume and the result: give the result another name",
                path.display()
            ))
            .into());
        }
        Self::check(path)
    }

    /// What is there is nothing, an earlier result, or no plain file. Anything else is precious: a source, a key, an
    /// object of the repository.
    fn check_replaceable(&self) -> anyhow::Result<()> {
        let plain = fs::metadata(&self.path).is_ok_and(|found| found.is_file() && found.len() > 0);
        if self.is_stream() || !plain {
            return Ok(());
        }
        let mut text = Vec::new();
        File::open(&self.path)
            .and_then(|file| file.take(RESULT_BYTES_MAX).read_to_end(&mut text))
            .with_context(|| format!("read the result file `{}`", self.path.display()))?;
        let found: Option<serde_json::Value> = serde_json::from_slice(&text).ok();
        if found
            .is_some_and(|found| found.get("outcome").is_some() && found.get("exit_code").is_some())
        {
            return Ok(());
        }
        Err(Usage(format!(
            "`{}` holds something that is no earlier result: give the result another name",
            self.path.display()
        ))
        .into())
    }

    /// Whether this is `/dev/stdout` or the like, which may lead to a file that others write to as well.
    fn is_stream(&self) -> bool {
        self.path.starts_with("/dev") || self.path.starts_with("/proc")
    }

    /// Writes how the job ended.
    ///
    /// # Errors
    /// When it cannot be written; nothing is there then, or what was there before.
    pub(super) fn write<T: Serialize>(
        &self,
        outcome: &anyhow::Result<(T, Exit)>,
    ) -> anyhow::Result<()> {
        let ended = match outcome {
            Ok((report, exit)) => Ended {
                outcome: "done",
                exit_code: exit.code(),
                error: None,
                report: Some(report),
            },
            Err(error) => {
                let exit = exit::of(error);
                let outcome = if exit == Exit::Interrupted {
                    "interrupted"
                } else {
                    "failed"
                };
                Ended {
                    outcome,
                    exit_code: exit.code(),
                    error: Some(exit::line(error)),
                    report: None,
                }
            }
        };
        let text = json::text(&ended)?;
        // Once more: the job itself may have made it.
        self.check_replaceable()?;
        self.replace(text.as_bytes())
            .with_context(|| format!("write the result file `{}`", self.path.display()))
    }

    /// Writes beside it and renames. What is no plain file (a pipe, `/dev/termination-log`, a link) is written as it is.
    fn replace(&self, text: &[u8]) -> io::Result<()> {
        let found = fs::symlink_metadata(&self.path);
        if self.is_stream() || found.is_ok_and(|found| !found.is_file()) {
            let plain = fs::metadata(&self.path).is_ok_and(|found| found.is_file());
            let mut options = OpenOptions::new();
            if self.is_stream() {
                options.append(true);
            } else {
                options.write(true).truncate(plain);
            }
            return options.open(&self.path)?.write_all(text);
        }
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        // Keys of this kind are random: nobody can foresee the name and lay a link there.
        let drawn = RandomState::new().hash_one(std::process::id());
        name.push(format!(".{drawn:016x}.partial"));
        let partial = folder(&self.path).join(name);
        let mut file = File::create_new(&partial)?;
        let written = file
            .write_all(text)
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&partial, &self.path));
        if let Err(error) = written {
            drop(fs::remove_file(&partial));
            // A file that is mounted into a container cannot be replaced, but written.
            if error.raw_os_error() == Some(Errno::EBUSY as i32) {
                return fs::write(&self.path, text);
            }
            return Err(error);
        }
        Ok(())
    }
}

/// Writes the result, if one is wanted, and returns the outcome.
///
/// # Errors
/// That of the job; else that of writing.
pub(super) fn finish<T: Serialize>(
    file: Option<&ResultFile>,
    outcome: anyhow::Result<(T, Exit)>,
) -> anyhow::Result<(T, Exit)> {
    let written = file.map_or(Ok(()), |file| file.write(&outcome));
    match (outcome, written) {
        (Err(error), Err(other)) => Err(error.context(exit::line(&other))),
        (outcome, Ok(())) => outcome,
        (Ok(_), Err(error)) => Err(error.context("the job is done, but its result is not written")),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileTypeExt;

    use anyhow::anyhow;

    use super::*;

    #[derive(Serialize)]
    struct Report {
        bytes: u64,
    }

    fn written(path: &Path, outcome: &anyhow::Result<(Report, Exit)>) -> serde_json::Value {
        ResultFile::check(path).unwrap().write(outcome).unwrap();
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn results_replace_each_other_and_leave_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result");
        let done = written(&path, &Ok((Report { bytes: 7 }, Exit::Done)));
        assert_eq!(
            done,
            serde_json::json!({"outcome": "done", "exit_code": 0, "error": null, "bytes": 7})
        );
        let failed = written(&path, &Err(anyhow!("broken").context("read")));
        assert_eq!(
            failed,
            serde_json::json!({"outcome": "failed", "exit_code": 1, "error": "read: broken"})
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_place_that_cannot_be_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        assert!(ResultFile::check(folder.path()).is_err());
        assert!(ResultFile::check(&folder.path().join("none/result")).is_err());
        assert!(ResultFile::check(Path::new("result")).is_ok());
    }

    #[test]
    fn nothing_but_an_earlier_result_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        for precious in ["{\"outcome\": 1}", "\0\0\0", "sluice-key"] {
            fs::write(&path, precious).unwrap();
            ResultFile::check(&path).expect_err(precious);
            // Also when it came to be there while the job ran.
            let late = ResultFile { path: path.clone() };
            let done = Ok((Report { bytes: 7 }, Exit::Done));
            late.write(&done).expect_err(precious);
            assert_eq!(fs::read_to_string(&path).unwrap(), precious);
        }
        fs::write(&path, "").unwrap();
        written(&path, &Ok((Report { bytes: 7 }, Exit::Done)));
        assert!(ResultFile::check_beside(&path, &folder.path().join("./precious")).is_err());
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (link, file) = (folder.path().join("link"), folder.path().join("file"));
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for bytes in [1_000_000, 7] {
            let done = written(&link, &Ok((Report { bytes }, Exit::Done)));
            assert_eq!(done["bytes"], bytes);
        }
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn what_is_no_plain_file_is_written_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let reader = std::thread::spawn({
            let path = path.clone();
            move || fs::read_to_string(path).unwrap()
        });
        let done = Ok((Report { bytes: 1 }, Exit::Done));
        ResultFile::check(&path).unwrap().write(&done).unwrap();
        assert!(reader.join().unwrap().contains("\"done\""));
        assert!(fs::metadata(&path).unwrap().file_type().is_fifo());
    }

    #[test]
    fn a_link_that_lies_in_wait_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("result"), folder.path().join("victim"));
        fs::write(&victim, "mine").unwrap();
        let guessed = format!("result.{}.partial", std::process::id());
        std::os::unix::fs::symlink(&victim, folder.path().join(guessed)).unwrap();
        written(&path, &Ok((Report { bytes: 7 }, Exit::Done)));
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
    }
}
