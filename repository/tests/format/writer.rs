//! Writes small volumes through the crate's public functions, without the pipeline of the agent.

use std::{collections::BTreeMap, sync::Arc};

use repository::{
    Compression, Entry, Manifest, MapRoot, PackBuffers, Point, Pressure, Repository,
    RepositoryError, SourceFacts,
    format::PACK_BYTES_SMALL,
    map::{FANOUT, MapBuilder, MapReader, Page},
    session::{Session, SessionRequest},
};

/// The size of all chunks here.
const CHUNK_LOG2: u8 = 16;

/// Chunks to write, by index; `None` for zeros.
pub(crate) type Changes = BTreeMap<u64, Option<Vec<u8>>>;

/// Commits a point of `series` with these changes to its newest point.
pub(crate) async fn write_point(
    repository: &Repository,
    series: &str,
    volume_bytes: u64,
    changes: &Changes,
) -> Result<Point, RepositoryError> {
    let request = SessionRequest {
        series: series.to_owned(),
        ..SessionRequest::default()
    };
    let session = Session::begin(repository, request).await?;
    let entries = write_chunks(&session, changes).await?;
    let base = session.parent().and_then(|parent| parent.manifest.volume);
    let volume = Some(write_map(&session, base, volume_bytes, &entries).await?);
    let source = SourceFacts {
        host: "golden".to_owned(),
        path: format!("/dev/{series}"),
        kind: "block-device".to_owned(),
        origin: BTreeMap::from([("pvc".to_owned(), series.to_owned())]),
        ..SourceFacts::default()
    };
    let tags = vec!["nightly".to_owned()];
    session
        .commit(Manifest {
            volume,
            source,
            tags,
            ..Manifest::default()
        })
        .await
}

async fn write_chunks(
    session: &Session,
    changes: &Changes,
) -> Result<BTreeMap<u64, Option<Entry>>, RepositoryError> {
    let buffers = PackBuffers::new(1, PACK_BYTES_SMALL);
    let mut writer = session.data_writer(Compression::Auto);
    let mut entries = BTreeMap::new();
    for (index, chunk) in changes {
        let Some(chunk) = chunk else {
            entries.insert(*index, None);
            continue;
        };
        if writer.needs_buffer(chunk.len()) {
            if let Some(pack) = writer.close()? {
                session.upload(pack).await?;
            }
            writer.start_pack(buffers.take().await);
        }
        let id = session.repository().keys().chunk_id(chunk);
        entries.insert(
            *index,
            Some(Entry::chunk(writer.add(id, chunk, Pressure::None))),
        );
    }
    if let Some(pack) = writer.close()? {
        session.upload(pack).await?;
    }
    Ok(entries)
}

async fn write_map(
    session: &Session,
    base: Option<MapRoot>,
    volume_bytes: u64,
    entries: &BTreeMap<u64, Option<Entry>>,
) -> Result<MapRoot, RepositoryError> {
    let pages = session.repository().pages();
    let old = base.unwrap_or_else(|| MapRoot::empty(CHUNK_LOG2, volume_bytes));
    let count = MapRoot::empty(CHUNK_LOG2, volume_bytes).chunk_count();
    let mut reader = MapReader::resized(old, Arc::clone(&pages), count);
    let mut leaves: BTreeMap<u64, Vec<(u64, Option<Entry>)>> = BTreeMap::new();
    if old.volume_bytes != volume_bytes {
        // What a resize touches is given whether it changed or not.
        for edge in [0, (count - 1) / FANOUT, (old.chunk_count() - 1) / FANOUT] {
            if edge <= (count - 1) / FANOUT {
                leaves.entry(edge).or_default();
            }
        }
    }
    for (index, entry) in entries {
        leaves
            .entry(index / FANOUT)
            .or_default()
            .push((*index, *entry));
    }
    let mut builder = MapBuilder::new(CHUNK_LOG2, volume_bytes, base);
    let mut writer = session.page_writer();
    for (number, entries) in leaves {
        let old = reader.leaves(&[number]).await?.pop().flatten();
        let path = reader.path(number).await?;
        let mut page = match &old {
            Some(base) => Page::clone(&base.page),
            None => Page::empty(0, CHUNK_LOG2, number * FANOUT),
        };
        for (index, entry) in entries {
            page.set(index, entry);
        }
        if let Some(pack) = writer.close_if_full()? {
            session.upload(pack).await?;
        }
        writer.make_room().await;
        let Ok(()) = builder.leaf(number, &path, old.as_ref(), &page, &mut writer);
    }
    writer.make_room().await;
    let Ok(root) = builder.finish(&mut writer);
    if let Some(pack) = writer.close()? {
        session.upload(pack).await?;
    }
    Ok(root)
}
