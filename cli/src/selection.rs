//! Which points are meant.

use std::collections::BTreeSet;

use jiff::Timestamp;
use repository::{Point, Points, Selector};

use crate::{
    args::{PointArgs, PointKind, PointName},
    clock,
    exit::Usage,
    output::{Screen, text::count, time},
};

/// Series that a message names at most.
const SERIES_SHOWN_MAX: usize = 5;

/// Finds the point that is meant, and warns when it is the newest only because a newer one may be damaged.
///
/// # Errors
/// When there is none, or several, or `latest` could be of several series.
pub(crate) fn find<'a>(
    screen: &Screen,
    points: &'a Points,
    name: &PointName,
    series: Option<&str>,
    as_of: Option<Timestamp>,
) -> anyhow::Result<&'a Point> {
    let found = find_in(points, name, series, as_of)?;
    for doubt in doubts(points, name, found, as_of) {
        screen.warn(format_args!("{doubt}"));
    }
    Ok(found)
}

/// The same, as the options of a command that takes one point say.
pub(crate) fn find_by<'a>(
    screen: &Screen,
    points: &'a Points,
    name: &PointName,
    arguments: &PointArgs,
) -> anyhow::Result<&'a Point> {
    let series = arguments.series.as_deref();
    find(screen, points, name, series, arguments.as_of)
}

/// Why an older point than the newest may have been found: whoever restores it must know.
fn doubts(
    points: &Points,
    name: &PointName,
    found: &Point,
    as_of: Option<Timestamp>,
) -> Vec<String> {
    let as_of = match &name.kind {
        PointKind::Id(_) => return Vec::new(),
        PointKind::Latest => as_of,
        PointKind::At { time, .. } => time.or(as_of),
    };
    let (id, of) = (
        found.id.short(),
        time::absolute(found.manifest.finished_ms, &clock::now()),
    );
    let mut doubts = Vec::new();
    let unread = points.damaged.len() as u64;
    if unread > 0 {
        doubts.push(format!(
            "{} cannot be read and may be newer than {id} of {of}: `sluice points` names what is damaged",
            count(unread, "point")
        ));
    }
    let is_meant = |point: &&Point| {
        let time = point.manifest.finished_ms;
        point.manifest.series == found.manifest.series
            && time > found.manifest.finished_ms
            && as_of.is_none_or(|as_of| time <= time::milliseconds(as_of))
    };
    if let Some(newest) = points.points.iter().rev().find(is_meant) {
        doubts.push(format!(
            "{} of {} is newer and was found damaged: {id} of {of} is taken",
            newest.id.short(),
            time::absolute(newest.manifest.finished_ms, &clock::now())
        ));
    }
    doubts
}

/// Finds the point that is meant among those of a series that were finished by a time.
pub(crate) fn find_in<'a>(
    points: &'a Points,
    name: &PointName,
    series: Option<&str>,
    as_of: Option<Timestamp>,
) -> anyhow::Result<&'a Point> {
    let mut selector = Selector {
        name: described(name, series, as_of),
        id_prefix: None,
        series: series.map(str::to_owned),
        as_of_ms: as_of.map(time::milliseconds),
    };
    match &name.kind {
        PointKind::Latest if series.is_none() => one_series(points)?,
        PointKind::Latest => {}
        PointKind::Id(prefix) => selector.id_prefix = Some(prefix.clone()),
        PointKind::At {
            series: named,
            time,
        } => {
            if series.is_some_and(|series| series != named) {
                return Err(Usage(format!(
                    "`{}` names another series than --series",
                    name.text
                ))
                .into());
            }
            selector.series = Some(named.clone());
            selector.as_of_ms = time.or(as_of).map(time::milliseconds);
        }
    }
    Ok(points.find(&selector)?)
}

/// `latest` of several series would be a guess, and restoring the wrong volume is worse than asking.
fn one_series(points: &Points) -> Result<(), Usage> {
    let all: BTreeSet<&str> = points
        .points
        .iter()
        .map(|point| point.manifest.series.as_str())
        .collect();
    if all.len() <= 1 && points.damaged.is_empty() {
        return Ok(());
    }
    if all.len() <= 1 {
        return Err(Usage(
            "`latest` of which series? Some points cannot be read, and may be of another: give --series".to_owned(),
        ));
    }
    let mut shown: Vec<String> = all
        .iter()
        .take(SERIES_SHOWN_MAX)
        .map(|series| format!("`{series}`"))
        .collect();
    if all.len() > SERIES_SHOWN_MAX {
        shown.push("...".to_owned());
    }
    Err(Usage(format!(
        "`latest` of which of {} series? Give --series: {}",
        all.len(),
        shown.join(", ")
    )))
}

/// What was asked for, as one reads it in an error.
fn described(name: &PointName, series: Option<&str>, as_of: Option<Timestamp>) -> String {
    let mut text = name.text.clone();
    if let Some(series) = series {
        text.push_str(&format!(" of {series}"));
    }
    if let Some(time) = as_of {
        text.push_str(&format!(" as of {time}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use repository::{Manifest, RepositoryError, SessionId};

    use super::*;

    fn point(id: u8, series: &str, finished_ms: u64) -> Point {
        let manifest = Manifest {
            series: series.to_owned(),
            finished_ms,
            ..Manifest::default()
        };
        Point {
            id: SessionId::from_bytes([id; 16]),
            manifest,
            bad: false,
            sibling: false,
        }
    }

    fn points() -> Points {
        let points = vec![
            point(0xaa, "a", 1000),
            point(0xbb, "b", 2000),
            point(0xab, "a", 3000),
        ];
        Points {
            points,
            ..Points::default()
        }
    }

    fn check(name: &str, series: Option<&str>, as_of_ms: Option<u64>) -> Result<String, String> {
        let points = points();
        let name: PointName = name.parse().expect("a name");
        let found = find_in(&points, &name, series, as_of_ms.map(time::timestamp));
        found
            .map(|point| point.id.short()[..2].to_owned())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn points_are_found_by_every_name() {
        for (name, series, as_of_ms, id) in [
            ("latest", Some("a"), None, "ab"),
            ("latest", Some("a"), Some(2999), "aa"),
            ("bb", None, None, "bb"),
            ("aa", Some("a"), None, "aa"),
            ("a@1970-01-01T00:00:02Z", None, None, "aa"),
            ("a@latest", None, None, "ab"),
        ] {
            assert_eq!(check(name, series, as_of_ms), Ok(id.to_owned()), "{name}");
        }
    }

    #[test]
    fn an_older_point_than_may_be_there_is_told() {
        let latest: PointName = "latest".parse().expect("a name");
        let by_id: PointName = "aa".parse().expect("a name");
        let mut points = points();
        points.points[2].bad = true;
        let found = find_in(&points, &latest, Some("a"), None).cloned();
        let found = &found.expect("the one before");
        let told = doubts(&points, &latest, found, None);
        assert!(matches!(&told[..], [one] if one.contains("is newer and was found damaged")));
        assert!(doubts(&points, &by_id, found, None).is_empty());
        assert!(doubts(&points, &latest, found, Some(time::timestamp(2999))).is_empty());
        points.damaged.push((
            "d/default/c/1".to_owned(),
            RepositoryError::NotARepository {
                location: String::new(),
            },
        ));
        let told = doubts(&points, &latest, found, Some(time::timestamp(2999)));
        assert!(matches!(&told[..], [one] if one.starts_with("1 point cannot be read")));
    }

    /// The series of what cannot be read is not known: it may not be the only one that is left.
    #[test]
    fn one_series_that_is_left_is_no_proof_of_one() {
        let mut points = points();
        points.points.remove(1);
        let latest: PointName = "latest".parse().expect("a name");
        assert!(find_in(&points, &latest, None, None).is_ok());
        points.damaged.push((
            "d/default/c/1".to_owned(),
            RepositoryError::NotARepository {
                location: String::new(),
            },
        ));
        let refused = find_in(&points, &latest, None, None).unwrap_err();
        assert!(refused.to_string().contains("--series"), "{refused}");
    }

    #[test]
    fn a_guess_is_refused() {
        let error = check("latest", None, None).unwrap_err();
        assert!(error.contains("`a`, `b`"), "{error}");
        assert!(check("b", None, None).is_ok(), "one id begins so");
        for (name, series) in [
            ("a", None),
            ("cc", None),
            ("latest", Some("c")),
            ("a@latest", Some("b")),
        ] {
            assert!(check(name, series, None).is_err(), "{name} of {series:?}");
        }
    }
}
