//! `sluice doctor`.

use std::fs;

use serde_json::Value;

use crate::support::{Home, text};

fn status(findings: &Value, name: &str) -> String {
    let checks = findings["checks"].as_array().expect("a list");
    let check = checks.iter().find(|check| check["name"] == name);
    check
        .map(|check| text(check, "status").to_owned())
        .unwrap_or_else(|| panic!("no `{name}` in {findings:#}"))
}

#[test]
fn a_healthy_repository_passes_and_nothing_stays() {
    let home = Home::with_repository();
    let before = home.objects("");
    let findings = home.sluice(&["doctor", "--json"]).done().json();
    for name in [
        "address",
        "reachable",
        "repository",
        "key",
        "points",
        "write-once",
        "read-after-write",
        "listing",
        "ranges",
        "delete",
        "round trip",
        "free space",
    ] {
        assert_ne!(status(&findings, name), "failed", "{name}");
    }
    assert_eq!(findings["healthy"], true);
    assert_eq!(home.objects(""), before);
    let shown = home.sluice(&["doctor"]).done().stdout;
    assert!(shown.contains("ok     write-once"), "{shown}");
}

#[test]
fn a_damaged_spare_key_is_told_before_it_is_needed() {
    let home = Home::with_repository();
    let added = home.sluice(&["key", "add", "--new-key", "spare", "--json"]);
    let slot = text(&added.done().json(), "added").to_owned();
    assert_eq!(
        status(
            &home.sluice(&["doctor", "--json"]).done().json(),
            "key slots"
        ),
        "ok"
    );
    fs::write(home.path("repository/keys/slot").join(&slot), "rubbish").unwrap();
    let ran = home.sluice(&["doctor", "--json"]);
    assert_eq!(status(&ran.json(), "key slots"), "failed");
    assert!(ran.stdout.contains(&slot), "{ran:?}");
}

#[test]
fn a_place_without_a_repository_can_be_checked() {
    let mut home = Home::empty();
    fs::create_dir(home.path("repository")).unwrap();
    home.set("SLUICE_KEY_FILE", "");
    let findings = home.sluice(&["doctor", "--json"]).done().json();
    assert_eq!(
        (
            status(&findings, "repository").as_str(),
            status(&findings, "write-once").as_str()
        ),
        ("skipped", "ok")
    );
    let findings = home
        .sluice(&["doctor", "--json", "--read-only"])
        .done()
        .json();
    assert_eq!(status(&findings, "guarantees"), "skipped");
}

#[test]
fn every_failure_says_what_to_do() {
    let mut home = Home::with_repository();
    home.sluice(&["key", "add", "--new-key", "other"]).done();
    fs::write(
        home.path("wrong"),
        format!("sluice-key-1:{}\n", "00".repeat(32)),
    )
    .unwrap();
    let ran = home.sluice(&["doctor", "--key-file", "wrong", "--json"]);
    assert_eq!(
        (ran.code, status(&ran.json(), "key").as_str()),
        (Some(1), "failed"),
        "{ran:?}"
    );
    home.set("SLUICE_REPOSITORY", "none");
    let ran = home.sluice(&["doctor"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stdout.contains("FAIL") && ran.stdout.contains("-> `sluice init`"),
        "{ran:?}"
    );
}
