//! Listing names, page by page.

use std::time::SystemTime;

use aws_sdk_s3::{operation::list_objects_v2::ListObjectsV2Output, types::Object};

use super::{
    S3Store,
    body::Watch,
    failure::{Course, Failure},
};
use crate::store::{Entry, ErrorKind, LIST_PAGE_ENTRIES, Page, Result};

/// Pages without an entry, yet not the last, that are read on through: servers send them while they skip deleted keys.
const EMPTY_PAGES_MAX: usize = 100;

impl S3Store {
    /// Reads one page that holds something, or the last.
    pub(super) async fn list_page(&self, prefix: &str, after: Option<&str>) -> Result<Page> {
        let mut attempts = self.patience.attempts();
        let mut token = None;
        let mut empty_pages = 0;
        loop {
            let failure = match self.list_once(prefix, after, token.clone()).await {
                Err(failure) => failure,
                Ok(answer) => {
                    let entries: Option<Vec<Entry>> = answer
                        .contents()
                        .iter()
                        .filter(|object| !is_folder(object))
                        .map(|object| self.entry(object))
                        .collect();
                    let more = answer.is_truncated().unwrap_or_default();
                    match entries {
                        None => Failure::nonsense("an entry lacks its name, size or time"),
                        Some(entries) if !follow(&entries, after) => {
                            let cause = "names are not listed in byte order";
                            Failure::new(ErrorKind::Unsupported, Course::Final, cause)
                        }
                        Some(entries) if !entries.is_empty() || !more => {
                            return Ok(Page { entries, more });
                        }
                        Some(_) if empty_pages < EMPTY_PAGES_MAX => {
                            empty_pages += 1;
                            token = answer.next_continuation_token().map(str::to_owned);
                            continue;
                        }
                        Some(_) => Failure::nonsense("too many pages without an entry"),
                    }
                }
            };
            self.pause(&mut attempts, failure, "list", prefix).await?;
        }
    }

    /// One request for a page, from a continuation token or a name on.
    async fn list_once(
        &self,
        prefix: &str,
        after: Option<&str>,
        token: Option<String>,
    ) -> std::result::Result<ListObjectsV2Output, Failure> {
        let slot = self.enter().await;
        let watch = Watch::start(&self.patience);
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(self.key(prefix))
            .set_start_after(
                after
                    .filter(|_| token.is_none())
                    .map(|after| self.key(after)),
            )
            .set_continuation_token(token)
            .max_keys(i32::try_from(LIST_PAGE_ENTRIES).expect("a thousand"));
        self.exchange(&slot, &watch, request.send()).await
    }

    /// Translates what a listing says about an object.
    fn entry(&self, object: &Object) -> Option<Entry> {
        let name = object.key()?.strip_prefix(&self.key(""))?;
        Some(Entry {
            name: name.to_owned(),
            bytes: u64::try_from(object.size()?).ok()?,
            modified: SystemTime::try_from(*object.last_modified()?).ok()?,
        })
    }
}

/// Whether this is what consoles make to show a folder: an empty object whose key ends in a slash, as no name does.
fn is_folder(object: &Object) -> bool {
    object.key().is_some_and(|key| key.ends_with('/'))
}

/// Whether entries are in byte order, and after the name they were to follow.
fn follow(entries: &[Entry], after: Option<&str>) -> bool {
    let first = entries.first().map(|entry| entry.name.as_str());
    let starts = first.zip(after).is_none_or(|(first, after)| first > after);
    starts && entries.is_sorted_by(|one, next| one.name < next.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_checked() {
        let check = |names: &[&str], after, expected| {
            let entry = |name: &&str| Entry {
                name: (*name).to_owned(),
                bytes: 0,
                modified: SystemTime::UNIX_EPOCH,
            };
            let entries: Vec<Entry> = names.iter().map(entry).collect();
            assert_eq!(
                follow(&entries, after),
                expected,
                "{names:?} after {after:?}"
            );
        };
        check(&[], Some("a"), true);
        check(&["a", "b"], None, true);
        check(&["a", "b"], Some("a"), false);
        check(&["b", "c"], Some("a"), true);
        check(&["b", "a"], None, false);
        check(&["a", "a"], None, false);
    }
}
