//! Which points are meant.

use std::collections::BTreeSet;

use jiff::Timestamp;
use repository::{Point, Points, Selector};

use crate::{
    args::{PointArgs, PointKind, PointName},
    exit::Usage,
    output::time,
};

/// Series that a message names at most.
const SERIES_SHOWN_MAX: usize = 5;

/// Finds the point that is meant.
///
/// # Errors
/// When there is none, or several, or `latest` could be of several series.
pub(crate) fn find<'a>(
    points: &'a Points,
    name: &PointName,
    arguments: &PointArgs,
) -> anyhow::Result<&'a Point> {
    find_in(points, name, arguments.series.as_deref(), arguments.as_of)
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
    if all.len() <= 1 {
        return Ok(());
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
    use repository::{Manifest, SessionId};

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
            damaged: Vec::new(),
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
