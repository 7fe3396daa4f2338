//! The world as it is, and the model that says how it should be.

use std::{collections::BTreeMap, fs, ops::Range, sync::Arc};

use agent::{
    changes::Extents,
    job::{self, BackupRequest, ChangeHint},
    target::{FileTarget, InPlaceTarget, StreamTarget, Target},
};
use repository::{ChangeMethod, Point, RepositoryError, SessionId, store::MemoryStore};
use support::{Fleeting, Lives, Model, Random, World, control, noise, show};

use crate::operations::{How, Into, Operation, SERIES, With};

/// A point that was committed and not forgotten.
#[derive(Clone, Debug)]
struct Committed {
    id: SessionId,
    series: usize,
    handle: String,
    contents: Arc<Vec<u8>>,
}

/// A volume that changes.
#[derive(Clone, Debug, Default)]
struct Volume {
    contents: Vec<u8>,
    /// Counts changes: the same version is the same snapshot.
    version: u64,
}

#[derive(Debug)]
pub(crate) struct State {
    store: MemoryStore,
    world: World,
    folder: tempfile::TempDir,
    volumes: [Volume; SERIES],
    /// The model: oldest first.
    points: Vec<Committed>,
    /// Contents of each snapshot that a list of changes may start from.
    snapshots: BTreeMap<String, Arc<Vec<u8>>>,
}

impl State {
    pub(crate) async fn new() -> Self {
        let store = MemoryStore::new();
        let volume = Volume {
            contents: noise(200_000, 5),
            version: 0,
        };
        Self {
            world: World::create(Arc::new(store.clone())).await,
            store,
            folder: tempfile::tempdir().expect("a folder"),
            volumes: [volume.clone(), volume],
            points: Vec::new(),
            snapshots: BTreeMap::new(),
        }
    }

    pub(crate) async fn apply(&mut self, operation: &Operation) -> Result<(), String> {
        match *operation {
            Operation::Write {
                series,
                at,
                length,
                with,
            } => {
                let volume = &mut self.volumes[series];
                let start = at.min(volume.contents.len());
                let end = (at + length).min(volume.contents.len());
                let range = &mut volume.contents[start..end];
                match with {
                    With::Noise(seed) => Random::new(seed).fill(range),
                    With::Zeros => range.fill(0),
                }
                volume.version += 1;
                Ok(())
            }
            Operation::Resize { series, bytes } => {
                self.volumes[series].contents.resize(bytes, 0);
                self.volumes[series].version += 1;
                Ok(())
            }
            Operation::Copy { series } => {
                let other = self.volumes[(series + 1) % SERIES].contents.clone();
                self.volumes[series].contents = other;
                self.volumes[series].version += 1;
                Ok(())
            }
            Operation::Backup { series, how, calls } => {
                self.backup(series, how, calls).await?;
                self.check().await
            }
            Operation::Restore { point, into } => self.restore(point, into).await,
            Operation::Forget { point } => {
                self.forget(point).await?;
                self.check().await
            }
            Operation::Verify { percent } => {
                self.world.check_verify(percent).await?;
                self.check().await
            }
        }
    }

    /// Everything that should restore does.
    async fn check(&self) -> Result<(), String> {
        let model: Model = self
            .points
            .iter()
            .map(|point| (point.id, Arc::clone(&point.contents)))
            .collect();
        self.world.check(&model).await
    }

    fn parent(&self, series: usize) -> Option<&Committed> {
        self.points
            .iter()
            .rev()
            .find(|point| point.series == series)
    }

    async fn backup(&mut self, series: usize, how: How, calls: Option<u64>) -> Result<(), String> {
        let contents = Arc::new(self.volumes[series].contents.clone());
        let handle = format!("{series}-{}", self.volumes[series].version);
        self.snapshots.insert(handle.clone(), Arc::clone(&contents));
        let request = BackupRequest {
            series: series.to_string(),
            handle: Some(handle.clone()),
            changes: self.hint(series, how, &contents),
            force: true,
            ..BackupRequest::default()
        };
        let lives = Lives {
            calls: calls.unwrap_or(u64::MAX),
            reads: false,
            reply_lost: false,
        };
        let (store, fleeting) = Fleeting::new(self.store.clone(), lives);
        let expected = self.method(series, &request);
        let result = self.world.on(store).backup(&contents, request).await;
        let known: Vec<_> = self.points.iter().map(|point| point.id).collect();
        let there = self.world.points().await.map_err(|error| show(&error))?;
        let added = there
            .iter()
            .map(|point| point.id)
            .filter(|id| !known.contains(id));
        let added: Vec<_> = added.collect();
        match result {
            Err(error) if !fleeting.has_stopped() => return Err(show(&error)),
            Err(_) => {}
            Ok(report) => {
                if added != [report.point.id] {
                    return Err(format!(
                        "{} was reported, and {added:?} are new",
                        report.point.id
                    ));
                }
                if report.changes.method != expected {
                    return Err(format!("{:?}, not {expected:?}", report.changes));
                }
            }
        }
        let committed = |id| Committed {
            id,
            series,
            handle: handle.clone(),
            contents: Arc::clone(&contents),
        };
        self.points.extend(added.into_iter().map(committed));
        Ok(())
    }

    /// How changes will be found.
    fn method(&self, series: usize, request: &BackupRequest) -> ChangeMethod {
        match (self.parent(series), &request.changes) {
            (None, _) => ChangeMethod::Everything,
            (Some(parent), Some(hint)) if parent.handle == hint.base => ChangeMethod::Extents,
            (Some(_), _) => ChangeMethod::Compare,
        }
    }

    /// A list of what changed since a snapshot.
    fn hint(&self, series: usize, how: How, contents: &[u8]) -> Option<ChangeHint> {
        let base = match how {
            How::Compare => return None,
            How::Extents | How::Superset(_) => self.parent(series)?.handle.clone(),
            How::WrongBase => self.points.first()?.handle.clone(),
        };
        let mut extents = Extents::none(contents.len() as u64);
        for range in differences(&self.snapshots[&base], contents) {
            extents.add(range);
        }
        if let How::Superset(seed) = how {
            let mut random = Random::new(seed);
            for _ in 0..random.below(5) {
                let start = random.below(contents.len() as u64);
                let end = start + random.below(300_000);
                let mut more = Extents::none(contents.len() as u64);
                more.add(start..end.min(contents.len() as u64));
                extents = extents.union(&more);
            }
        }
        Some(ChangeHint { base, extents })
    }

    async fn restore(&self, point: usize, into: Into) -> Result<(), String> {
        if self.points.is_empty() {
            return Ok(());
        }
        let committed = &self.points[point % self.points.len()];
        let expected = &committed.contents;
        let points = self.world.points().await.map_err(|error| show(&error))?;
        let point = points
            .iter()
            .find(|point| point.id == committed.id)
            .ok_or("it is gone")?;
        let path = self.folder.path().join("restored");
        match into {
            Into::File => {
                let target = FileTarget::create(&path).map_err(|error| show(&error))?;
                self.restore_to(point, Arc::new(target)).await?;
            }
            Into::InPlace { seed, beyond } => {
                fs::write(&path, noise(expected.len() + beyond, seed))
                    .map_err(|error| show(&error))?;
                let target = InPlaceTarget::open(&path).map_err(|error| show(&error))?;
                self.restore_to(point, Arc::new(target)).await?;
                let found = fs::read(&path).map_err(|error| show(&error))?;
                if found[expected.len()..] != noise(expected.len() + beyond, seed)[expected.len()..]
                {
                    return Err("what lies beyond the volume was changed".to_owned());
                }
                fs::write(&path, &found[..expected.len()]).map_err(|error| show(&error))?;
            }
            Into::Stream => {
                let target = Arc::new(StreamTarget::new("stream", Vec::new()));
                self.restore_to(point, Arc::clone(&target) as _).await?;
                let target = Arc::into_inner(target).ok_or("the target is still held")?;
                fs::write(&path, target.into_inner()).map_err(|error| show(&error))?;
            }
        }
        let restored = fs::read(&path).map_err(|error| show(&error))?;
        fs::remove_file(&path).map_err(|error| show(&error))?;
        if restored == **expected {
            Ok(())
        } else {
            Err("it restores WRONG BYTES".to_owned())
        }
    }

    async fn restore_to(&self, point: &Point, target: Arc<dyn Target>) -> Result<(), String> {
        let repository = self.world.open().await.map_err(|error| show(&error))?;
        let report = job::restore(&repository, point, target, &control()).await;
        report.map(drop).map_err(|error| show(&error))
    }

    /// The newest point of a series is forgotten only by force.
    async fn forget(&mut self, point: usize) -> Result<(), String> {
        if self.points.is_empty() {
            return Ok(());
        }
        let index = point % self.points.len();
        let id = self.points[index].id;
        let newest = self
            .parent(self.points[index].series)
            .is_some_and(|point| point.id == id);
        let repository = self.world.open().await.map_err(|error| show(&error))?;
        match repository.forget(&[id], "test", false).await {
            Ok(()) if !newest => {}
            Err(RepositoryError::NewestPoint { .. }) if newest => {
                repository
                    .forget(&[id], "test", true)
                    .await
                    .map_err(|error| show(&error))?;
            }
            other => return Err(format!("forget of {id}: {other:?}")),
        }
        self.points.remove(index);
        Ok(())
    }
}

/// Ranges in which the newer contents differ; where the older ones end, the rest differs.
fn differences(older: &[u8], newer: &[u8]) -> Vec<Range<u64>> {
    const STEP: usize = 512;
    let mut ranges = Vec::new();
    for (part, number) in newer.chunks(STEP).zip(0..) {
        let start = number * STEP;
        let before = older.get(start..start + part.len());
        if before != Some(part) {
            ranges.push(start as u64..(start + part.len()) as u64);
        }
    }
    ranges
}
