//! The storage format of Sluice: chunks, packs, maps, manifests, keys, stores.
//!
//! `FORMAT.md` says what the bytes mean. A point is written by a session and read from its register down:
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! use std::sync::Arc;
//! use repository::{fetch, layout::PackKind, map::*, session::*, store::MemoryStore, *};
//!
//! let store = Arc::new(MemoryStore::new());
//! let key_file = Secret::draw_key_file();
//! let repository = Repository::create(store, &key_file, &CreateOptions::default()).await?;
//!
//! // Write: chunks into packs, pages that lead to them, and last the register.
//! let request = SessionRequest { series: "host:/dev/vg/db".into(), ..SessionRequest::default() };
//! let session = Session::begin(&repository, request).await?;
//! let chunk = vec![7; 1 << 16];
//! let mut data = session.data_writer(Compression::Auto);
//! data.start_pack(PackBuffers::new(1, format::PACK_BYTES_SMALL).take().await);
//! let reference = data.add(repository.keys().chunk_id(&chunk), &chunk, Pressure::None);
//! session.upload(data.close()?.expect("a chunk")).await?;
//!
//! let mut leaf = Page::empty(0, 16, 0);
//! leaf.set(3, Some(Entry::chunk(reference)));
//! let mut pages = session.page_writer();
//! pages.make_room().await;
//! let mut map = MapBuilder::new(16, 10 << 16, None);
//! map.leaf(0, &[], None, &leaf, &mut pages)?;
//! let volume = Some(map.finish(&mut pages)?);
//! session.upload(pages.close()?.expect("a page")).await?;
//! session.commit(Manifest { volume, ..Manifest::default() }).await?;
//!
//! // Read: the register names the root page, a leaf names the chunk. What no page names is zeros.
//! let points = repository.points().await?;
//! let root = points.find(&Selector::default())?.manifest.volume.expect("a volume");
//! let leaves = MapReader::new(root, repository.pages()).leaves(&[0]).await?;
//! let reference = leaves[0].as_ref().expect("a leaf").page.get(3).expect("a chunk").reference;
//! let piece = fetch::plan(&[reference], 1 << 20).remove(0);
//! let sealed = repository.read_piece(PackKind::Data, &piece).await?;
//! let mut plain = vec![0; 1 << 16];
//! repository.pack_opener(PackKind::Data, &reference)?.open(
//!     &mut Opener::default(), &reference, fetch::within(&piece, &sealed, &reference), &mut plain,
//! )?;
//! assert!(plain == chunk);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! Modules in reading order; each uses only those above it.

mod clock;
mod random;
mod process;
pub mod format;
pub mod id;
pub mod layout;
pub mod store;
mod symmetric;
mod record;
mod key;
mod reference;
mod seal;
mod error;
mod pack;
pub mod map;
mod superblock;
mod point;
mod repository;
pub mod fetch;
mod points;
pub mod session;
pub mod verify;
mod stats;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;

pub use crate::{
    error::RepositoryError,
    id::{ChunkId, IdError, PackId, RepositoryId, SessionId},
    key::{KEY_FILE_PREFIX, KeyNumber, Keyring, Secret, SecretError, SlotHeader, SlotKind},
    map::{Entry, MapRoot},
    pack::{PackBuffer, PackBuffers, SealedPack, Slot},
    point::{ChangeMethod, Manifest, Point, Register, RegisterKind, SourceFacts, Stats},
    points::{Points, Selector, newest_good},
    reference::{Codec, Reference},
    repository::{CreateOptions, KeySlot, Repository, VERSION, read_superblock},
    seal::{Compression, OpenError, Opener, Pressure},
    session::Session,
    stats::SeriesStats,
    superblock::{Operation, StoreFacts, Superblock},
};
