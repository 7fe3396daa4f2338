//! `sluice stats`: what each series takes.

use repository::{Point, SeriesStats};
use serde::Serialize;

use super::points::report_damage;
use crate::{
    args::Stats,
    context::Context,
    exit::Exit,
    output::{json, print, size::Size, table::Table},
};

#[derive(Debug, Serialize)]
struct All<'a> {
    series: Vec<Series<'a>>,
    points: u64,
    unique_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Series<'a> {
    name: &'a str,
    points: u64,
    volume_bytes: u64,
    stored_bytes: u64,
    unique_bytes: u64,
}

pub(super) async fn run(context: &Context, arguments: &Stats) -> anyhow::Result<Exit> {
    let repository = context.open().await?;
    let points = context.interruptible(repository.points()).await??;
    // All of them: what is unique to a series depends on the others.
    let all: &[Point] = &points.points;
    let stats = context.interruptible(repository.stats(all)).await??;
    let wanted = |stats: &&SeriesStats| {
        arguments
            .series
            .as_ref()
            .is_none_or(|series| stats.series == *series)
    };
    let chosen: Vec<&SeriesStats> = stats.iter().filter(wanted).collect();
    let all = All {
        points: chosen.iter().map(|stats| stats.points).sum(),
        unique_bytes: chosen.iter().map(|stats| stats.unique_bytes).sum(),
        series: chosen.iter().map(|stats| series(stats)).collect(),
    };
    if context.json() {
        json::write(&all)?;
    } else if all.series.is_empty() {
        context.screen.note("no recovery points");
    } else {
        print(table(&all))?;
    }
    Ok(report_damage(context, &points))
}

fn series(stats: &SeriesStats) -> Series<'_> {
    Series {
        name: &stats.series,
        points: stats.points,
        volume_bytes: stats.volume_bytes,
        stored_bytes: stats.stored_bytes,
        unique_bytes: stats.unique_bytes,
    }
}

fn table(all: &All<'_>) -> Table {
    let mut table = Table::new(&["SERIES", ">POINTS", ">SIZE", ">STORED", ">UNIQUE"]);
    for series in &all.series {
        let cells = [
            series.name.to_owned(),
            series.points.to_string(),
            Size(series.volume_bytes).to_string(),
            Size(series.stored_bytes).to_string(),
            Size(series.unique_bytes).to_string(),
        ];
        table.row(cells.iter().map(String::as_str));
    }
    table
}
