//! Results as JSON, and the fields of a point. `JSON.md` documents every name; they do not change.

use std::collections::BTreeMap;

use anyhow::Context as _;
use repository::{ChangeMethod, Compression, Manifest, Point};
use serde::Serialize;

use super::{print, time};

/// Writes a result to standard output.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write(result: &impl Serialize) -> anyhow::Result<()> {
    print(text(result)?)
}

/// A result as text that ends with a line end.
pub(crate) fn text(result: &impl Serialize) -> anyhow::Result<String> {
    let mut text = serde_json::to_string_pretty(result).context("write JSON")?;
    text.push('\n');
    Ok(text)
}

/// A recovery point.
#[derive(Debug, Serialize)]
pub(crate) struct PointRecord<'a> {
    id: String,
    series: &'a str,
    started: String,
    finished: String,
    parent: Option<String>,
    tags: &'a [String],
    volume_bytes: u64,
    read_bytes: u64,
    new_bytes: u64,
    uploaded_bytes: u64,
    adopted_bytes: u64,
    packs: u64,
    method: Option<&'static str>,
    fallback: Option<&'a str>,
    compression: &'static str,
    chunk_bytes: Option<u64>,
    chunks: Option<u64>,
    bad: bool,
    sibling: bool,
    live: bool,
    unchecked: Option<&'a str>,
    host: &'a str,
    path: &'a str,
    kind: &'a str,
    handle: Option<&'a str>,
    origin: &'a BTreeMap<String, String>,
    run: &'a str,
    attempt: u32,
    fence: u64,
    tool: &'a str,
}

impl<'a> From<&'a Point> for PointRecord<'a> {
    fn from(point: &'a Point) -> Self {
        let Manifest { source, stats, .. } = &point.manifest;
        Self {
            id: point.id.to_string(),
            series: &point.manifest.series,
            started: time::rfc3339(point.manifest.started_ms),
            finished: time::rfc3339(point.manifest.finished_ms),
            parent: point.manifest.parent.map(|parent| parent.to_string()),
            tags: &point.manifest.tags,
            volume_bytes: point.volume_bytes(),
            read_bytes: stats.read_bytes,
            new_bytes: stats.new_bytes,
            uploaded_bytes: stats.uploaded_bytes,
            adopted_bytes: stats.adopted_bytes,
            packs: stats.packs,
            method: source.method.map(method),
            fallback: source.fallback.as_deref(),
            compression: compression(point.manifest.compression),
            chunk_bytes: point.manifest.volume.map(|map| map.chunk_bytes()),
            chunks: point.manifest.volume.map(|map| map.chunks),
            bad: point.bad,
            sibling: point.sibling,
            live: source.live,
            unchecked: source.unchecked.as_deref(),
            host: &source.host,
            path: &source.path,
            kind: &source.kind,
            handle: source.handle.as_deref(),
            origin: &source.origin,
            run: &point.manifest.run,
            attempt: point.manifest.attempt,
            fence: point.manifest.fence,
            tool: &point.manifest.tool,
        }
    }
}

/// One word for how changes were found.
pub(crate) fn method(method: ChangeMethod) -> &'static str {
    match method {
        ChangeMethod::Everything => "everything",
        ChangeMethod::Compare => "compare",
        ChangeMethod::Extents => "extents",
    }
}

/// One word for how hard was compressed.
pub(crate) fn compression(compression: Compression) -> &'static str {
    match compression {
        Compression::Off => "off",
        Compression::Auto => "auto",
        Compression::Better => "better",
        Compression::Best => "best",
    }
}
