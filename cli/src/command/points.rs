//! `sluice points`: lists recovery points.

use repository::{Point, Points};

use crate::{
    args::{self, Layout},
    clock,
    context::Context,
    exit::Exit,
    output::{
        json::{self, PointRecord},
        print,
        size::Size,
        table::Table,
        time,
    },
};

const HEADINGS: [&str; 9] = [
    "ID",
    "SERIES",
    "FINISHED",
    "AGE",
    ">SIZE",
    ">NEW",
    ">UPLOADED",
    "TAGS",
    "HOW",
];
const HEADINGS_WIDE: [&str; 6] = ["PARENT", ">READ", "TOOK", "HOST", "PATH", "HANDLE"];

pub(super) async fn run(context: &Context, arguments: &args::Points) -> anyhow::Result<Exit> {
    let repository = context.open().await?;
    let points = context.interruptible(repository.points()).await??;
    let wanted = |point: &&Point| matches(point, arguments.series.as_deref(), &arguments.tags);
    let chosen: Vec<&Point> = points.points.iter().filter(wanted).collect();
    if context.json() || arguments.output == Layout::Json {
        json::write(
            &chosen
                .iter()
                .map(|point| PointRecord::from(*point))
                .collect::<Vec<_>>(),
        )?;
    } else if chosen.is_empty() {
        context.screen.note(match points.points.len() {
            0 => "no recovery points yet: `sluice backup PATH` makes one",
            _ => "no recovery points match",
        });
    } else {
        print(table(&chosen, arguments.output == Layout::Wide))?;
    }
    Ok(report_damage(context, &points))
}

/// Whether a point is of a series and has all tags.
pub(super) fn matches(point: &Point, series: Option<&str>, tags: &[String]) -> bool {
    let has = |tag: &String| point.manifest.tags.contains(tag);
    series.is_none_or(|series| point.manifest.series == series) && tags.iter().all(has)
}

/// Names points that cannot be read.
pub(super) fn report_damage(context: &Context, points: &Points) -> Exit {
    for (object, error) in &points.damaged {
        let error = error.to_string();
        let told = if error.contains(object) {
            error
        } else {
            format!("`{object}`: {error}")
        };
        context
            .screen
            .warn(format_args!("a recovery point cannot be read: {told}"));
    }
    for (_, error) in &points.replaced {
        context.screen.warn(error);
    }
    if points.damaged.is_empty() && points.replaced.is_empty() {
        Exit::Done
    } else {
        Exit::Partial
    }
}

fn table(points: &[&Point], wide: bool) -> Table {
    let now = clock::now();
    let headings = HEADINGS
        .iter()
        .chain(if wide { &HEADINGS_WIDE[..] } else { &[] });
    let mut table = Table::new(&headings.copied().collect::<Vec<_>>());
    for point in points {
        let (manifest, stats) = (&point.manifest, &point.manifest.stats);
        let mut cells = vec![
            point.id.short(),
            manifest.series.clone(),
            time::absolute(manifest.finished_ms, &now),
            time::age(manifest.finished_ms, &now),
            Size(point.volume_bytes()).to_string(),
            Size(stats.new_bytes).to_string(),
            Size(stats.uploaded_bytes).to_string(),
            manifest.tags.join(","),
            how(point),
        ];
        if wide {
            let took = manifest.finished_ms.saturating_sub(manifest.started_ms);
            cells.extend([
                manifest
                    .parent
                    .map(|parent| parent.short())
                    .unwrap_or_default(),
                Size(stats.read_bytes).to_string(),
                time::duration(std::time::Duration::from_millis(took)),
                manifest.source.host.clone(),
                manifest.source.path.clone(),
                manifest.source.handle.clone().unwrap_or_default(),
            ]);
        }
        table.row(cells.iter().map(String::as_str));
    }
    table
}

/// How changes were found, and what one must know about the point.
pub(super) fn how(point: &Point) -> String {
    let marks = [
        (point.bad, "DAMAGED"),
        (point.sibling, "sibling"),
        (point.manifest.source.live, "live"),
    ];
    let mut words: Vec<&str> = point
        .manifest
        .source
        .method
        .map(json::method)
        .into_iter()
        .collect();
    words.extend(marks.iter().filter(|(is, _)| *is).map(|(_, word)| *word));
    words.join(",")
}
