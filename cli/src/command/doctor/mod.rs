//! `sluice doctor`: checks a location from the address to the key, and says what to do about what it finds.

mod checks;

use std::{collections::BTreeMap, fmt, path::Path};

use repository::{
    Points, Repository, RepositoryError, Superblock, read_superblock, store::SharedStore,
    store::probe,
};
use serde::Serialize;
use tokio::time::Instant;

use self::checks::{free_space, key_file, milliseconds, of_probe, remedy, transport};
use crate::{
    args::{Doctor, passphrase_variable},
    clock,
    context::Context,
    exit::{self, Exit},
    location::Location,
    output::{
        json, print,
        text::{clean, count},
        time,
    },
    secret::{self, Asked},
};

/// One finding.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    name: &'static str,
    status: Status,
    detail: String,
    remedy: Option<&'static str>,
}

/// How a finding is meant; the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Ok,
    Skipped,
    Warned,
    Failed,
}

impl Check {
    fn new(name: &'static str, status: Status, detail: &str, remedy: &'static str) -> Self {
        let remedy = Some(remedy).filter(|remedy| !remedy.is_empty());
        Self {
            name,
            status,
            detail: detail.to_owned(),
            remedy,
        }
    }

    fn ok(name: &'static str, detail: &str) -> Self {
        Self::new(name, Status::Ok, detail, "")
    }

    fn skipped(name: &'static str, detail: &str, remedy: &'static str) -> Self {
        Self::new(name, Status::Skipped, detail, remedy)
    }

    fn warned(name: &'static str, detail: &str, remedy: &'static str) -> Self {
        Self::new(name, Status::Warned, detail, remedy)
    }

    fn failed(name: &'static str, detail: &str, remedy: &'static str) -> Self {
        Self::new(name, Status::Failed, detail, remedy)
    }

    /// The error already says what to do, unless it is the store's.
    fn of_error(name: &'static str, error: RepositoryError) -> Self {
        let remedy = remedy(&error);
        Self::failed(name, &exit::line(&error.into()), remedy)
    }
}

#[derive(Debug, Serialize)]
struct Findings {
    location: String,
    healthy: bool,
    checks: Vec<Check>,
}

pub(super) async fn run(context: &Context, arguments: &Doctor) -> anyhow::Result<Exit> {
    let location = context.location()?;
    let checks = context
        .interruptible(examine(context, location, arguments.read_only))
        .await?;
    let healthy = checks.iter().all(|check| check.status != Status::Failed);
    let findings = Findings {
        location: location.to_string(),
        healthy,
        checks,
    };
    if context.json() {
        json::write(&findings)?;
    } else {
        print(&findings)?;
    }
    Ok(if healthy { Exit::Done } else { Exit::Failed })
}

async fn examine(context: &Context, location: &Location, read_only: bool) -> Vec<Check> {
    let mut checks = Vec::new();
    let store = match location.open(context.throttle.clone()).await {
        Ok(store) => store,
        Err(error) => {
            checks.push(match error.downcast::<RepositoryError>() {
                Ok(error) => Check::of_error("address", error),
                Err(error) => Check::failed("address", &exit::line(&error), ""),
            });
            return checks;
        }
    };
    checks.push(Check::ok("address", &location.to_string()));
    let began = Instant::now();
    let superblock = match read_superblock(&store).await {
        Err(error @ RepositoryError::Store(_)) => {
            checks.push(Check::of_error("reachable", error));
            return checks;
        }
        other => other.map(|(_, superblock)| superblock),
    };
    checks.push(Check::ok(
        "reachable",
        &format!("it answered in {}", milliseconds(began.elapsed())),
    ));
    checks.extend(transport(&location.to_string()));
    let accepted_without = superblock
        .as_ref()
        .is_ok_and(|superblock| superblock.store.accepted_without);
    checks.push(of_superblock(&superblock));
    if superblock.is_ok() {
        checks.extend(open(context, &store).await);
    }
    if read_only {
        checks.push(Check::skipped(
            "guarantees",
            "not tried, as nothing is to be written",
            "",
        ));
    } else {
        match probe::probe(&*store).await {
            Ok(report) => checks.extend(of_probe(&report, accepted_without)),
            Err(error) => checks.push(Check::of_error("writable", error.into())),
        }
    }
    if let Location::Folder(path) = location {
        checks.push(free_space(path));
    }
    checks
}

fn of_superblock(found: &Result<Superblock, RepositoryError>) -> Check {
    match found {
        Ok(superblock) => {
            let made = time::absolute(superblock.created_ms, &clock::now());
            Check::ok("repository", &format!("{}, made {made}", superblock.id))
        }
        Err(RepositoryError::NotARepository { .. }) => {
            Check::skipped("repository", "there is none yet", "`sluice init` makes one")
        }
        Err(error) => Check::failed("repository", &error.to_string(), ""),
    }
}

/// Whether the key opens it, and what one sees then.
async fn open(context: &Context, store: &SharedStore) -> Vec<Check> {
    let arguments = &context.global.secret;
    if !arguments.is_given() && passphrase_variable().is_none() {
        return vec![Check::skipped(
            "key",
            "none is given",
            "give --key-file or a passphrase to try it",
        )];
    }
    let mut checks = Vec::new();
    checks.extend(
        arguments
            .key_file
            .as_deref()
            .and_then(|path: &Path| key_file(path)),
    );
    let secret = match secret::find(arguments, &store.location(), Asked::Once).await {
        Ok(secret) => secret,
        Err(error) => {
            checks.push(Check::failed("key", &exit::line(&error), ""));
            return checks;
        }
    };
    let repository = match Repository::open(store.clone(), &secret).await {
        Ok(repository) => repository,
        Err(error) => {
            checks.push(Check::of_error("key", error));
            return checks;
        }
    };
    checks.push(Check::ok("key", "it opens the repository"));
    checks.push(slots(&repository).await);
    checks.push(match repository.points().await {
        Err(error) => Check::of_error("points", error),
        Ok(points) if !points.damaged.is_empty() || !points.replaced.is_empty() => {
            let detail = format!(
                "{} cannot be read, {} were replaced",
                points.damaged.len(),
                points.replaced.len()
            );
            Check::failed("points", &detail, "run `sluice verify`")
        }
        Ok(points) => match points.points.last() {
            None => Check::ok("points", "none yet"),
            Some(_) if spoilt(&points) > 0 => Check::failed(
                "points",
                &format!(
                    "the newest point was found damaged in {} of the series",
                    spoilt(&points)
                ),
                "`sluice points` marks it; a new backup stores again what the source still has",
            ),
            Some(newest) => {
                let age = time::age(newest.manifest.finished_ms, &clock::now());
                let found = format!("{}, the newest {age} old", points.points.len());
                match points.points.iter().filter(|point| point.bad).count() {
                    0 => Check::ok("points", &found),
                    bad => Check::new(
                        "points",
                        Status::Warned,
                        &format!("{found}; {bad} of them were found damaged"),
                        "`sluice points` marks them",
                    ),
                }
            }
        },
    });
    checks
}

/// Series whose newest point is damaged, so that what `latest` means is older than it seems.
fn spoilt(points: &Points) -> u64 {
    let newest: BTreeMap<&str, bool> = points
        .points
        .iter()
        .map(|point| (point.manifest.series.as_str(), point.bad))
        .collect();
    newest.values().map(|bad| u64::from(*bad)).sum()
}

/// Whether the other keys look as if they opened it too: they are needed on the day that this one is lost.
async fn slots(repository: &Repository) -> Check {
    let slots = match repository.slots().await {
        Ok(slots) => slots,
        Err(error) => return Check::of_error("key slots", error),
    };
    match repository.slot_count().await {
        Ok(found) if found > slots.len() => {
            return Check::failed(
                "key slots",
                &format!("{found}, of which {} are looked at", slots.len()),
                "remove the objects below `keys/slot/` that you did not add, or no other key may open it any more",
            );
        }
        Ok(_) => {}
        Err(error) => return Check::of_error("key slots", error),
    }
    let damaged: Vec<&str> = slots
        .iter()
        .filter(|slot| slot.header.is_none())
        .map(|slot| slot.id.as_str())
        .collect();
    if damaged.is_empty() {
        Check::ok("key slots", &count(slots.len() as u64, "slot"))
    } else {
        Check::failed(
            "key slots",
            &format!("damaged: {}", damaged.join(", ")),
            "take it away by `sluice key remove`, and add that key again by `sluice key add`",
        )
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .checks
            .iter()
            .map(|check| check.name.len())
            .max()
            .unwrap_or(0);
        for check in &self.checks {
            let status = match check.status {
                Status::Ok => "ok",
                Status::Skipped => "skip",
                Status::Warned => "WARN",
                Status::Failed => "FAIL",
            };
            writeln!(
                f,
                "{status:<4}   {:<width$}   {}",
                check.name,
                clean(&check.detail)
            )?;
            if let Some(remedy) = check.remedy {
                writeln!(f, "{:<4}   {:<width$}   -> {remedy}", "", "")?;
            }
        }
        Ok(())
    }
}
