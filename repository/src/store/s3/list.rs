//! Listing names, page by page.

use std::time::SystemTime;

use aws_sdk_s3::{operation::list_objects_v2::ListObjectsV2Output, types::Object};

use super::{
    S3Store,
    body::Watch,
    failure::{Course, Failure},
};
use crate::store::{
    Entry, ErrorKind, LIST_PAGE_ENTRIES, Page, Result,
    listing::{Unsound, checked},
};

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
                Ok(answer) => match page(&answer, &self.key(""), prefix, after) {
                    Err(failure) => failure,
                    Ok(page) if !page.entries.is_empty() || !page.more => return Ok(page),
                    Ok(_) if empty_pages < EMPTY_PAGES_MAX => {
                        empty_pages += 1;
                        token = answer.next_continuation_token().map(str::to_owned);
                        continue;
                    }
                    Ok(_) => Failure::nonsense("too many pages without an entry"),
                },
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
}

/// Reads a page of the bucket: the names under `root`, which is empty or ends with a slash.
pub(super) fn page(
    answer: &ListObjectsV2Output,
    root: &str,
    prefix: &str,
    after: Option<&str>,
) -> std::result::Result<Page, Failure> {
    let unsound =
        |unsound: Unsound| Failure::new(ErrorKind::Unsupported, Course::Final, unsound.to_string());
    let mut entries = Vec::new();
    for object in answer.contents().iter().filter(|object| !is_folder(object)) {
        let key = object.key().unwrap_or_default();
        let name = key.strip_prefix(root).ok_or(unsound(Unsound::Outside))?;
        let entry = entry(object, name);
        entries.push(entry.ok_or(Failure::nonsense("an entry lacks its size or time"))?);
    }
    // What a store says of its own answer must fit it.
    let counted = answer
        .key_count()
        .and_then(|count| usize::try_from(count).ok());
    if counted.is_some_and(|count| count != answer.contents().len()) {
        return Err(Failure::nonsense(
            "a listing counts other entries than it has",
        ));
    }
    let more = answer.is_truncated();
    let more = more.ok_or(Failure::nonsense(
        "a listing does not say whether there is more",
    ))?;
    checked(Page { entries, more }, prefix, after).map_err(unsound)
}

/// Translates what a listing says about an object.
fn entry(object: &Object, name: &str) -> Option<Entry> {
    Some(Entry {
        name: name.to_owned(),
        bytes: u64::try_from(object.size()?).ok()?,
        modified: SystemTime::try_from(*object.last_modified()?).ok()?,
    })
}

/// Whether this is what consoles make to show a folder: an empty object whose key ends in a slash, as no name does.
fn is_folder(object: &Object) -> bool {
    object.key().is_some_and(|key| key.ends_with('/'))
}
