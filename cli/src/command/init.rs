//! `sluice init`: makes a repository.

use std::{fs, path::Path};

use anyhow::bail;
use repository::{
    CreateOptions, Repository, RepositoryError, layout, read_superblock, store::StoreError,
};
use serde::Serialize;

use crate::{
    args::Init,
    context::Context,
    exit::{Exit, NotMade},
    location::Location,
    output::{json, print, table::Facts},
    secret::{self, Asked},
};

#[derive(Serialize)]
struct Made<'a> {
    id: String,
    location: String,
    key_file: Option<&'a Path>,
    write_once: bool,
}

pub(super) async fn run(context: &Context, arguments: &Init) -> anyhow::Result<Exit> {
    let location = context.location()?;
    if let Location::Folder(path) = location
        && fs::metadata(path).is_ok_and(|found| !found.is_dir())
    {
        bail!(
            "`{}` is not a folder: give the name of a new or empty one",
            path.display()
        );
    }
    let store = context
        .interruptible(location.create(context.throttle.clone()))
        .await?
        .map_err(not_made)?;
    let place = store.location();
    // Before a key is drawn or a passphrase typed twice.
    match context.interruptible(read_superblock(&store)).await? {
        Err(RepositoryError::NotARepository { .. }) => {}
        Err(error @ (RepositoryError::Store(_) | RepositoryError::Unfinished { .. })) => {
            return Err(NotMade(error).into());
        }
        Ok(_) | Err(_) => {
            return Err(RepositoryError::AlreadyARepository { location: place }.into());
        }
    }
    let secret = match &arguments.new_key {
        Some(path) => secret::draw_key_file(path)?,
        None => {
            let secret = secret::find(&context.global.secret, &place, Asked::Twice);
            context.interruptible(secret).await??
        }
    };
    let options = CreateOptions {
        label: arguments.label.clone(),
        accept_no_write_once: arguments.accept_no_write_once,
    };
    let created = context
        .interruptible(Repository::create(store, &secret, &options))
        .await;
    let repository = match created {
        Ok(Ok(repository)) => repository,
        Ok(Err(error)) => {
            drop_unused_key(arguments, &error);
            return Err(NotMade(error).into());
        }
        Err(interrupted) => return Err(interrupted),
    };
    let made = Made {
        id: repository.id().to_string(),
        location: location.to_string(),
        key_file: arguments.new_key.as_deref(),
        write_once: !repository.superblock().store.accepted_without,
    };
    if context.json() {
        json::write(&made)?;
    } else {
        let mut facts = Facts::default();
        facts.add("Repository", &made.location).add("Id", &made.id);
        if let Some(path) = made.key_file {
            facts.add("Key file", path.display().to_string());
        }
        print(facts)?;
    }
    advise(context, &made);
    Ok(Exit::Done)
}

fn not_made(error: anyhow::Error) -> anyhow::Error {
    match error.downcast() {
        Ok(error) => NotMade(error).into(),
        Err(error) => error,
    }
}

fn advise(context: &Context, made: &Made<'_>) {
    if !made.write_once {
        context.screen.warn(format_args!(
            "{} does not enforce write-once objects: never run two writers at a time",
            made.location
        ));
    }
    if let Some(path) = made.key_file {
        if inside(path, Path::new(&made.location)) {
            context.screen.warn("the key file is inside the repository: whoever gets one gets both; move it elsewhere");
        }
        context
            .screen
            .note("keep a copy of the key file elsewhere: without it nothing can be restored");
    } else {
        context
            .screen
            .note("keep the key or passphrase safe: without it nothing can be restored");
    }
}

/// A key file that opens nothing is a trap. It is kept in every case of doubt: a superblock, which is written last, may
/// be there although the store did not say so.
fn drop_unused_key(arguments: &Init, error: &RepositoryError) {
    let failed_before = |error: &StoreError| error.object() != layout::SUPERBLOCK;
    let nothing_was_made = matches!(
        error,
        RepositoryError::AlreadyARepository { .. }
            | RepositoryError::Unfinished { .. }
            | RepositoryError::NoWriteOnce { .. }
    ) || matches!(error, RepositoryError::Store(error) if failed_before(error));
    if let Some(path) = arguments.new_key.as_ref().filter(|_| nothing_was_made)
        && let Err(error) = fs::remove_file(path)
    {
        tracing::warn!(path = %path.display(), %error, "a key file that opens nothing was left behind");
    }
}

fn inside(path: &Path, folder: &Path) -> bool {
    match (path.canonicalize(), folder.canonicalize()) {
        (Ok(path), Ok(folder)) => path.starts_with(folder),
        _ => false,
    }
}
