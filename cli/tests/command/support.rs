//! The built command, run in a folder of its own with an environment of its own.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// How long a condition may take to come true: far longer than it does, for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with a key and a repository.
pub(crate) struct Home {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

/// What a run of the command left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    /// A folder with nothing in it; the variables name a key and a repository that do not exist yet.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().expect("make a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let variables = vec![
            ("SLUICE_REPOSITORY".to_owned(), path("repository")),
            ("SLUICE_KEY_FILE".to_owned(), path("key")),
        ];
        Self { folder, variables }
    }

    /// A folder with a repository that a key file opens.
    pub(crate) fn with_repository() -> Self {
        let home = Self::empty();
        home.sluice(&["init", "--new-key", "key"]).done();
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Sets a variable for the runs to come; an empty value takes it away.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        if !value.is_empty() {
            self.variables.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Writes bytes that do not compress.
    pub(crate) fn image(&self, name: &str, bytes: u64, seed: u64) -> PathBuf {
        let path = self.path(name);
        let file = File::create(&path).expect("make an image");
        file.set_len(bytes).expect("size an image");
        self.write(name, 0, bytes, seed);
        path
    }

    /// Overwrites a part with other bytes that do not compress.
    pub(crate) fn write(&self, name: &str, offset: u64, bytes: u64, seed: u64) {
        let file = File::options()
            .write(true)
            .open(self.path(name))
            .expect("open an image");
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let noise: Vec<u8> = (0..bytes)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[3]
            })
            .collect();
        file.write_all_at(&noise, offset).expect("write an image");
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        let path = std::env::var_os("PATH").unwrap_or_default();
        command
            .env("PATH", path)
            .env("TZ", "UTC")
            .env("HOME", self.folder.path());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the command to its end.
    pub(crate) fn sluice(&self, arguments: &[&str]) -> Ran {
        let output = self
            .command(SLUICE)
            .args(arguments)
            .output()
            .expect("run sluice");
        Ran::of(&output)
    }

    /// Runs the command with something on standard input.
    pub(crate) fn sluice_reading(&self, input: &str, arguments: &[&str]) -> Ran {
        let mut command = self.command(SLUICE);
        let command = command.args(arguments).stdin(Stdio::piped());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start sluice");
        let mut stdin = child.stdin.take().expect("it was piped");
        stdin.write_all(input.as_bytes()).expect("write to it");
        drop(stdin);
        Ran::of(&child.wait_with_output().expect("wait for it"))
    }

    /// Starts the command.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(SLUICE);
        let command = command
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().expect("start sluice")
    }

    /// Backs up and returns what the command says about it.
    pub(crate) fn backup(&self, arguments: &[&str]) -> Value {
        self.sluice(&[&["backup", "--json"], arguments].concat())
            .done()
            .json()
    }

    /// Files below a folder of the repository.
    pub(crate) fn objects(&self, prefix: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut pending = vec![self.path("repository").join(prefix)];
        while let Some(folder) = pending.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten() {
                let path = entry.expect("list a folder").path();
                if path.is_dir() {
                    pending.push(path);
                } else {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }
}

/// The built command.
pub(crate) const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// It went well.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// It ended with this code and one line of error that has all these words; nothing was printed as a result.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert_eq!(self.stdout, "", "{self:#?}");
        let errors: Vec<&str> = self
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        assert_eq!(errors.len(), 1, "{self:#?}");
        for word in words {
            assert!(errors[0].contains(word), "`{word}` is missing: {self:#?}");
        }
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// Fields of the rows of a table, without its heading.
    pub(crate) fn rows(&self) -> Vec<Vec<&str>> {
        let rows = self.stdout.lines().skip(1);
        rows.map(|row| {
            row.split("   ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect()
        })
        .collect()
    }
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    #[expect(clippy::disallowed_methods, reason = "bounds how long a test waits")]
    let now = Instant::now;
    let end = now() + PATIENCE;
    while !holds() {
        assert!(now() < end, "waited for {what} in vain");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Whether two files hold the same bytes.
#[track_caller]
pub(crate) fn assert_same(left: &Path, right: &Path) {
    let read = |path: &Path| fs::read(path).expect("read a file");
    assert!(
        read(left) == read(right),
        "{} and {} differ",
        left.display(),
        right.display()
    );
}

/// A text field of a JSON object.
#[track_caller]
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("no text `{field}` in {value:#}"))
}

/// A number of a JSON object.
#[track_caller]
pub(crate) fn number(value: &Value, field: &str) -> u64 {
    value[field]
        .as_u64()
        .unwrap_or_else(|| panic!("no number `{field}` in {value:#}"))
}
