//! What several clients see at the same time.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::future::{join, join_all};
use tokio::task::yield_now;

use super::{CONCURRENT_REQUESTS, Outcome, Problem, equal, equal_bytes, noise};
use crate::store::{ErrorKind, SharedStore};

/// Names that are raced for: one race may end well by chance.
const RACES: u64 = 4;

pub(super) async fn small(store: &SharedStore, at: &str) -> Outcome {
    for race in 0..RACES {
        let bodies = (0..16)
            .map(|writer| noise(race * 100 + writer, 64))
            .collect();
        run(store, &format!("{at}{race}"), bodies).await?;
    }
    Ok(())
}

pub(super) async fn large(store: &SharedStore, at: &str) -> Outcome {
    // Of different lengths, so that a mixture of two would show.
    let bodies =
        (0..4_u8).map(|writer| noise(writer.into(), 1024 * 1024 + usize::from(writer) * 1_000));
    run(store, &format!("{at}object"), bodies.collect()).await
}

async fn run(store: &SharedStore, name: &str, bodies: Vec<Bytes>) -> Outcome {
    let outcomes = join_all(bodies.iter().map(|body| store.put_new(name, body.clone()))).await;
    let mut winners = Vec::new();
    for (body, outcome) in bodies.iter().zip(outcomes) {
        match outcome {
            Ok(()) => winners.push(body),
            Err(error) if error.kind() == ErrorKind::Exists => {}
            Err(error) => return Err(error.into()),
        }
    }
    equal("writers that were told they won", 1, winners.len())?;
    let read = store.get(name, u64::MAX).await?;
    winners
        .into_iter()
        .try_for_each(|winner| equal_bytes("the object of the winner", winner, &read))
}

pub(super) async fn whole(store: &SharedStore, at: &str) -> Outcome {
    let (name, body) = (format!("{at}object"), noise(1, 4 * 1024 * 1024));
    let written = AtomicBool::new(false);
    let writing = async {
        let result = store.put_new(&name, body.clone()).await;
        written.store(true, Ordering::SeqCst);
        result
    };
    let reading = async {
        while !written.load(Ordering::SeqCst) {
            match store.get(&name, u64::MAX).await {
                Ok(read) => equal_bytes("an object that is just being written", &body, &read)?,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(Problem::from(error)),
            }
            yield_now().await;
        }
        Ok(())
    };
    let (written, read) = join(writing, reading).await;
    written?;
    read?;
    equal_bytes("the object", &body, &store.get(&name, u64::MAX).await?)
}

pub(super) async fn readers(store: &SharedStore, at: &str) -> Outcome {
    let (name, body) = (format!("{at}object"), noise(2, 1024 * 1024));
    store.put_new(&name, body.clone()).await?;
    let parts = join_all((0..CONCURRENT_REQUESTS).map(|reader| {
        let range = reader * 1_001..reader * 1_001 + 500_000;
        let (name, body) = (&name, &body);
        async move {
            let got = store
                .get_range(name, range.start as u64..range.end as u64)
                .await?;
            equal_bytes(&format!("bytes {range:?}"), &body[range], &got)?;
            equal_bytes("the object", body, &store.get(name, u64::MAX).await?)
        }
    }));
    parts.await.into_iter().collect()
}
