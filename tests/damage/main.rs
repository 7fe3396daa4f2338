//! Every kind of object, damaged in every way. Nothing panics, nothing restores wrong bytes, what is damaged is named, at
//! the latest by a verify that reads everything, and what the damage does not touch goes on working.
//!
//! [`expected`] says, for each kind of object and each way to damage it, exactly what is seen. What nobody can notice is
//! listed in `FORMAT.md`, "Threat model".

#![expect(clippy::large_futures, reason = "a suite may put much on its stack")]

mod action;
mod expected;
mod fill;
mod fixture;
mod observe;
mod twins;
mod losses;
mod page;

use crate::{
    action::ACTIONS,
    fixture::{Fixture, KINDS, Kind},
};

/// Checks some of the kinds, each damaged in every way.
async fn check(kinds: impl Iterator<Item = Kind>) {
    let fixture = Fixture::make().await;
    let mut wrong = Vec::new();
    let mut cells = 0;
    for kind in kinds {
        for action in ACTIONS {
            let Some(cell) = fixture.damage(kind, *action).await else {
                continue;
            };
            cells += 1;
            if let Err(what) = observe::check(&fixture, &cell).await {
                wrong.push(format!("{kind:?} {action:?}: {what}"));
            }
        }
    }
    let count = wrong.len();
    assert!(
        wrong.is_empty(),
        "{count} of {cells} cells:\n{}",
        wrong.join("\n")
    );
    assert!(cells > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_damage_everything_is_there() {
    let fixture = Fixture::make().await;
    let cell = fixture.undamaged().await;
    observe::check(&fixture, &cell).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_opens_the_repository() {
    check(KINDS.iter().copied().filter(|kind| kind.opens())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packs() {
    check(KINDS.iter().copied().filter(|kind| kind.is_pack())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records() {
    let others = |kind: &Kind| !kind.opens() && !kind.is_pack();
    check(KINDS.iter().copied().filter(others)).await;
}
