//! Interrupted backups of every kind.

use agent::job::BackupRequest;
use support::{Lives, Random, noise};

use crate::scenario::{Scenario, changed, extents, writes};

const MIB: usize = 1 << 20;

/// More calls than any of these backups makes.
const CALLS_MAX: u64 = 500;

/// Nothing is there yet.
async fn first() -> Scenario {
    let mut contents = noise(3 * MIB / 2, 1);
    contents[MIB / 2..MIB].fill(0);
    Scenario::new(&[], contents, BackupRequest::default()).await
}

/// Everything is read and compared with the last of two points.
async fn compared() -> Scenario {
    let oldest = noise(2 * MIB, 1);
    let parent = changed(&oldest, 300_000, 100_000, 2);
    let contents = changed(&parent, MIB, 200_000, 3);
    Scenario::new(&[oldest, parent], contents, BackupRequest::default()).await
}

/// Only what a list names is read.
async fn listed() -> Scenario {
    let oldest = noise(2 * MIB, 1);
    let parent = changed(&oldest, 300_000, 100_000, 2);
    let contents = changed(&parent, MIB, 200_000, 3);
    let start = MIB as u64;
    let request = extents("1", contents.len(), &[start..start + 200_000]);
    Scenario::new(&[oldest, parent], contents, request).await
}

/// The volume grew by so much that its map has another level.
async fn grown() -> Scenario {
    let parent = noise(MIB, 1);
    let mut contents = parent.clone();
    contents.resize(18 * MIB, 0);
    let contents = changed(&contents, 17 * MIB, 300_000, 2);
    Scenario::new(&[parent], contents, BackupRequest::default()).await
}

/// Four packs, two of them on their way at the same time.
async fn packs() -> Scenario {
    let parent = noise(MIB, 1);
    Scenario::new(&[parent], noise(13 * MIB, 2), BackupRequest::default()).await
}

/// The same of an immutable snapshot, after a run that was asked to stop and left a checkpoint.
async fn continued() -> Scenario {
    let parent = noise(MIB, 1);
    let request = BackupRequest {
        handle: Some("next".to_owned()),
        ..BackupRequest::default()
    };
    Scenario::new(&[parent], noise(40 * MIB, 2), request)
        .await
        .cancelled()
        .await
}

/// Interrupts at every call.
async fn everywhere(scenario: &Scenario, reads: bool, reply_lost: bool) {
    for calls in 0..CALLS_MAX {
        if !scenario
            .live_through(&[Lives {
                calls,
                reads,
                reply_lost,
            }])
            .await
        {
            assert!(calls > 5, "it ended after {calls} calls");
            return;
        }
    }
    panic!("it never ended");
}

/// Interrupts at every call that changes the store, and then its resume at every such call.
async fn everywhere_twice(scenario: &Scenario) {
    for first in 0..CALLS_MAX {
        for second in 0..CALLS_MAX {
            if !scenario
                .live_through(&[writes(first), writes(second)])
                .await
            {
                break;
            }
        }
        if !scenario.live_through(&[writes(first)]).await {
            return;
        }
    }
    panic!("it never ended");
}

/// Interrupts three times in a row, anywhere.
async fn in_a_row(scenario: &Scenario, rounds: u64) {
    let mut random = Random::new(7);
    for _ in 0..rounds {
        let interruptions = [(); 3].map(|()| Lives {
            calls: random.below(16),
            reads: false,
            reply_lost: random.below(2) == 0,
        });
        scenario.live_through(&interruptions).await;
    }
}

macro_rules! suites {
    ($($scenario:ident)*) => { $(
        mod $scenario {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn at_every_write() {
                super::everywhere(&super::$scenario().await, false, false).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn at_every_write_whose_reply_is_lost() {
                super::everywhere(&super::$scenario().await, false, true).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn at_every_read_and_write() {
                super::everywhere(&super::$scenario().await, true, false).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn at_every_write_of_it_and_of_its_resume() {
                super::everywhere_twice(&super::$scenario().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn three_times_in_a_row() {
                super::in_a_row(&super::$scenario().await, 20).await;
            }
        }
    )* };
}

suites!(first compared listed grown packs continued);
