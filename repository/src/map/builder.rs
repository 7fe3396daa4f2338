//! Makes a new map from an old one and the leaves that changed, in ascending order.
//!
//! It holds one page a level. A page is written when the builder moves past it and only if something in it changed;
//! otherwise the old reference stays.

use crate::{
    map::{BasePage, Entry, FANOUT_LOG2, MapRoot, Page, level_for},
    reference::Reference,
};

/// Stores a page and says where.
pub trait PageSink {
    /// Why a page could not be stored.
    type Error;

    /// Stores a page.
    ///
    /// # Errors
    /// When it cannot be stored.
    fn store(&mut self, page: &Page) -> Result<Reference, Self::Error>;
}

/// A map in the making.
#[derive(Clone, Debug)]
pub struct MapBuilder {
    chunk_log2: u8,
    volume_bytes: u64,
    level: u8,
    /// Pages of levels 1 and up that the builder is in, lowest first.
    open: Vec<Option<OpenPage>>,
    root: Option<Entry>,
    next_leaf: u64,
    holds_base: bool,
}

#[derive(Clone, Debug)]
struct OpenPage {
    page: Page,
    /// Where the page is stored as it was; `None` once it differs.
    stored: Option<Reference>,
}

impl MapBuilder {
    /// A map of `volume_bytes`, based on `base`, which has the same chunk size.
    ///
    /// When the volume was resized, leaf 0 and the last leaf have to be given, changed or not.
    pub fn new(chunk_log2: u8, volume_bytes: u64, base: Option<MapRoot>) -> Self {
        let level = level_for(volume_bytes.div_ceil(1 << chunk_log2));
        let same_level = base.filter(|base| base.level == level && base.chunk_log2 == chunk_log2);
        let root = same_level.and_then(|base| {
            Some(Entry {
                reference: base.page?,
                chunks: base.chunks,
            })
        });
        let open = vec![None; usize::from(level)];
        let holds_base = same_level.is_some() || base.is_none_or(|base| base.page.is_none());
        Self {
            chunk_log2,
            volume_bytes,
            level,
            open,
            root,
            next_leaf: 0,
            holds_base,
        }
    }

    /// Whether [`finish`](Self::finish) now would give a map with all of the base in it. A volume whose map has another
    /// number of levels than its base has none before leaf 0 was given.
    pub fn holds_base(&self) -> bool {
        self.holds_base
    }

    /// Gives the leaf with this number: as it was (`old`), as it is (`new`), and the inner pages above it as they were,
    /// lowest first.
    ///
    /// # Errors
    /// When a page cannot be stored.
    pub fn leaf<S: PageSink>(
        &mut self,
        number: u64,
        path: &[Option<BasePage>],
        old: Option<&BasePage>,
        new: &Page,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        debug_assert!(number >= self.next_leaf, "leaves come in ascending order");
        self.next_leaf = number + 1;
        self.holds_base |= number == 0;
        let index = number << FANOUT_LOG2;
        self.close_before(index, sink)?;
        for level in (1..=self.level).rev() {
            let slot = &mut self.open[usize::from(level) - 1];
            if slot.is_none() {
                let base = path.get(usize::from(level) - 1).and_then(Option::as_ref);
                *slot = Some(match base {
                    Some(base) => OpenPage {
                        page: Page::clone(&base.page),
                        stored: base.reference,
                    },
                    None => OpenPage {
                        page: Page::empty(level, self.chunk_log2, index),
                        stored: None,
                    },
                });
            }
        }
        let unchanged = old.filter(|old| old.page.same_contents(new));
        let entry = match unchanged.and_then(|old| old.reference) {
            // Given again all the same: of a volume that shrank to one leaf it is the root now.
            Some(reference) => Some(Entry {
                reference,
                chunks: new.chunks(),
            }),
            None => store(new, sink)?,
        };
        self.put(1, index, entry);
        Ok(())
    }

    /// Closes all pages and returns the root.
    ///
    /// # Errors
    /// When a page cannot be stored.
    pub fn finish<S: PageSink>(mut self, sink: &mut S) -> Result<MapRoot, S::Error> {
        for level in 1..=self.level {
            self.close(level, sink)?;
        }
        Ok(MapRoot {
            chunk_log2: self.chunk_log2,
            volume_bytes: self.volume_bytes,
            level: self.level,
            page: self.root.map(|entry| entry.reference),
            chunks: self.root.map_or(0, |entry| entry.chunks),
        })
    }

    /// Closes pages that do not span `index`, lowest first.
    fn close_before<S: PageSink>(&mut self, index: u64, sink: &mut S) -> Result<(), S::Error> {
        for level in 1..=self.level {
            let open = &self.open[usize::from(level) - 1];
            let first = Page::empty(level, self.chunk_log2, index).first();
            if open.as_ref().is_some_and(|open| open.page.first() != first) {
                self.close(level, sink)?;
            }
        }
        Ok(())
    }

    fn close<S: PageSink>(&mut self, level: u8, sink: &mut S) -> Result<(), S::Error> {
        let Some(open) = self.open[usize::from(level) - 1].take() else {
            return Ok(());
        };
        let entry = match open.stored {
            Some(reference) => Some(Entry {
                reference,
                chunks: open.page.chunks(),
            }),
            None => store(&open.page, sink)?,
        };
        self.put(level + 1, open.page.first(), entry);
        Ok(())
    }

    /// Puts an entry into the open page of `level`, or makes it the root.
    fn put(&mut self, level: u8, index: u64, entry: Option<Entry>) {
        if level > self.level {
            self.root = entry;
            return;
        }
        let open = self.open[usize::from(level) - 1].as_mut();
        let open = open.expect("pages are opened from the root down");
        let same = |old: &Entry| entry.is_some_and(|new| new.reference.id == old.reference.id);
        let unchanged = match open.page.get(index) {
            Some(old) => same(old),
            None => entry.is_none(),
        };
        if !unchanged {
            open.page.set(index, entry);
            open.stored = None;
        }
    }
}

/// Stores a page, unless it is empty.
fn store<S: PageSink>(page: &Page, sink: &mut S) -> Result<Option<Entry>, S::Error> {
    if page.is_empty() {
        return Ok(None);
    }
    Ok(Some(Entry {
        reference: sink.store(page)?,
        chunks: page.chunks(),
    }))
}
