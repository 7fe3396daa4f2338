//! What opens a repository: a key file, or a passphrase from a file, a command, the environment or a person.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};
use repository::Secret;
use zeroize::Zeroizing;

use crate::{
    args::{NewSecret, PASSPHRASE_VARIABLE, SecretArgs, passphrase_variable},
    exit::{self, NoSecret, Usage},
    terminal::Terminal,
};

/// Key files and passphrases are a line; this is far more.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Where a secret comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It must be typed once.
    Once,
    /// It is new, and must be typed twice.
    Twice,
}

/// Finds the secret of a repository: options, then the environment, then whoever sits at the terminal.
///
/// # Errors
/// Says every way to give one.
pub(crate) async fn find(
    arguments: &SecretArgs,
    location: &str,
    asked: Asked,
) -> anyhow::Result<Secret> {
    if let Some(path) = &arguments.key_file {
        return read_key_file(path);
    }
    if let Some(path) = &arguments.passphrase_file {
        return read_passphrase_file(path);
    }
    if let Some(command) = &arguments.passphrase_command {
        return run(command.0.clone()).await;
    }
    if let Some(passphrase) = passphrase_variable() {
        return Secret::passphrase(&passphrase)
            .with_context(|| format!("read {PASSPHRASE_VARIABLE}"));
    }
    let none = || {
        NoSecret(format!(
            "no key for {location}: give --key-file, --passphrase-file, --passphrase-command, or {PASSPHRASE_VARIABLE}{}",
            if asked == Asked::Twice {
                "; --new-key FILE draws a new key"
            } else {
                ""
            }
        ))
    };
    let mut terminal = Terminal::open().ok_or_else(none)?;
    ask(&mut terminal, &format!("Passphrase of {location}: "), asked).await
}

/// A secret that is to be added, and what must be undone if that fails.
pub(crate) async fn find_new(arguments: &NewSecret) -> anyhow::Result<Secret> {
    if let Some(path) = &arguments.new_key {
        return draw_key_file(path);
    }
    if let Some(path) = &arguments.new_key_file {
        return read_key_file(path);
    }
    if let Some(path) = &arguments.new_passphrase_file {
        return read_passphrase_file(path);
    }
    if let Some(command) = &arguments.new_passphrase_command {
        return run(command.0.clone()).await;
    }
    let none = || {
        let ways = "--new-key, --new-key-file, --new-passphrase-file or --new-passphrase-command";
        Usage(format!("no new key: give {ways}"))
    };
    let mut terminal = Terminal::open().ok_or_else(none)?;
    ask(&mut terminal, "New passphrase: ", Asked::Twice).await
}

/// Draws a key, and writes it to a file that only its owner can read.
///
/// # Errors
/// When there is a file of this name: it may be the only key to something else.
pub(crate) fn draw_key_file(path: &Path) -> anyhow::Result<Secret> {
    let secret = Secret::draw_key_file();
    let text = secret.key_file_text().expect("it was drawn as a key file");
    let mut file = match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => bail!(
            "key file `{}` exists and is not overwritten: choose another name, or use it with --key-file",
            path.display()
        ),
        other => other.with_context(|| format!("create key file `{}`", path.display()))?,
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| File::open(folder)?.sync_all());
    if let Err(error) = written {
        // Half a key must not look like one.
        fs::remove_file(path)
            .with_context(|| format!("remove `{}`, which could not be written", path.display()))?;
        return Err(error).with_context(|| format!("write key file `{}`", path.display()));
    }
    Ok(secret)
}

fn read_key_file(path: &Path) -> anyhow::Result<Secret> {
    let text = read(path).with_context(|| format!("read key file `{}`", path.display()))?;
    Secret::parse_key_file(&text).with_context(|| format!("read key file `{}`", path.display()))
}

fn read_passphrase_file(path: &Path) -> anyhow::Result<Secret> {
    let text = read(path).with_context(|| format!("read passphrase file `{}`", path.display()))?;
    Secret::passphrase(&text).with_context(|| format!("read passphrase file `{}`", path.display()))
}

fn read(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let file = File::open(path).map_err(|error| NoSecret(exit::line(&error.into())))?;
    read_text(file)
}

/// Reads a short text into memory that is erased afterwards.
///
/// # Errors
/// [`NoSecret`] when it was read and cannot be one.
fn read_text(source: impl Read) -> anyhow::Result<Zeroizing<String>> {
    // As large as it may become, so that no copy is left behind by growing.
    let room = usize::try_from(SECRET_BYTES_MAX).expect("64 KiB") + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    source.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    let no = |why: &str| NoSecret(why.to_owned());
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(no("it is too large to be one").into());
    }
    let text = str::from_utf8(&bytes).map_err(|_| no("it is not text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Takes what a command prints.
async fn run(command: String) -> anyhow::Result<Secret> {
    let ran = tokio::task::spawn_blocking(move || -> anyhow::Result<Zeroizing<String>> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", &command])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .env_remove(PASSPHRASE_VARIABLE)
            .spawn()
            .context("run /bin/sh")?;
        let output = child.stdout.take().expect("it was piped");
        let text = read_text(output);
        let status = child.wait().context("wait for it")?;
        if !status.success() {
            bail!("it ended with {status}");
        }
        text.context("read what it printed")
    });
    // The command itself may hold a secret, so it is not shown.
    let text = ran.await?.context("run the passphrase command")?;
    Secret::passphrase(&text).context("run the passphrase command")
}

async fn ask(terminal: &mut Terminal, prompt: &str, asked: Asked) -> anyhow::Result<Secret> {
    let first = terminal
        .ask(prompt)
        .await
        .context("ask for the passphrase")?;
    if asked == Asked::Twice {
        let second = terminal
            .ask("Once more: ")
            .await
            .context("ask for the passphrase")?;
        if *first != *second {
            return Err(Usage("the two passphrases differ: run it again".to_owned()).into());
        }
    }
    Ok(Secret::passphrase(&first)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_drawn_key_file_is_private_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let drawn = draw_key_file(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let read = read_key_file(&path).unwrap();
        assert_eq!(read.key_file_text(), drawn.key_file_text());
    }

    #[test]
    fn an_existing_file_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "mine").unwrap();
        let error = draw_key_file(&path).unwrap_err().to_string();
        assert!(error.contains("is not overwritten"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn endless_files_are_refused() {
        let error = read(Path::new("/dev/zero")).unwrap_err();
        assert!(error.to_string().contains("too large"), "{error}");
    }

    #[tokio::test]
    async fn a_command_that_fails_gives_no_passphrase() {
        assert!(run("echo secret".to_owned()).await.is_ok());
        for command in ["echo secret; exit 3", "true", "kill -9 $$"] {
            let error = format!("{:#}", run(command.to_owned()).await.unwrap_err());
            assert!(
                error.contains("passphrase") && !error.contains("secret"),
                "{error}"
            );
        }
    }
}
