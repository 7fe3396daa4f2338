//! Single objects: written, read whole and in parts, refused, deleted.

use std::ops::Range;

use bytes::Bytes;

use super::{Outcome, equal, equal_bytes, noise, refused};
use crate::store::{ErrorKind, SharedStore, list_all};

/// The largest object that a repository writes: a pack.
const LARGE_BYTES: usize = 16 * 1024 * 1024;

pub(super) async fn round_trip(store: &SharedStore, at: &str) -> Outcome {
    let (name, body) = (format!("{at}object"), noise(1, 10_007));
    store.put_new(&name, body.clone()).await?;
    equal_bytes("the object", &body, &store.get(&name, u64::MAX).await?)?;
    let listed: Vec<_> = list_all(&**store, at)
        .await?
        .into_iter()
        .map(|entry| (entry.name, entry.bytes))
        .collect();
    equal("the listing", vec![(name, 10_007)], listed)
}

pub(super) async fn empty(store: &SharedStore, at: &str) -> Outcome {
    let name = format!("{at}object");
    store.put_new(&name, Bytes::new()).await?;
    equal_bytes("the object", &[], &store.get(&name, 0).await?)?;
    refused(
        "its first byte",
        ErrorKind::Short,
        store.get_range(&name, 0..1).await,
    )?;
    let listed: Vec<_> = list_all(&**store, at)
        .await?
        .into_iter()
        .map(|entry| (entry.name, entry.bytes))
        .collect();
    equal("the listing", vec![(name, 0)], listed)
}

pub(super) async fn large(store: &SharedStore, at: &str) -> Outcome {
    let (name, body) = (format!("{at}object"), noise(2, LARGE_BYTES));
    store.put_new(&name, body.clone()).await?;
    equal_bytes(
        "the object",
        &body,
        &store.get(&name, LARGE_BYTES as u64).await?,
    )?;
    part(store, &name, &body, 0..1024 * 1024).await?;
    part(store, &name, &body, 5_000_001..12_000_003).await?;
    let bytes = list_all(&**store, at)
        .await?
        .iter()
        .map(|entry| entry.bytes)
        .collect();
    equal("the listed bytes", vec![LARGE_BYTES as u64], bytes)?;
    // No whole number of blocks or pieces, as packs are.
    let (name, body) = (format!("{at}odd"), noise(3, LARGE_BYTES / 4 - 4_097));
    store.put_new(&name, body.clone()).await?;
    equal_bytes(
        "an object of odd size",
        &body,
        &store.get(&name, u64::MAX).await?,
    )
}

pub(super) async fn ranges(store: &SharedStore, at: &str) -> Outcome {
    let (name, body) = (format!("{at}object"), noise(4, 10_007));
    store.put_new(&name, body.clone()).await?;
    for range in [
        0..1,
        0..10_007,
        10_006..10_007,
        4_095..4_097,
        17..9_001,
        0..0,
        5_000..5_000,
        10_007..10_007,
    ] {
        part(store, &name, &body, range).await?;
    }
    Ok(())
}

async fn part(store: &SharedStore, name: &str, body: &[u8], range: Range<usize>) -> Outcome {
    let got = store
        .get_range(name, range.start as u64..range.end as u64)
        .await?;
    equal_bytes(&format!("bytes {range:?}"), &body[range], &got)
}

pub(super) async fn short(store: &SharedStore, at: &str) -> Outcome {
    let name = format!("{at}object");
    store.put_new(&name, noise(5, 1_000)).await?;
    for range in [
        0..1_001,
        999..1_001,
        1_000..1_001,
        5_000..6_000,
        10..u64::MAX,
    ] {
        let got = store.get_range(&name, range.clone()).await;
        refused(&format!("bytes {range:?} of 1000"), ErrorKind::Short, got)?;
    }
    Ok(())
}

pub(super) async fn too_large(store: &SharedStore, at: &str) -> Outcome {
    let (name, body) = (format!("{at}object"), noise(6, 1_000));
    store.put_new(&name, body.clone()).await?;
    equal_bytes(
        "1000 bytes when 1000 are allowed",
        &body,
        &store.get(&name, 1_000).await?,
    )?;
    for bytes_max in [0, 1, 999] {
        let got = store.get(&name, bytes_max).await;
        refused(
            &format!("1000 bytes when {bytes_max} are allowed"),
            ErrorKind::TooLarge,
            got,
        )?;
    }
    Ok(())
}

pub(super) async fn missing(store: &SharedStore, at: &str) -> Outcome {
    let name = format!("{at}folder/object");
    refused(
        "a missing object",
        ErrorKind::NotFound,
        store.get(&name, 10).await,
    )?;
    refused(
        "a part of a missing object",
        ErrorKind::NotFound,
        store.get_range(&name, 0..1).await,
    )?;
    store.delete(&name).await?;
    store.put_new(&name, Bytes::new()).await?;
    refused(
        "the folder of an object",
        ErrorKind::NotFound,
        store.get(&format!("{at}folder"), 10).await,
    )?;
    refused(
        "what an object is no folder of",
        ErrorKind::NotFound,
        store.get(&format!("{name}/a"), 10).await,
    )?;
    refused(
        "a name that another starts with",
        ErrorKind::NotFound,
        store.get(&format!("{name}s"), 10).await,
    )
}

pub(super) async fn taken(store: &SharedStore, at: &str) -> Outcome {
    let (name, body) = (format!("{at}object"), noise(7, 100));
    store.put_new(&name, body.clone()).await?;
    for (what, other) in [("shorter", 8), ("as long", 100), ("longer", 5_000)] {
        let got = store.put_new(&name, noise(8, other)).await;
        refused(
            &format!("a second object that is {what}"),
            ErrorKind::Exists,
            got,
        )?;
        equal_bytes(
            "the first object",
            &body,
            &store.get(&name, u64::MAX).await?,
        )?;
    }
    Ok(())
}

pub(super) async fn deleted(store: &SharedStore, at: &str) -> Outcome {
    let names = [format!("{at}a"), format!("{at}folder/b")];
    for name in &names {
        store.put_new(name, noise(9, 10)).await?;
        store.delete(name).await?;
        refused(
            "a deleted object",
            ErrorKind::NotFound,
            store.get(name, 10).await,
        )?;
        refused(
            "a part of a deleted object",
            ErrorKind::NotFound,
            store.get_range(name, 0..1).await,
        )?;
        store.delete(name).await?;
    }
    equal(
        "the listing after everything was deleted",
        Vec::new(),
        list_all(&**store, at).await?,
    )
}

pub(super) async fn names(store: &SharedStore, at: &str) -> Outcome {
    let mut names = vec![
        format!("{at}{}/{}", "a".repeat(200), "b".repeat(200)),
        format!("{at}0-9._z"),
        format!("{at}a..b"),
        format!("{at}i/L0/Aa"),
    ];
    for name in &names {
        store
            .put_new(name, Bytes::copy_from_slice(name.as_bytes()))
            .await?;
    }
    for name in &names {
        equal_bytes(name, name.as_bytes(), &store.get(name, 1_000).await?)?;
    }
    names.sort_unstable();
    let listed: Vec<_> = list_all(&**store, at)
        .await?
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    equal("the listing", names, listed)
}
