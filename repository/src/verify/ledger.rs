//! What verify runs leave in the repository, and whose turn it is: 100 / N runs of N per cent read everything once.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};

use super::Result;
use crate::{
    clock,
    id::{Nonce, PackId, SessionId},
    layout,
    record::RecordKind,
    repository::Repository,
    store::{Entry, ErrorKind, list_all},
};

/// Runs whose results are kept.
const RUNS_KEPT: usize = 100;
/// Objects that one run's result names.
const DAMAGE_KEPT: usize = 100;

/// What a verify run leaves in the repository.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct VerifyRun {
    /// When it ended, in milliseconds since 1970.
    #[n(0)]
    pub at_ms: u64,
    /// How many per cent of the packs it read.
    #[n(1)]
    pub percent: u8,
    /// Its turn, which says which part of them: runs of one percentage are counted.
    #[n(2)]
    pub turn: u64,
    /// Points whose structure was walked.
    #[n(3)]
    pub points: u64,
    /// Packs read.
    #[n(4)]
    pub packs_read: u64,
    /// Objects that were damaged, at most a hundred of them.
    #[n(5)]
    pub damaged: Vec<String>,
    /// Which points were meant, if not all: runs of different points take turns of their own.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub scope: Option<[u8; 16]>,
}

/// What stands for a choice of points; none for all.
pub fn scope(points: &[SessionId]) -> Option<[u8; 16]> {
    if points.is_empty() {
        return None;
    }
    let chosen: BTreeSet<&SessionId> = points.iter().collect();
    let mut hasher = blake3::Hasher::new();
    for point in chosen {
        hasher.update(point.as_bytes());
    }
    let mut scope = [0; 16];
    hasher.finalize_xof().fill(&mut scope);
    Some(scope)
}

/// Whether a run of `percent` reads this pack in this turn.
pub fn selected(pack: PackId, percent: u8, turn: u64) -> bool {
    let bytes = blake3::hash(pack.as_bytes());
    let hash = u64::from_le_bytes(bytes.as_bytes()[..8].try_into().expect("eight bytes"));
    let offset = (turn % 100) * u64::from(percent);
    (hash % 100 + offset) % 100 < u64::from(percent)
}

impl Repository {
    /// Whose turn it is in a run of `percent`: one more than in the last one of the same percentage and scope.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn verify_turn(&self, percent: u8, scope: Option<[u8; 16]>) -> Result<u64> {
        for entry in self.verify_runs().await?.iter().rev().take(RUNS_KEPT) {
            match self
                .get_record::<VerifyRun>(&entry.name, RecordKind::VerifyRun)
                .await
            {
                // Wrapping, since anybody with the keys may have written any number.
                Ok(run) if run.percent == percent && run.scope == scope => {
                    return Ok(run.turn.wrapping_add(1));
                }
                Ok(_) => {}
                // Advisory: another part is read than would have been.
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(0)
    }

    /// Records the result of a run: what it read, and which points are damaged or whole again.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn record_verify(
        &self,
        mut run: VerifyRun,
        bad: &[SessionId],
        whole: &[SessionId],
    ) -> Result<()> {
        run.at_ms = clock::now_ms();
        run.damaged.truncate(DAMAGE_KEPT);
        let name = layout::verify_run(run.at_ms, &Nonce::draw().to_string()[..8]);
        self.put_record(&name, RecordKind::VerifyRun, &run).await?;
        for point in bad {
            match self
                .put_record(&layout::bad_point(*point), RecordKind::BadPoint, &run.at_ms)
                .await
            {
                Err(error) if error.kind() == ErrorKind::Exists => {}
                other => other?,
            }
        }
        for point in whole {
            self.store().delete(&layout::bad_point(*point)).await?;
        }
        let runs = self.verify_runs().await?;
        for entry in runs.iter().take(runs.len().saturating_sub(RUNS_KEPT)) {
            self.delete_quietly(&entry.name).await;
        }
        Ok(())
    }

    /// Results of runs, oldest first by the store's time: with a clock that is ahead, a name stays the last for ever.
    async fn verify_runs(&self) -> Result<Vec<Entry>> {
        let mut runs = list_all(&**self.store(), &layout::verify_runs()).await?;
        runs.sort_by(|left, right| (left.modified, &left.name).cmp(&(right.modified, &right.name)));
        Ok(runs)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::{key::Secret, repository::CreateOptions, store::MemoryStore};

    proptest! {
        #[test]
        fn any_runs_in_turn_read_everything(
            pack in any::<[u8; 20]>(),
            percent in 1_u8..=100,
            first in 0..u64::MAX - 100,
        ) {
            let runs = 100_u64.div_ceil(u64::from(percent));
            let read = (first..first + runs).filter(|turn| selected(PackId::from_bytes(pack), percent, *turn));
            let read = read.count();
            prop_assert!(read == 1 || (read == 2 && 100 % percent != 0), "{read} times");
        }
    }

    async fn repository() -> Repository {
        let store = Arc::new(MemoryStore::new());
        let (secret, options) = (Secret::draw_key_file(), CreateOptions::default());
        let created = Repository::create(store, &secret, &options);
        created.await.unwrap()
    }

    fn run(percent: u8, turn: u64) -> VerifyRun {
        VerifyRun {
            at_ms: 0,
            percent,
            turn,
            points: 0,
            packs_read: 0,
            damaged: Vec::new(),
            scope: None,
        }
    }

    #[tokio::test]
    async fn turns_are_counted_for_each_percentage() {
        let repository = repository().await;
        assert_eq!(repository.verify_turn(5, None).await.unwrap(), 0);
        for (percent, turn) in [(5, 0), (5, 1), (10, 7)] {
            repository
                .record_verify(run(percent, turn), &[], &[])
                .await
                .unwrap();
        }
        for (percent, turn) in [(5, 2), (10, 8), (20, 0)] {
            assert_eq!(repository.verify_turn(percent, None).await.unwrap(), turn);
        }
    }

    /// Else a daily run of one series would take the turns of the run that is to read everything.
    #[tokio::test]
    async fn runs_of_other_points_take_no_turns() {
        let repository = repository().await;
        let id = |byte| SessionId::from_bytes([byte; 16]);
        let (one, other) = (scope(&[id(1), id(2)]), scope(&[id(3)]));
        assert_eq!(one, scope(&[id(2), id(1), id(2)]));
        assert!(one != other && one.is_some() && scope(&[]).is_none());
        for (turn, scope) in [(0, None), (0, one), (1, one), (0, other), (1, None)] {
            let next = repository.verify_turn(50, scope).await.unwrap();
            assert_eq!(next, turn);
            let run = VerifyRun {
                scope,
                ..run(50, turn)
            };
            repository.record_verify(run, &[], &[]).await.unwrap();
        }
    }

    /// One false record must not stop verify, nor hold it at one turn for ever.
    #[tokio::test]
    async fn a_false_record_stops_nothing() {
        let repository = repository().await;
        let name = layout::verify_run(u64::MAX, "ffffffff");
        let record = run(5, u64::MAX);
        repository
            .put_record(&name, RecordKind::VerifyRun, &record)
            .await
            .unwrap();
        for turn in 0..3 {
            assert_eq!(repository.verify_turn(5, None).await.unwrap(), turn);
            repository
                .record_verify(run(5, turn), &[], &[])
                .await
                .unwrap();
        }
    }

    #[tokio::test]
    async fn the_newest_runs_are_kept() {
        let repository = repository().await;
        let ahead = layout::verify_run(u64::MAX, "ffffffff");
        repository
            .put_record(&ahead, RecordKind::VerifyRun, &run(5, 0))
            .await
            .unwrap();
        let kept = RUNS_KEPT as u64;
        for turn in 0..kept {
            repository
                .record_verify(run(5, turn), &[], &[])
                .await
                .unwrap();
        }
        let runs = repository.verify_runs().await.unwrap();
        assert_eq!(runs.len(), RUNS_KEPT);
        assert!(runs.iter().all(|entry| entry.name != ahead));
    }
}
