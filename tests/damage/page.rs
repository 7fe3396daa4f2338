//! `FORMAT.md` says which objects there are and which of them nobody misses. The suite must say the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    action::Action,
    expected::{Adopted, Expected, Waits, expected},
    fixture::{Fixture, KINDS, Kind},
};

const PAGE: &str = include_str!("../../repository/FORMAT.md");

/// Names that version 1 refuses to write beside, so that there can be none in the fixture.
const NOT_WRITTEN: &[&str] = &["d/default/g/…"];

/// The rows of "Absences that nobody can notice", and the kinds that they speak of.
const ABSENCES: &[(&str, &[Kind])] = &[
    // With its entry in the index, which is two objects: `losses.rs`.
    ("a register that nothing names", &[]),
    ("a tombstone", &[Kind::Tombstone]),
    ("a delete marker", &[Kind::DeleteMarker]),
    (
        "a bad mark, a verify run",
        &[Kind::BadMark, Kind::VerifyRun],
    ),
    ("a heartbeat", &[Kind::Heartbeat]),
    ("an intent", &[Kind::Intent]),
    (
        "a checkpoint, anything under `i/`",
        &[
            Kind::Checkpoint,
            Kind::SlotTable,
            Kind::DeadTable,
            Kind::SeriesEntry,
        ],
    ),
    (
        "a pack that no point refers to",
        &[Kind::DeadData, Kind::DeadMeta],
    ),
    ("what a probe left", &[Kind::Probe]),
    ("a feature marker", &[Kind::Feature]),
    // Nothing that it seals is there without it: version 1 writes one.
    ("a newer keyring", &[]),
];

/// The first cells of the table that follows `heading`.
fn first_cells(heading: &str) -> Vec<&'static str> {
    let table = PAGE.split(heading).nth(1).expect("the heading is there");
    let rows = table
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    rows.skip(2)
        .map(|row| row.split('|').nth(1).expect("a cell").trim())
        .collect()
}

/// Whether a name is of the form that a row shows: `<...>` stands for hex digits or words, `…` for anything.
fn is_of_form(name: &str, form: &str) -> bool {
    let mut rest = name;
    let mut parts = form.trim_matches('`').split_inclusive('>');
    parts.all(|part| {
        let (fixed, gap) = part.split_once('<').unwrap_or((part, ""));
        let open = fixed.ends_with('…');
        let Some(after) = rest.strip_prefix(fixed.trim_end_matches('…')) else {
            return false;
        };
        let varies = |character: char| !gap.is_empty() && !"/.-".contains(character);
        rest = if open {
            ""
        } else {
            after.trim_start_matches(varies)
        };
        true
    }) && rest.is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_object_is_damaged() {
    let fixture = Fixture::make().await;
    let forms = first_cells("## Names of objects");
    assert!(forms.len() > 10, "{forms:?}");
    let mut of_form: BTreeMap<&str, BTreeSet<Kind>> = BTreeMap::new();
    for kind in KINDS {
        let name = fixture.name(*kind);
        let form = forms.iter().find(|form| is_of_form(name, form));
        let form = form.unwrap_or_else(|| panic!("{name} is not on the page"));
        of_form.entry(form).or_default().insert(*kind);
    }
    for form in forms {
        let written = !NOT_WRITTEN.contains(&form.trim_matches('`'));
        assert_eq!(of_form.contains_key(form), written, "{form}");
    }
}

#[test]
fn only_the_absences_on_the_page_are_not_noticed() {
    let rows = first_cells("**Absences that nobody can notice**");
    let known: Vec<&str> = ABSENCES.iter().map(|(row, _)| *row).collect();
    for (row, known) in rows.iter().zip(&known) {
        assert!(row.starts_with(known), "`{row}` is not `{known}`");
    }
    assert_eq!(rows.len(), known.len());
    let unnoticed: BTreeSet<Kind> = ABSENCES
        .iter()
        .flat_map(|(_, kinds)| *kinds)
        .copied()
        .collect();
    for kind in KINDS {
        let Expected {
            closed,
            // Both are what a listing shows, not that something is told.
            lost: _,
            back: _,
            refused,
            noticed,
            waits,
            adopted,
        } = expected(*kind, Action::Missing);
        let seen = closed.is_some() || noticed;
        assert_eq!(seen, !unnoticed.contains(kind), "{kind:?}");
        if !seen {
            assert!(
                refused.is_empty(),
                "{kind:?}: a restore that no verify foresees"
            );
            assert_eq!((waits, adopted), (Waits::No, Adopted::No), "{kind:?}");
        }
    }
}
