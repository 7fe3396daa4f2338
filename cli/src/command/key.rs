//! `sluice key`: lists, adds, removes and changes what opens the repository.

use std::fs;

use anyhow::bail;
use repository::{
    KeySlot, Repository, RepositoryError, SlotKind, layout,
    store::{ErrorKind, StoreError},
};
use serde::Serialize;

use crate::{
    args::{Key, NewSecret},
    clock,
    context::Context,
    exit::Exit,
    output::{json, print, table::Table, time},
    secret,
};

/// A key slot. `JSON.md` documents every field.
#[derive(Debug, Serialize)]
struct SlotRecord {
    slot: String,
    kind: Option<&'static str>,
    label: Option<String>,
    created: Option<String>,
    damaged: bool,
}

/// What changed.
#[derive(Debug, Serialize)]
struct Changed {
    added: Option<String>,
    removed: Option<String>,
}

pub(super) async fn run(context: &Context, command: &Key) -> anyhow::Result<Exit> {
    let repository = context.open().await?;
    match command {
        Key::List => list(context, &repository).await,
        Key::Add(secret) => {
            let added = add(context, &repository, secret).await?;
            report(
                context,
                &Changed {
                    added: Some(added),
                    removed: None,
                },
            )
        }
        Key::Remove { slot } => {
            let removed = repository.remove_slot(slot).await?;
            warn_about_removal(context);
            report(
                context,
                &Changed {
                    added: None,
                    removed: Some(removed),
                },
            )
        }
        Key::Change { secret, replace } => {
            let slots = context.interruptible(repository.slots()).await??;
            let old = match replace {
                Some(slot) => only(&slots, slot)?,
                None => repository.own_slot().to_owned(),
            };
            let new = context.interruptible(secret::find_new(secret)).await??;
            let replaced = repository.replace_slot(&old, &new, &secret.label).await;
            let (added, removed) = replaced.inspect_err(|error| {
                // Once the new slot is written, only the old one can fail to go.
                let removing = |failed: &StoreError| failed.object() == layout::key_slot(&old);
                if !matches!(error, RepositoryError::Store(failed) if removing(failed)) {
                    drop_unused_key(secret, error);
                }
            })?;
            note_new_key(context, secret);
            warn_about_removal(context);
            report(
                context,
                &Changed {
                    added: Some(added),
                    removed: Some(removed),
                },
            )
        }
    }
}

async fn list(context: &Context, repository: &Repository) -> anyhow::Result<Exit> {
    let slots = context.interruptible(repository.slots()).await??;
    if context.json() {
        json::write(&slots.iter().map(record).collect::<Vec<_>>())?;
    } else {
        let now = clock::now();
        let mut table = Table::new(&["SLOT", "KIND", "ADDED", "AGE", "LABEL"]);
        for slot in &slots {
            match &slot.header {
                Some(header) => table.row([
                    slot.id.as_str(),
                    kind(header.kind),
                    &time::absolute(header.created_ms, &now),
                    &time::age(header.created_ms, &now),
                    &header.label,
                ]),
                None => table.row([slot.id.as_str(), "DAMAGED", "", "", ""]),
            }
        }
        print(table)?;
    }
    let count = context.interruptible(repository.slot_count()).await??;
    if count > slots.len() {
        context.screen.warn(format_args!(
            "{count} objects lie below `keys/slot/`, and the first {} are looked at: remove those that you did not add, \
             or the others may not open the repository any more",
            slots.len()
        ));
    }
    let whole = count == slots.len() && slots.iter().all(|slot| slot.header.is_some());
    Ok(if whole { Exit::Done } else { Exit::Partial })
}

async fn add(
    context: &Context,
    repository: &Repository,
    arguments: &NewSecret,
) -> anyhow::Result<String> {
    let secret = context.interruptible(secret::find_new(arguments)).await??;
    let added = repository.add_slot(&secret, &arguments.label).await;
    let added = added.inspect_err(|error| drop_unused_key(arguments, error))?;
    note_new_key(context, arguments);
    Ok(added)
}

/// A key file that opens nothing is a trap. It is kept when its slot may have been written although the store did not say
/// so.
fn drop_unused_key(arguments: &NewSecret, error: &RepositoryError) {
    let refused = [ErrorKind::ReadOnly, ErrorKind::Denied, ErrorKind::Full];
    let nothing_was_added = matches!(error, RepositoryError::Store(error) if refused.contains(&error.kind()))
        || matches!(error, RepositoryError::TooManySlots(_));
    if let Some(path) = arguments.new_key.as_ref().filter(|_| nothing_was_added)
        && let Err(error) = fs::remove_file(path)
    {
        tracing::warn!(path = %path.display(), %error, "a key file that opens nothing was left behind");
    }
}

fn note_new_key(context: &Context, arguments: &NewSecret) {
    if let Some(path) = &arguments.new_key {
        context
            .screen
            .note(format_args!("the new key is in `{}`", path.display()));
    }
}

fn report(context: &Context, changed: &Changed) -> anyhow::Result<Exit> {
    if context.json() {
        json::write(changed)?;
    } else {
        let line = |verb, slot: &Option<String>| {
            slot.as_ref()
                .map(|slot| format!("{verb} {slot}\n"))
                .unwrap_or_default()
        };
        print(line("added", &changed.added) + &line("removed", &changed.removed))?;
    }
    Ok(Exit::Done)
}

fn warn_about_removal(context: &Context) {
    context.screen.note(
        "the data is not encrypted anew: if the old key or passphrase got into wrong hands, make a new repository",
    );
}

/// The one slot whose name begins so.
fn only(slots: &[KeySlot], start: &str) -> anyhow::Result<String> {
    let matching: Vec<&KeySlot> = slots
        .iter()
        .filter(|slot| slot.id.starts_with(start))
        .collect();
    match matching[..] {
        [slot] => Ok(slot.id.clone()),
        _ => bail!(RepositoryError::NoSlot {
            slot: start.to_owned()
        }),
    }
}

fn record(slot: &KeySlot) -> SlotRecord {
    let header = slot.header.as_ref();
    SlotRecord {
        slot: slot.id.clone(),
        kind: header.map(|header| kind(header.kind)),
        label: header.map(|header| header.label.clone()),
        created: header.map(|header| time::rfc3339(header.created_ms)),
        damaged: header.is_none(),
    }
}

fn kind(kind: SlotKind) -> &'static str {
    match kind {
        SlotKind::KeyFile => "key-file",
        SlotKind::Passphrase => "passphrase",
    }
}
