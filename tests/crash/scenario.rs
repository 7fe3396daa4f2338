//! Backups to interrupt, and what must hold after each interruption.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agent::{
    Control,
    changes::Extents,
    job::{BackupRequest, ChangeHint},
};
use repository::{
    SessionId,
    layout::{self, PackKind},
    store::{
        MemoryStore, Store as _,
        wrap::{Faulty, Recorded, Verb},
    },
};
use support::{Fleeting, Lives, Model, World, control, fork, names, noise, show};

/// Bytes of a slot table beside its slots, and of each slot.
const TABLE_BYTES: usize = 56 + 24;
const SLOT_BYTES: usize = 48;
const CHUNK_BYTES: u64 = 64 << 10;
/// Packs of 4 MiB that hold the 16 MiB of a leaf, whatever was sealed beside it.
const FIRST_LEAF_PACKS: u64 = 5;
/// A run takes some milliseconds; one that takes this long waits for something that never comes.
const RUN_TIME_MAX: Duration = Duration::from_secs(60);

/// A repository with some points, and a backup to interrupt.
#[derive(Debug)]
pub(crate) struct Scenario {
    world: World,
    before: Model,
    contents: Vec<u8>,
    request: BackupRequest,
    /// Plain bytes that an uninterrupted run uploads.
    new_bytes: u64,
}

impl Scenario {
    /// Points of `older`, oldest first, made from snapshots `0`, `1`, ...; then a backup of `contents`.
    pub(crate) async fn new(older: &[Vec<u8>], contents: Vec<u8>, request: BackupRequest) -> Self {
        let world = World::create(Arc::new(MemoryStore::new())).await;
        let mut before = Model::new();
        for (contents, number) in older.iter().zip(0..) {
            let request = BackupRequest {
                handle: Some(format!("{number}")),
                ..BackupRequest::default()
            };
            let report = world.backup(contents, request).await.expect("a backup");
            before.insert(report.point.id, Arc::new(contents.clone()));
        }
        let request = BackupRequest {
            force: true,
            ..request
        };
        let trial = world.on(Arc::new(fork(&*world.store).await));
        let report = trial
            .backup(&contents, request.clone())
            .await
            .expect("a backup");
        Self {
            world,
            before,
            contents,
            request,
            new_bytes: report.stats.new_bytes,
        }
    }

    /// The same after a run that was asked to stop when it had uploaded the first leaf.
    pub(crate) async fn cancelled(self) -> Self {
        let control = control();
        let cancel = control.cancel.clone();
        let packs = AtomicU64::new(0);
        let store = Faulty::new(Arc::clone(&self.world.store), move |call| {
            if call.verb == Verb::PutNew
                && call.name.starts_with("d/default/p/")
                && packs.fetch_add(1, Ordering::SeqCst) == FIRST_LEAF_PACKS
            {
                cancel.cancel();
            }
            None
        });
        self.run(&self.world.on(Arc::new(store)), &control)
            .await
            .expect_err("it was cancelled");
        let checkpoints = names(&*self.world.store, &layout::sessions()).await;
        assert!(
            checkpoints.iter().any(|name| name.contains(".ck/")),
            "no checkpoint: {checkpoints:?}"
        );
        self
    }

    async fn run(
        &self,
        world: &World,
        control: &Control,
    ) -> Result<agent::job::BackupReport, String> {
        let run = world.backup_under(&self.contents, self.request.clone(), control);
        let report = tokio::time::timeout(RUN_TIME_MAX, run)
            .await
            .map_err(|_| "it hangs")?;
        report.map_err(|error| show(&error))
    }

    /// Interrupts the backup, then its resume, and so on, then lets it run to its end. After each step everything that
    /// should restore does. Returns whether each interruption came before the end.
    pub(crate) async fn live_through(&self, interruptions: &[Lives]) -> bool {
        self.try_to_live_through(interruptions).await.unwrap_or_else(|what| {
            panic!("interrupted at {interruptions:?}: {what}\nreproduce: Scenario::live_through(&{interruptions:?})")
        })
    }

    async fn try_to_live_through(&self, interruptions: &[Lives]) -> Result<bool, String> {
        let left = fork(&*self.world.store).await;
        let world = self.world.on(Arc::new(left.clone()));
        let mut model = self.before.clone();
        for lives in interruptions {
            let (store, fleeting) = Fleeting::new(left.clone(), *lives);
            let result = self.run(&self.world.on(store), &control()).await;
            let added = self.added(&world, &model).await?;
            model.extend(
                added
                    .iter()
                    .map(|id| (*id, Arc::new(self.contents.clone()))),
            );
            match result {
                Ok(report) if !added.contains(&report.point.id) => {
                    return Err(format!("{} was reported and is not there", report.point.id));
                }
                Err(error) if !fleeting.has_stopped() => {
                    return Err(format!("an uninterrupted run: {error}"));
                }
                Ok(_) | Err(_) => {}
            }
            world.check(&model).await?;
            world.check_verify(0).await?;
            if !fleeting.has_stopped() {
                return Ok(false);
            }
        }
        let expected_bytes = if model.len() > self.before.len() {
            0
        } else {
            let uploaded = self.uploaded_chunks(&left).await * CHUNK_BYTES;
            self.new_bytes
                .checked_sub(uploaded)
                .ok_or("more was uploaded than there is")?
        };
        let recorded = Recorded::new(Arc::new(left.clone()));
        let report = self
            .run(&world.on(Arc::new(recorded.clone())), &control())
            .await?;
        model.insert(report.point.id, Arc::new(self.contents.clone()));
        world.check(&model).await?;
        world.check_verify(100).await?;
        if report.stats.new_bytes > expected_bytes {
            let found = report.stats.new_bytes;
            return Err(format!(
                "{found} bytes were uploaded again, at most {expected_bytes} were not there yet"
            ));
        }
        nothing_is_left(&left).await?;
        Ok(true)
    }

    /// Points that are there and not in the model.
    async fn added(&self, world: &World, model: &Model) -> Result<BTreeSet<SessionId>, String> {
        let points = world.points().await.map_err(|error| show(&error))?;
        Ok(points
            .iter()
            .map(|point| point.id)
            .filter(|id| !model.contains_key(id))
            .collect())
    }

    /// Chunks of data packs that arrived, with their slot tables, since the scenario began.
    async fn uploaded_chunks(&self, left: &MemoryStore) -> u64 {
        let mut chunks = 0;
        for name in names(left, "d/default/p/").await {
            let pack = layout::parse_pack(PackKind::Data, &name).expect("the name of a pack");
            if self.world.store.get(&name, u64::MAX).await.is_ok()
                && self.before.contains_key(&pack.session())
            {
                continue;
            }
            if let Ok(table) = left.get(&layout::slot_table(pack), u64::MAX).await {
                chunks += (table.len() - TABLE_BYTES) / SLOT_BYTES;
            }
        }
        chunks as u64
    }
}

/// After a run that ended well nothing of an interrupted one is left but its packs and its register.
async fn nothing_is_left(left: &MemoryStore) -> Result<(), String> {
    let sessions = names(left, &layout::sessions()).await;
    if !sessions.is_empty() {
        return Err(format!("sessions that ended are still there: {sessions:?}"));
    }
    let registers = names(left, &layout::registers()).await;
    let ended: BTreeSet<_> = registers
        .iter()
        .filter_map(|name| layout::parse_register(name))
        .collect();
    for kind in [PackKind::Data, PackKind::Meta] {
        for name in names(
            left,
            if kind == PackKind::Data {
                "d/default/p/"
            } else {
                "d/default/m/"
            },
        )
        .await
        {
            let pack =
                layout::parse_pack(kind, &name).ok_or_else(|| format!("a strange pack {name}"))?;
            if !ended.contains(&pack.session()) {
                return Err(format!("{name} belongs to nobody"));
            }
        }
    }
    Ok(())
}

/// Writes over a part of `contents`.
pub(crate) fn changed(contents: &[u8], at: usize, length: usize, seed: u64) -> Vec<u8> {
    let mut contents = contents.to_vec();
    contents[at..at + length].copy_from_slice(&noise(length, seed));
    contents
}

/// Backs up by a list of changes since a snapshot.
pub(crate) fn extents(
    base: &str,
    volume_bytes: usize,
    changed: &[std::ops::Range<u64>],
) -> BackupRequest {
    let mut extents = Extents::none(volume_bytes as u64);
    changed.iter().cloned().for_each(|range| extents.add(range));
    let changes = Some(ChangeHint {
        base: base.to_owned(),
        extents,
    });
    BackupRequest {
        handle: Some("next".to_owned()),
        changes,
        ..BackupRequest::default()
    }
}

/// A store that lives for so many calls that change it.
pub(crate) fn writes(calls: u64) -> Lives {
    Lives {
        calls,
        reads: false,
        reply_lost: false,
    }
}
