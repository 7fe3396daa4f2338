//! Generated operations do to a store what they do to a map.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use proptest::{prelude::*, sample::select};

use super::noise;
use crate::store::{DirectoryStore, ErrorKind, MemoryStore, Page, Result, SharedStore};

/// None is a folder of another, and their byte order is not that of their folders.
const NAMES: [&str; 8] = [
    "a", "b/a", "b/a-/c", "b/a.b/c", "b/a0", "b-", "b.c/d", "c/d/e/f",
];

const PREFIXES: [&str; 9] = ["", "a", "b", "b/", "b/a", "b/a.", "c/d/", "c/d/e/f", "x/"];

#[derive(Clone, Debug)]
enum Operation {
    PutNew(&'static str, usize),
    Get(&'static str, u64),
    GetRange(&'static str, u64, u64),
    List(&'static str, Option<&'static str>),
    Delete(&'static str),
    Reopen,
}

fn operation() -> impl Strategy<Value = Operation> {
    let name = || select(&NAMES[..]);
    let bytes =
        prop_oneof![4 => 0..200_usize, 1 => 0..5_000_usize, 1 => 1_000_000..1_100_000_usize];
    prop_oneof![
        4 => (name(), bytes).prop_map(|(name, bytes)| Operation::PutNew(name, bytes)),
        2 => (name(), 0..2_000_000_u64).prop_map(|(name, bytes_max)| Operation::Get(name, bytes_max)),
        3 => (name(), 0..300_u64, 0..300_u64).prop_map(|(name, at, bytes)| Operation::GetRange(name, at, at + bytes)),
        3 => (select(&PREFIXES[..]), proptest::option::of(name())).prop_map(|(p, after)| Operation::List(p, after)),
        2 => name().prop_map(Operation::Delete),
        1 => Just(Operation::Reopen),
    ]
}

/// What a store should be.
#[derive(Default)]
struct Model(BTreeMap<&'static str, Bytes>);

impl Model {
    fn get(
        &self,
        name: &str,
        start: u64,
        end: Option<u64>,
        bytes_max: u64,
    ) -> std::result::Result<Bytes, ErrorKind> {
        let body = self.0.get(name).ok_or(ErrorKind::NotFound)?;
        let end = end.unwrap_or(body.len() as u64);
        match () {
            () if end > body.len() as u64 => Err(ErrorKind::Short),
            () if end - start > bytes_max => Err(ErrorKind::TooLarge),
            () => Ok(body.slice(usize::try_from(start).unwrap()..usize::try_from(end).unwrap())),
        }
    }

    fn list(&self, prefix: &str, after: Option<&str>) -> Vec<(String, u64)> {
        let matching = self
            .0
            .iter()
            .filter(|(name, _)| name.starts_with(prefix) && Some(**name) > after);
        matching
            .map(|(name, body)| ((*name).to_owned(), body.len() as u64))
            .collect()
    }
}

fn listed(page: Page) -> Vec<(String, u64)> {
    page.entries
        .into_iter()
        .map(|entry| (entry.name, entry.bytes))
        .collect()
}

fn kind<T>(result: Result<T>) -> std::result::Result<T, ErrorKind> {
    result.map_err(|error| error.kind())
}

/// Carries the operations out on a store and on the model, and compares what both say.
fn compare(
    operations: &[Operation],
    open: impl Fn() -> SharedStore,
) -> std::result::Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (mut store, mut model) = (open(), Model::default());
    for (number, operation) in (0..).zip(operations) {
        match *operation {
            Operation::PutNew(name, bytes) => {
                let body = noise(number, bytes);
                let expected = if model.0.contains_key(name) {
                    Err(ErrorKind::Exists)
                } else {
                    Ok(())
                };
                model.0.entry(name).or_insert_with(|| body.clone());
                prop_assert_eq!(kind(runtime.block_on(store.put_new(name, body))), expected);
            }
            Operation::Get(name, bytes_max) => {
                let got = kind(runtime.block_on(store.get(name, bytes_max)));
                prop_assert_eq!(got, model.get(name, 0, None, bytes_max));
            }
            Operation::GetRange(name, start, end) => {
                let got = kind(runtime.block_on(store.get_range(name, start..end)));
                prop_assert_eq!(got, model.get(name, start, Some(end), u64::MAX));
            }
            Operation::List(prefix, after) => {
                let got = kind(runtime.block_on(store.list(prefix, after))).map(listed);
                prop_assert_eq!(got, Ok(model.list(prefix, after)));
            }
            Operation::Delete(name) => {
                model.0.remove(name);
                prop_assert_eq!(kind(runtime.block_on(store.delete(name))), Ok(()));
            }
            Operation::Reopen => store = open(),
        }
    }
    Ok(())
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    prop::collection::vec(operation(), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn a_store_in_memory_is_a_map(operations in operations()) {
        let memory = MemoryStore::new();
        compare(&operations, || Arc::new(memory.clone()))?;
    }
}

proptest! {
    // Each write waits for the disk a few times.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn a_store_in_a_folder_is_a_map(operations in operations()) {
        let folder = tempfile::tempdir().unwrap();
        compare(&operations, || Arc::new(DirectoryStore::create(folder.path().join("a")).unwrap()))?;
    }
}
