//! `sluice verify`: checks that recovery points can be restored.

use std::time::Duration;

use agent::job::{self, VerifyReport, VerifyRequest};
use repository::{Point, Points, RepositoryError, SessionId, verify::Asked};
use serde::Serialize;

use super::results::{self, ResultFile};
use crate::{
    args::Verify,
    context::Context,
    exit::{Exit, Usage},
    output::{
        json, print, progress,
        size::Size,
        table::{Facts, Table},
        text::count,
        time,
    },
    selection,
};

/// What a verify found. `JSON.md` documents every field.
#[derive(Debug, Serialize)]
struct Done {
    points: u64,
    bad_points: Vec<String>,
    pages: u64,
    packs: u64,
    packs_read: u64,
    read_bytes: u64,
    read_data_percent: u8,
    turn: u64,
    damage: Vec<Damaged>,
    marks_left: Vec<String>,
    not_recorded: Option<String>,
    duration_seconds: f64,
}

#[derive(Debug, Serialize)]
struct Damaged {
    object: String,
    what: String,
}

pub(super) async fn run(context: &Context, arguments: &Verify) -> anyhow::Result<Exit> {
    let file = arguments
        .job
        .result
        .as_deref()
        .map(|path| ResultFile::check(path, &[]))
        .transpose()?;
    let outcome = verify(context, arguments).await.map(|done| {
        let whole = done.damage.is_empty() && done.bad_points.is_empty();
        (done, if whole { Exit::Done } else { Exit::Partial })
    });
    let (done, exit) = results::finish(file.as_ref(), outcome)?;
    if context.json() {
        json::write(&done)?;
    } else {
        print(describe(&done))?;
    }
    if exit == Exit::Partial {
        context.screen.line(
            "DAMAGE was found: `sluice points` marks what cannot be restored whole; a new backup stores again what its \
             source still has; `sluice forget` gives up the rest",
        );
    }
    Ok(exit)
}

async fn verify(context: &Context, arguments: &Verify) -> anyhow::Result<Done> {
    let repository = context.open().await?;
    let points = if arguments.points.is_empty() && arguments.series.is_none() {
        Vec::new()
    } else {
        let points = context.interruptible(repository.points()).await??;
        meant(context, &points, arguments)?
    };
    let percent = arguments.read_data;
    let asked = match (arguments.points.is_empty(), &arguments.series) {
        (true, None) => Asked::All,
        (true, Some(series)) => Asked::Series(series.clone()),
        (false, _) => Asked::Points,
    };
    let request = VerifyRequest {
        read_data_percent: percent,
        points,
        asked,
    };
    let control = context.control(&arguments.job);
    let job = job::verify(&repository, request, &control);
    let report = progress::watch(
        &context.screen,
        "verify",
        "nothing is recorded",
        &control,
        job,
    )
    .await?;
    if let Some(reason) = &report.not_recorded {
        context.screen.warn(format_args!(
            "the repository takes no record of this run ({reason}): damaged points are not marked, and the next run of this \
             share reads the same part"
        ));
    }
    for id in &report.marks_left {
        let mark = repository::layout::bad_point(*id);
        context.screen.warn(format_args!(
            "{} is whole, but these credentials may not remove its mark: delete `{mark}` with others, until then it counts as \
             damaged",
            id.short()
        ));
    }
    let VerifyReport {
        points,
        pages,
        packs,
        packs_read,
        read_bytes,
        turn,
        duration,
        ..
    } = report;
    let damaged = |damage: repository::verify::Damage| Damaged {
        object: damage.object,
        what: damage.what,
    };
    Ok(Done {
        points,
        bad_points: report.bad_points.iter().map(ToString::to_string).collect(),
        pages,
        packs,
        packs_read,
        read_bytes,
        read_data_percent: percent,
        turn,
        damage: report.damage.into_iter().map(damaged).collect(),
        marks_left: report.marks_left.iter().map(ToString::to_string).collect(),
        not_recorded: report.not_recorded,
        duration_seconds: duration.as_secs_f64(),
    })
}

/// The points that are named, or all of a series.
fn meant(context: &Context, points: &Points, arguments: &Verify) -> anyhow::Result<Vec<SessionId>> {
    let (names, series) = (&arguments.points, arguments.series.as_deref());
    if names.is_empty() {
        let of_series = |point: &&Point| Some(point.manifest.series.as_str()) == series;
        let ids: Vec<SessionId> = points
            .points
            .iter()
            .filter(of_series)
            .map(|point| point.id)
            .collect();
        return if ids.is_empty() {
            let of = series.unwrap_or_default();
            Err(match points.damaged.first() {
                None => Usage(format!("no recovery points of series `{of}`")).into(),
                Some((object, error)) => RepositoryError::Damaged {
                    object: object.clone(),
                    what: format!("none that can be read is of `{of}`, and this cannot ({error})"),
                }
                .into(),
            })
        } else {
            Ok(ids)
        };
    }
    names
        .iter()
        .map(|name| Ok(selection::find(&context.screen, points, name, series, None)?.id))
        .collect()
}

fn describe(done: &Done) -> String {
    let mut facts = Facts::default();
    let took = time::duration(Duration::from_secs_f64(done.duration_seconds));
    facts.add(
        "Structure",
        format!(
            "{}, {} in {took}",
            count(done.points, "point"),
            count(done.pages, "page")
        ),
    );
    facts.add("Data", data(done));
    let list = |ids: &[String]| ids.iter().map(|id| &id[..8]).collect::<Vec<_>>().join(", ");
    match (done.damage.len(), done.bad_points.is_empty()) {
        (0, true) => facts.add("Damage", "none found"),
        (0, false) => facts.add("Damage", "none found by this run").add(
            "Bad points",
            format!(
                "{}, found by an earlier run: --read-data 100% looks again",
                list(&done.bad_points)
            ),
        ),
        (objects, _) => facts
            .add("Damage", count(objects as u64, "object"))
            .add("Bad points", list(&done.bad_points)),
    };
    let mut text = facts.to_string();
    if !done.damage.is_empty() {
        let mut table = Table::new(&["OBJECT", "WHAT"]);
        done.damage
            .iter()
            .for_each(|damaged| table.row([damaged.object.as_str(), &damaged.what]));
        text.push_str(&format!("\n{table}"));
    }
    text
}

fn data(done: &Done) -> String {
    let Done {
        packs,
        packs_read,
        read_bytes,
        read_data_percent: percent,
        turn,
        ..
    } = done;
    match percent {
        0 => format!(
            "not read (of {}); --read-data 5% reads a part of it, another one each time",
            count(*packs, "pack")
        ),
        100 => format!("{} read, {}", count(*packs_read, "pack"), Size(*read_bytes)),
        _ => {
            let parts = 100_u64.div_ceil(u64::from(*percent));
            let read = Size(*read_bytes);
            format!(
                "{packs_read} of {} read, {read}; part {} of {parts}",
                count(*packs, "pack"),
                turn % parts + 1
            )
        }
    }
}
