//! `sluice backup`.

use std::fs::{self, File};

use serde_json::Value;

use crate::support::{Home, number, text};

const MIB: u64 = 1 << 20;

fn result(home: &Home) -> Value {
    serde_json::from_slice(&fs::read(home.path("result")).unwrap()).unwrap()
}

#[test]
fn only_what_changed_is_stored_again() {
    let home = Home::with_repository();
    let image = home.image("db.img", 4 * MIB, 1);
    let first = home.backup(&["db.img", "--tag", "one", "--tag", "two"]);
    assert_eq!(
        (text(&first, "method"), number(&first, "new_bytes")),
        ("everything", 4 * MIB)
    );
    assert!(
        text(&first, "series").ends_with(&format!(":{}", image.display())),
        "{first}"
    );
    home.write("db.img", MIB, 100, 2);
    let second = home.backup(&["./db.img"]);
    assert_eq!(
        (text(&second, "method"), number(&second, "new_bytes")),
        ("compare", 64 << 10)
    );
    assert_eq!(second["parent"], first["point"]);
    assert_eq!(second["series"], first["series"]);
}

#[test]
fn a_list_of_changes_is_believed_when_its_base_fits() {
    let home = Home::with_repository();
    home.image("db.img", 32 * MIB, 1);
    home.backup(&["db.img", "--handle", "snap-1"]);
    home.write("db.img", 20 * MIB, 8192, 2);
    fs::write(home.path("changes"), format!("{} 8192\n", 20 * MIB)).unwrap();
    let known = [
        "db.img",
        "--handle",
        "snap-2",
        "--changed-extents",
        "changes",
        "--base",
        "snap-1",
    ];
    let second = home.backup(&known);
    assert_eq!(
        (text(&second, "method"), &second["fallback"]),
        ("extents", &Value::Null)
    );
    assert!(number(&second, "read_bytes") < 16 * MIB, "{second}");
    // The same again: the last point is now made from snap-2.
    let third = home.backup(&known);
    assert_eq!(text(&third, "method"), "compare");
    assert!(text(&third, "fallback").contains("`snap-1`"), "{third}");
    assert!(text(&third, "fallback").contains("`snap-2`"), "{third}");
}

#[test]
fn a_list_of_changes_comes_from_standard_input_too() {
    let home = Home::with_repository();
    home.image("db.img", 4 * MIB, 1);
    home.backup(&["db.img", "--handle", "a"]);
    let arguments = [
        "backup",
        "db.img",
        "--changed-extents",
        "-",
        "--base",
        "a",
        "--json",
    ];
    let ran = home
        .sluice_reading("# nothing\n0 4096\n", &arguments)
        .done();
    assert_eq!(text(&ran.json(), "method"), "extents");
}

#[test]
fn a_list_that_cannot_be_right_is_refused_by_line() {
    let home = Home::with_repository();
    home.image("db.img", MIB, 1);
    for (list, words) in [
        ("0 10\nten 10\n", ["line 2", "OFFSET LENGTH"]),
        ("4096 10\n0 10\n", ["line 2", "sort"]),
        ("0 10\n5 10\n", ["line 2", "inside the extent above"]),
        ("1048570 10\n", ["line 1", "beyond the volume"]),
        ("10 0\n", ["line 1", "zero"]),
    ] {
        fs::write(home.path("list"), list).unwrap();
        let arguments = [
            "backup",
            "db.img",
            "--changed-extents",
            "list",
            "--base",
            "a",
        ];
        home.sluice(&arguments).fails(1, &words);
    }
    let ran = home.sluice(&["backup", "db.img", "--changed-extents", "list"]);
    assert!(
        ran.code == Some(2) && ran.stderr.contains("--base"),
        "{ran:?}"
    );
    assert!(home.sluice(&["points"]).done().stdout.is_empty());
}

#[test]
fn a_reflink_base_that_cannot_be_compared_is_said() {
    let home = Home::with_repository();
    home.image("db.img", MIB, 1);
    home.backup(&["db.img", "--handle", "a"]);
    let ran = home
        .sluice(&[
            "backup",
            "db.img",
            "--reflink-base",
            "gone",
            "--base",
            "a",
            "--json",
        ])
        .done();
    assert_eq!(text(&ran.json(), "method"), "compare");
    assert!(text(&ran.json(), "fallback").contains("gone"), "{ran:?}");
    assert!(ran.stderr.contains("everything is compared"), "{ran:?}");
    let shown = home.sluice(&["show", "latest", "--json"]).done().json();
    assert!(text(&shown, "fallback").contains("gone"), "{shown}");
}

#[test]
fn a_dry_run_stores_nothing_and_says_what_it_would() {
    let home = Home::with_repository();
    home.image("db.img", 2 * MIB, 1);
    let before = home.objects("");
    let would = home.backup(&["db.img", "--dry-run"]);
    assert_eq!(
        (&would["point"], &would["dry_run"]),
        (&Value::Null, &Value::Bool(true))
    );
    assert!(number(&would, "uploaded_bytes") >= 2 * MIB, "{would}");
    assert_eq!(home.objects(""), before);
    assert!(
        home.sluice(&["backup", "db.img", "--dry-run"])
            .done()
            .stdout
            .contains("nothing was stored")
    );
}

#[test]
fn the_result_file_tells_hooks_how_it_went() {
    let home = Home::with_repository();
    home.image("db.img", MIB, 1);
    home.sluice(&["backup", "db.img", "--result", "result"])
        .done();
    let done = result(&home);
    assert_eq!(
        (text(&done, "outcome"), number(&done, "exit_code")),
        ("done", 0)
    );
    assert_eq!(number(&done, "volume_bytes"), MIB);
    let ran = home
        .sluice(&["backup", "gone.img", "--result", "result"])
        .fails(1, &["gone.img"]);
    let failed = result(&home);
    assert_eq!(
        (text(&failed, "outcome"), number(&failed, "exit_code")),
        ("failed", 1)
    );
    assert_eq!(
        ran.stderr.trim_start_matches("error: ").trim(),
        text(&failed, "error")
    );
    // What refuses its own options says so there too, and leaves no earlier result behind.
    home.sluice(&["restore", "latest", "-", "--json", "--result", "result"])
        .fails(2, &["standard output"]);
    assert_eq!(result(&home)["outcome"], "failed");
    home.sluice(&["backup", "db.img", "--result", "none/result"])
        .fails(1, &["none/result"]);
}

#[test]
fn facts_are_recorded() {
    let home = Home::with_repository();
    home.image("db.img", MIB, 1);
    let flags = [
        "--series",
        "db",
        "--origin",
        "pvc=data/db",
        "--origin",
        "plan=nightly",
        "--compression",
        "off",
    ];
    home.backup(&[&["db.img", "--chunk-size", "256K"], &flags[..]].concat());
    let point = home.sluice(&["show", "latest", "--json"]).done().json();
    assert_eq!(
        (text(&point, "series"), text(&point, "compression")),
        ("db", "off")
    );
    assert_eq!(number(&point, "chunk_bytes"), 256 << 10);
    assert_eq!(
        point["origin"],
        serde_json::json!({"pvc": "data/db", "plan": "nightly"})
    );
    assert_eq!(
        text(&point, "path"),
        home.path("db.img").display().to_string()
    );
}

#[test]
fn a_source_in_use_is_refused_unless_live() {
    let home = Home::with_repository();
    let image = home.image("db.img", MIB, 1);
    let writer = File::options().write(true).open(&image).unwrap();
    home.sluice(&["backup", "db.img"])
        .fails(1, &["db.img", "--live"]);
    let ran = home.sluice(&["backup", "db.img", "--live"]).done();
    assert!(ran.stdout.contains("may be torn"), "{ran:?}");
    drop(writer);
    assert_eq!(
        home.sluice(&["show", "latest", "--json"]).done().json()["live"],
        true
    );
}

#[test]
fn what_is_no_volume_is_refused_with_a_way_out() {
    let home = Home::with_repository();
    fs::create_dir(home.path("folder")).unwrap();
    home.sluice(&["backup", "folder"])
        .fails(1, &["is a directory", "snapshot"]);
    home.sluice(&["backup", "gone.img"])
        .fails(1, &["gone.img", "no such file"]);
    home.sluice(&["backup", "/dev/null"])
        .fails(1, &["/dev/null", "block device"]);
    for word in ["create", "logs", "get", "describe", "delete"] {
        home.sluice(&["backup", word])
            .fails(2, &[&format!("`./{word}`")]);
    }
    home.image("create", MIB, 1);
    home.backup(&["./create"]);
}

#[test]
fn limits_are_kept() {
    let home = Home::with_repository();
    home.image("db.img", 3 * MIB, 1);
    let quick = home.backup(&["db.img", "--limit-read", "1G", "--series", "quick"]);
    let slow = home.backup(&["db.img", "--limit-read", "1MiB", "--series", "slow"]);
    let seconds = |done: &Value| done["duration_seconds"].as_f64().unwrap();
    assert!(
        seconds(&slow) > 2.0 && seconds(&quick) < seconds(&slow),
        "{quick} {slow}"
    );
}

#[test]
fn a_reflink_base_that_shares_nothing_is_said() {
    let home = Home::with_repository();
    home.image("db.img", MIB, 1);
    fs::write(home.path("copy"), fs::read(home.path("db.img")).unwrap()).unwrap();
    home.backup(&["db.img", "--handle", "a"]);
    let base = ["--reflink-base", "copy", "--base", "a"];
    let done = home.backup(&[&["db.img"], &base[..]].concat());
    assert_eq!(text(&done, "method"), "compare", "{done}");
    assert!(text(&done, "fallback").contains("copy"), "{done}");
}

#[test]
fn a_handle_that_a_script_forgot_to_set_is_refused() {
    let home = Home::with_repository();
    home.image("db.img", MIB, 1);
    fs::write(home.path("changes"), "").unwrap();
    for arguments in [
        &["--handle", ""][..],
        &["--base", "", "--changed-extents", "changes"],
        &["--base", "snap-1"],
    ] {
        let arguments = [&["backup", "db.img"], arguments].concat();
        home.sluice(&arguments).fails(2, &["required"]);
    }
}

#[test]
fn a_source_is_not_overwritten_by_its_result() {
    let home = Home::with_repository();
    let image = home.image("db.img", MIB, 1);
    let before = fs::read(&image).unwrap();
    home.sluice(&["backup", "db.img", "--result", "db.img"])
        .fails(2, &["db.img", "another name"]);
    assert!(fs::read(&image).unwrap() == before);
}
