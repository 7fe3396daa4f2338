//! `sluice forget`.

use std::fs;

use crate::support::{Home, text};

fn home() -> (Home, Vec<String>) {
    let home = Home::with_repository();
    home.image("db.img", 100_000, 1);
    let ids = (0..4)
        .map(|_| text(&home.backup(&["db.img"]), "point").to_owned())
        .collect();
    (home, ids)
}

fn left(home: &Home) -> Vec<String> {
    let points = home.sluice(&["points", "--json"]).done().json();
    points
        .as_array()
        .unwrap()
        .iter()
        .map(|point| text(point, "id").to_owned())
        .collect()
}

#[test]
fn a_dry_run_says_what_the_run_then_does() {
    let (home, ids) = home();
    let would = home
        .sluice(&["forget", "--keep-last", "2", "--dry-run"])
        .done();
    assert_eq!(left(&home), ids);
    assert!(
        would.stderr.contains("2 points would be forgotten"),
        "{would:?}"
    );
    let did = home.sluice(&["forget", "--keep-last", "2"]).done();
    let actions = |ran: &crate::support::Ran| {
        ran.rows()
            .iter()
            .map(|row| row[0].to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(actions(&did), actions(&would));
    assert_eq!(actions(&did), ["forget", "forget", "keep", "keep"]);
    assert!(did.stderr.contains("prune"), "{did:?}");
    assert_eq!(left(&home), ids[2..]);
}

#[test]
fn several_points_are_forgotten_by_name() {
    let (home, ids) = home();
    let did = home
        .sluice(&["forget", &ids[0], &ids[1][..8], "--json"])
        .done()
        .json();
    assert_eq!(did["forgotten"], 2);
    assert_eq!(left(&home), ids[2..]);
}

#[test]
fn the_newest_good_point_needs_force() {
    let (home, ids) = home();
    for dry_run in [&["--dry-run"][..], &[]] {
        let arguments = [&["forget", &ids[0], "latest"], dry_run].concat();
        home.sluice(&arguments).fails(1, &[&ids[3][..8], "--force"]);
    }
    assert_eq!(left(&home), ids, "nothing was forgotten");
    home.sluice(&["forget", "latest", "--force"]).done();
    assert_eq!(left(&home), ids[..3]);
}

#[test]
fn young_points_are_kept() {
    let (home, ids) = home();
    home.sluice(&["forget", "--keep-within", "1h"]).done();
    assert_eq!(left(&home), ids);
    home.sluice(&["forget"])
        .fails(2, &["--keep-last", "--keep-within"]);
    home.sluice(&["forget", "--keep-within", "soon"])
        .fails(2, &["30d"]);
}

#[test]
fn a_point_that_is_gone_is_told_and_can_be_given_up() {
    let (home, ids) = home();
    let register = home.path(&format!("repository/d/default/c/00000000/{}", ids[1]));
    fs::remove_file(register).unwrap();
    for arguments in [&["points"][..], &["verify"]] {
        let ran = home.sluice(arguments);
        assert_eq!(ran.code, Some(3), "{ran:?}");
        let told = format!("{}{}", ran.stdout, ran.stderr);
        let way_out = format!("sluice forget {}", ids[1]);
        assert!(
            told.contains("missing") && told.contains(&way_out),
            "{told}"
        );
    }
    // Under two names it is one point still.
    let gone = home.sluice(&["forget", &ids[1][..8], &ids[1][..9], "--json"]);
    let gone = gone.done().json();
    assert_eq!(gone["forgotten"], 1);
    assert_eq!(gone["given_up"], serde_json::json!([ids[1]]));
    home.sluice(&["verify"]).done();
    assert_eq!(left(&home), [&ids[..1], &ids[2..]].concat());
}
