//! Generated maps against a model: a `BTreeMap` from chunk index to contents.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use proptest::prelude::*;

use super::*;
use crate::{
    error::RepositoryError,
    format::PACK_BYTES_MAX,
    id::{ChunkId, PackId, SessionId},
    reference::Codec,
};

const CHUNK_LOG2: u8 = 16;

/// Contents of chunks that hold data, by index.
type Model = BTreeMap<u64, u8>;

/// What is written to chunks; `None` for zeros.
type Changes = BTreeMap<u64, Option<u8>>;

/// Pages in memory, each in a place of its own, however often it was stored before.
#[derive(Clone, Debug, Default)]
struct Pages(Arc<Mutex<BTreeMap<PackId, Vec<u8>>>>);

fn place(number: u32) -> PackId {
    PackId::new(SessionId::from_bytes([0; 16]), number)
}

fn reference(id: ChunkId, pack: PackId, plain_bytes: u32) -> Reference {
    Reference {
        id,
        pack,
        key: 3,
        slot: 7,
        codec: Codec::Zstd,
        offset: 48,
        stored_bytes: 99,
        plain_bytes,
    }
}

impl Pages {
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl PageSink for Pages {
    type Error = std::convert::Infallible;

    fn store(&mut self, page: &Page) -> Result<Reference, Self::Error> {
        let bytes = page.encode();
        let id = ChunkId::from_bytes(*blake3::hash(&bytes).as_bytes());
        let length = u32::try_from(bytes.len()).unwrap();
        let mut pages = self.0.lock().unwrap();
        let pack = place(u32::try_from(pages.len()).unwrap());
        pages.insert(pack, bytes);
        Ok(reference(id, pack, length))
    }
}

#[async_trait]
impl PageLoader for Pages {
    async fn load(&self, references: &[Reference]) -> Result<Vec<Arc<Page>>, RepositoryError> {
        let pages = self.0.lock().unwrap();
        Ok(references
            .iter()
            .map(|found| Arc::new(Page::decode(&pages[&found.pack]).unwrap()))
            .collect())
    }
}

fn chunk(contents: u8) -> Entry {
    Entry::chunk(reference(
        ChunkId::from_bytes([contents; 32]),
        place(u32::from(contents)),
        1 << CHUNK_LOG2,
    ))
}

fn bytes(chunk_count: u64) -> u64 {
    chunk_count << CHUNK_LOG2
}

/// What was built, and the map as it would have been at each checkpoint on the way.
struct Built {
    root: MapRoot,
    checkpoints: Vec<(MapRoot, Model)>,
}

/// Builds a map the way a backup does: changed leaves in order, with those that a resize touches.
async fn build(
    pages: &Pages,
    base: Option<(MapRoot, &Model)>,
    chunk_count: u64,
    changes: &Changes,
) -> Built {
    let old = base.map_or_else(
        || MapRoot::empty(CHUNK_LOG2, bytes(chunk_count)),
        |(root, _)| root,
    );
    let last = |count: u64| count.saturating_sub(1) / FANOUT;
    let mut leaves: BTreeSet<u64> = changes.keys().map(|index| index / FANOUT).collect();
    if old.chunk_count() != chunk_count {
        leaves.extend(
            [0, last(chunk_count)]
                .iter()
                .filter(|leaf| **leaf <= last(chunk_count)),
        );
    }
    let mut reader = MapReader::resized(old, Arc::new(pages.clone()), chunk_count);
    let mut builder = MapBuilder::new(CHUNK_LOG2, bytes(chunk_count), base.map(|(root, _)| root));
    let mut sink = pages.clone();
    let mut model: Model = base.map(|(_, model)| model.clone()).unwrap_or_default();
    model.retain(|index, _| *index < chunk_count);
    let mut checkpoints = Vec::new();
    for number in leaves {
        let base = reader.leaves(&[number]).await.unwrap().pop().flatten();
        let path = reader.path(number).await.unwrap();
        let empty = || Page::empty(0, CHUNK_LOG2, number * FANOUT);
        let mut page = base
            .as_ref()
            .map_or_else(empty, |base| Page::clone(&base.page));
        for (index, contents) in changes.range(number * FANOUT..(number + 1) * FANOUT) {
            page.set(*index, contents.map(chunk));
        }
        apply(
            &mut model,
            changes.range(number * FANOUT..(number + 1) * FANOUT),
        );
        let Ok(()) = builder.leaf(number, &path, base.as_ref(), &page, &mut sink);
        let Ok(checkpoint) = builder.clone().finish(&mut sink);
        checkpoints.push((checkpoint, model.clone()));
    }
    let Ok(root) = builder.finish(&mut sink);
    Built { root, checkpoints }
}

fn apply<'a>(model: &mut Model, changes: impl Iterator<Item = (&'a u64, &'a Option<u8>)>) {
    for (index, contents) in changes {
        match contents {
            Some(contents) => model.insert(*index, *contents),
            None => model.remove(index),
        };
    }
}

async fn read(pages: &Pages, root: MapRoot) -> Model {
    let mut reader = MapReader::new(root, Arc::new(pages.clone()));
    let mut model = Model::new();
    let mut number = 0;
    while let Some(leaf) = reader.next_leaf(number).await.unwrap() {
        assert!(leaf >= number, "leaves come in ascending order");
        let page = reader
            .leaves(&[leaf])
            .await
            .unwrap()
            .pop()
            .flatten()
            .expect("the leaf exists");
        model.extend(
            page.page
                .entries()
                .map(|(index, entry)| (index, entry.reference.id.as_bytes()[0])),
        );
        number = leaf + 1;
    }
    model
}

async fn differing(pages: &Pages, left: MapRoot, right: MapRoot) -> Vec<Range<u64>> {
    let count = left.chunk_count().max(right.chunk_count());
    let reader = |root| MapReader::resized(root, Arc::new(pages.clone()), count);
    let mut found = Vec::new();
    diff(&mut reader(left), &mut reader(right), |range| {
        found.push(range);
    })
    .await
    .unwrap();
    found
}

fn model_difference(left: &Model, right: &Model) -> Vec<Range<u64>> {
    let indexes: BTreeSet<u64> = left.keys().chain(right.keys()).copied().collect();
    let mut found: Vec<Range<u64>> = Vec::new();
    for index in indexes
        .into_iter()
        .filter(|index| left.get(index) != right.get(index))
    {
        match found.last_mut().filter(|range| range.end == index) {
            Some(range) => range.end += 1,
            None => found.push(index..index + 1),
        }
    }
    found
}

/// Sizes on both sides of every change of level, up to what six levels hold.
fn sizes() -> impl Strategy<Value = u64> {
    let edges: Vec<u64> = (1..=5)
        .flat_map(|level| {
            let span = 1_u64 << (8 * level);
            [span - 1, span, span + 1, span * 3 + 5]
        })
        .collect();
    prop_oneof![
        Just(1),
        1..600_u64,
        prop::sample::select(edges),
        Just(1 << 47)
    ]
}

/// Indexes at the edges of pages, where mistakes are.
fn steps() -> impl Strategy<Value = Vec<(u64, Changes)>> {
    let change = (
        any::<prop::sample::Index>(),
        0..6_u32,
        0..4_u64,
        prop::option::weighted(0.8, 0..5_u8),
    );
    let step = (sizes(), prop::collection::vec(change, 0..12)).prop_map(|(count, changes)| {
        let changes = changes.into_iter().map(|(index, level, offset, contents)| {
            let index = u64::try_from(index.index(usize::MAX)).unwrap() % count;
            let edge = index >> (8 * level) << (8 * level);
            ((edge + offset).min(count - 1), contents)
        });
        (count, changes.collect())
    });
    prop::collection::vec(step, 1..5)
}

fn leaf_of(index: u64) -> u64 {
    index / FANOUT
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

proptest! {
#![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

#[test]
fn what_was_built_is_read_and_differences_are_found(steps in steps()) {
    let pages = Pages::default();
    let mut history: Vec<(MapRoot, Model)> = Vec::new();
    for (count, changes) in steps {
        let base = history.last().map(|(root, model)| (*root, model));
        let Built { root, .. } = run(build(&pages, base, count, &changes));
        let mut model = base.map(|(_, model)| model.clone()).unwrap_or_default();
        model.retain(|index, _| *index < count);
        apply(&mut model, changes.iter());
        prop_assert_eq!(root.level, level_for(count));
        prop_assert_eq!(root.chunks, model.len() as u64);
        prop_assert_eq!(root.page.is_none(), model.is_empty());
        prop_assert_eq!(&run(read(&pages, root)), &model);
        history.push((root, model));
    }
    for (left, left_model) in &history {
        for (right, right_model) in &history {
            let expected = model_difference(left_model, right_model);
            prop_assert_eq!(run(differing(&pages, *left, *right)), expected);
        }
    }
}

#[test]
fn a_map_in_the_making_holds_its_base_or_says_so(steps in steps()) {
    let pages = Pages::default();
    let mut base: Option<(MapRoot, Model)> = None;
    for (count, changes) in steps {
        let root = base.as_ref().map(|(root, _)| *root);
        let builder = MapBuilder::new(CHUNK_LOG2, bytes(count), root);
        let holds = builder.holds_base();
        let Ok(so_far) = builder.finish(&mut pages.clone());
        let mut kept = base.as_ref().map(|(_, model)| model.clone()).unwrap_or_default();
        kept.retain(|index, _| *index < count);
        prop_assert!(!holds || run(read(&pages, so_far)) == kept);
        prop_assert!(holds || root.is_some_and(|root| root.level != so_far.level));

        let before = base.as_ref().map(|(root, model)| (*root, model));
        let built = run(build(&pages, before, count, &changes));
        for (checkpoint, model) in &built.checkpoints {
            prop_assert_eq!(&run(read(&pages, *checkpoint)), model);
        }
        apply(&mut kept, changes.iter());
        base = Some((built.root, kept));
    }
}

#[test]
fn a_checkpoint_is_the_map_so_far(count in sizes(), steps in steps()) {
    let pages = Pages::default();
    let mut base: Option<(MapRoot, Model)> = None;
    // All of one size: the count of a resized map may still have what is beyond the end in it.
    for (_, changes) in steps {
        let changes = changes.into_iter().filter(|(index, _)| *index < count).collect();
        let before = base.as_ref().map(|(root, model)| (*root, model));
        let built = run(build(&pages, before, count, &changes));
        for (root, model) in &built.checkpoints {
            prop_assert_eq!(&run(read(&pages, *root)), model);
            prop_assert_eq!(root.chunks, model.len() as u64);
        }
        let mut model = base.map(|(_, model)| model).unwrap_or_default();
        apply(&mut model, changes.iter());
        base = Some((built.root, model));
    }
}

#[test]
fn pages_that_did_not_change_are_shared(
    count in sizes(),
    first in steps(),
    second in steps(),
) {
    let inside = |steps: Vec<(u64, Changes)>| -> Changes {
        let changes = steps.into_iter().flat_map(|(_, changes)| changes);
        changes.filter(|(index, _)| *index < count).collect()
    };
    let (first, second) = (inside(first), inside(second));
    let pages = Pages::default();
    let base = run(build(&pages, None, count, &first)).root;
    let mut model = Model::new();
    apply(&mut model, first.iter());
    let same = first.keys().map(|index| (*index, model.get(index).copied()));
    let same: Changes = same.collect();
    let before = pages.count();
    let again = run(build(&pages, Some((base, &model)), count, &same)).root;
    prop_assert_eq!(again, base);
    prop_assert_eq!(pages.count(), before, "nothing changed and something was stored");

    let mut sink = pages.clone();
    let mut changed = model.clone();
    apply(&mut changed, second.iter());
    let leaves: BTreeSet<u64> =
        model_difference(&model, &changed).into_iter().flatten().map(leaf_of).collect();
    let before = pages.count();
    let root = run(build_once(&pages, &mut sink, base, count, &second));
    let most = leaves.len() * (usize::from(base.level) + 1);
    let stored = pages.count() - before;
    prop_assert!(stored <= most, "{} pages for {:?}", stored, leaves);
    prop_assert_eq!(run(read(&pages, root)), changed);
}

#[test]
fn a_page_has_one_encoding(page in page_strategy()) {
    let bytes = page.encode();
    prop_assert!(bytes.len() <= PAGE_BYTES_MAX);
    prop_assert_eq!(Page::decode(&bytes), Ok(page));
}

#[test]
fn what_is_not_a_page_is_refused_or_is_its_only_encoding(
    page in page_strategy(),
    damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    cut in any::<prop::sample::Index>(),
) {
    let mut bytes = page.encode();
    prop_assert!(Page::decode(&bytes[..cut.index(bytes.len())]).is_err());
    for (at, byte) in damage {
        let at = at.index(bytes.len());
        bytes[at] = byte;
    }
    if let Ok(found) = Page::decode(&bytes) {
        prop_assert_eq!(found.encode(), bytes);
    }
}}

/// Builds without checkpoints, which store pages of their own.
async fn build_once(
    pages: &Pages,
    sink: &mut Pages,
    base: MapRoot,
    chunk_count: u64,
    changes: &Changes,
) -> MapRoot {
    let mut reader = MapReader::new(base, Arc::new(pages.clone()));
    let mut builder = MapBuilder::new(CHUNK_LOG2, bytes(chunk_count), Some(base));
    let leaves: BTreeSet<u64> = changes.keys().map(|index| index / FANOUT).collect();
    for number in leaves {
        let old = reader.leaves(&[number]).await.unwrap().pop().flatten();
        let path = reader.path(number).await.unwrap();
        let empty = || Page::empty(0, CHUNK_LOG2, number * FANOUT);
        let mut page = old
            .as_ref()
            .map_or_else(empty, |base| Page::clone(&base.page));
        for (index, contents) in changes.range(number * FANOUT..(number + 1) * FANOUT) {
            page.set(*index, contents.map(chunk));
        }
        let Ok(()) = builder.leaf(number, &path, old.as_ref(), &page, sink);
    }
    let Ok(root) = builder.finish(sink);
    root
}

fn page_strategy() -> impl Strategy<Value = Page> {
    let entry = (
        any::<[u8; 32]>(),
        0..9_u32,
        any::<u16>(),
        any::<bool>(),
        any::<u32>(),
        any::<u32>(),
        any::<u64>(),
    );
    let entries = prop::collection::btree_map(0..256_u64, entry, 0..=256);
    (0..=LEVEL_MAX, 16..=22_u8, any::<u64>(), entries).prop_map(
        |(level, chunk_log2, index, entries)| {
            let index = index >> u32::from(chunk_log2);
            let mut page = Page::empty(level, chunk_log2, index);
            let (first, step) = (page.first(), span_log2(level) - 8);
            for (position, (id, pack, slot, zstd, offset, stored, chunks)) in entries {
                let plain_bytes = match level {
                    0 => 1 << chunk_log2,
                    _ => stored % u32::try_from(PAGE_BYTES_MAX).unwrap() + 1,
                };
                let stored_bytes = 16 + stored % (plain_bytes + 1);
                let codec = if zstd { Codec::Zstd } else { Codec::Stored };
                let offset = offset % (u32::try_from(PACK_BYTES_MAX).unwrap() - stored_bytes);
                let (id, pack, key) = (ChunkId::from_bytes(id), place(pack), slot % 2);
                let reference = Reference {
                    id,
                    pack,
                    key,
                    slot,
                    codec,
                    offset,
                    stored_bytes,
                    plain_bytes,
                };
                let chunks = if level == 0 {
                    1
                } else {
                    chunks % (1 << step) + 1
                };
                page.set(
                    first + (position << step),
                    Some(Entry { reference, chunks }),
                );
            }
            page
        },
    )
}

#[test]
fn a_page_of_a_newer_version_says_so() {
    let mut bytes = Page::empty(0, CHUNK_LOG2, 0).encode();
    bytes[4] += 1;
    assert_eq!(Page::decode(&bytes), Err(PageError::Newer));
}

#[test]
fn a_volume_that_shrinks_to_one_leaf_keeps_it() {
    let pages = Pages::default();
    let model = Model::from([(0, 1)]);
    let large = run(build(&pages, None, 257, &Changes::from([(0, Some(1))])));
    let small = run(build(
        &pages,
        Some((large.root, &model)),
        1,
        &Changes::new(),
    ));
    assert_eq!(run(read(&pages, small.root)), model);
}

/// Only a writer with the keys can make such a page, and it may be a broken one.
#[test]
fn a_chunk_as_long_as_can_be_is_refused() {
    let mut page = Page::empty(0, CHUNK_LOG2, 0);
    page.set(0, Some(chunk(1)));
    let mut bytes = page.encode();
    let plain = bytes.len() - 6;
    bytes[plain..plain + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Page::decode(&bytes), Err(PageError::NotAPage));
}

#[test]
fn packs_are_listed_once_and_in_the_order_of_their_use() {
    let mut page = Page::empty(0, CHUNK_LOG2, 0);
    page.set(0, Some(chunk(1)));
    page.set(1, Some(chunk(2)));
    let right = page.encode();
    let with = |changes: &[(usize, u8)]| {
        let mut bytes = right.clone();
        changes.iter().for_each(|(at, byte)| bytes[*at] = *byte);
        Page::decode(&bytes)
    };
    // The last bytes of both packs' numbers, and both entries' places in that table.
    let (packs, entries) = ([52 + 19, 52 + 22 + 19], [96 + 32, 96 + 50 + 32]);
    assert_eq!(with(&[]), Ok(page));
    let swapped = [
        (packs[0], 2),
        (packs[1], 1),
        (entries[0], 1),
        (entries[1], 0),
    ];
    assert_eq!(with(&swapped), Err(PageError::NotAPage));
    assert_eq!(with(&[(packs[1], 1)]), Err(PageError::NotAPage));
    assert_eq!(with(&[(entries[1], 0)]), Err(PageError::NotAPage));
}

#[test]
fn a_root_that_no_builder_makes_is_refused() {
    let found = reference(ChunkId::from_bytes([1; 32]), place(0), 500);
    let page = Some(found);
    let right = MapRoot {
        chunk_log2: 16,
        volume_bytes: 300 << 16,
        level: 1,
        page,
        chunks: 3,
    };
    let decoded =
        |root: MapRoot| -> Option<MapRoot> { decode(&minicbor::to_vec(root).unwrap()).ok() };
    assert_eq!(decoded(right), Some(right));
    let long = Some(Reference {
        plain_bytes: u32::MAX,
        ..found
    });
    let far = Some(Reference {
        stored_bytes: u32::MAX,
        ..found
    });
    for wrong in [
        MapRoot {
            chunk_log2: 200,
            ..right
        },
        MapRoot {
            chunk_log2: 15,
            ..right
        },
        MapRoot { level: 2, ..right },
        MapRoot { level: 99, ..right },
        MapRoot {
            page: long,
            ..right
        },
        MapRoot { page: far, ..right },
        MapRoot { chunks: 0, ..right },
        MapRoot {
            chunks: 65537,
            ..right
        },
        MapRoot {
            page: None,
            ..right
        },
    ] {
        assert_eq!(decoded(wrong), None, "{wrong:?}");
    }
}
