//! What may happen to two volumes and their repository.

use std::time::Duration;

use proptest::prelude::*;

use crate::state::State;

/// Volumes, each with a series of its own.
pub(crate) const SERIES: usize = 2;

/// An operation takes some milliseconds; one that takes this long waits for something that never comes.
const OPERATION_TIME_MAX: Duration = Duration::from_secs(30);

/// Something that happens. Offsets, lengths and choices are cut to what is there.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// A range is written.
    Write {
        series: usize,
        at: usize,
        length: usize,
        with: With,
    },
    /// A volume grows or shrinks.
    Resize { series: usize, bytes: usize },
    /// A volume becomes a copy of the other one.
    Copy { series: usize },
    /// A backup, which may be cut off after so many calls that change the store.
    Backup {
        series: usize,
        how: How,
        calls: Option<u64>,
    },
    /// A restore of one of the points.
    Restore { point: usize, into: Into },
    /// One of the points is forgotten.
    Forget { point: usize },
    /// A verify that reads so many per cent.
    Verify { percent: u8 },
}

/// What is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum With {
    Noise(u64),
    Zeros,
}

/// What is known about changes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    /// Nothing.
    Compare,
    /// Exactly what changed.
    Extents,
    /// That, and more.
    Superset(u64),
    /// What changed since another point than the last one.
    WrongBase,
}

/// Where a restore writes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Into {
    File,
    /// Over something else, which may be larger.
    InPlace {
        seed: u64,
        beyond: usize,
    },
    Stream,
}

/// An operation.
pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    let series = || 0..SERIES;
    let with = prop_oneof![any::<u64>().prop_map(With::Noise), Just(With::Zeros)];
    let how = prop_oneof![
        Just(How::Compare),
        Just(How::Extents),
        any::<u64>().prop_map(How::Superset),
        Just(How::WrongBase),
    ];
    let into = prop_oneof![
        Just(Into::File),
        (any::<u64>(), prop_oneof![Just(0), 1..200_000_usize])
            .prop_map(|(seed, beyond)| Into::InPlace { seed, beyond }),
        Just(Into::Stream),
    ];
    // Mostly within a leaf of the map; sometimes two or three leaves, mostly holes.
    let place = || prop_oneof![4 => 0..1_500_000_usize, 1 => 0..40_000_000_usize];
    prop_oneof![
        6 => (series(), place(), 1..300_000_usize, with)
            .prop_map(|(series, at, length, with)| Operation::Write { series, at, length, with }),
        2 => (series(), place()).prop_map(|(series, bytes)| Operation::Resize { series, bytes }),
        1 => series().prop_map(|series| Operation::Copy { series }),
        6 => (series(), how, prop_oneof![2 => Just(None), 1 => (0..14_u64).prop_map(Some)])
            .prop_map(|(series, how, calls)| Operation::Backup { series, how, calls }),
        2 => (any::<usize>(), into).prop_map(|(point, into)| Operation::Restore { point, into }),
        1 => any::<usize>().prop_map(|point| Operation::Forget { point }),
        1 => (0..=100_u8).prop_map(|percent| Operation::Verify { percent }),
    ]
}

/// Does one operation after the other.
///
/// # Errors
/// What does not hold, after which of them.
pub(crate) fn replay(operations: &[Operation]) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let result = runtime.block_on(async {
        let mut state = State::new().await;
        for (operation, number) in operations.iter().zip(0..) {
            let done = tokio::time::timeout(OPERATION_TIME_MAX, state.apply(operation)).await;
            let done = done.unwrap_or(Err("it hangs".to_owned()));
            done.map_err(|what| format!("operation {number}, {operation:?}: {what}"))?;
        }
        Ok(())
    });
    // One that hangs is not waited for.
    runtime.shutdown_background();
    result
}
