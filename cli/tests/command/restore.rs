//! `sluice restore`.

use std::{fs, process::Stdio};

use crate::support::{Home, Ran, SLUICE, assert_same, number, text};

const MIB: u64 = 1 << 20;

/// Two points of `db.img`; what the first one held is in `old.img`.
fn home() -> (Home, String) {
    let home = Home::with_repository();
    let image = home.image("db.img", 3 * MIB + 100, 1);
    fs::copy(&image, home.path("old.img")).unwrap();
    let first = home.backup(&["db.img"]);
    home.write("db.img", MIB, 70_000, 2);
    home.backup(&["db.img"]);
    let id = text(&first, "point").to_owned();
    (home, id)
}

#[test]
fn every_point_comes_back_bit_for_bit() {
    let (home, first) = home();
    home.sluice(&["restore", "latest", "new"]).done();
    assert_same(&home.path("new"), &home.path("db.img"));
    home.sluice(&["restore", &first[..6], "first"]).done();
    assert_same(&home.path("first"), &home.path("old.img"));
}

#[test]
fn a_folder_gets_a_file_of_the_images_name() {
    let (home, _) = home();
    fs::create_dir(home.path("folder")).unwrap();
    let ran = home
        .sluice(&["restore", "latest", "folder", "--json"])
        .done();
    assert_eq!(text(&ran.json(), "target"), "folder/db.img");
    assert_same(&home.path("folder/db.img"), &home.path("db.img"));
}

#[test]
fn standard_output_takes_the_volume_and_nothing_else() {
    let (home, _) = home();
    let output = home
        .command(SLUICE)
        .args(["restore", "latest", "-"])
        .output()
        .unwrap();
    assert!(output.status.success() && output.stdout == fs::read(home.path("db.img")).unwrap());
    let ran = Ran::of(&output);
    assert!(
        ran.stderr.contains("standard output"),
        "the summary goes to standard error"
    );
    home.sluice(&["restore", "latest", "-", "--json"])
        .fails(2, &["--json"]);
    home.sluice(&["restore", "latest", "-", "--in-place"])
        .fails(2, &["--in-place"]);
}

#[test]
fn a_reader_that_goes_away_ends_the_restore() {
    let (home, _) = home();
    let mut child = home.command(SLUICE);
    let mut child = child
        .args(["restore", "latest", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ran = Ran::of(&child.wait_with_output().unwrap());
    ran.fails(1, &["standard output", "has gone"]);
}

#[test]
fn in_place_only_what_differs_is_written() {
    let (home, first) = home();
    fs::copy(home.path("old.img"), home.path("target")).unwrap();
    let ran = home
        .sluice(&["restore", "latest", "target", "--in-place", "--json"])
        .done()
        .json();
    assert!(number(&ran, "written_bytes") <= 3 * (64 << 10), "{ran}");
    assert_same(&home.path("target"), &home.path("db.img"));
    home.sluice(&["restore", &first, "target", "--in-place"])
        .done();
    assert_same(&home.path("target"), &home.path("old.img"));
}

#[test]
fn nothing_is_overwritten_by_mistake() {
    let (home, _) = home();
    fs::write(home.path("precious"), "mine").unwrap();
    home.sluice(&["restore", "latest", "precious"])
        .fails(1, &["precious", "--in-place"]);
    home.sluice(&["restore", "latest", "precious", "--in-place"])
        .fails(1, &["4 bytes", "at least as large"]);
    assert_eq!(fs::read_to_string(home.path("precious")).unwrap(), "mine");
    home.sluice(&["restore", "latest", "none/file"])
        .fails(1, &["open `none`", "no such file"]);
    home.sluice(&["restore", "latest", "none", "--in-place"])
        .fails(1, &["none", "no such file"]);
    assert!(!home.path("none").exists());
}

#[test]
fn points_are_named_by_time_and_series() {
    let (home, first) = home();
    home.sluice(&["backup", "old.img", "--series", "other"])
        .done();
    home.sluice(&["restore", "latest", "guess"])
        .fails(2, &["--series", "`other`"]);
    home.sluice(&["restore", "other@latest", "a"]).done();
    home.sluice(&[
        "restore",
        "latest",
        "b",
        "--series",
        "other",
        "--as-of",
        "2099-01-01",
    ])
    .done();
    home.sluice(&[
        "restore", "latest", "c", "--series", "other", "--as-of", "1h ago",
    ])
    .fails(1, &["other", "sluice points"]);
    assert_same(&home.path("a"), &home.path("b"));
    let points = home.sluice(&["points", "--json"]).done().json();
    let finished = points[0]["finished"].as_str().unwrap();
    let series = points[0]["series"].as_str().unwrap();
    let ran = home
        .sluice(&["show", &format!("{series}@{finished}"), "--json"])
        .done();
    assert_eq!(text(&ran.json(), "id"), first);
}

#[test]
fn damage_is_told_apart_from_other_failures() {
    let (home, _) = home();
    let packs = home.objects("d/default/p");
    for pack in &packs {
        let mut bytes = fs::read(pack).unwrap();
        let middle = bytes.len() / 3;
        bytes[middle] ^= 1;
        fs::write(pack, bytes).unwrap();
    }
    let ran = home
        .sluice(&["restore", "latest", "new"])
        .fails(3, &["damaged", "sluice verify"]);
    assert!(!home.path("new").exists(), "{ran:?}");
}

#[test]
fn a_file_that_only_has_the_name_of_an_unfinished_one_is_refused() {
    let (home, _) = home();
    fs::write(home.path("victim"), "mine").unwrap();
    fs::hard_link(home.path("victim"), home.path("new.partial")).unwrap();
    home.sluice(&["restore", "latest", "new"])
        .fails(1, &["new.partial", "remove it"]);
    fs::remove_file(home.path("new.partial")).unwrap();
    fs::copy(home.path("victim"), home.path("new.partial")).unwrap();
    home.sluice(&["restore", "latest", "new"])
        .fails(1, &["new.partial", "remove it"]);
    for name in ["victim", "new.partial"] {
        assert_eq!(fs::read_to_string(home.path(name)).unwrap(), "mine");
    }
}

/// Flips a byte of a point's register.
fn spoil(home: &Home, point: &str) {
    let register = home.path(&format!("repository/d/default/c/00000000/{point}"));
    let mut bytes = fs::read(&register).unwrap();
    bytes[60] ^= 1;
    fs::remove_file(&register).unwrap();
    fs::write(register, bytes).unwrap();
}

#[test]
fn an_older_point_than_the_newest_is_never_taken_in_silence() {
    let (home, first) = home();
    let newest = home.sluice(&["show", "latest", "--json"]).done().json();
    spoil(&home, text(&newest, "id"));
    // Whose it was is not known any more: `latest` could be of another series.
    home.sluice(&["restore", "latest", "new"])
        .fails(2, &["--series"]);
    let series = text(&newest, "series");
    let ran = home.sluice(&["restore", "latest", "new", "--series", series]);
    let ran = ran.done();
    assert!(
        ran.stderr.contains("cannot be read and may be newer"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains(&first[..8]), "{ran:?}");
    let again = home.backup(&["db.img"]);
    assert!(text(&again, "fallback").contains("is damaged"), "{again}");
}

#[test]
fn the_only_series_that_is_left_is_not_taken_for_another() {
    let (home, _) = home();
    home.image("other.img", MIB, 9);
    let other = home.backup(&["other.img"]);
    spoil(&home, text(&other, "point"));
    fs::copy(home.path("other.img"), home.path("target")).unwrap();
    home.sluice(&["restore", "latest", "target", "--in-place"])
        .fails(2, &["--series"]);
    assert_same(&home.path("target"), &home.path("other.img"));
}

#[test]
fn the_result_and_the_volume_are_two_files() {
    let (home, _) = home();
    home.sluice(&["restore", "latest", "new", "--result", "./new"])
        .fails(2, &["another name"]);
    assert!(!home.path("new").exists());
    fs::create_dir(home.path("out")).unwrap();
    home.sluice(&["restore", "latest", "out", "--result", "out/db.img"])
        .fails(2, &["another name"]);
    assert!(!home.path("out/db.img").exists());
    home.sluice(&["restore", "latest", "-", "--result", "/dev/stdout"])
        .fails(2, &["another name"]);
}
