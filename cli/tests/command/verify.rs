//! `sluice verify`.

use std::fs;

use crate::support::{Home, number, text};

const MIB: u64 = 1 << 20;

fn home() -> Home {
    let home = Home::with_repository();
    home.image("db.img", 2 * MIB, 1);
    home.backup(&["db.img"]);
    home
}

#[test]
fn a_whole_repository_is_found_whole() {
    let home = home();
    let ran = home.sluice(&["verify", "--read-data", "100%"]).done();
    assert!(ran.stdout.contains("none found"), "{ran:?}");
    let json = home.sluice(&["verify", "--json", "latest"]).done().json();
    assert_eq!(
        (number(&json, "points"), number(&json, "packs_read")),
        (1, 0)
    );
    assert_eq!(json["damage"], serde_json::json!([]));
}

#[test]
fn damage_ends_with_its_own_code_and_names_object_and_points() {
    let home = home();
    let point = home.sluice(&["points", "--json"]).done().json();
    let point = text(&point[0], "id").to_owned();
    let pack = home.objects("d/default/p").remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let ran = home.sluice(&["verify", "--read-data", "100%", "--result", "result"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let name = pack.strip_prefix(home.path("repository")).unwrap();
    let name = name.to_str().unwrap();
    assert!(
        ran.stdout.contains(name) && ran.stdout.contains(&point[..8]),
        "{ran:?}"
    );
    let result = fs::read_to_string(home.path("result")).unwrap();
    assert!(result.contains("\"exit_code\": 3"), "{result}");
    let rows = home.sluice(&["points"]).done();
    assert!(rows.stdout.contains("DAMAGED"), "{rows:?}");
    home.sluice(&["restore", "latest", "x"])
        .fails(1, &["that is good", &point[..8]]);
    // Whoever reads another part, or nothing, must not call it whole: the alarm goes on until the damage has ended.
    for share in ["0%", "1%"] {
        let ran = home.sluice(&["verify", "--read-data", share]);
        assert_eq!(ran.code, Some(3), "{ran:?}");
        assert!(ran.stdout.contains("by an earlier run"), "{ran:?}");
        let json = home
            .sluice(&["verify", "--read-data", share, "--json"])
            .json();
        assert_eq!(json["bad_points"], serde_json::json!([point]));
    }
    let forgotten = home.sluice(&["forget", "--force", &point]);
    forgotten.done();
    home.sluice(&["verify"]).done();
}

#[test]
fn what_others_lay_beside_the_results_of_runs_is_left_alone() {
    let home = home();
    home.sluice(&["verify"]).done();
    let foreign = home.path("repository/d/default/v/run/README");
    fs::write(&foreign, "hi").unwrap();
    home.sluice(&["verify"]).done();
    assert!(foreign.exists());
}

#[test]
fn shares_are_checked() {
    let home = home();
    home.sluice(&["verify", "--read-data", "101%"])
        .fails(2, &["0% to 100%"]);
    home.sluice(&["verify", "--memory", "1M"])
        .fails(2, &["48.0 MiB"]);
    let part = home.sluice(&["verify", "--read-data", "50%"]).done();
    assert!(part.stdout.contains("part 1 of 2"), "{part:?}");
}

#[test]
fn a_feature_that_must_be_known_stops_it() {
    let home = home();
    fs::create_dir(home.path("repository/features")).unwrap();
    fs::write(home.path("repository/features/verify-x"), "").unwrap();
    home.sluice(&["verify"]).fails(1, &["verify-x"]);
}

#[test]
fn one_series_is_verified_alone() {
    let home = home();
    home.image("other.img", MIB, 9);
    home.backup(&["other.img", "--series", "other"]);
    let points = |arguments: &[&str]| {
        let arguments = [&["verify", "--json"], arguments].concat();
        number(&home.sluice(&arguments).done().json(), "points")
    };
    assert_eq!((points(&[]), points(&["--series", "other"])), (2, 1));
    assert_eq!(points(&["--series", "other", "latest"]), 1);
    home.sluice(&["verify", "--series", "none"])
        .fails(2, &["`none`"]);
}

/// Anybody who can write to the store can make a name.
#[test]
fn a_marker_that_nobody_with_the_keys_made_is_named() {
    let home = home();
    let point = home.sluice(&["points", "--json"]).done().json();
    let point = text(&point[0], "id").to_owned();
    fs::create_dir_all(home.path("repository/d/default/x")).unwrap();
    fs::write(home.path("repository/d/default/x").join(&point), "").unwrap();
    let ran = home.sluice(&["verify"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(
        ran.stdout.contains("hides point") && ran.stdout.contains(&point),
        "{ran:?}"
    );
}

/// Points come and go; the turns of what was asked go on.
#[test]
fn runs_of_one_series_take_turns_while_points_are_added() {
    let home = home();
    let part = || {
        let run = [
            "verify",
            "--series",
            "other",
            "--read-data",
            "50%",
            "--json",
        ];
        let json = home.sluice(&run).done().json();
        home.image("other.img", MIB, number(&json, "turn") + 10);
        home.backup(&["other.img", "--series", "other"]);
        number(&json, "turn")
    };
    home.image("other.img", MIB, 9);
    home.backup(&["other.img", "--series", "other"]);
    assert_eq!([part(), part(), part()], [0, 1, 2]);
    let all = home
        .sluice(&["verify", "--read-data", "50%", "--json"])
        .done();
    assert_eq!(number(&all.json(), "turn"), 0);
}

#[test]
fn a_series_of_which_nothing_can_be_read_is_damage() {
    let home = Home::with_repository();
    home.image("db.img", MIB, 1);
    let point = home.backup(&["db.img", "--series", "db"]);
    let id = text(&point, "point");
    let register = home.path(&format!("repository/d/default/c/00000000/{id}"));
    fs::write(&register, "spoilt").unwrap();
    home.sluice(&["verify", "--series", "db"]).fails(3, &[id]);
    home.sluice(&["restore", id, "new"]).fails(1, &["cannot"]);
    home.sluice(&["restore", "latest", "new", "--series", "db"])
        .fails(1, &["cannot"]);
    // Its beginning fits nothing that can be read, and is not enough by itself.
    home.sluice(&["forget", &id[..4]])
        .fails(1, &["no recovery point"]);
    let gone = home.sluice(&["forget", &id[..8], "--json"]).done().json();
    assert_eq!(gone["given_up"], serde_json::json!([id]));
}

#[test]
fn a_lost_point_with_a_false_marker_is_not_called_forgotten() {
    let home = home();
    let first = home.sluice(&["points", "--json"]).done().json();
    let id = text(&first[0], "id").to_owned();
    home.backup(&["db.img"]);
    fs::remove_file(home.path(&format!("repository/d/default/c/00000000/{id}"))).unwrap();
    fs::create_dir_all(home.path("repository/d/default/x")).unwrap();
    fs::write(home.path("repository/d/default/x").join(&id), "").unwrap();
    home.sluice(&["forget", &id])
        .fails(3, &["delete this object"]);
}
