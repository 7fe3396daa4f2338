//! `sluice show` and `sluice ls`: one recovery point, and what it holds.

use std::{path::Path, time::Duration};

use repository::Point;
use serde::Serialize;

use super::points::how;
use crate::{
    args::Show,
    clock,
    context::Context,
    exit::Exit,
    output::{
        json::{self, PointRecord},
        print,
        progress::ratio,
        size::Size,
        table::{Facts, Table},
        text::count,
        time,
    },
    selection,
};

/// Something that a point holds.
#[derive(Debug, Serialize)]
struct Held<'a> {
    name: String,
    kind: &'a str,
    bytes: u64,
    chunk_bytes: u64,
    chunks: u64,
    data_bytes: u64,
}

pub(super) async fn show(context: &Context, arguments: &Show) -> anyhow::Result<Exit> {
    let repository = context.open().await?;
    let points = context.interruptible(repository.points()).await??;
    let point = selection::find_by(
        &context.screen,
        &points,
        &arguments.point,
        &arguments.selection,
    )?;
    if context.json() {
        json::write(&PointRecord::from(point))?;
    } else {
        print(facts(point))?;
    }
    Ok(Exit::Done)
}

pub(super) async fn ls(context: &Context, arguments: &Show) -> anyhow::Result<Exit> {
    let repository = context.open().await?;
    let points = context.interruptible(repository.points()).await??;
    let point = selection::find_by(
        &context.screen,
        &points,
        &arguments.point,
        &arguments.selection,
    )?;
    let held = held(point);
    if context.json() {
        json::write(&held)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["NAME", "KIND", ">SIZE", ">CHUNK", ">CHUNKS", ">DATA"]);
    for held in &held {
        let (size, chunk) = (
            Size(held.bytes).to_string(),
            Size(held.chunk_bytes).to_string(),
        );
        let (chunks, data) = (held.chunks.to_string(), Size(held.data_bytes).to_string());
        table.row([held.name.as_str(), held.kind, &size, &chunk, &chunks, &data]);
    }
    print(table)?;
    Ok(Exit::Done)
}

fn held(point: &Point) -> Vec<Held<'_>> {
    let source = &point.manifest.source;
    let path = Path::new(&source.path);
    let name = path
        .file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned();
    let held = point.manifest.volume.map(|map| Held {
        name,
        kind: &source.kind,
        bytes: map.volume_bytes,
        chunk_bytes: map.chunk_bytes(),
        chunks: map.chunks,
        // The last chunk may be longer than the volume.
        data_bytes: map
            .chunks
            .saturating_mul(map.chunk_bytes())
            .min(map.volume_bytes),
    });
    held.into_iter().collect()
}

fn facts(point: &Point) -> Facts {
    let (now, manifest) = (clock::now(), &point.manifest);
    let (source, stats) = (&manifest.source, &manifest.stats);
    let took = Duration::from_millis(manifest.finished_ms.saturating_sub(manifest.started_ms));
    let exact = |bytes: u64| {
        if bytes < 1024 {
            Size(bytes).to_string()
        } else {
            format!("{} ({bytes} bytes)", Size(bytes))
        }
    };
    let age = time::age(manifest.finished_ms, &now);
    let mut facts = Facts::default();
    facts
        .add("Point", point.id.to_string())
        .add("Series", &manifest.series)
        .add(
            "Finished",
            format!("{}, {age} ago", time::absolute(manifest.finished_ms, &now)),
        )
        .add("Took", time::duration(took))
        .add(
            "Parent",
            manifest
                .parent
                .map(|parent| parent.to_string())
                .unwrap_or_default(),
        )
        .add("Tags", manifest.tags.join(", "))
        .add("State", state(point))
        .add(
            "Source",
            format!("{} on {}, {}", source.path, source.host, source.kind),
        )
        .add("Unchecked", source.unchecked.clone().unwrap_or_default())
        .add("Handle", source.handle.clone().unwrap_or_default())
        .add("Changes", how(point))
        .add("Because", source.fallback.clone().unwrap_or_default())
        .add("Size", exact(point.volume_bytes()));
    if let Some(map) = manifest.volume {
        facts.add(
            "Chunks",
            format!(
                "{} of {} with data, {} each",
                map.chunks,
                map.chunk_count(),
                Size(map.chunk_bytes())
            ),
        );
    }
    let ratio = ratio(stats.new_bytes, stats.uploaded_bytes)
        .map(|ratio| format!(", ratio {ratio}"))
        .unwrap_or_default();
    let uploaded = format!(
        "{} in {}{ratio}",
        exact(stats.uploaded_bytes),
        count(stats.packs, "pack")
    );
    facts
        .add("Read", exact(stats.read_bytes))
        .add("New", exact(stats.new_bytes))
        .add("Uploaded", uploaded)
        .add(
            "Adopted",
            if stats.adopted_bytes > 0 {
                exact(stats.adopted_bytes)
            } else {
                String::new()
            },
        )
        .add("Compression", json::compression(manifest.compression));
    if !manifest.run.is_empty() {
        facts.add(
            "Run",
            format!(
                "{}, attempt {}, fence {}",
                manifest.run, manifest.attempt, manifest.fence
            ),
        );
    }
    for (key, value) in &source.origin {
        facts.add("Origin", format!("{key}={value}"));
    }
    facts.add("Written by", format!("sluice {}", manifest.tool));
    facts
}

fn state(point: &Point) -> &'static str {
    match (point.bad, point.sibling) {
        (true, _) => "DAMAGED: a verify could not read all of it",
        (false, true) => "whole; another point was made from the same parent",
        (false, false) => "whole as far as is known",
    }
}
