//! Whole listings, and what is held against every page: a store is not trusted to list what was asked for.

use super::{Entry, ErrorKind, Page, Result, Store, StoreError, name};

/// The most that the entries of a whole listing may take: 4 Mi names as long as ours, more than any prefix has that is
/// listed as a whole. A store that goes on for ever is stopped here.
const LISTING_BYTES_MAX: usize = 512 << 20;

/// Why a page is not what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::store) enum Unsound {
    /// Callers cut the prefix off.
    #[error("names are listed that do not begin with the prefix asked for")]
    Outside,
    /// The same page again and again would never end.
    #[error("names are not listed in byte order")]
    Unordered,
}

/// Refuses a page unless its names begin with `prefix` and ascend from `after`, and drops the names that no object may
/// have: foreign files, or worse.
pub(in crate::store) fn checked(
    mut page: Page,
    prefix: &str,
    after: Option<&str>,
) -> std::result::Result<Page, Unsound> {
    let mut before = after;
    for Entry { name, .. } in &page.entries {
        if !name.starts_with(prefix) {
            return Err(Unsound::Outside);
        }
        if before.is_some_and(|before| before >= name.as_str()) {
            return Err(Unsound::Unordered);
        }
        before = Some(name);
    }
    page.entries.retain(|entry| name::is_valid(&entry.name));
    Ok(page)
}

/// Lists everything that starts with `prefix`; for prefixes whose number of names is bounded by what they are.
///
/// # Errors
/// [`ErrorKind::Unsupported`] when names do not begin with the prefix or do not ascend; [`ErrorKind::TooLarge`] above
/// 512 MiB of names.
pub async fn list_all(store: &dyn Store, prefix: &str) -> Result<Vec<Entry>> {
    list_up_to(store, prefix, LISTING_BYTES_MAX).await
}

async fn list_up_to(store: &dyn Store, prefix: &str, bytes_max: usize) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut after: Option<String> = None;
    let mut bytes = 0;
    loop {
        let page = store.list(prefix, after.as_deref()).await?;
        let last = page.entries.last().map(|entry| entry.name.clone());
        let page = checked(page, prefix, after.as_deref()).map_err(|unsound| {
            StoreError::new("list", prefix, ErrorKind::Unsupported).because(unsound)
        })?;
        let held = |entry: &Entry| size_of::<Entry>() + entry.name.len();
        bytes += page.entries.iter().map(held).sum::<usize>();
        if bytes > bytes_max {
            let cause = format!("more than {} MiB of names", bytes_max >> 20);
            return Err(StoreError::new("list", prefix, ErrorKind::TooLarge).because(cause));
        }
        entries.extend(page.entries);
        if !page.more || last.is_none() {
            return Ok(entries);
        }
        after = last;
    }
}

#[cfg(test)]
mod tests {
    use std::{error::Error as _, time::SystemTime};

    use bytes::Bytes;

    use super::*;
    use crate::store::conformance::flawed::{Flaw, Flawed};

    async fn flawed(flaw: Flaw) -> Flawed {
        let store = Flawed::new(flaw);
        for name in ["a", "keys/slot/1", "keys/slot/2", "l"] {
            store.put_new(name, Bytes::new()).await.unwrap();
        }
        store
    }

    async fn refusal(flaw: Flaw, bytes_max: usize) -> (ErrorKind, String) {
        let store = flawed(flaw).await;
        let error = list_up_to(&store, "keys/slot/", bytes_max)
            .await
            .unwrap_err();
        (error.kind(), error.source().unwrap().to_string())
    }

    #[tokio::test]
    async fn stores_that_list_what_was_not_asked_for_are_refused() {
        for (flaw, expected) in [
            (Flaw::IgnoresPrefixes, Unsound::Outside),
            (Flaw::RepeatsPages, Unsound::Unordered),
        ] {
            let refused = refusal(flaw, 1 << 20).await;
            assert_eq!(refused, (ErrorKind::Unsupported, expected.to_string()));
        }
    }

    #[tokio::test]
    async fn a_listing_that_never_ends_is_stopped() {
        let refused = refusal(Flaw::InventsNames, 1 << 20).await;
        assert_eq!(refused.0, ErrorKind::TooLarge);
        assert_eq!(refused.1, "more than 1 MiB of names");
    }

    #[tokio::test]
    async fn names_that_no_object_may_have_are_skipped() {
        let store = flawed(Flaw::ListsForeignNames).await;
        let listed = list_all(&store, "keys/slot/").await.unwrap();
        let names: Vec<_> = listed.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["keys/slot/1", "keys/slot/2"]);
    }

    #[test]
    fn order_and_prefix_are_checked() {
        use Unsound::{Outside, Unordered};
        let check = |names: &[&str], after, expected: std::result::Result<usize, Unsound>| {
            let entry = |name: &&str| Entry {
                name: (*name).to_owned(),
                bytes: 0,
                modified: SystemTime::UNIX_EPOCH,
            };
            let page = Page {
                entries: names.iter().map(entry).collect(),
                more: false,
            };
            let kept = checked(page, "k", after).map(|page| page.entries.len());
            assert_eq!(kept, expected, "{names:?} after {after:?}");
        };
        check(&[], Some("ka"), Ok(0));
        check(&["ka", "kb"], None, Ok(2));
        check(&["ka", "kb"], Some("ka"), Err(Unordered));
        check(&["kb", "kc"], Some("ka"), Ok(2));
        check(&["kb", "ka"], None, Err(Unordered));
        check(&["ka", "ka"], None, Err(Unordered));
        check(&["ka", "l"], None, Err(Outside));
        check(&["", "ka"], None, Err(Outside));
        check(&["k/.a", "ka", "kä"], None, Ok(1));
    }
}
