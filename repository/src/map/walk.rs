//! Goes through all chunks of a map, passing by what was seen before.

use std::sync::Arc;

use crate::{
    error::RepositoryError,
    map::{Entry, MapRoot, PageLoader},
    reference::Reference,
};

/// Pages that are loaded together.
const PAGES: usize = 64;

/// Calls `found` with each chunk of a map and `page` with each page before it is opened; a page for which that returns
/// `false`, and all below it, is passed by.
pub async fn walk(
    loader: &Arc<dyn PageLoader>,
    root: MapRoot,
    mut page: impl FnMut(&Reference) -> bool,
    mut found: impl FnMut(&Entry),
) -> Result<(), RepositoryError> {
    let mut pending: Vec<Reference> = root.page.into_iter().filter(|root| page(root)).collect();
    while !pending.is_empty() {
        let batch = pending.split_off(pending.len().saturating_sub(PAGES));
        for loaded in loader.load(&batch).await? {
            for (_, entry) in loaded.entries() {
                match loaded.level() {
                    0 => found(entry),
                    _ if page(&entry.reference) => pending.push(entry.reference),
                    _ => {}
                }
            }
        }
    }
    Ok(())
}
