//! Listings: complete, in order, at once.

use bytes::Bytes;

use super::{Outcome, Problem, equal, equal_bytes, put_all};
use crate::store::{LIST_PAGE_ENTRIES, Result, SharedStore, list_all};

/// Names whose byte order is not the order of their folders: `-` and `.` sort before `/`, and digits after it.
const TRICKY: [&str; 12] = [
    "B", "ab/y", "abc", "abc-d", "abc.hb/1", "abc.hb/2", "abc0", "abd-x", "abd.y", "abd/e/f",
    "abd0", "b",
];

pub(super) async fn at_once(store: &SharedStore, at: &str) -> Outcome {
    let mut names = Vec::new();
    for number in 0..16 {
        let name = format!("{at}{}/{number:02}", number % 3);
        store
            .put_new(&name, Bytes::copy_from_slice(name.as_bytes()))
            .await?;
        equal_bytes(
            "what was just written",
            name.as_bytes(),
            &store.get(&name, 1_000).await?,
        )?;
        names.push(name);
        names.sort_unstable();
        equal(
            "the listing after a write",
            &names,
            &listed(store, at).await?,
        )?;
    }
    for name in names.clone().into_iter().step_by(2) {
        store.delete(&name).await?;
        names.retain(|other| *other != name);
        equal(
            "the listing after a deletion",
            &names,
            &listed(store, at).await?,
        )?;
    }
    Ok(())
}

pub(super) async fn order(store: &SharedStore, at: &str) -> Outcome {
    let names = tricky(store, at).await?;
    equal("the listing", &names, &listed(store, at).await?)?;
    let entries = list_all(&**store, at).await?;
    let bytes: Vec<_> = entries.iter().map(|entry| entry.bytes).collect();
    equal(
        "the lengths",
        names.iter().map(|name| name.len() as u64).collect(),
        bytes,
    )
}

pub(super) async fn after(store: &SharedStore, at: &str) -> Outcome {
    let names = tricky(store, at).await?;
    let between = [
        "0",
        "ab",
        "ab/",
        "ab/z",
        "abc-",
        "abc.hb",
        "abc.hb/",
        "abc.hb/11",
        "abc/0",
        "abd/e",
        "abz",
        "c",
    ];
    let between = between.map(|name| format!("{at}{name}"));
    let outside = ["0".to_owned(), at.to_owned(), "zzz".to_owned()];
    for start in names.iter().chain(&between).chain(&outside) {
        let expected: Vec<_> = names.iter().filter(|name| *name > start).cloned().collect();
        let got = store.list(at, Some(start)).await?;
        let got: Vec<_> = got.entries.into_iter().map(|entry| entry.name).collect();
        equal(&format!("the listing after `{start}`"), expected, got)?;
    }
    Ok(())
}

pub(super) async fn prefix(store: &SharedStore, at: &str) -> Outcome {
    let names = tricky(store, at).await?;
    let prefixes = [
        "", "a", "ab", "ab/", "abc", "abc.", "abc.hb", "abc.hb/", "abc.hb/1", "abd/e/", "abe", "c",
        "c/d/",
    ];
    for prefix in prefixes.map(|prefix| format!("{at}{prefix}")) {
        let expected: Vec<_> = names
            .iter()
            .filter(|name| name.starts_with(&prefix))
            .cloned()
            .collect();
        equal(
            &format!("the listing of `{prefix}`"),
            expected,
            listed(store, &prefix).await?,
        )?;
    }
    Ok(())
}

pub(super) async fn pages(store: &SharedStore, at: &str) -> Outcome {
    let mut names: Vec<_> = (0..LIST_PAGE_ENTRIES + 40)
        .map(|number| format!("{at}{}/{number}", number % 7))
        .collect();
    put_all(store, &names).await?;
    names.sort_unstable();
    let mut got: Vec<String> = Vec::new();
    loop {
        let page = store.list(at, got.last().map(String::as_str)).await?;
        let entries = page.entries.len();
        if entries > LIST_PAGE_ENTRIES {
            return Err(Problem(format!(
                "a page: expected at most {LIST_PAGE_ENTRIES} entries, got {entries}"
            )));
        }
        got.extend(page.entries.into_iter().map(|entry| entry.name));
        if !page.more {
            break;
        }
        // Also ends when a store repeats itself for ever.
        if entries == 0 || got.len() > names.len() {
            return Err(Problem(format!(
                "pages: expected {} names, got {} and the promise of more",
                names.len(),
                got.len()
            )));
        }
    }
    equal("the number of names in all pages", names.len(), got.len())?;
    match names.iter().zip(&got).find(|(name, got)| name != got) {
        Some((expected, got)) => Err(Problem(format!(
            "names in all pages: expected `{expected}`, got `{got}`"
        ))),
        None => Ok(()),
    }
}

/// Writes the tricky names, last first, and returns them in order.
async fn tricky(store: &SharedStore, at: &str) -> Result<Vec<String>> {
    let names: Vec<_> = TRICKY
        .iter()
        .rev()
        .map(|name| format!("{at}{name}"))
        .collect();
    put_all(store, &names).await?;
    Ok(names.into_iter().rev().collect())
}

async fn listed(store: &SharedStore, prefix: &str) -> Result<Vec<String>> {
    Ok(list_all(&**store, prefix)
        .await?
        .into_iter()
        .map(|entry| entry.name)
        .collect())
}
