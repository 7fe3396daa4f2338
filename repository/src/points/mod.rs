//! Points of a repository: list, find, forget.

mod lost;
mod replaced;

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream};
use minicbor::{Decode, Encode};

use crate::{
    clock,
    error::RepositoryError,
    format::RECORD_BYTES_MAX,
    id::SessionId,
    layout,
    point::{Manifest, Point, Register, RegisterKind},
    record::RecordKind,
    repository::Repository,
    store::{ErrorKind, list_all},
    superblock::Operation,
};

type Result<T> = std::result::Result<T, RepositoryError>;

/// Registers that are read at the same time.
const REQUESTS: usize = 32;

/// What a listing found.
#[derive(Debug, Default)]
pub struct Points {
    /// Points that were not forgotten, oldest first.
    pub points: Vec<Point>,
    /// Registers that cannot be read, and why: also those that are gone although something names them. Other points are
    /// whole all the same.
    pub damaged: Vec<(String, RepositoryError)>,
    /// Registers that can be read, and are not the ones that later points were based on.
    pub replaced: Vec<(String, RepositoryError)>,
}

/// Which point is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// How the user wrote it; shown when nothing is found.
    pub name: String,
    /// The beginning of its id.
    pub id_prefix: Option<String>,
    /// Its series.
    pub series: Option<String>,
    /// The newest that was finished by then, in milliseconds since 1970.
    pub as_of_ms: Option<u64>,
}

/// A delete marker.
#[derive(Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct DeleteMarker {
    #[n(0)]
    at_ms: u64,
    #[n(1)]
    reason: String,
}

impl Points {
    /// Finds the point that is meant: the only one with this id, or the newest good one of what is left.
    ///
    /// # Errors
    /// When there is none, or an id fits several.
    pub fn find(&self, selector: &Selector) -> Result<&Point> {
        let fits = |point: &&Point| {
            selector
                .series
                .as_ref()
                .is_none_or(|series| point.manifest.series == *series)
                && selector
                    .as_of_ms
                    .is_none_or(|time| point.manifest.finished_ms <= time)
                && selector
                    .id_prefix
                    .as_ref()
                    .is_none_or(|prefix| point.id.to_string().starts_with(prefix))
        };
        let fitting: Vec<&Point> = self.points.iter().filter(fits).collect();
        let name = selector.name.clone();
        if let Some(prefix) = &selector.id_prefix {
            let unread = self.unread(prefix).count();
            return match (&fitting[..], unread) {
                ([point], 0) => Ok(point),
                ([], 0) => Err(RepositoryError::NoPoint {
                    name,
                    hint: String::new(),
                }),
                ([], 1) => {
                    let hint = format!(" that can be read ({})", self.unread_shown());
                    Err(RepositoryError::NoPoint { name, hint })
                }
                (fitting, unread) => Err(RepositoryError::AmbiguousPoint {
                    name,
                    count: fitting.len() + unread,
                }),
            };
        }
        let good = fitting.iter().rev().find(|point| !point.bad);
        good.copied().ok_or_else(|| RepositoryError::NoPoint {
            name,
            hint: match fitting.last() {
                Some(point) => format!(
                    " that is good ({} failed a verify: name it by its id)",
                    point.id.short()
                ),
                None if self.damaged.is_empty() => String::new(),
                None => format!(" that can be read ({})", self.unread_shown()),
            },
        })
    }

    /// Ids of registers that cannot be read and begin so.
    pub fn unread<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = SessionId> + 'a {
        let ids = self
            .damaged
            .iter()
            .filter_map(|(object, _)| layout::parse_register(object));
        ids.filter(move |id| id.to_string().starts_with(prefix))
    }

    fn unread_shown(&self) -> String {
        match &self.damaged[..] {
            [(object, _)] => format!("`{object}` cannot"),
            damaged => format!("{} registers cannot", damaged.len()),
        }
    }
}

impl Repository {
    /// Lists all points that were not forgotten.
    ///
    /// # Errors
    /// When the store fails. Damaged registers are no error: they are named in the result.
    pub async fn points(&self) -> Result<Points> {
        let forgotten = self
            .marked(&layout::delete_markers(), layout::parse_delete_marker)
            .await?;
        let bad = self
            .marked(&layout::bad_points(), layout::parse_bad_point)
            .await?;
        let names = list_all(&**self.store(), &layout::registers()).await?;
        let ids: BTreeSet<SessionId> = names
            .iter()
            .filter_map(|entry| layout::parse_register(&entry.name))
            .collect();
        let wanted: Vec<SessionId> = ids.difference(&forgotten).copied().collect();
        let mut read = stream::iter(wanted)
            .map(|id| async move { (id, self.register_digest(id).await) })
            .buffered(REQUESTS);
        let mut found = Points::default();
        let mut digests = BTreeMap::new();
        while let Some((id, register)) = read.next().await {
            let register = register.map(|register| {
                register.map(|(register, digest)| {
                    digests.insert(id, digest);
                    register
                })
            });
            match register {
                Ok(Some(Register {
                    kind: RegisterKind::Backup,
                    manifest: Some(manifest),
                    ..
                })) => {
                    found.points.push(Point {
                        id,
                        manifest,
                        bad: bad.contains(&id),
                        sibling: false,
                    });
                }
                Ok(_) => {}
                Err(error) if error.is_damage() => {
                    found.damaged.push((layout::register(id), error));
                }
                Err(error) => return Err(error),
            }
        }
        let lost = self.lost_registers(&found.points, &ids).await?;
        found.damaged.extend(lost);
        found.replaced = replaced::replaced_parents(&found.points, &digests);
        found
            .points
            .sort_by_key(|point| (point.manifest.finished_ms, point.id));
        mark_siblings(&mut found.points);
        Ok(found)
    }

    /// The newest good point of a series, by the advisory index if it has an answer, else by listing everything; and why
    /// it is not simply the newest.
    pub(crate) async fn newest(&self, series: &str) -> Result<(Option<Point>, Option<String>)> {
        let hash = self.keys().series_hash(series);
        let page = self
            .store()
            .list(&layout::series_points(&hash), None)
            .await?;
        let mut passed_over = None;
        let damaged =
            |id: SessionId| format!("the newest point of the series, {}, is damaged", id.short());
        for entry in page.entries {
            let Some(id) = layout::parse_series_point(&hash, &entry.name) else {
                continue;
            };
            // Anybody who can write to the store can make a name; only who has the keys can make an entry.
            let named = self.get_record::<SessionId>(&entry.name, RecordKind::SeriesPoint);
            if !matches!(named.await, Ok(named) if named == id) {
                continue;
            }
            if let Some(point) = self.live_point(id).await?
                && point.manifest.series == series
            {
                return Ok((Some(point), passed_over));
            }
            if passed_over.is_none() && !self.exists(&layout::delete_marker(id)).await? {
                passed_over = Some(damaged(id));
            }
        }
        let points = self.points().await?.points;
        for point in points.into_iter().rev() {
            if point.manifest.series != series {
                continue;
            }
            if !point.bad {
                return Ok((Some(point), passed_over));
            }
            passed_over.get_or_insert_with(|| damaged(point.id));
        }
        Ok((None, passed_over))
    }

    /// The point with this id, if it is there, good and not forgotten.
    pub(crate) async fn live_point(&self, id: SessionId) -> Result<Option<Point>> {
        let manifest = match self.register(id).await {
            Ok(Some(Register {
                kind: RegisterKind::Backup,
                manifest: Some(manifest),
                ..
            })) => manifest,
            Ok(_) => return Ok(None),
            Err(error) if error.is_damage() => return Ok(None),
            Err(error) => return Err(error),
        };
        let gone = self.exists(&layout::delete_marker(id)).await?;
        let bad = self.exists(&layout::bad_point(id)).await?;
        Ok((!gone && !bad).then_some(Point {
            id,
            manifest,
            bad,
            sibling: false,
        }))
    }

    /// What the register of a session holds, if it was written.
    pub(crate) async fn register(&self, id: SessionId) -> Result<Option<Register>> {
        Ok(self
            .register_digest(id)
            .await?
            .map(|(register, _)| register))
    }

    /// The same, with the keyed hash of its plaintext.
    pub(crate) async fn register_digest(
        &self,
        id: SessionId,
    ) -> Result<Option<(Register, [u8; 32])>> {
        let name = layout::register(id);
        let sealed = match self.store().get(&name, RECORD_BYTES_MAX).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let (register, plain) = self.open_record(&name, RecordKind::Manifest, &sealed)?;
        Ok(Some((register, self.digest(&plain))))
    }

    pub(crate) fn digest(&self, plain: &[u8]) -> [u8; 32] {
        self.keys().manifest().derive("digest", b"").hash(plain)
    }

    /// Marks points as no longer wanted. Their space comes back with prune.
    ///
    /// # Errors
    /// For the newest good point of a series, unless `force`; nothing was marked then.
    pub async fn forget(&self, ids: &[SessionId], reason: &str, force: bool) -> Result<()> {
        self.require(Operation::Write).await?;
        if !force {
            let points = self.points().await?.points;
            if let Some(point) = newest_good(&points).find(|point| ids.contains(&point.id)) {
                let (point, series) = (point.id.short(), point.manifest.series.clone());
                return Err(RepositoryError::NewestPoint { point, series });
            }
        }
        // A marker that nobody with the keys made is in the way: found before anything is forgotten.
        let mut wanted = Vec::new();
        let mut looks = stream::iter(ids.iter().copied())
            .map(|id| async move {
                let name = layout::delete_marker(id);
                let marker = self.get_record::<DeleteMarker>(&name, RecordKind::DeleteMarker);
                (id, marker.await)
            })
            .buffered(REQUESTS);
        while let Some((id, marker)) = looks.next().await {
            match marker {
                Ok(_) => {}
                Err(RepositoryError::Store(error)) if error.kind() == ErrorKind::NotFound => {
                    wanted.push(id);
                }
                Err(error) => return Err(error),
            }
        }
        drop(looks);
        for id in wanted {
            let marker = DeleteMarker {
                at_ms: clock::now_ms(),
                reason: reason.to_owned(),
            };
            match self
                .put_record(
                    &layout::delete_marker(id),
                    RecordKind::DeleteMarker,
                    &marker,
                )
                .await
            {
                // Forgotten meanwhile, if whoever made the marker had the keys.
                Err(error) if error.kind() == ErrorKind::Exists => {
                    let name = layout::delete_marker(id);
                    self.get_record::<DeleteMarker>(&name, RecordKind::DeleteMarker)
                        .await?;
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// Names under `prefix`, as the session ids they stand for.
    async fn marked(
        &self,
        prefix: &str,
        parse: impl Fn(&str) -> Option<SessionId>,
    ) -> Result<BTreeSet<SessionId>> {
        let entries = list_all(&**self.store(), prefix).await?;
        Ok(entries
            .iter()
            .filter_map(|entry| parse(&entry.name))
            .collect())
    }

    async fn exists(&self, name: &str) -> Result<bool> {
        match self.store().get(name, RECORD_BYTES_MAX).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::TooLarge => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// The newest good point of each series.
pub fn newest_good(points: &[Point]) -> impl Iterator<Item = &Point> {
    let mut newest: BTreeMap<&str, &Point> = BTreeMap::new();
    for point in points.iter().filter(|point| !point.bad) {
        newest.insert(&point.manifest.series, point);
    }
    newest.into_values()
}

fn mark_siblings(points: &mut [Point]) {
    let mut children: BTreeMap<(String, Option<SessionId>), usize> = BTreeMap::new();
    let key = |manifest: &Manifest| (manifest.series.clone(), manifest.parent);
    for point in &*points {
        *children.entry(key(&point.manifest)).or_default() += 1;
    }
    for point in points {
        point.sibling = point.manifest.parent.is_some() && children[&key(&point.manifest)] > 1;
    }
}
