//! `sluice points`, `show`, `ls`, `diff` and `stats`.

use std::fs;

use crate::support::{Home, number, text};

const MIB: u64 = 1 << 20;

fn home() -> Home {
    let home = Home::with_repository();
    home.image("a.img", 2 * MIB, 1);
    home.image("b.img", MIB, 2);
    home.backup(&[
        "a.img", "--series", "a", "--tag", "daily", "--tag", "weekly",
    ]);
    home.backup(&["b.img", "--series", "b", "--tag", "daily"]);
    home.write("a.img", MIB, 10, 3);
    home.backup(&["a.img", "--series", "a"]);
    home
}

#[test]
fn the_table_has_a_row_for_each_point_oldest_first() {
    let home = home();
    let ran = home.sluice(&["points"]).done();
    assert!(ran.stdout.starts_with("ID "), "{}", ran.stdout);
    let rows = ran.rows();
    let column = |index: usize| rows.iter().map(|row| row[index]).collect::<Vec<_>>();
    assert_eq!(column(1), ["a", "b", "a"]);
    assert_eq!(column(4), ["2.0 MiB", "1.0 MiB", "2.0 MiB"]);
    assert_eq!(column(5), ["2.0 MiB", "1.0 MiB", "64.0 KiB"]);
    assert_eq!(column(7), ["daily,weekly", "daily", "-"]);
    assert_eq!(column(8), ["everything", "everything", "compare"]);
    assert!(
        ran.stdout.lines().all(|line| line.trim_end() == line),
        "nothing trails"
    );
    assert!(
        home.sluice(&["points", "-o", "wide"])
            .done()
            .stdout
            .contains("PARENT")
    );
}

#[test]
fn points_are_chosen_by_series_and_tags() {
    let home = home();
    let count = |arguments: &[&str]| {
        home.sluice(&[&["points"], arguments].concat())
            .done()
            .rows()
            .len()
    };
    assert_eq!(count(&["--series", "a"]), 2);
    assert_eq!(count(&["--tag", "daily"]), 2);
    assert_eq!(count(&["--tag", "daily", "--tag", "weekly"]), 1);
    let none = home.sluice(&["points", "--tag", "none"]).done();
    assert_eq!(
        (none.stdout.as_str(), none.stderr.as_str()),
        ("", "no recovery points match\n")
    );
    let none = home.sluice(&["points", "--tag", "none", "--json"]).done();
    assert_eq!(none.json(), serde_json::json!([]));
}

#[test]
fn what_a_point_says_is_shown() {
    let home = home();
    let shown = home.sluice(&["show", "a@latest"]).done().stdout;
    for line in [
        "Series        a",
        "Size          2.0 MiB (2097152 bytes)",
        "Changes       compare",
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "`{line}` is missing in\n{shown}"
        );
    }
    let held = home.sluice(&["ls", "b@latest", "--json"]).done().json();
    assert_eq!(
        (text(&held[0], "name"), number(&held[0], "bytes")),
        ("b.img", MIB)
    );
    assert_eq!(number(&held[0], "chunks"), 16);
    assert_eq!(
        home.sluice(&["ls", "b@latest"]).done().rows(),
        [[
            "b.img",
            "image-file",
            "1.0 MiB",
            "64.0 KiB",
            "16",
            "1.0 MiB"
        ]]
    );
}

#[test]
fn differences_are_a_list_of_changes() {
    let home = home();
    let points = home
        .sluice(&["points", "--series", "a", "--json"])
        .done()
        .json();
    let (old, new) = (text(&points[0], "id"), text(&points[1], "id"));
    let ran = home.sluice(&["diff", old, new]).done();
    assert_eq!(ran.stdout, "1048576 65536\n");
    assert!(ran.stderr.contains("64.0 KiB"), "{ran:?}");
    let json = home.sluice(&["diff", old, new, "--json"]).done().json();
    assert_eq!(
        json["extents"],
        serde_json::json!([{"offset": MIB, "length": 65536}])
    );
    assert_eq!(number(&json, "differing_bytes"), 65536);
    let same = home.sluice(&["diff", old, old]).done();
    assert!(
        same.stdout.is_empty() && same.stderr.contains("hold the same"),
        "{same:?}"
    );
    fs::write(home.path("list"), ran.stdout).unwrap();
    home.backup(&["a.img", "--series", "a", "--handle", "h"]);
    let next = home.backup(&[
        "a.img",
        "--series",
        "a",
        "--changed-extents",
        "list",
        "--base",
        "h",
    ]);
    assert_eq!(text(&next, "method"), "extents");
}

#[test]
fn stats_add_up() {
    let home = home();
    let stats = home.sluice(&["stats", "--json"]).done().json();
    let series = stats["series"].as_array().unwrap();
    assert_eq!(
        series
            .iter()
            .map(|series| text(series, "name"))
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(number(&series[0], "points"), 2);
    let unique: u64 = series
        .iter()
        .map(|series| number(series, "unique_bytes"))
        .sum();
    assert_eq!(unique, number(&stats, "unique_bytes"));
    assert!(unique >= 3 * MIB, "{stats}");
    let rows = home.sluice(&["stats"]).done();
    assert_eq!(
        rows.rows().iter().map(|row| row[0]).collect::<Vec<_>>(),
        ["a", "b"]
    );
}

#[test]
fn a_point_that_cannot_be_read_is_named_and_the_others_are_listed() {
    let home = home();
    let damaged = home.objects("d/default/c").remove(0);
    fs::write(&damaged, "rubbish").unwrap();
    let ran = home.sluice(&["points"]);
    assert_eq!((ran.code, ran.rows().len()), (Some(3), 2), "{ran:?}");
    let name = damaged.file_name().unwrap().to_str().unwrap();
    assert!(
        ran.stderr.contains("warning: ") && ran.stderr.contains(name),
        "{ran:?}"
    );
}

#[test]
fn hostile_names_do_not_reach_the_terminal() {
    let home = Home::with_repository();
    home.image("a.img", 1, 1);
    home.backup(&["a.img", "--series", "a\u{1b}[2J", "--tag", "x\ny"]);
    for arguments in [
        &["points"][..],
        &["points", "-o", "wide"],
        &["show", "latest"],
        &["stats"],
        &["ls", "latest"],
    ] {
        let ran = home.sluice(arguments).done();
        assert!(!ran.stdout.contains('\u{1b}'), "{ran:?}");
    }
    let ran = home.sluice(&["restore", "latest", "x", "--series", "\u{1b}[2J"]);
    assert!(!ran.stderr.contains('\u{1b}'), "{ran:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = home();
    let script = format!("{} points --json | head -c 1", crate::support::SLUICE);
    let output = home
        .command("/bin/bash")
        .args(["-o", "pipefail", "-c", &script])
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
}

#[test]
fn what_is_no_repository_is_told() {
    let mut home = Home::with_repository();
    fs::create_dir(home.path("empty")).unwrap();
    home.set("SLUICE_REPOSITORY", "empty");
    home.sluice(&["points"])
        .fails(10, &["empty", "sluice init"]);
    home.set("SLUICE_REPOSITORY", "none");
    home.sluice(&["points"])
        .fails(10, &["none", "no such bucket or folder"]);
    home.set("SLUICE_REPOSITORY", "s3://id:tell-nobody@bucket/x");
    let ran = home.sluice(&["points"]).fails(2, &["credentials"]);
    assert!(!ran.stderr.contains("tell-nobody"), "{ran:?}");
    home.set("SLUICE_REPOSITORY", "http://host/x");
    home.sluice(&["points"]).fails(2, &["http://", "s3://"]);
}

#[test]
fn a_newer_format_is_refused() {
    let home = home();
    let superblock = home.path("repository/super");
    let mut bytes = fs::read(&superblock).unwrap();
    bytes[8] += 1;
    fs::write(&superblock, bytes).unwrap();
    home.sluice(&["points"])
        .fails(1, &["newer version of Sluice"]);
}
