//! What a store really guarantees, found out by trying.
//!
//! Some servers accept a conditional write and ignore the condition, and some proxies answer from yesterday. `init`
//! records what was seen here and `doctor` shows it. A guarantee that was not seen is never reported; one that was
//! seen may still be broken under other circumstances, which [`conformance`](super::conformance) tests harder.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::future::join_all;
use tokio::time::Instant;

use crate::{
    clock,
    id::Nonce,
    store::{Entry, ErrorKind, Result, Store, list_all},
};

/// Writers that race for one name: enough that a server with several gateways gets them at more than one.
const RACERS: usize = 8;

/// The most that is read of an object of 1 KiB or less; a store that has more under its name is not what we wrote to.
const READ_BYTES_MAX: u64 = 1 << 20;

/// `Last-Modified` has whole seconds.
const CLOCK_RESOLUTION: Duration = Duration::from_secs(1);

/// What a store was seen to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct ProbeReport {
    /// Of several writers of one name exactly one won, the bytes are its bytes, and a later writer was refused.
    pub write_once: bool,
    /// What was written was read back at once.
    pub read_after_write: bool,
    /// What was written was listed at once, and what was deleted no longer was.
    pub list_after_write: bool,
    /// Parts of objects are read exactly, and parts that are not there are refused.
    pub ranges: bool,
    /// What the probe wrote could be deleted again; not every role may.
    pub deletes: bool,
    /// How long a small object took there and back.
    pub round_trip: Duration,
    /// How far the store's clock is from ours at least, if that could be seen.
    pub clock_skew: Option<Duration>,
    /// What was seen instead of what the contract asks for, a line each.
    pub violations: Vec<String>,
}

/// Tries what a store guarantees, with a few small objects under `v/probe/`.
///
/// # Errors
/// When the store cannot be used at all, or an answer is missing without which nothing can be said.
pub async fn probe(store: &dyn Store) -> Result<ProbeReport> {
    let mut probing = Probing {
        store,
        folder: format!("v/probe/{}/", Nonce::draw()),
        violations: Vec::new(),
    };
    let seen = probing.look().await;
    // Whatever was seen, nothing is left behind.
    let deletes = probing.clean_up().await;
    let mut report = seen?;
    report.deletes = deletes;
    if deletes && !probing.shows_nothing().await? {
        report.list_after_write = false;
    }
    report.violations = probing.violations;
    Ok(report)
}

struct Probing<'a> {
    store: &'a dyn Store,
    folder: String,
    violations: Vec<String>,
}

impl Probing<'_> {
    fn name(&self, last: &str) -> String {
        format!("{}{last}", self.folder)
    }

    /// Notes what was seen instead, and returns whether it was what it should be.
    fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) -> bool {
        if !holds {
            self.violations.push(otherwise());
        }
        holds
    }

    async fn look(&mut self) -> Result<ProbeReport> {
        let write_once = self.race().await?;
        let (before, started) = (clock::now(), Instant::now());
        let read_after_write = self.there_and_back().await?;
        let (after, round_trip) = (clock::now(), started.elapsed());
        let ranges = self.ranges().await?;
        let entries = list_all(self.store, &self.folder).await?;
        let modified = entries
            .iter()
            .find(|entry| entry.name.ends_with("/small"))
            .map(|entry| entry.modified);
        Ok(ProbeReport {
            write_once,
            read_after_write,
            list_after_write: self.shows(&entries),
            ranges,
            deletes: false,
            round_trip,
            clock_skew: modified.map(|modified| skew(modified, before, after)),
            violations: Vec::new(),
        })
    }

    /// Lets several writers race for one name, and another come late.
    async fn race(&mut self) -> Result<bool> {
        let name = self.name("race");
        let bodies: Vec<Bytes> = (0..=RACERS)
            .map(|_| Bytes::copy_from_slice(Nonce::draw().as_bytes()))
            .collect();
        let (late, racing) = bodies
            .split_last()
            .expect("there is one more than the racers");
        let outcomes = join_all(
            racing
                .iter()
                .map(|body| self.store.put_new(&name, body.clone())),
        )
        .await;
        let mut winners = Vec::new();
        for (body, outcome) in racing.iter().zip(outcomes) {
            match outcome {
                Ok(()) => winners.push(body),
                Err(error) if error.kind() == ErrorKind::Exists => {}
                Err(error) => return Err(error),
            }
        }
        let read = self.read(&name).await?;
        let one = self.expect(winners.len() == 1, || {
            format!(
                "of {RACERS} writers of one name {} were told that they won, expected 1",
                winners.len()
            )
        });
        let whose = self.expect(
            winners.iter().all(|winner| Some(*winner) == read.as_ref()),
            || "the bytes read after a race are not those of who was told to have won".to_owned(),
        );
        let refused = match self.store.put_new(&name, late.clone()).await {
            Ok(()) => false,
            Err(error) if error.kind() == ErrorKind::Exists => true,
            Err(error) => return Err(error),
        };
        let refused = self.expect(refused, || {
            "a name that was taken could be written again".to_owned()
        });
        let kept = read.is_some() && self.read(&name).await? == read;
        let kept = self.expect(kept, || "an object changed after it was written".to_owned());
        Ok(one && whose && refused && kept)
    }

    async fn there_and_back(&mut self) -> Result<bool> {
        let name = self.name("small");
        let body = small_body();
        self.store.put_new(&name, body.clone()).await?;
        let seen = self.read(&name).await? == Some(body);
        Ok(self.expect(seen, || {
            "an object could not be read as it was just written".to_owned()
        }))
    }

    async fn read(&self, name: &str) -> Result<Option<Bytes>> {
        match self.store.get(name, READ_BYTES_MAX).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            result => result.map(Some),
        }
    }

    async fn ranges(&mut self) -> Result<bool> {
        let name = self.name("small");
        let body = small_body();
        let bytes = body.len() as u64;
        let inner = match self.store.get_range(&name, 100..200).await {
            Ok(read) => read == body.slice(100..200),
            Err(error) if is_answer(error.kind()) => false,
            Err(error) => return Err(error),
        };
        let beyond = match self.store.get_range(&name, bytes - 10..bytes + 10).await {
            Ok(_) => false,
            Err(error) if is_answer(error.kind()) => error.kind() == ErrorKind::Short,
            Err(error) => return Err(error),
        };
        let inner = self.expect(inner, || "a part of an object was read wrongly".to_owned());
        let beyond = self.expect(beyond, || {
            "a part beyond the end of an object was not refused as such".to_owned()
        });
        Ok(inner && beyond)
    }

    fn shows(&mut self, entries: &[Entry]) -> bool {
        let listed: Vec<_> = entries
            .iter()
            .map(|entry| (entry.name.clone(), entry.bytes))
            .collect();
        let written = [
            (self.name("race"), Nonce::BYTES as u64),
            (self.name("small"), small_body().len() as u64),
        ];
        self.expect(listed == written, || {
            format!("what was just written was not listed: expected {written:?}, got {listed:?}")
        })
    }

    /// Deletes what was written; whether that could be done.
    async fn clean_up(&self) -> bool {
        let names = ["race", "small"].map(|last| self.name(last));
        let deleted = join_all(names.iter().map(|name| self.store.delete(name))).await;
        deleted.iter().all(std::result::Result::is_ok)
    }

    async fn shows_nothing(&mut self) -> Result<bool> {
        let entries = list_all(self.store, &self.folder).await?;
        Ok(self.expect(entries.is_empty(), || {
            "a deleted object was still listed".to_owned()
        }))
    }
}

/// Whether a store that works can fail a read this way.
fn is_answer(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound | ErrorKind::Short | ErrorKind::TooLarge | ErrorKind::Unsupported
    )
}

/// 1 KiB in which every part differs from its neighbours.
fn small_body() -> Bytes {
    (0..=u8::MAX)
        .flat_map(|byte| [byte, byte ^ 0x55, 0, 1])
        .collect()
}

/// How far `modified` is outside the time in which the object was written.
fn skew(modified: SystemTime, before: SystemTime, after: SystemTime) -> Duration {
    let early = before
        .duration_since(modified)
        .unwrap_or_default()
        .saturating_sub(CLOCK_RESOLUTION);
    let late = modified.duration_since(after).unwrap_or_default();
    early.max(late)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::{
        MemoryStore,
        conformance::flawed::{Flaw, Flawed},
        wrap::{Fault, Faulty, ReadOnly, Verb},
    };

    #[tokio::test]
    async fn a_good_store_keeps_every_promise_and_its_contents() {
        let store = MemoryStore::new();
        let report = probe(&store).await.unwrap();
        assert!(report.write_once && report.read_after_write && report.list_after_write);
        assert!(report.ranges && report.deletes);
        assert_eq!(
            (report.clock_skew, report.violations),
            (Some(Duration::ZERO), Vec::new())
        );
        assert!(list_all(&store, "").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn no_guarantee_is_reported_that_was_not_seen() {
        // What each flaw takes away: write-once, read after write, list after write, ranges.
        let cases = [
            (Flaw::Overwrites, [false, true, true, true]),
            (Flaw::LooksThenWrites, [false, true, true, true]),
            (Flaw::KeepsTheLoser, [false, true, true, true]),
            (Flaw::ListsLate, [true, true, false, true]),
            (Flaw::KeepsDeleted, [true, true, false, true]),
            (Flaw::ShiftsParts, [true, true, true, false]),
            (Flaw::CutsParts, [true, true, true, false]),
            (Flaw::ReadsLate, [false, false, true, true]),
        ];
        for (flaw, expected) in cases {
            let report = probe(&Flawed::new(flaw)).await.unwrap();
            let seen = [
                report.write_once,
                report.read_after_write,
                report.list_after_write,
                report.ranges,
            ];
            assert_eq!(seen, expected, "{flaw:?}: {report:?}");
            assert_eq!(
                report.violations.is_empty(),
                seen == [true; 4],
                "{flaw:?}: {report:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_written_gives_no_report() {
        let error = probe(&ReadOnly::new(Arc::new(MemoryStore::new())))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnly);
    }

    #[tokio::test]
    async fn a_racer_without_an_answer_proves_nothing() {
        let memory = MemoryStore::new();
        let racers = std::sync::atomic::AtomicUsize::new(0);
        let store = Faulty::new(Arc::new(memory.clone()), move |call| {
            let put = call.verb == Verb::PutNew;
            let earlier = racers.fetch_add(put.into(), std::sync::atomic::Ordering::SeqCst);
            (put && earlier == 3).then_some(Fault::Before(ErrorKind::Unreachable))
        });
        assert_eq!(
            probe(&store).await.unwrap_err().kind(),
            ErrorKind::Unreachable
        );
        assert!(
            list_all(&memory, "").await.unwrap().is_empty(),
            "cleaned up all the same"
        );
    }

    #[tokio::test]
    async fn a_role_that_may_not_delete_can_probe() {
        let store = Faulty::new(Arc::new(MemoryStore::new()), |call| {
            (call.verb == Verb::Delete).then_some(Fault::Before(ErrorKind::Denied))
        });
        let report = probe(&store).await.unwrap();
        assert!(report.write_once && report.list_after_write && !report.deletes);
    }

    #[test]
    fn skew_is_what_lies_outside_the_time_of_writing() {
        let at = |ms: u64| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        let skew_ms = |modified| skew(at(modified), at(10_000), at(10_100)).as_millis();
        assert_eq!(
            [0, 9_000, 10_050, 10_100, 14_100].map(skew_ms),
            [9_000, 0, 0, 0, 4_000]
        );
    }
}
