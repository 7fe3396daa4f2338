//! `sluice forget`: marks recovery points as no longer wanted.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use repository::{Point, Points, SessionId, newest_good};
use serde::Serialize;

use super::points::matches;
use crate::{
    args::{Forget, PointKind, PointName},
    clock,
    context::Context,
    exit::{Exit, Usage},
    output::{Screen, json, print, size::Size, table::Table, text::count, time},
    selection,
};

/// How much of its id gives up a point that cannot be read: what tables show.
const UNREADABLE_DIGITS_MIN: usize = 8;

/// What becomes of a point, and why.
#[derive(Debug, Serialize)]
struct Decision<'a> {
    id: String,
    series: &'a str,
    finished: String,
    action: Action,
    reason: &'static str,
    #[serde(skip)]
    point: &'a Point,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Keep,
    Forget,
}

/// What is to be kept.
#[derive(Clone, Copy, Debug, Default)]
struct Policy {
    last: Option<u32>,
    since: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Done<'a> {
    dry_run: bool,
    forgotten: usize,
    given_up: Vec<String>,
    points: Vec<Decision<'a>>,
}

pub(super) async fn run(context: &Context, arguments: &Forget) -> anyhow::Result<Exit> {
    let policy = Policy {
        last: arguments.keep_last,
        since: arguments.keep_within,
    };
    let named = !arguments.points.is_empty();
    if !named && policy.last.is_none() && policy.since.is_none() {
        let missing =
            "what to forget? Name points, or say what to keep with --keep-last or --keep-within";
        return Err(Usage(missing.to_owned()).into());
    }
    let repository = context.open().await?;
    let points = context.interruptible(repository.points()).await??;
    if !named && !points.damaged.is_empty() {
        let unread = count(points.damaged.len() as u64, "point");
        context.screen.warn(format_args!(
            "{unread} cannot be read, and counted as none: `sluice points` names what is damaged"
        ));
    }
    let decisions = if named {
        by_name(&context.screen, &points, arguments)?
    } else {
        by_policy(&points.points, arguments, policy)
    };
    let given_up: BTreeSet<SessionId> = arguments
        .points
        .iter()
        .filter_map(|name| unreadable(&points, name, arguments))
        .collect();
    let ids: Vec<SessionId> = decisions
        .iter()
        .filter(|decision| decision.action == Action::Forget)
        .map(|decision| decision.point.id)
        .chain(given_up.iter().copied())
        .collect();
    if !arguments.dry_run && !ids.is_empty() {
        repository
            .forget(&ids, &arguments.reason, arguments.force)
            .await?;
    }
    if context.json() {
        json::write(&Done {
            dry_run: arguments.dry_run,
            forgotten: ids.len(),
            given_up: given_up.iter().map(ToString::to_string).collect(),
            points: decisions,
        })?;
    } else if !decisions.is_empty() {
        print(table(&decisions))?;
    } else if ids.is_empty() {
        context.screen.note("no recovery points match");
    }
    for id in &given_up {
        context
            .screen
            .note(format_args!("{id} cannot be read, and is given up"));
    }
    let count = count(ids.len() as u64, "point");
    if arguments.dry_run {
        context
            .screen
            .note(format_args!("dry run: {count} would be forgotten"));
    } else {
        context.screen.note(format_args!(
            "{count} forgotten; the space comes back with prune, which this version does not have yet"
        ));
    }
    Ok(Exit::Done)
}

fn by_name<'a>(
    screen: &Screen,
    points: &'a Points,
    arguments: &Forget,
) -> anyhow::Result<Vec<Decision<'a>>> {
    let mut chosen: BTreeMap<SessionId, &Point> = BTreeMap::new();
    for name in &arguments.points {
        if unreadable(points, name, arguments).is_some() {
            continue;
        }
        let point = selection::find(screen, points, name, arguments.series.as_deref(), None)?;
        chosen.insert(point.id, point);
    }
    if !arguments.force {
        let newest: BTreeSet<SessionId> =
            newest_good(&points.points).map(|point| point.id).collect();
        // Refused here too, so that a dry run tells.
        if let Some(point) = chosen.values().find(|point| newest.contains(&point.id)) {
            let (point, series) = (point.id.short(), point.manifest.series.clone());
            return Err(repository::RepositoryError::NewestPoint { point, series }.into());
        }
    }
    Ok(chosen
        .into_values()
        .map(|point| decide(point, Action::Forget, "named"))
        .collect())
}

/// A point whose register is damaged or gone has nothing but its id. As much of it as is shown elsewhere must be given, and
/// no series: nobody knows which it was.
fn unreadable(points: &Points, name: &PointName, arguments: &Forget) -> Option<SessionId> {
    let PointKind::Id(prefix) = &name.kind else {
        return None;
    };
    if prefix.len() < UNREADABLE_DIGITS_MIN || arguments.series.is_some() {
        return None;
    }
    let fits = |point: &Point| point.id.to_string().starts_with(prefix.as_str());
    let mut fitting = points.unread(prefix);
    let (found, another) = (fitting.next(), fitting.next());
    let unique = another.is_none() && !points.points.iter().any(fits);
    found.filter(|_| unique)
}

/// Decides over the points that are looked at: those of one series, with all tags, or all.
fn by_policy<'a>(points: &'a [Point], arguments: &Forget, policy: Policy) -> Vec<Decision<'a>> {
    let newest: BTreeSet<SessionId> = newest_good(points).map(|point| point.id).collect();
    let mut good: BTreeMap<&str, u32> = BTreeMap::new();
    let mut decisions: Vec<Decision<'_>> = Vec::new();
    let wanted = |point: &&Point| matches(point, arguments.series.as_deref(), &arguments.tags);
    for point in points.iter().rev().filter(wanted) {
        let newer_good = good.entry(&point.manifest.series).or_default();
        let reason = keep(point, *newer_good, policy, newest.contains(&point.id));
        // A damaged point takes nobody's place.
        *newer_good += u32::from(!point.bad);
        decisions.push(match reason {
            Some(reason) => decide(point, Action::Keep, reason),
            None => decide(point, Action::Forget, "older than what is kept"),
        });
    }
    decisions.reverse();
    decisions
}

/// Why a point is kept; `newer_good` is how many good ones of its series are newer.
fn keep(point: &Point, newer_good: u32, policy: Policy, newest: bool) -> Option<&'static str> {
    if policy.last.is_some_and(|last| newer_good < last) {
        return Some("one of the last");
    }
    if policy
        .since
        .is_some_and(|since| time::timestamp(point.manifest.finished_ms) >= since)
    {
        return Some("young enough");
    }
    newest.then_some("the newest good one of its series")
}

fn decide<'a>(point: &'a Point, action: Action, reason: &'static str) -> Decision<'a> {
    Decision {
        id: point.id.to_string(),
        series: &point.manifest.series,
        finished: time::rfc3339(point.manifest.finished_ms),
        action,
        reason,
        point,
    }
}

fn table(decisions: &[Decision<'_>]) -> Table {
    let now = clock::now();
    let mut table = Table::new(&[
        "ACTION", "ID", "SERIES", "FINISHED", "AGE", ">NEW", "REASON",
    ]);
    for decision in decisions {
        let (point, manifest) = (decision.point, &decision.point.manifest);
        let action = match decision.action {
            Action::Keep => "keep",
            Action::Forget => "forget",
        };
        table.row([
            action,
            &point.id.short(),
            &manifest.series,
            &time::absolute(manifest.finished_ms, &now),
            &time::age(manifest.finished_ms, &now),
            &Size(manifest.stats.new_bytes).to_string(),
            decision.reason,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use repository::Manifest;

    use super::*;

    fn point(id: u8, series: &str, seconds: u64, bad: bool) -> Point {
        let manifest = Manifest {
            series: series.to_owned(),
            finished_ms: seconds * 1000,
            ..Manifest::default()
        };
        Point {
            id: SessionId::from_bytes([id; 16]),
            manifest,
            bad,
            sibling: false,
        }
    }

    fn everything() -> Forget {
        Forget {
            points: Vec::new(),
            keep_last: None,
            keep_within: None,
            series: None,
            tags: Vec::new(),
            dry_run: false,
            force: false,
            reason: String::new(),
        }
    }

    /// The first bytes of the ids that are kept, oldest first.
    fn kept(points: &[Point], last: Option<u32>, since_seconds: Option<u64>) -> Vec<u8> {
        let policy = Policy {
            last,
            since: since_seconds.map(|seconds| time::timestamp(seconds * 1000)),
        };
        let decisions = by_policy(points, &everything(), policy);
        let kept = decisions
            .iter()
            .filter(|decision| decision.action == Action::Keep);
        kept.map(|decision| decision.point.id.as_bytes()[0])
            .collect()
    }

    #[test]
    fn each_series_keeps_its_own() {
        let points = [(1, "a"), (2, "b"), (3, "a"), (4, "a"), (5, "b")];
        let points: Vec<Point> = points
            .iter()
            .map(|(id, series)| point(*id, series, u64::from(*id) * 10, false))
            .collect();
        assert_eq!(kept(&points, Some(1), None), [4, 5]);
        assert_eq!(kept(&points, Some(2), None), [2, 3, 4, 5]);
        assert_eq!(kept(&points, None, Some(40)), [4, 5]);
        assert_eq!(
            kept(&points, None, Some(50)),
            [4, 5],
            "the newest good one of a stays"
        );
        assert_eq!(kept(&points, Some(1), Some(30)), [3, 4, 5]);
        let one = Forget {
            series: Some("b".to_owned()),
            ..everything()
        };
        assert_eq!(
            by_policy(
                &points,
                &one,
                Policy {
                    last: Some(1),
                    since: None
                }
            )
            .len(),
            2
        );
    }

    #[test]
    fn a_damaged_point_takes_nobodys_place() {
        let points = [
            point(1, "a", 1, false),
            point(2, "a", 2, false),
            point(3, "a", 3, true),
        ];
        assert_eq!(kept(&points, Some(1), None), [2, 3]);
    }

    proptest! {
        #[test]
        fn the_newest_good_one_is_always_kept(
            points in prop::collection::vec((0_u8..3, any::<bool>()), 0..40),
            last in prop::option::of(1_u32..5),
            since in prop::option::of(0_u64..60),
        ) {
            let points: Vec<Point> = (1..).zip(&points)
                .map(|(id, (series, bad))| point(id, &series.to_string(), u64::from(id), *bad))
                .collect();
            let kept = kept(&points, last, since);
            for newest in newest_good(&points) {
                prop_assert!(kept.contains(&newest.id.as_bytes()[0]));
            }
        }
    }
}
