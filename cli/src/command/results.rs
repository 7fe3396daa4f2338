//! `--result FILE`: what became of a job, for whoever started it.

use std::{
    fs::{self, File, OpenOptions},
    hash::{BuildHasher, RandomState},
    io::{self, Read, Seek, Write},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use anyhow::{Context as _, bail};
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags},
    unistd::{AccessFlags, faccessat},
};
use serde::Serialize;

use crate::{
    exit::{self, Exit, Usage},
    output::json,
};

/// How much of a file is looked at to tell whether it is an earlier result.
const HEAD_BYTES: u64 = 64;

/// Only who owns a file, or the folder, may replace it there.
const STICKY: u32 = 0o1000;

/// Where the result goes.
#[derive(Debug)]
pub(super) struct ResultFile {
    path: PathBuf,
    /// The job would make this very file: nothing is written.
    withheld: AtomicBool,
}

/// A standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Output,
    Error,
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
    /// Looks whether a result can be written there, before hours of work, and empties an earlier one: it would pass for this
    /// job's, should this one be killed. `beside` is what the job reads or writes.
    ///
    /// # Errors
    /// When its folder does not exist, it may not be written, or it is something that a result must not replace.
    pub(super) fn check(path: &Path, beside: &[&Path]) -> anyhow::Result<Self> {
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
            withheld: AtomicBool::new(false),
        };
        for other in beside {
            file.check_beside(other)?;
        }
        file.claim().map_err(|error| match error.is::<Usage>() {
            true => error,
            false => error.context(named()),
        })?;
        Ok(file)
    }

    fn claim(&self) -> anyhow::Result<()> {
        if self.stream().is_some() {
            return Ok(());
        }
        let may_write = |path: &Path| {
            let may = faccessat(AT_FDCWD, path, AccessFlags::W_OK, AtFlags::AT_EACCESS);
            may.map_err(|error| self.unwritable(&error.into()))
        };
        match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(may_write(folder(&self.path))?);
            }
            Err(error) => return Err(self.unwritable(&error).into()),
            Ok(found) if !found.is_file() => {
                self.check_replaceable()?;
                return Ok(may_write(&self.path)?);
            }
            Ok(_) => {}
        }
        // One handle for all of it: a moment later the name may mean something else.
        match OpenOptions::new().read(true).write(true).open(&self.path) {
            Ok(file) if is_earlier(&file)? => Ok(file.set_len(0)?),
            Ok(_) => Err(self.precious().into()),
            Err(error) => {
                // Somebody else's, or not to be read: it can be replaced in a folder that is ours alone.
                let sticky = fs::metadata(folder(&self.path))?.mode() & STICKY != 0;
                let link = fs::symlink_metadata(&self.path)?.is_symlink();
                if sticky || link || may_write(folder(&self.path)).is_err() {
                    return Err(self.unwritable(&error).into());
                }
                self.check_replaceable()?;
                Ok(fs::remove_file(&self.path)?)
            }
        }
    }

    /// The job makes, or reads, this very file: nothing is written to it.
    fn shared(&self) -> Usage {
        self.withheld.store(true, Relaxed);
        let path = self.path.display();
        Usage(format!(
            "`{path}` cannot take the volume and the result: give the result another name"
        ))
    }

    fn unwritable(&self, error: &io::Error) -> Usage {
        let path = self.path.display();
        Usage(format!(
            "`{path}` cannot be written ({error}): give the result another place"
        ))
    }

    fn precious(&self) -> Usage {
        let path = self.path.display();
        Usage(format!(
            "`{path}` is something that is no earlier result: give the result another name"
        ))
    }

    /// Refuses standard output, if the volume goes there, and what [`check_beside`](Self::check_beside) refuses.
    ///
    /// # Errors
    /// When it is this one.
    pub(super) fn check_target(&self, target: &Path) -> Result<(), Usage> {
        if target == Path::new("-") && self.stream() == Some(Stream::Output) {
            return Err(self.shared());
        }
        self.check_beside(target)
    }

    /// Refuses a file that the job itself reads or makes, under whatever name.
    ///
    /// # Errors
    /// When it is this one.
    pub(super) fn check_beside(&self, other: &Path) -> Result<(), Usage> {
        let place = |path: &Path| {
            Some((
                folder(path).canonicalize().ok()?,
                path.file_name()?.to_owned(),
            ))
        };
        let file = |path: &Path| {
            fs::metadata(path)
                .ok()
                .map(|found| (found.dev(), found.ino()))
        };
        let same_place = place(&self.path).is_some_and(|own| Some(own) == place(other));
        let same_file = file(&self.path).is_some_and(|own| Some(own) == file(other));
        if same_place || (same_file && self.stream().is_none()) {
            return Err(self.shared());
        }
        Ok(())
    }

    /// What is there is nothing, an earlier result, or a pipe or terminal. Anything else is precious: a source, a key, an
    /// object of the repository, a device.
    fn check_replaceable(&self) -> Result<(), Usage> {
        if self.stream().is_some() {
            return Ok(());
        }
        let Ok(found) = fs::metadata(&self.path) else {
            return Ok(());
        };
        let kind = found.file_type();
        if kind.is_fifo() || kind.is_char_device() || (kind.is_file() && found.len() == 0) {
            return Ok(());
        }
        if kind.is_file()
            && File::open(&self.path).is_ok_and(|file| is_earlier(&file).unwrap_or(false))
        {
            return Ok(());
        }
        Err(self.precious())
    }

    /// The standard stream that the path names: what is behind it may be anything, and is opened already.
    fn stream(&self) -> Option<Stream> {
        let is = |names: [&str; 3]| names.iter().any(|name| self.path == Path::new(name));
        if is(["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"]) {
            Some(Stream::Output)
        } else if is(["/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"]) {
            Some(Stream::Error)
        } else {
            None
        }
    }

    /// Writes how the job ended.
    ///
    /// # Errors
    /// When it cannot be written; it is empty then, or, where it cannot be replaced by a new file, perhaps cut.
    pub(super) fn write<T: Serialize>(
        &self,
        outcome: &anyhow::Result<(T, Exit)>,
    ) -> anyhow::Result<()> {
        if self.withheld.load(Relaxed) {
            return Ok(());
        }
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

    /// Writes beside it and renames. What is no plain file (a pipe, a link) is written as it is.
    fn replace(&self, text: &[u8]) -> io::Result<()> {
        match self.stream() {
            Some(Stream::Output) => return io::stdout().lock().write_all(text),
            Some(Stream::Error) => return io::stderr().lock().write_all(text),
            None => {}
        }
        if fs::symlink_metadata(&self.path).is_ok_and(|found| !found.is_file()) {
            return self.overwrite(text);
        }
        // Keys of this kind are random: nobody can foresee the name and lay a link there. It is short whatever the result is
        // called, since names have a longest length.
        let drawn = RandomState::new().hash_one(std::process::id());
        let partial = folder(&self.path).join(format!(".result.{drawn:016x}.partial"));
        let mut file = match File::create_new(&partial) {
            // A folder in which nothing can be made may hold a file that can be written.
            Err(error) if makes_nothing(&error) && self.path.exists() => {
                return self.overwrite(text);
            }
            made => made?,
        };
        let written = file
            .write_all(text)
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&partial, &self.path));
        if let Err(error) = written {
            drop(fs::remove_file(&partial));
            // A file that is mounted into a container cannot be replaced, but written.
            // Nor one of somebody else's in a folder such as /tmp.
            if makes_nothing(&error) && self.path.exists() {
                return self.overwrite(text);
            }
            return Err(error);
        }
        Ok(())
    }

    /// Writes into what is there. It is made anew only if nothing is: where files of others may lie the system refuses to open
    /// them so that they would be made.
    fn overwrite(&self, text: &[u8]) -> io::Result<()> {
        let found = fs::metadata(&self.path);
        // A pipe that is opened for reading too would not wait for its reader.
        let reads = found.as_ref().map_or(true, fs::Metadata::is_file);
        let mut options = OpenOptions::new();
        options.read(reads).write(true).create(found.is_err());
        let mut file = options.open(&self.path)?;
        // Looked at by this handle: the name may mean something else by now.
        if file.metadata()?.is_file() {
            if !is_earlier(&file)? {
                return Err(io::Error::other(self.precious()));
            }
            file.set_len(0)?;
            file.rewind()?;
        }
        file.write_all(text)
    }
}

/// Whether a file is empty or an earlier result.
fn is_earlier(file: &File) -> io::Result<bool> {
    let mut head = Vec::new();
    file.take(HEAD_BYTES).read_to_end(&mut head)?;
    let inside = head.strip_prefix(b"{").unwrap_or_default();
    Ok(head.is_empty() || inside.trim_ascii_start().starts_with(b"\"outcome\""))
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

/// Whether a folder takes no new file of this name, whatever there is room for.
fn makes_nothing(error: &io::Error) -> bool {
    let refusals = [Errno::EACCES, Errno::EPERM, Errno::EROFS, Errno::EBUSY];
    let code = error.raw_os_error();
    refusals.iter().any(|refusal| code == Some(*refusal as i32))
}

fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt, thread};

    use anyhow::anyhow;
    use nix::unistd::{Uid, setfsuid};

    use super::*;

    #[derive(Serialize)]
    struct Report {
        bytes: u64,
    }

    fn written(path: &Path, outcome: &anyhow::Result<(Report, Exit)>) -> serde_json::Value {
        ResultFile::check(path, &[])
            .unwrap()
            .write(outcome)
            .unwrap();
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
        // A character that lies across the end of what is looked at.
        for bytes in 0..4 {
            let named = format!("{}{}", "b".repeat(bytes), "é".repeat(40));
            drop(written(&path, &Err(anyhow!(named))));
        }
        let failed = written(&path, &Err(anyhow!("broken").context("read")));
        assert_eq!(
            failed,
            serde_json::json!({"outcome": "failed", "exit_code": 1, "error": "read: broken"})
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn names_may_be_as_long_as_names_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r".repeat(255));
        for bytes in [7, 8] {
            let done = written(&path, &Ok((Report { bytes }, Exit::Done)));
            assert_eq!(done["bytes"], bytes);
        }
    }

    /// As it is where one file of a folder was handed to the user who runs the job.
    #[test]
    fn a_result_is_written_where_nothing_can_be_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result");
        fs::write(&path, "").unwrap();
        let allow = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
        allow(&path, 0o666).unwrap();
        allow(folder.path(), 0o555).unwrap();
        let done = as_nobody(|| {
            drop(File::create_new(folder.path().join("other")).unwrap_err());
            written(&path, &Ok((Report { bytes: 7 }, Exit::Done)))
        });
        assert_eq!(done["bytes"], 7);
        allow(folder.path(), 0o755).unwrap();
    }

    /// Runs what root would always manage as somebody else: a user of the file system belongs to a thread.
    fn as_nobody<T: Send>(run: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let nobody = scope.spawn(|| {
                setfsuid(Uid::from_raw(65_534));
                run()
            });
            nobody.join().unwrap()
        })
    }

    #[test]
    fn what_may_not_be_written_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result");
        let allow = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
        allow(folder.path(), 0o555).unwrap();
        let refused = || as_nobody(|| ResultFile::check(&path, &[]).unwrap_err().to_string());
        assert!(refused().contains("cannot be written (Permission denied"));
        allow(folder.path(), 0o755).unwrap();
        fs::write(&path, "").unwrap();
        allow(&path, 0o444).unwrap();
        allow(folder.path(), 0o555).unwrap();
        assert!(refused().contains("cannot be written"));
        // Files can be made there, but this one is not replaced by who does not own it.
        allow(folder.path(), 0o1777).unwrap();
        assert!(refused().contains("cannot be written"));
        allow(folder.path(), 0o777).unwrap();
        let done = as_nobody(|| written(&path, &Ok((Report { bytes: 7 }, Exit::Done))));
        assert_eq!(done["bytes"], 7);
    }

    /// A file that was handed to somebody in a folder such as /tmp, in which only who owns a file replaces it.
    #[test]
    fn a_result_that_cannot_be_replaced_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result");
        fs::write(&path, "").unwrap();
        let allow = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
        allow(&path, 0o666).unwrap();
        allow(folder.path(), 0o1777).unwrap();
        let done = as_nobody(|| written(&path, &Ok((Report { bytes: 7 }, Exit::Done))));
        assert_eq!(done["bytes"], 7);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_earlier_result_does_not_pass_for_this_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result");
        written(&path, &Ok((Report { bytes: 7 }, Exit::Done)));
        // And now it is killed.
        drop(ResultFile::check(&path, &[]).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_place_that_cannot_be_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        assert!(ResultFile::check(folder.path(), &[]).is_err());
        assert!(ResultFile::check(&folder.path().join("none/result"), &[]).is_err());
        assert!(ResultFile::check(Path::new("result"), &[]).is_ok());
    }

    #[test]
    fn nothing_but_an_earlier_result_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        for precious in ["{\"outcomes\": 1}", "\0\0\0", "sluice-key", "{}"] {
            fs::write(&path, precious).unwrap();
            ResultFile::check(&path, &[]).expect_err(precious);
            // Also when it came to be there while the job ran.
            let late = ResultFile {
                path: path.clone(),
                withheld: AtomicBool::new(false),
            };
            let done = Ok((Report { bytes: 7 }, Exit::Done));
            late.write(&done).expect_err(precious);
            assert_eq!(fs::read_to_string(&path).unwrap(), precious);
        }
        fs::write(&path, "").unwrap();
        written(&path, &Ok((Report { bytes: 7 }, Exit::Done)));
        // Nor what the job reads or writes, under another name too, though it looks like one.
        let before = fs::read(&path).unwrap();
        let link = folder.path().join("link");
        fs::hard_link(&path, &link).unwrap();
        for other in [&path, &link] {
            ResultFile::check(&path, &[other]).unwrap_err();
        }
        assert_eq!(fs::read(&path).unwrap(), before);
        fs::remove_file(link).unwrap();
        let file = ResultFile::check(&path, &[]).unwrap();
        assert!(
            file.check_beside(&folder.path().join("./precious"))
                .is_err()
        );
        assert!(file.check_target(Path::new("-")).is_ok());
        let stdout = ResultFile::check(Path::new("/dev/stdout"), &[]).unwrap();
        assert!(stdout.check_target(Path::new("-")).is_err());
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
        let reader = thread::spawn({
            let path = path.clone();
            move || fs::read_to_string(path).unwrap()
        });
        let done = Ok((Report { bytes: 1 }, Exit::Done));
        ResultFile::check(&path, &[]).unwrap().write(&done).unwrap();
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
