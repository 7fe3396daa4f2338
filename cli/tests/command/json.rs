//! `JSON.md` says what is printed, and what is printed is in `JSON.md`.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::support::Home;

/// Every field name in a value, but for those of `origin`, which are the user's.
fn fields(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                found.insert(name.clone());
                if name != "origin" {
                    fields(value, found);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| fields(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_field_is_documented_and_every_documented_field_is_printed() {
    let mut home = Home::empty();
    let mut printed = BTreeSet::new();
    home.image("db.img", 200_000, 1);
    for arguments in [
        &["init", "--new-key", "key", "--json"][..],
        &["backup", "db.img", "--result", "result", "--json"],
        &["backup", "db.img", "--json"],
        &["restore", "latest", "x", "--json"],
        &["points", "--json"],
        &["show", "latest", "--json"],
        &["ls", "latest", "--json"],
        &["stats", "--json"],
        &["verify", "--read-data", "100%", "--json"],
        &["forget", "--keep-last", "1", "--dry-run", "--json"],
        &["key", "add", "--new-key", "other", "--json"],
        &["key", "list", "--json"],
        &["doctor", "--json"],
        &["version", "--json"],
    ] {
        fields(&home.sluice(arguments).done().json(), &mut printed);
    }
    fields(
        &serde_json::from_slice(&fs::read(home.path("result")).unwrap()).unwrap(),
        &mut printed,
    );
    home.write("db.img", 0, 10, 2);
    home.sluice(&["backup", "db.img"]).done();
    let points = home.sluice(&["points", "--json"]).done().json();
    let (old, new) = (
        points[0]["id"].as_str().unwrap(),
        points[2]["id"].as_str().unwrap(),
    );
    fields(
        &home.sluice(&["diff", old, new, "--json"]).done().json(),
        &mut printed,
    );
    fs::write(home.objects("d/default/p").remove(0), "rubbish").unwrap();
    home.set("SLUICE_LOG", "error");
    fields(
        &home
            .sluice(&["verify", "--read-data", "100%", "--json"])
            .json(),
        &mut printed,
    );

    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("JSON.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeSet<String> = rows
        .filter_map(|row| row.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect();
    let missing: Vec<_> = printed.difference(&documented).collect();
    let stale: Vec<_> = documented.difference(&printed).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "not in JSON.md: {missing:?}; only there: {stale:?}"
    );
}
