//! One suite for every store: whether it keeps the contract.
//!
//! The suite knows nothing of what it is run against, so it says the same of a folder, of a server in the test process
//! and of one on the other side of the world. It needs no test harness: a command can run it and print the
//! [`Report`].

mod listings;
mod objects;
mod races;

use std::{
    error::Error,
    fmt::{self, Debug},
};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};

use crate::store::{Entry, ErrorKind, Result, SharedStore, StoreError, list_all};

/// Requests of ours that are under way at the same time: what one client of a store may well have.
const CONCURRENT_REQUESTS: usize = 16;

/// What the suite found, a line per check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The checks that were made, in order.
    pub checks: Vec<Check>,
}

/// A check that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What should be so, as a sentence.
    pub name: &'static str,
    /// What was expected and what came instead, if it is not so.
    pub result: std::result::Result<(), String>,
}

impl Report {
    /// Whether the store keeps the contract as far as we can see.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.result.is_ok())
    }

    /// The names of the checks that failed.
    pub fn failed(&self) -> impl Iterator<Item = &'static str> {
        self.checks
            .iter()
            .filter(|check| check.result.is_err())
            .map(|check| check.name)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.checks
            .iter()
            .try_for_each(|check| match &check.result {
                Ok(()) => writeln!(f, "ok    {}", check.name),
                Err(problem) => writeln!(f, "FAIL  {}: {problem}", check.name),
            })
    }
}

/// Runs the whole suite with objects under `prefix`, which ends with a slash and under which nothing may be yet.
///
/// It writes about 30 MiB in about 1,200 objects, and deletes them again.
pub async fn check(store: &SharedStore, prefix: &str) -> Report {
    check_selected(store, prefix, |_| true).await
}

/// Runs the checks whose names `select` accepts.
pub async fn check_selected(
    store: &SharedStore,
    prefix: &str,
    select: impl Fn(&'static str) -> bool + Send,
) -> Report {
    let mut report = Report::default();
    for (number, (name, run)) in CHECKS
        .iter()
        .enumerate()
        .filter(|(_, (name, _))| select(name))
    {
        let folder = format!("{prefix}{number:02}/");
        let result = run(store, &folder).await;
        // What is left behind by a check that failed is no failure of its own.
        let cleaned = clean_up(store, &folder).await.map_err(Problem::from);
        let result = result.and(cleaned).map_err(|Problem(text)| text);
        report.checks.push(Check { name, result });
    }
    report
}

type Run = for<'a> fn(&'a SharedStore, &'a str) -> BoxFuture<'a, Outcome>;

/// The suite. Each check has a folder of its own.
const CHECKS: &[(&str, Run)] = &[
    ("an object comes back as it was written", |store, at| {
        Box::pin(objects::round_trip(store, at))
    }),
    ("an empty object comes back empty", |store, at| {
        Box::pin(objects::empty(store, at))
    }),
    (
        "a large object comes back as it was written",
        |store, at| Box::pin(objects::large(store, at)),
    ),
    ("every part of an object can be read", |store, at| {
        Box::pin(objects::ranges(store, at))
    }),
    ("a part beyond the end is refused", |store, at| {
        Box::pin(objects::short(store, at))
    }),
    ("an object larger than allowed is refused", |store, at| {
        Box::pin(objects::too_large(store, at))
    }),
    ("a missing object is missing", |store, at| {
        Box::pin(objects::missing(store, at))
    }),
    ("a name that is taken is refused", |store, at| {
        Box::pin(objects::taken(store, at))
    }),
    ("a deleted object is gone", |store, at| {
        Box::pin(objects::deleted(store, at))
    }),
    ("long and odd names work", |store, at| {
        Box::pin(objects::names(store, at))
    }),
    ("of many writers exactly one wins", |store, at| {
        Box::pin(races::small(store, at))
    }),
    (
        "of many writers of large objects exactly one wins",
        |store, at| Box::pin(races::large(store, at)),
    ),
    ("an object appears whole or not at all", |store, at| {
        Box::pin(races::whole(store, at))
    }),
    ("many readers read the same", |store, at| {
        Box::pin(races::readers(store, at))
    }),
    (
        "what was written is read and listed at once",
        |store, at| Box::pin(listings::at_once(store, at)),
    ),
    ("names are listed in byte order", |store, at| {
        Box::pin(listings::order(store, at))
    }),
    ("a listing starts after any name", |store, at| {
        Box::pin(listings::after(store, at))
    }),
    ("a listing starts with any prefix", |store, at| {
        Box::pin(listings::prefix(store, at))
    }),
    ("a long listing comes in pages", |store, at| {
        Box::pin(listings::pages(store, at))
    }),
];

/// What is wrong, with what was expected and what came instead.
struct Problem(String);

type Outcome = std::result::Result<(), Problem>;

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let mut text = format!("expected success, got `{error}`");
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(&format!(" ({cause})"));
            source = cause.source();
        }
        Self(text)
    }
}

/// Fails unless both are the same.
#[expect(clippy::needless_pass_by_value, reason = "callers read better")]
fn equal<T: PartialEq + Debug>(what: &str, expected: T, got: T) -> Outcome {
    if expected == got {
        return Ok(());
    }
    Err(Problem(format!(
        "{what}: expected {expected:?}, got {got:?}"
    )))
}

/// Fails unless the bytes are the same; says where they are not.
fn equal_bytes(what: &str, expected: &[u8], got: &[u8]) -> Outcome {
    if expected == got {
        return Ok(());
    }
    let same = expected
        .iter()
        .zip(got)
        .take_while(|(expected, got)| expected == got)
        .count();
    let (expected, got) = (expected.len(), got.len());
    Err(Problem(format!(
        "{what}: expected {expected} bytes, got {got}, the first {same} of them right"
    )))
}

/// Fails unless this failed in the one right way.
fn refused<T>(what: &str, expected: ErrorKind, got: Result<T>) -> Outcome {
    match got {
        Err(error) if error.kind() == expected => Ok(()),
        Err(error) => Err(Problem(format!(
            "{what}: expected {expected:?}, got {:?} ({error})",
            error.kind()
        ))),
        Ok(_) => Err(Problem(format!(
            "{what}: expected {expected:?}, got success"
        ))),
    }
}

/// Bytes that look random and are the same for the same seed, so that no part of them is like another.
fn noise(seed: u64, bytes: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut body = Vec::with_capacity(bytes + 8);
    while body.len() < bytes {
        // xorshift64: Marsaglia, "Xorshift RNGs", 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        body.extend_from_slice(&state.to_le_bytes());
    }
    body.truncate(bytes);
    body.into()
}

/// Writes small objects, several at a time.
async fn put_all(store: &SharedStore, names: &[String]) -> Result<()> {
    let put = |name: String| async move {
        store
            .put_new(&name, Bytes::copy_from_slice(name.as_bytes()))
            .await
    };
    let names = stream::iter(names.to_vec()).map(Ok);
    names
        .try_for_each_concurrent(CONCURRENT_REQUESTS, put)
        .await
}

async fn clean_up(store: &SharedStore, folder: &str) -> Result<()> {
    let entries = stream::iter(list_all(&**store, folder).await?).map(Ok);
    let delete = |entry: Entry| async move { store.delete(&entry.name).await };
    entries
        .try_for_each_concurrent(CONCURRENT_REQUESTS, delete)
        .await
}

#[cfg(test)]
pub(super) mod flawed;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
