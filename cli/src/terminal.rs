//! Whoever sits at the terminal, asked without echo.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Read, Write},
    sync::Arc,
};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// Longer lines are nobody's passphrase; terminals themselves end at 4096.
const LINE_BYTES_MAX: usize = 4096;

/// The terminal that this process is run from.
#[derive(Debug)]
pub(crate) struct Terminal {
    file: Arc<File>,
}

impl Terminal {
    /// The terminal, if there is one and somebody may be sitting there.
    pub(crate) fn open() -> Option<Self> {
        // A job of cron or CI may have a terminal above it that nobody looks at.
        if !io::stdin().is_terminal() && !io::stderr().is_terminal() {
            return None;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/tty")
            .ok()?;
        Some(Self {
            file: Arc::new(file),
        })
    }

    /// Asks for a line that is not shown while it is typed. Given up, it leaves the terminal as it was.
    pub(crate) async fn ask(&mut self, prompt: &str) -> io::Result<Zeroizing<String>> {
        // First, so that nothing that is typed when the prompt appears is shown, or dropped.
        let mut silence = Silence::begin(Arc::clone(&self.file))?;
        (&*self.file).write_all(prompt.as_bytes())?;
        let file = Arc::clone(&self.file);
        let line = tokio::task::spawn_blocking(move || read_line(&file)).await?;
        silence.answered = true;
        line
    }
}

fn read_line(mut file: &File) -> io::Result<Zeroizing<String>> {
    // As large as it may become, so that no copy is left behind by growing.
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_BYTES_MAX));
    let mut byte = Zeroizing::new([0]);
    while line.len() < LINE_BYTES_MAX {
        match file.read(byte.as_mut()) {
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let text = std::str::from_utf8(&line).map_err(|_| io::Error::other("it is not UTF-8"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Echo is off while this lives.
struct Silence {
    file: Arc<File>,
    before: Termios,
    /// A line was typed, and its end was shown.
    answered: bool,
}

impl Silence {
    fn begin(file: Arc<File>) -> io::Result<Self> {
        let before = tcgetattr(&file)?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        silent.local_flags.insert(LocalFlags::ECHONL);
        tcsetattr(&file, SetArg::TCSAFLUSH, &silent)?;
        Ok(Self {
            file,
            before,
            answered: false,
        })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // There is nobody to tell when the terminal has gone.
        if !self.answered {
            drop((&*self.file).write_all(b"\n"));
        }
        tcsetattr(&self.file, SetArg::TCSANOW, &self.before).ok();
    }
}
