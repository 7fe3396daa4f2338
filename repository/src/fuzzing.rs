//! Doors for `fuzz/`: each takes any bytes to a parser of stored bytes that is otherwise closed. None may panic; what is
//! read is held against the law that writing it again gives what was read.
//!
//! What is stored sealed is fuzzed behind its seal: whoever has a key can seal anything.

use std::fmt::Debug;

use minicbor::{Decode, Encode};

use crate::{
    format::TAG_BYTES,
    id::{ChunkId, PackId, RepositoryId, SessionId},
    key::{self, Key, Keyring, Secret},
    layout::{self, PackKind, SessionObject},
    map::{MapRoot, Page},
    pack::{self, table},
    point::Register,
    points::DeleteMarker,
    record::{self, Place, RecordKind},
    reference::{Codec, Reference},
    seal::{self, Opener},
    session::records::{Checkpoint, Heartbeat, Intent},
    superblock::Superblock,
    verify::VerifyRun,
};

const NAME: &str = "keys/default/00000000";
/// Bytes that the largest chunk decompresses to.
const PLAIN_BYTES_MAX: usize = 4 << 20;

fn key() -> Key {
    Key::from_bytes([7; 32])
}

fn place() -> Place<'static> {
    Place::new(RepositoryId::from_bytes([1; 16]), NAME)
}

/// The superblock, in the clear.
pub fn superblock(bytes: &[u8]) {
    if let Ok(superblock) = Superblock::decode(bytes) {
        let again = superblock.encode(&key());
        assert_eq!(Superblock::decode(&again), Ok(superblock));
        assert!(Superblock::check(&again, &key()), "our own MAC is right");
    }
    let _authentic: bool = Superblock::check(bytes, &key());
}

/// The header of a key slot, in the clear, and the slot opened with a key file.
pub fn key_slot(bytes: &[u8]) {
    let secret = Secret::parse_key_file(&format!("{}{}", key::KEY_FILE_PREFIX, "07".repeat(32)));
    let secret = secret.expect("the text of a key file");
    let opened = key::open_slot(&secret, bytes, place().repository, NAME);
    assert!(
        key::parse_slot_header(bytes).is_ok() || opened.is_err(),
        "opened without a header"
    );
}

/// The text of a key file.
pub fn key_file(text: &str) {
    if let Ok(secret) = Secret::parse_key_file(text) {
        let again = secret.key_file_text().expect("a key file has a text");
        assert_eq!(again.trim(), text.trim());
    }
    let _passphrase = Secret::passphrase(text);
}

/// A keyring, as it is stored and behind both seals.
pub fn keyring(bytes: &[u8]) {
    let name = place().name;
    let open = |object: &[u8]| Keyring::open(&key(), place().repository, name, object);
    let wrapped = record::seal(&key(), RecordKind::DomainKey, place(), key().as_bytes());
    let mut object = u32::try_from(wrapped.len())
        .expect("short")
        .to_le_bytes()
        .to_vec();
    object.extend(wrapped);
    object.extend(record::seal(&key(), RecordKind::Keyring, place(), bytes));
    for keyring in [open(bytes), open(&object)].into_iter().flatten() {
        let again = keyring.seal(&key(), place().repository, name);
        assert!(open(&again).is_ok(), "our own keyring opens");
    }
}

/// A sealed record.
pub fn record(bytes: &[u8]) {
    let open = |sealed: &[u8]| record::open(&key(), RecordKind::Intent, place(), sealed);
    let sealed = record::seal(&key(), RecordKind::Intent, place(), bytes);
    assert_eq!(open(&sealed).as_deref(), Ok(bytes));
    if let Ok(payload) = open(bytes) {
        assert!(payload.len() < bytes.len());
    }
}

/// What is in records: registers and what sessions, forgetting and verifying leave.
pub fn records(bytes: &[u8]) {
    for root in [
        body::<Register>(bytes).and_then(|register| register.manifest?.volume),
        body(bytes),
    ]
    .into_iter()
    .flatten()
    .chain(body::<Checkpoint>(bytes).map(|checkpoint| checkpoint.map))
    {
        assert_eq!(
            root.level,
            MapRoot::empty(root.chunk_log2, root.volume_bytes).level
        );
        assert!(
            root.chunk_count() <= root.volume_bytes && root.chunk_bytes() <= PLAIN_BYTES_MAX as u64
        );
    }
    body::<Intent>(bytes);
    body::<Heartbeat>(bytes);
    body::<DeleteMarker>(bytes);
    body::<VerifyRun>(bytes);
    body::<SessionId>(bytes);
}

fn body<T: Encode<()> + for<'b> Decode<'b, ()> + Debug + PartialEq>(bytes: &[u8]) -> Option<T> {
    let value: T = minicbor::decode(bytes).ok()?;
    let again = minicbor::to_vec(&value).expect("encoding into memory");
    let same: T = minicbor::decode(&again).expect("what was written is read");
    assert_eq!(same, value, "written and read, it is another");
    assert_eq!(
        minicbor::to_vec(&same).expect("encoding into memory"),
        again
    );
    Some(value)
}

/// A pack's slot table, behind its seal.
pub fn slot_table(bytes: &[u8]) {
    if let Some(table) = table::decode_table(bytes) {
        assert_eq!(
            table::encode_table(table.pack, table.key, &table.slots),
            bytes
        );
    }
}

/// A pack's trailer, after eight bytes that say how long the pack is.
pub fn trailer(bytes: &[u8]) {
    if let Some((length, trailer)) = bytes.split_first_chunk()
        && let Some(found) = pack::decode_trailer(trailer, u64::from_le_bytes(*length))
    {
        assert_eq!(found.encode()[..], *trailer);
    }
}

/// A page of a map, behind its seal.
pub fn page(bytes: &[u8]) {
    if let Ok(page) = Page::decode(bytes) {
        assert_eq!(page.encode(), bytes);
        assert_eq!(page.chunks() == 0, page.is_empty());
    }
}

/// A chunk's stored form, behind its seal, after three bytes that say how long its contents are.
pub fn chunk(bytes: &[u8]) {
    let Some((length, stored)) = bytes.split_first_chunk::<3>() else {
        return;
    };
    let length = u32::from_le_bytes([length[0], length[1], length[2], 0]);
    let mut plain = vec![
        0;
        usize::try_from(length)
            .expect("24 bits")
            .min(PLAIN_BYTES_MAX)
    ];
    for codec in [Codec::Stored, Codec::Zstd] {
        let reference = Reference {
            id: ChunkId::from_bytes([3; 32]),
            pack: PackId::from_bytes([2; 20]),
            key: 0,
            slot: 5,
            codec,
            offset: 48,
            stored_bytes: u32::try_from(stored.len() + TAG_BYTES).expect("inputs are small"),
            plain_bytes: length,
        };
        let mut sealed = stored.to_vec();
        let tag = seal::encrypt(&key(), &reference, &mut sealed);
        sealed.extend(tag);
        let result =
            Opener::default().open(&key(), &reference, &sealed, &mut plain, |_| reference.id);
        if codec == Codec::Stored {
            assert_eq!(result.is_ok(), plain == stored, "{result:?}");
        }
    }
}

/// Names of objects, as a listing gives them.
pub fn names(name: &str) {
    for kind in [PackKind::Data, PackKind::Meta] {
        made_again(
            name,
            layout::parse_pack(kind, name).map(|id| layout::pack(kind, id)),
        );
    }
    made_again(name, layout::parse_slot_table(name).map(layout::slot_table));
    made_again(name, layout::parse_register(name).map(layout::register));
    made_again(
        name,
        layout::parse_delete_marker(name).map(layout::delete_marker),
    );
    made_again(name, layout::parse_bad_point(name).map(layout::bad_point));
    if let Some((session, SessionObject::Checkpoint(number))) = layout::parse_session_object(name) {
        made_again(name, Some(layout::checkpoint(session, number)));
    }
    let _point = layout::parse_series_point("00", name);
}

/// A name that was taken apart is the one that is made of its parts.
fn made_again(name: &str, again: Option<String>) {
    assert!(
        again.is_none_or(|again| again == name),
        "{name:?} is made otherwise"
    );
}

/// An `s3://` address: what it shows is an address again, and the same one.
#[cfg(feature = "s3")]
pub fn s3_address(text: &str) {
    use crate::store::s3::S3Address;
    if let Ok(address) = text.parse::<S3Address>() {
        let shown = address.to_string();
        assert_eq!(shown.parse::<S3Address>().ok(), Some(address), "{shown:?}");
    }
}

/// What a server of S3 answers: a status, headers a line each, an empty line, the body.
#[cfg(feature = "s3")]
pub fn s3_answer(bytes: &[u8]) {
    crate::store::s3::canned::answered(bytes);
}
