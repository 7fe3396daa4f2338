//! The commands, one file each. They ask the libraries and show what they answer.

mod results;
mod init;
mod backup;
mod restore;
mod points;
mod show;
mod diff;
mod stats;
mod verify;
mod forget;
mod key;
mod doctor;
mod about;

use crate::{
    args::Command,
    context::Context,
    exit::{self, Exit},
};

/// Runs a command.
///
/// # Errors
/// What went wrong, with the object and the way out.
pub(crate) async fn run(context: &Context, command: Command) -> anyhow::Result<Exit> {
    let outcome = Box::pin(dispatch(context, command)).await;
    outcome.map_err(|error| match &context.global.repository {
        Some(location) if exit::is_of_store(&error) => error.context(location.to_string()),
        _ => error,
    })
}

async fn dispatch(context: &Context, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Init(arguments) => init::run(context, &arguments).await,
        Command::Backup(arguments) => backup::run(context, *arguments).await,
        Command::Restore(arguments) => restore::run(context, &arguments).await,
        Command::Points(arguments) => points::run(context, &arguments).await,
        Command::Show(arguments) => show::show(context, &arguments).await,
        Command::Ls(arguments) => show::ls(context, &arguments).await,
        Command::Diff(arguments) => diff::run(context, &arguments).await,
        Command::Stats(arguments) => stats::run(context, &arguments).await,
        Command::Verify(arguments) => verify::run(context, &arguments).await,
        Command::Forget(arguments) => forget::run(context, &arguments).await,
        Command::Key(arguments) => key::run(context, &arguments).await,
        Command::Doctor(arguments) => doctor::run(context, &arguments).await,
        Command::Version => about::version(context),
        Command::Completions { shell } => about::completions(shell),
        Command::Man { folder } => about::man(&folder),
    }
}
