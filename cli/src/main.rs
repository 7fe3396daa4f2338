//! The `sluice` command: reads the command line, runs what it asks for, and ends with a code that says how it went.
//!
//! Modules in reading order; each uses only those above it.

mod clock;
mod output;
mod exit;
mod location;
mod args;
mod terminal;
mod secret;
mod context;
mod selection;
mod signals;
mod command;

use std::{mem::ManuallyDrop, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::{
    args::{Arguments, Command},
    context::Context,
    exit::{Exit, Interrupted},
    output::{Screen, log},
    signals::Signals,
};

/// Threads that wait for the store. What costs time runs on threads of its own.
const RUNTIME_THREADS: usize = 2;

fn main() -> ExitCode {
    // First of all: keys and passphrases are in memory soon, and must not get into a core file. It only fails for values
    // that the kernel does not know.
    nix::sys::prctl::set_dumpable(false).ok();
    let Arguments { global, command } = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nobody is left to tell when the terminal has gone.
            drop(error.print());
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            }
            .into();
        }
    };
    let output = &global.output;
    let screen = Screen::new(output.quiet, !output.no_progress);
    let context = Context {
        global,
        screen: screen.clone(),
        cancel: CancellationToken::new(),
        throttle: Arc::default(),
    };
    let outcome = start_log(&context).and_then(|()| run(&context, command));
    outcome.unwrap_or_else(|error| tell(&screen, &error)).into()
}

fn start_log(context: &Context) -> anyhow::Result<()> {
    let output = &context.global.output;
    log::start(
        output.log.as_deref(),
        output.verbose,
        output.log_format,
        &context.screen,
    )
}

/// Says why it ended, once, here and nowhere else.
fn tell(screen: &Screen, error: &anyhow::Error) -> Exit {
    let exit = exit::of(error);
    if exit == Exit::Interrupted {
        screen.line("interrupted");
    } else if exit != Exit::Done {
        screen.line(format_args!("error: {}", exit::line(error)));
    }
    exit
}

fn run(context: &Context, command: Command) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()
        .context("start the threads")?;
    // Never dropped: a thread may be waiting for a line that nobody types or a disk that hangs, and one that works on
    // would find no runtime any more. They end with the process.
    let runtime = ManuallyDrop::new(runtime);
    runtime.block_on(async {
        let signals = Signals::take().context("take the signals")?;
        tokio::select! {
            outcome = command::run(context, command) => outcome,
            () = signals.listen(&context.cancel) => Err(Interrupted.into()),
        }
    })
}
