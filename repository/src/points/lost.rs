//! Points that are gone although nobody forgot them: what else names them tells.
//!
//! The entry in the index of a series and every point that was based on a point are written after its register, and
//! prune takes them away before the delete marker. So whoever is there and names a point that has neither register nor
//! marker is the witness of a loss, whatever others do meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use super::{DeleteMarker, Result};
use crate::{
    error::RepositoryError, id::SessionId, layout, point::Point, record::RecordKind,
    repository::Repository, store::list_all,
};

/// What shows that a point was there.
#[derive(Debug)]
enum Witness {
    /// A point that was based on it.
    Child(SessionId),
    /// Its entry in the index of its series.
    Entry(String),
}

impl Repository {
    /// Registers that are gone: somebody names them, and no delete marker says that they were forgotten.
    pub(super) async fn lost_registers(
        &self,
        points: &[Point],
        registers: &BTreeSet<SessionId>,
    ) -> Result<Vec<(String, RepositoryError)>> {
        let entries = list_all(&**self.store(), &layout::points_index()).await?;
        let named = entries.into_iter().filter_map(|entry| {
            Some((
                layout::parse_indexed_point(&entry.name)?,
                Witness::Entry(entry.name),
            ))
        });
        let parents = points
            .iter()
            .filter_map(|point| Some((point.manifest.parent?, Witness::Child(point.id))));
        let mut suspects: BTreeMap<SessionId, Vec<Witness>> = BTreeMap::new();
        for (id, witness) in parents.chain(named) {
            if !registers.contains(&id) {
                suspects.entry(id).or_default().push(witness);
            }
        }
        let mut lost = Vec::new();
        for (id, witnesses) in suspects {
            if let Some(witness) = self.loss(id, &witnesses).await? {
                let how = match witness {
                    Witness::Child(child) => {
                        format!("although point {} was based on it", child.short())
                    }
                    Witness::Entry(_) => "although the index of its series names it".to_owned(),
                };
                let what = format!("it is missing, {how}");
                let object = layout::register(id);
                lost.push((object.clone(), RepositoryError::damaged(object, what)));
            }
        }
        Ok(lost)
    }

    /// The witness of a loss, if it is one. In this order: whoever forgets and prunes meanwhile does it the other way
    /// round, so nothing that was done rightly looks like a loss.
    async fn loss<'a>(
        &self,
        id: SessionId,
        witnesses: &'a [Witness],
    ) -> Result<Option<&'a Witness>> {
        // Committed while registers were listed, or damaged, which others tell.
        if self.exists(&layout::register(id)).await? || self.forgotten(id).await? {
            return Ok(None);
        }
        for witness in witnesses {
            let stands = match witness {
                Witness::Child(child) => self.exists(&layout::register(*child)).await?,
                // Anybody who can write to the store can make a name; only who has the keys can make an entry.
                Witness::Entry(name) => {
                    let entry = self.get_record::<SessionId>(name, RecordKind::SeriesPoint);
                    intact(entry.await)? == Some(id)
                }
            };
            if stands {
                return Ok(Some(witness));
            }
        }
        Ok(None)
    }

    /// Whether somebody with the keys said that the point is no longer wanted.
    async fn forgotten(&self, id: SessionId) -> Result<bool> {
        let name = layout::delete_marker(id);
        let marker = self.get_record::<DeleteMarker>(&name, RecordKind::DeleteMarker);
        Ok(intact(marker.await)?.is_some())
    }
}

/// `None` for what is missing or damaged.
fn intact<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_damage() => Ok(None),
        Err(error) => Err(error),
    }
}
