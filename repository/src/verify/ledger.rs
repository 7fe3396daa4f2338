//! What verify runs leave in the repository, and whose turn it is: 100 / N runs of N per cent read everything once.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};

use super::Result;
use crate::{
    clock,
    id::{PackId, SessionId},
    layout, random,
    record::RecordKind,
    repository::Repository,
    store::{Entry, ErrorKind, list_all},
};

/// Runs whose results are kept.
const RUNS_KEPT: usize = 100;
/// Groups of runs of which the last one is kept beyond that: one for each series and percentage. Beyond so many the oldest begin
/// anew.
const GROUPS_KEPT: usize = 10_000;
/// The group of runs that take no turns.
const NO_TURNS: &str = "00000000";
/// Hex digits of a group's name.
const GROUP_DIGITS: usize = 8;
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
    /// Its turn, which says which part of them.
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
}

/// What a run was asked to verify.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// All points.
    #[default]
    All,
    /// Those of a series.
    Series(String),
    /// Some that were chosen.
    Points,
}

/// Which runs take turns with each other: those of one percentage, of all points or of the same series. What points somebody
/// chooses is another thing each time, so that nothing can be counted: such runs draw their turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turns {
    percent: u8,
    /// Eight hex digits.
    name: String,
}

/// Whether a run of `percent` reads this pack in this turn.
pub fn selected(pack: PackId, percent: u8, turn: u64) -> bool {
    let bytes = blake3::hash(pack.as_bytes());
    let hash = u64::from_le_bytes(bytes.as_bytes()[..8].try_into().expect("eight bytes"));
    let offset = (turn % 100) * u64::from(percent);
    (hash % 100 + offset) % 100 < u64::from(percent)
}

impl Repository {
    /// The turns of runs of `percent` of what was asked.
    pub fn turns(&self, percent: u8, asked: &Asked) -> Turns {
        let of = match asked {
            Asked::All => Some(""),
            Asked::Series(series) => Some(series.as_str()),
            Asked::Points => None,
        };
        let name = match of {
            Some(of) if reads_a_part(percent) => {
                let hash = self.keys().name_hash("verify", &format!("{percent} {of}"));
                hash[..GROUP_DIGITS].to_owned()
            }
            _ => NO_TURNS.to_owned(),
        };
        Turns { percent, name }
    }

    /// Whose turn it is: one more than in the last run; any, when none are counted; 0, when no part is read but nothing or all.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn verify_turn(&self, turns: &Turns) -> Result<u64> {
        if turns.name == NO_TURNS {
            let drawn = u64::from_le_bytes(random::array());
            return Ok(if reads_a_part(turns.percent) {
                drawn
            } else {
                0
            });
        }
        let runs = self.verify_runs().await?;
        let of_these = |entry: &&Entry| group(&entry.name) == turns.name;
        for entry in runs.iter().rev().filter(of_these).take(RUNS_KEPT) {
            match self
                .get_record::<VerifyRun>(&entry.name, RecordKind::VerifyRun)
                .await
            {
                // Wrapping, since anybody with the keys may have written any number.
                Ok(run) => return Ok(run.turn.wrapping_add(1)),
                // Advisory: another part is read than would have been.
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(0)
    }

    /// Records the result of a run: what it read, and which points are damaged or whole again. Returns those that are whole
    /// and stay marked, since the mark may not be deleted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn record_verify(
        &self,
        turns: &Turns,
        mut run: VerifyRun,
        bad: &[SessionId],
        whole: &[SessionId],
    ) -> Result<Vec<SessionId>> {
        run.at_ms = clock::now_ms();
        run.percent = turns.percent;
        run.damaged.truncate(DAMAGE_KEPT);
        let name = layout::verify_run(run.at_ms, &turns.name);
        match self.put_record(&name, RecordKind::VerifyRun, &run).await {
            // Two that ended in one millisecond took the same turn.
            Err(error) if error.kind() == ErrorKind::Exists => {}
            other => other?,
        }
        for point in bad {
            match self
                .put_record(&layout::bad_point(*point), RecordKind::BadPoint, &run.at_ms)
                .await
            {
                Err(error) if error.kind() == ErrorKind::Exists => {}
                other => other?,
            }
        }
        let mut marked = Vec::new();
        for point in whole {
            match self.store().delete(&layout::bad_point(*point)).await {
                Err(error) if error.kind() == ErrorKind::Denied => marked.push(*point),
                other => other?,
            }
        }
        for name in superfluous(&self.verify_runs().await?) {
            self.delete_quietly(name).await;
        }
        Ok(marked)
    }

    /// Results of runs, oldest first by the store's time: with a clock that is ahead, a name stays the last for ever.
    async fn verify_runs(&self) -> Result<Vec<Entry>> {
        let mut runs = list_all(&**self.store(), &layout::verify_runs()).await?;
        runs.retain(|entry| layout::is_verify_run(&entry.name));
        runs.sort_by(|left, right| (left.modified, &left.name).cmp(&(right.modified, &right.name)));
        Ok(runs)
    }
}

/// Whether runs of `percent` read neither nothing nor everything.
fn reads_a_part(percent: u8) -> bool {
    (1..100).contains(&percent)
}

/// Which turns a run took part in, by its name.
fn group(name: &str) -> &str {
    name.rsplit_once('-').map_or("", |(_, group)| group)
}

/// Runs that are not kept: all but the newest, and of those that are older the last one of each group, as it is what the
/// next turn is counted from.
fn superfluous(runs: &[Entry]) -> Vec<&str> {
    let mut groups = BTreeSet::new();
    let mut superfluous = Vec::new();
    for (age, entry) in runs.iter().rev().enumerate() {
        let last = groups.len() < GROUPS_KEPT && groups.insert(group(&entry.name));
        if age >= RUNS_KEPT && !last {
            superfluous.push(entry.name.as_str());
        }
    }
    superfluous
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::SystemTime};

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

    fn run(turn: u64) -> VerifyRun {
        VerifyRun {
            at_ms: 0,
            percent: 0,
            turn,
            points: 0,
            packs_read: 0,
            damaged: Vec::new(),
        }
    }

    fn of_series(name: &str) -> Asked {
        Asked::Series(name.to_owned())
    }

    /// Makes the run whose turn it is, and says which one that is.
    async fn take_turn(repository: &Repository, percent: u8, asked: &Asked) -> u64 {
        let turns = repository.turns(percent, asked);
        let turn = repository.verify_turn(&turns).await.unwrap();
        let recorded = repository.record_verify(&turns, run(turn), &[], &[]);
        recorded.await.unwrap();
        // Names have milliseconds.
        let now = clock::now_ms();
        while clock::now_ms() == now {
            tokio::task::yield_now().await;
        }
        turn
    }

    /// Else a daily run of one series would take the turns of the run that is to read everything.
    #[tokio::test]
    async fn turns_are_counted_for_each_percentage_and_for_what_was_asked() {
        let repository = repository().await;
        for (percent, asked, turn) in [
            (5, Asked::All, 0),
            (5, Asked::All, 1),
            (10, Asked::All, 0),
            (5, of_series("a"), 0),
            (5, of_series("a"), 1),
            (5, of_series("b"), 0),
            (5, Asked::All, 2),
            (10, Asked::All, 1),
            (100, Asked::All, 0),
            (100, Asked::All, 0),
            (0, of_series("a"), 0),
        ] {
            let taken = take_turn(&repository, percent, &asked).await;
            assert_eq!(taken, turn, "{percent} {asked:?}");
        }
    }

    /// Else whoever has more series than results are kept would read the same part of each for ever.
    #[tokio::test]
    async fn many_series_have_turns_of_their_own() {
        let repository = repository().await;
        for round in 0..2 {
            for number in 0..RUNS_KEPT + 20 {
                let series = of_series(&number.to_string());
                assert_eq!(take_turn(&repository, 50, &series).await, round, "{number}");
            }
        }
    }

    /// Else verifying single points, each of which was asked for by its name, would push the turns of all out of the ledger.
    #[tokio::test]
    async fn runs_that_take_no_turns_are_one_group() {
        let repository = repository().await;
        let group = |percent, asked| repository.turns(percent, &asked).name;
        for (percent, asked) in [
            (0, Asked::All),
            (100, of_series("a")),
            (5, Asked::Points),
            (0, Asked::Points),
        ] {
            assert_eq!(
                group(percent, asked.clone()),
                NO_TURNS,
                "{percent} {asked:?}"
            );
        }
        for some in [1, 99] {
            assert_ne!(group(some, Asked::All), NO_TURNS);
            assert_ne!(group(some, Asked::All), group(some, of_series("a")));
        }
        // Which part it is nobody can foresee, so that all of them are read some day.
        let mut drawn = BTreeSet::new();
        for _ in 0..10 {
            drawn.insert(take_turn(&repository, 5, &Asked::Points).await);
        }
        assert_eq!(drawn.len(), 10);
    }

    /// One false record must not stop verify, nor hold it at one turn for ever.
    #[tokio::test]
    async fn a_false_record_stops_nothing() {
        let repository = repository().await;
        let turns = repository.turns(5, &Asked::All);
        let name = layout::verify_run(u64::MAX, &turns.name);
        let record = run(u64::MAX);
        let put = repository.put_record(&name, RecordKind::VerifyRun, &record);
        put.await.unwrap();
        for turn in 0..3 {
            assert_eq!(take_turn(&repository, 5, &Asked::All).await, turn);
        }
    }

    #[test]
    fn the_newest_runs_are_kept_and_the_last_of_each_group() {
        let entry = |number: u64, group: &str| Entry {
            name: layout::verify_run(number, group),
            bytes: 1,
            modified: SystemTime::UNIX_EPOCH,
        };
        let kept = RUNS_KEPT as u64;
        let mut runs = vec![
            entry(0, "aaaaaaaa"),
            entry(1, "bbbbbbbb"),
            entry(2, "aaaaaaaa"),
        ];
        runs.extend((3..3 + kept).map(|number| entry(number, "cccccccc")));
        assert_eq!(superfluous(&runs), [layout::verify_run(0, "aaaaaaaa")]);
        assert!(superfluous(&runs[3..]).is_empty());
    }
}
