//! Looks at a damaged repository, and holds what is seen against what must be.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use agent::job::{BackupRequest, VerifyReport};
use repository::{Point, SessionId};
use support::{World, fork, show};

use crate::{
    expected::{Adopted, Expected, Waits, expected},
    fixture::{Cell, Fixture, Kind, Name},
};

/// Points that are listed when nothing is damaged.
const LISTED: &[Name] = &[Name::Parent, Name::Child, Name::Other, Name::Spoilt];

/// Checks one cell of the table.
pub(crate) async fn check(fixture: &Fixture, cell: &Cell) -> Result<(), String> {
    let expected = expected(cell.kind, cell.action);
    let world = fixture.world.on(Arc::new(cell.store.clone()));
    let Some(world) = open(fixture, cell, world, &expected).await? else {
        return Ok(());
    };
    let listed = list(fixture, &world, &expected).await?;
    restores(fixture, cell, &world, &listed, &expected).await?;
    backup_beside(fixture, cell, &world, &expected, true).await?;
    backup_beside(fixture, cell, &world, &expected, false).await?;
    let report = verify(cell, &world, &expected).await?;
    if expected.adopted != Adopted::No {
        // Nobody has looked at it yet: the backup beside says what comes of it.
        return Ok(());
    }
    heals(fixture, &world, &report).await
}

/// Opens the repository, with the other slot if one is damaged; `None` when it must not open.
async fn open(
    fixture: &Fixture,
    cell: &Cell,
    world: World,
    expected: &Expected,
) -> Result<Option<World>, String> {
    let error = match (world.open().await, expected.closed) {
        (Ok(_), None) => return Ok(Some(world)),
        (Ok(_), Some(_)) => return Err("it opens".to_owned()),
        (Err(error), _) => show(&error),
    };
    if !expected
        .closed
        .is_some_and(|texts| texts.iter().any(|text| error.contains(text)))
    {
        return Err(format!("opening: {error}"));
    }
    let other = world.with(Arc::clone(&fixture.second_secret));
    let both_slots = cell.objects.len() == 2;
    match other.open().await {
        Ok(_) if cell.kind == Kind::KeySlot && !both_slots => Ok(Some(other)),
        Err(_) if cell.kind != Kind::KeySlot || both_slots => Ok(None),
        opened => Err(format!(
            "with the other secret: {:?}",
            opened.err().map(|error| show(&error))
        )),
    }
}

/// Whether an error says which object is damaged.
fn names_it(cell: &Cell, text: &str) -> bool {
    cell.objects
        .iter()
        .any(|object| text.contains(object.as_str()))
}

/// Exactly the points that should be listed are.
async fn list(
    fixture: &Fixture,
    world: &World,
    expected: &Expected,
) -> Result<BTreeMap<Name, Point>, String> {
    let repository = world.open().await.map_err(|error| show(&error))?;
    let found = repository
        .points()
        .await
        .map_err(|error| format!("listing: {}", show(&error)))?;
    let kept = LISTED.iter().filter(|name| !expected.lost.contains(name));
    let wanted: BTreeSet<Name> = kept.chain(expected.back).copied().collect();
    let ids: BTreeMap<SessionId, Name> = fixture
        .points
        .iter()
        .map(|(name, (id, _))| (*id, *name))
        .collect();
    let named = found
        .points
        .into_iter()
        .map(|point| Some((*ids.get(&point.id)?, point)));
    let listed: BTreeMap<Name, Point> = named
        .collect::<Option<_>>()
        .ok_or("an unknown point is listed")?;
    if !listed.keys().eq(&wanted) {
        return Err(format!("listed: {:?}, not {wanted:?}", listed.keys()));
    }
    Ok(listed)
}

/// Each point restores bit for bit or is refused with the name of the object.
async fn restores(
    fixture: &Fixture,
    cell: &Cell,
    world: &World,
    listed: &BTreeMap<Name, Point>,
    expected: &Expected,
) -> Result<(), String> {
    for (name, point) in listed {
        let refused = expected.refused.contains(name);
        match world.restored(point).await {
            Ok(bytes) if bytes != fixture.points[name].1 => {
                return Err(format!("{name:?} restores WRONG BYTES"));
            }
            Ok(_) if refused => return Err(format!("{name:?} restores although it cannot")),
            Err(error) if !refused => return Err(format!("{name:?}: {}", show(&error))),
            Err(error) if !names_it(cell, &show(&error)) => {
                return Err(format!(
                    "{name:?}: the object is not named: {}",
                    show(&error)
                ));
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// The next backup of the series: from where an interrupted one came, or from the beginning.
fn next_backup(continued: bool) -> BackupRequest {
    let handle = if continued { "next" } else { "another" };
    BackupRequest {
        handle: Some(handle.to_owned()),
        force: true,
        ..BackupRequest::default()
    }
}

/// A backup of the series, in a copy, before anybody has looked for damage.
async fn backup_beside(
    fixture: &Fixture,
    cell: &Cell,
    world: &World,
    expected: &Expected,
    continued: bool,
) -> Result<(), String> {
    let beside = world.on(Arc::new(fork(&*world.store).await));
    let contents = fixture.next();
    let waits =
        expected.waits == Waits::Yes || (expected.waits == Waits::UnlessContinued && !continued);
    let report = match beside.backup(&contents, next_backup(continued)).await {
        Err(error) if waits && names_it(cell, &show(&error)) => return Ok(()),
        Err(error) => return Err(format!("backup: {}", show(&error))),
        Ok(_) if waits => return Err("the backup went well".to_owned()),
        Ok(report) => report,
    };
    // It may refer to chunks that are damaged, since nobody has read them. It never restores wrong bytes.
    let spoilt_data = expected.adopted != Adopted::No || !expected.refused.is_empty();
    let whole = match beside.restored(&report.point).await {
        Ok(bytes) if bytes != contents => {
            return Err("the new point restores WRONG BYTES".to_owned());
        }
        Ok(_) => true,
        Err(error) if spoilt_data && names_it(cell, &show(&error)) => false,
        Err(error) => return Err(format!("the new point: {}", show(&error))),
    };
    if expected.adopted == Adopted::No {
        return Ok(());
    }
    let found = beside.verify(100).await.map_err(|error| show(&error))?;
    let named = |object: &String| found.damage.iter().any(|damage| damage.object == *object);
    let noticed = cell.objects.iter().any(named);
    if !noticed && (expected.adopted == Adopted::Yes || !whole) {
        return Err(format!(
            "damage was taken over, and verify found {:?}",
            found.damage
        ));
    }
    heals(fixture, &beside, &found).await
}

/// A verify that reads everything names the object, and nothing else.
async fn verify(cell: &Cell, world: &World, expected: &Expected) -> Result<VerifyReport, String> {
    let report = world
        .verify(100)
        .await
        .map_err(|error| format!("verify: {}", show(&error)))?;
    let named: BTreeSet<&String> = report.damage.iter().map(|damage| &damage.object).collect();
    if named.iter().any(|name| !cell.objects.contains(name)) {
        return Err(format!("verify blames others: {:?}", report.damage));
    }
    // Of a session that committed nothing no pack is looked at.
    let all = |objects: &[String]| objects.iter().all(|object| named.contains(object));
    let noticed = all(&cell.objects) || (cell.kind.is_dead_pack() && !named.is_empty());
    if expected.noticed != (noticed && !cell.objects.is_empty()) {
        return Err(format!("verify found {:?}", report.damage));
    }
    Ok(report)
}

/// After a verify the next backup of the series is whole, whatever was damaged.
async fn heals(fixture: &Fixture, world: &World, before: &VerifyReport) -> Result<(), String> {
    let contents = fixture.next();
    let report = world.backup(&contents, next_backup(true)).await;
    let report = report.map_err(|error| format!("backup after verify: {}", show(&error)))?;
    match world.restored(&report.point).await {
        Ok(bytes) if bytes == contents => {}
        Ok(_) => return Err("the point after verify restores WRONG BYTES".to_owned()),
        Err(error) => return Err(format!("the point after verify: {}", show(&error))),
    }
    let after = world.verify(100).await.map_err(|error| show(&error))?;
    if after.bad_points.contains(&report.point.id) {
        return Err(format!("the point after verify is bad: {:?}", after.damage));
    }
    // Whatever cannot be restored is known to be damaged.
    let repository = world.open().await.map_err(|error| show(&error))?;
    for point in repository
        .points()
        .await
        .map_err(|error| show(&error))?
        .points
    {
        if world.restored(&point).await.is_err() && !after.bad_points.contains(&point.id) {
            return Err(format!(
                "{} does not restore, and verify found {:?}",
                point.id, before.damage
            ));
        }
    }
    Ok(())
}
