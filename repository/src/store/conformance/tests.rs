//! Good stores pass the suite, and each flaw that a store may have fails the check that is there for it.

use std::sync::Arc;

use super::{
    flawed::{Flaw, Flawed},
    *,
};
use crate::store::{DirectoryStore, MemoryStore};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_memory_passes() {
    let store: SharedStore = Arc::new(MemoryStore::new());
    let report = check(&store, "t/").await;
    assert!(report.passed(), "{report}");
    assert!(list_all(&*store, "").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_a_folder_passes() {
    let folder = tempfile::tempdir().unwrap();
    let store: SharedStore = Arc::new(DirectoryStore::create(folder.path()).unwrap());
    let report = check(&store, "t/").await;
    assert!(report.passed(), "{report}");
    assert!(list_all(&*store, "").await.unwrap().is_empty());
}

#[tokio::test]
async fn every_flaw_is_found() {
    let cases = [
        (Flaw::Overwrites, "a name that is taken is refused"),
        (Flaw::LooksThenWrites, "of many writers exactly one wins"),
        (Flaw::SaysExistsToAll, "of many writers exactly one wins"),
        (Flaw::KeepsTheLoser, "of many writers exactly one wins"),
        (Flaw::ShowsHalf, "an object appears whole or not at all"),
        (
            Flaw::Truncates,
            "a large object comes back as it was written",
        ),
        (
            Flaw::ListsLate,
            "what was written is read and listed at once",
        ),
        (Flaw::ListsUnsorted, "names are listed in byte order"),
        (Flaw::ListsLongPages, "a long listing comes in pages"),
        (Flaw::ListsFoldersAlone, "a listing starts with any prefix"),
        (
            Flaw::ListsAfterInclusively,
            "a listing starts after any name",
        ),
        (Flaw::EndsAfterAPage, "a long listing comes in pages"),
        (Flaw::PromisesMoreForEver, "a long listing comes in pages"),
        (Flaw::RepeatsPages, "a long listing comes in pages"),
        (Flaw::IgnoresPrefixes, "a listing starts with any prefix"),
        (Flaw::ShiftsParts, "every part of an object can be read"),
        (Flaw::CutsParts, "a part beyond the end is refused"),
        (
            Flaw::IgnoresBytesMax,
            "an object larger than allowed is refused",
        ),
        (Flaw::MissingIsEmpty, "a missing object is missing"),
        (Flaw::KeepsDeleted, "a deleted object is gone"),
        (Flaw::DeletingTwiceFails, "a deleted object is gone"),
        (Flaw::FoldsCase, "long and odd names work"),
    ];
    for (flaw, name) in cases {
        let flawed = Flawed::new(flaw);
        let store: SharedStore = Arc::new(flawed);
        let report = check_selected(&store, "t/", |check| check == name).await;
        assert_eq!(report.failed().collect::<Vec<_>>(), [name], "{flaw:?}");
    }
}

#[tokio::test]
async fn a_failed_check_says_what_was_expected_and_what_came() {
    let flawed = Flawed::new(Flaw::ShiftsParts);
    let store: SharedStore = Arc::new(flawed);
    let report = check_selected(&store, "t/", |check| check.starts_with("every part")).await;
    let expected = "FAIL  every part of an object can be read: bytes 4095..4097: expected 2 bytes, got 2, \
                    the first 0 of them right\n";
    assert_eq!(report.to_string(), expected);
}
