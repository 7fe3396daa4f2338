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
