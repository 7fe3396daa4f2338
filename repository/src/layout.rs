//! Names of objects: the one place where they are made and taken apart.
//!
//! A name shows what an object is and who wrote it, without a key. No name is ever used again, and no name is a folder
//! of another.

use crate::{
    format::DOMAIN,
    id::{PackId, SessionId, decode_hex},
};

/// The superblock.
pub const SUPERBLOCK: &str = "super";
/// Key slots.
pub const KEY_SLOTS: &str = "keys/slot/";
/// Where the store is tried out; nothing stays here.
pub const PROBES: &str = "v/probe/";
/// Mandatory features that were added after `init`.
pub const FEATURES: &str = "features/";

/// A key slot.
pub fn key_slot(id: &str) -> String {
    format!("{KEY_SLOTS}{id}")
}

/// Takes the name of a key slot apart.
pub fn parse_key_slot(name: &str) -> Option<&str> {
    let id = name.strip_prefix(KEY_SLOTS)?;
    decode_hex(id, &mut [0; 8]).map(|()| id)
}

/// All versions of the domain's keyring.
pub fn keyrings() -> String {
    format!("keys/{DOMAIN}/")
}

/// A version of the domain's keyring.
pub fn keyring(version: u32) -> String {
    format!("{}{version:08x}", keyrings())
}

/// Takes the name of a keyring apart.
pub fn parse_keyring(name: &str) -> Option<u32> {
    parse_u32(name.strip_prefix(&keyrings())?)
}

/// What a pack holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PackKind {
    /// Chunks of volumes and files.
    Data,
    /// Pages of maps and trees. Kept apart, so that a role can be given these and not the data.
    Meta,
}

impl PackKind {
    fn letter(self) -> char {
        match self {
            Self::Data => 'p',
            Self::Meta => 'm',
        }
    }
}

/// A pack.
pub fn pack(kind: PackKind, id: PackId) -> String {
    format!("{}{:08x}", session_packs(kind, id.session()), id.sequence())
}

/// All packs of a session.
pub fn session_packs(kind: PackKind, session: SessionId) -> String {
    format!("{}{session}/", pack_shard(kind, session.as_bytes()[0]))
}

/// All packs of all sessions that begin with this byte: one of 256 listings that together are everything.
pub fn pack_shard(kind: PackKind, byte: u8) -> String {
    format!("d/{DOMAIN}/{}/{byte:02x}/", kind.letter())
}

/// Takes the name of a pack apart.
pub fn parse_pack(kind: PackKind, name: &str) -> Option<PackId> {
    let rest = name.strip_prefix(&format!("d/{DOMAIN}/{}/", kind.letter()))?;
    let mut parts = rest.split('/');
    let (shard, session, sequence) = (parts.next()?, parts.next()?, parts.next()?);
    let session: SessionId = session.parse().ok()?;
    let consistent =
        parts.next().is_none() && session.to_string().starts_with(shard) && shard.len() == 2;
    consistent.then(|| Some(PackId::new(session, parse_u32(sequence)?)))?
}

/// The advisory copy of a pack's slot table.
pub fn slot_table(pack: PackId) -> String {
    format!(
        "{}{:08x}",
        session_slot_tables(pack.session()),
        pack.sequence()
    )
}

/// All advisory slot tables of a session.
pub fn session_slot_tables(session: SessionId) -> String {
    format!("d/{DOMAIN}/i/L0/{session}/")
}

/// Takes the name of a slot table apart.
pub fn parse_slot_table(name: &str) -> Option<PackId> {
    let (session, sequence) = name
        .strip_prefix(&format!("d/{DOMAIN}/i/L0/"))?
        .split_once('/')?;
    Some(PackId::new(session.parse().ok()?, parse_u32(sequence)?))
}

/// Intents, heartbeats and checkpoints of sessions that have not ended.
pub fn sessions() -> String {
    format!("d/{DOMAIN}/s/")
}

/// What a session says before it writes anything else.
pub fn intent(session: SessionId) -> String {
    format!("d/{DOMAIN}/s/{:08x}/{session}", session.era())
}

/// A sign of life of a session.
pub fn heartbeat(session: SessionId, number: u32) -> String {
    format!("{}.hb/{number:08x}", intent(session))
}

/// How far a session has come.
pub fn checkpoint(session: SessionId, number: u32) -> String {
    format!("{}{number:08x}", checkpoints(session))
}

/// All checkpoints of a session.
pub fn checkpoints(session: SessionId) -> String {
    format!("{}.ck/", intent(session))
}

/// An object of a session that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionObject {
    /// Its intent.
    Intent,
    /// One of its heartbeats.
    Heartbeat,
    /// The checkpoint with this number.
    Checkpoint(u32),
}

/// Takes the name of a session's object apart.
pub fn parse_session_object(name: &str) -> Option<(SessionId, SessionObject)> {
    let (era, rest) = name.strip_prefix(&sessions())?.split_once('/')?;
    let (session, object) = match rest.split_once('.') {
        None => (rest, SessionObject::Intent),
        Some((session, tail)) => match tail.split_once('/')? {
            ("hb", number) => {
                parse_u32(number)?;
                (session, SessionObject::Heartbeat)
            }
            ("ck", number) => (session, SessionObject::Checkpoint(parse_u32(number)?)),
            _ => return None,
        },
    };
    let session: SessionId = session.parse().ok()?;
    (parse_u32(era)? == session.era()).then_some((session, object))
}

/// All commit registers.
pub fn registers() -> String {
    format!("d/{DOMAIN}/c/")
}

/// Where a session commits, or is told that it may not.
pub fn register(session: SessionId) -> String {
    format!("{}{:08x}/{session}", registers(), session.era())
}

/// Takes the name of a register apart.
pub fn parse_register(name: &str) -> Option<SessionId> {
    let (era, session) = name.strip_prefix(&registers())?.split_once('/')?;
    let session: SessionId = session.parse().ok()?;
    (parse_u32(era)? == session.era()).then_some(session)
}

/// All delete markers.
pub fn delete_markers() -> String {
    format!("d/{DOMAIN}/x/")
}

/// Says that a recovery point is no longer wanted.
pub fn delete_marker(point: SessionId) -> String {
    format!("{}{point}", delete_markers())
}

/// Takes the name of a delete marker apart.
pub fn parse_delete_marker(name: &str) -> Option<SessionId> {
    name.strip_prefix(&delete_markers())?.parse().ok()
}

/// The advisory index of all points.
pub fn points_index() -> String {
    format!("d/{DOMAIN}/i/points/")
}

/// The advisory index of a series' points, newest first.
pub fn series_points(series_hash: &str) -> String {
    format!("{}{series_hash}/", points_index())
}

/// One entry of that index. `time_ms` counts down, so that byte order is newest first.
pub fn series_point(series_hash: &str, time_ms: u64, point: SessionId) -> String {
    format!(
        "{}{:016x}-{point}",
        series_points(series_hash),
        u64::MAX - time_ms
    )
}

/// Takes the name of an index entry apart.
pub fn parse_series_point(series_hash: &str, name: &str) -> Option<SessionId> {
    name.strip_prefix(&series_points(series_hash))?
        .split_once('-')?
        .1
        .parse()
        .ok()
}

/// Takes the name of an index entry apart, whatever its series.
pub fn parse_indexed_point(name: &str) -> Option<SessionId> {
    let (series_hash, _) = name.strip_prefix(&points_index())?.split_once('/')?;
    parse_series_point(series_hash, name)
}

/// Rounds of pruning. This version does not prune, and refuses to back up once somebody did.
pub fn prune_rounds() -> String {
    format!("d/{DOMAIN}/g/")
}

/// Results of verify runs.
pub fn verify_runs() -> String {
    format!("d/{DOMAIN}/v/run/")
}

/// The result of one verify run, numbered by time.
pub fn verify_run(time_ms: u64, nonce: &str) -> String {
    format!("{}{time_ms:016x}-{nonce}", verify_runs())
}

/// Whether this is the name of such a result: whatever else lies there is somebody else's.
pub fn is_verify_run(name: &str) -> bool {
    let parts = name
        .strip_prefix(&verify_runs())
        .and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(time, nonce)| {
        decode_hex(time, &mut [0; 8]).is_some() && decode_hex(nonce, &mut [0; 4]).is_some()
    })
}

/// Points that a verify run found damaged.
pub fn bad_points() -> String {
    format!("d/{DOMAIN}/v/bad/")
}

/// Says that a verify run found this point damaged.
pub fn bad_point(point: SessionId) -> String {
    format!("{}{point}", bad_points())
}

/// Takes the name of such a mark apart.
pub fn parse_bad_point(name: &str) -> Option<SessionId> {
    name.strip_prefix(&bad_points())?.parse().ok()
}

fn parse_u32(text: &str) -> Option<u32> {
    let mut bytes = [0; 4];
    decode_hex(text, &mut bytes)?;
    Some(u32::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_taken_apart_again() {
        let session = SessionId::draw(3);
        let id = PackId::new(session, 77);
        for kind in [PackKind::Data, PackKind::Meta] {
            assert_eq!(parse_pack(kind, &pack(kind, id)), Some(id));
        }
        assert_eq!(parse_pack(PackKind::Data, &pack(PackKind::Meta, id)), None);
        assert_eq!(parse_slot_table(&slot_table(id)), Some(id));
        let object = |name: String| parse_session_object(&name);
        assert_eq!(
            object(intent(session)),
            Some((session, SessionObject::Intent))
        );
        assert_eq!(
            object(heartbeat(session, 9)),
            Some((session, SessionObject::Heartbeat))
        );
        assert_eq!(
            object(checkpoint(session, 9)),
            Some((session, SessionObject::Checkpoint(9)))
        );
        assert_eq!(parse_keyring(&keyring(7)), Some(7));
        assert_eq!(
            parse_key_slot(&key_slot("0123456789abcdef")),
            Some("0123456789abcdef")
        );
        assert_eq!(parse_register(&register(session)), Some(session));
        assert_eq!(parse_delete_marker(&delete_marker(session)), Some(session));
        assert_eq!(parse_bad_point(&bad_point(session)), Some(session));
        assert_eq!(
            parse_series_point("ab", &series_point("ab", 5, session)),
            Some(session)
        );
        assert_eq!(
            parse_indexed_point(&series_point("ab", 5, session)),
            Some(session)
        );
    }

    #[test]
    fn newer_points_sort_first() {
        let session = SessionId::draw(0);
        assert!(series_point("ab", 6, session) < series_point("ab", 5, session));
    }

    #[test]
    fn foreign_names_are_not_ours() {
        for name in [
            "",
            "d/default/p/",
            "d/default/p/zz/1/2",
            "d/other/c/00000000/1",
            "super",
            "keys/slot/README",
            "keys/slot/0123456789abcdef0",
            "keys/default/README",
        ] {
            assert_eq!(parse_key_slot(name), None);
            assert_eq!(parse_keyring(name), None);
            assert_eq!(parse_pack(PackKind::Data, name), None);
            assert_eq!(parse_register(name), None);
            assert_eq!(parse_session_object(name), None);
        }
    }
}
