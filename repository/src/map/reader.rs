//! Reads a map from the root down, keeping the pages above the leaves that were asked for last.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use async_trait::async_trait;

use crate::{
    error::RepositoryError,
    map::{Entry, MapRoot, Page, level_for, span_log2},
    reference::Reference,
};

/// Pages of a level that are kept beside those above the leaves that were asked for last: as many as those leaves mostly
/// are.
const KEPT_PAGES: usize = 32;

/// Loads pages by their references.
#[async_trait]
pub trait PageLoader: fmt::Debug + Send + Sync {
    /// Loads all of these, in this order, with as few requests as it can.
    async fn load(&self, references: &[Reference]) -> Result<Vec<Arc<Page>>, RepositoryError>;
}

/// A page that a new map is based on.
#[derive(Clone, Debug)]
pub struct BasePage {
    /// Where it is stored; `None` when it is stored nowhere yet, since the volume was resized.
    pub reference: Option<Reference>,
    /// Its entries.
    pub page: Arc<Page>,
}

/// A map, seen as if its volume had a given number of chunks: pages above the old root are made up, entries beyond the
/// end are left out.
#[derive(Debug)]
pub struct MapReader {
    root: MapRoot,
    loader: Arc<dyn PageLoader>,
    chunk_count: u64,
    level: u8,
    /// Pages in use on each level, by the first index that they span.
    kept: Vec<BTreeMap<u64, BasePage>>,
}

impl MapReader {
    /// Reads a map as it is.
    pub fn new(root: MapRoot, loader: Arc<dyn PageLoader>) -> Self {
        Self::resized(root, loader, root.chunk_count())
    }

    /// Reads a map as if its volume had `chunk_count` chunks.
    pub fn resized(root: MapRoot, loader: Arc<dyn PageLoader>, chunk_count: u64) -> Self {
        let level = level_for(chunk_count);
        let kept = vec![BTreeMap::new(); usize::from(level.max(root.level)) + 1];
        Self {
            root,
            loader,
            chunk_count,
            level,
            kept,
        }
    }

    /// The level of the root page for this number of chunks.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Leaves with these numbers (the first chunk index divided by 256), in ascending order; `None` where only zeros are.
    pub async fn leaves(
        &mut self,
        numbers: &[u64],
    ) -> Result<Vec<Option<BasePage>>, RepositoryError> {
        for level in (1..=self.level.max(self.root.level)).rev() {
            self.keep(level, numbers).await?;
        }
        let mut found: Vec<Option<BasePage>> = Vec::with_capacity(numbers.len());
        let mut wanted: Vec<(usize, Reference)> = Vec::new();
        for (position, number) in numbers.iter().enumerate() {
            let index = number << 8;
            found.push(None);
            if self.level == 0 {
                found[position] = self.page(0, index).await?;
            } else if let Some(entry) = self.entry(1, index).await? {
                wanted.push((position, entry.reference));
            }
        }
        let references: Vec<_> = wanted.iter().map(|(_, reference)| *reference).collect();
        let pages = self.loader.load(&references).await?;
        for ((position, reference), page) in wanted.into_iter().zip(pages) {
            self.check(&page, 0, numbers[position] << 8)?;
            found[position] = Some(self.cut(BasePage {
                reference: Some(reference),
                page,
            }));
        }
        Ok(found)
    }

    /// Fetches the pages of an inner level above these leaves together, and lets go of the others. Those of the level above
    /// are there.
    async fn keep(&mut self, level: u8, numbers: &[u64]) -> Result<(), RepositoryError> {
        let above: BTreeSet<u64> = numbers
            .iter()
            .map(|number| first(level, number << 8))
            .collect();
        self.kept[usize::from(level)].retain(|index, _| above.contains(index));
        let mut wanted: Vec<(u64, Reference)> = Vec::new();
        for index in above {
            if level >= self.root.level {
                self.page(level, index).await?;
            } else if !self.kept[usize::from(level)].contains_key(&index)
                && let Some(entry) = self.entry(level + 1, index).await?
            {
                wanted.push((index, entry.reference));
            }
        }
        let references: Vec<_> = wanted.iter().map(|(_, reference)| *reference).collect();
        let pages = self.loader.load(&references).await?;
        for ((index, reference), page) in wanted.into_iter().zip(pages) {
            self.check(&page, level, index)?;
            let reference = Some(reference);
            let base = self.cut(BasePage { reference, page });
            self.kept[usize::from(level)].insert(index, base);
        }
        Ok(())
    }

    /// The inner pages above the leaf with this number, lowest first.
    pub async fn path(&mut self, number: u64) -> Result<Vec<Option<BasePage>>, RepositoryError> {
        let mut path = Vec::with_capacity(usize::from(self.level));
        for level in 1..=self.level {
            path.push(self.page(level, number << 8).await?);
        }
        Ok(path)
    }

    /// The number of the first leaf at or after `number` that exists.
    pub async fn next_leaf(&mut self, number: u64) -> Result<Option<u64>, RepositoryError> {
        if self.level == 0 {
            let leaf = if number == 0 {
                self.page(0, 0).await?
            } else {
                None
            };
            return Ok(leaf.map(|_| 0));
        }
        // Above the old root there is only the way to it, and beyond it nothing.
        let top = self.level.min(self.root.level + 1);
        let end = self.chunk_count.min(
            1_u64
                .checked_shl(span_log2(self.root.level))
                .unwrap_or(u64::MAX),
        );
        let mut index = number << 8;
        'climb: while index < end {
            for level in (1..=top).rev() {
                let Some(page) = self.page(level, index).await? else {
                    index = ((index >> span_log2(level)) + 1) << span_log2(level);
                    continue 'climb;
                };
                let first = page.page.entries().map(|(first, _)| first);
                let child = span_log2(level - 1);
                let Some(next) = first.filter(|first| first >> child >= index >> child).min()
                else {
                    index = ((index >> span_log2(level)) + 1) << span_log2(level);
                    continue 'climb;
                };
                index = index.max(next);
            }
            return Ok(Some(index >> 8));
        }
        Ok(None)
    }

    /// The page of `level` that spans `index`.
    pub(crate) async fn page(
        &mut self,
        level: u8,
        index: u64,
    ) -> Result<Option<BasePage>, RepositoryError> {
        let kept = &self.kept[usize::from(level)];
        if let Some(base) = kept.get(&first(level, index)) {
            return Ok(Some(base.clone()));
        }
        let found = if level > self.root.level {
            self.made_up(level, index)
        } else if level == self.root.level {
            self.root_page(index).await?
        } else {
            match Box::pin(self.entry(level + 1, index)).await? {
                None => None,
                Some(entry) => Some(self.load(level, index, entry.reference).await?),
            }
        };
        if let Some(base) = &found {
            let kept = &mut self.kept[usize::from(level)];
            if kept.len() >= KEPT_PAGES {
                kept.clear();
            }
            kept.insert(first(level, index), base.clone());
        }
        Ok(found)
    }

    async fn entry(&mut self, level: u8, index: u64) -> Result<Option<Entry>, RepositoryError> {
        Ok(self
            .page(level, index)
            .await?
            .and_then(|base| base.page.get(index).copied()))
    }

    async fn root_page(&self, index: u64) -> Result<Option<BasePage>, RepositoryError> {
        match self.root.page {
            Some(reference) if first(self.root.level, index) == 0 => {
                self.load(self.root.level, index, reference).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// A page above the old root: its first entry leads, over as many made-up pages as it takes, to the old root.
    fn made_up(&self, level: u8, index: u64) -> Option<BasePage> {
        let reference = self.root.page?;
        if first(level, index) != 0 {
            return None;
        }
        let mut page = Page::empty(level, self.root.chunk_log2, 0);
        page.set(
            0,
            Some(Entry {
                reference,
                chunks: self.root.chunks,
            }),
        );
        Some(BasePage {
            reference: None,
            page: Arc::new(page),
        })
    }

    async fn load(
        &self,
        level: u8,
        index: u64,
        reference: Reference,
    ) -> Result<BasePage, RepositoryError> {
        let page = self
            .loader
            .load(&[reference])
            .await?
            .pop()
            .expect("one page for one reference");
        self.check(&page, level, index)?;
        Ok(self.cut(BasePage {
            reference: Some(reference),
            page,
        }))
    }

    /// An authentic page in the wrong place would be wrong bytes in the right place.
    fn check(&self, page: &Page, level: u8, index: u64) -> Result<(), RepositoryError> {
        let place = page.level() == level && page.first() == first(level, index);
        if place && page.chunk_log2() == self.root.chunk_log2 {
            return Ok(());
        }
        Err(RepositoryError::damaged(
            "page of a map",
            "it belongs to another place of the volume",
        ))
    }

    fn cut(&self, base: BasePage) -> BasePage {
        let beyond = |page: &Page| page.entries().any(|(first, _)| first >= self.chunk_count);
        if !beyond(&base.page) {
            return base;
        }
        let mut page = Page::clone(&base.page);
        let cut: Vec<u64> = page
            .entries()
            .map(|(first, _)| first)
            .filter(|first| *first >= self.chunk_count)
            .collect();
        for index in cut {
            page.set(index, None);
        }
        BasePage {
            reference: None,
            page: Arc::new(page),
        }
    }
}

/// The first index of the page of `level` that spans `index`.
fn first(level: u8, index: u64) -> u64 {
    index >> span_log2(level) << span_log2(level)
}
