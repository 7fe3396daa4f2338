//! The examples in `FORMAT.md`: a whole repository in hex, taken apart. Every block on the page is made again here from the
//! objects on the page, so that no byte and no remark there can be wrong.

use std::{fs, path::Path, sync::Arc};

use repository::{Repository, store::DirectoryStore};

use crate::{
    CHUNK,
    reader::read_volume,
    second_reader::{
        Reference, SecondReader, Secret, Value, decode_page, decode_table, hex, kdf, open_record,
        u16_at, u32_at, unhex,
    },
};

const PAGE: &str = include_str!("../../FORMAT.md");
const KEY_FILE: &str =
    "sluice-key-1:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// The blocks of the page that are examples, in order: what the line with the fence says, and what follows.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let examples = PAGE
        .split("```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.split_once('\n'));
    examples
        .filter(|(info, _)| {
            ["object ", "plain ", "cbor ", "keys"]
                .iter()
                .any(|kind| info.starts_with(kind))
        })
        .collect()
}

/// Writes the objects of the page into a folder.
fn write_objects(folder: &Path) {
    for (info, body) in blocks() {
        let Some(name) = info.strip_prefix("object ") else {
            continue;
        };
        let digits: String = body
            .lines()
            .map(|line| line.split("  ").next().unwrap_or_default())
            .collect();
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, unhex(&digits).unwrap()).unwrap();
    }
}

fn expected_volume() -> Vec<u8> {
    let mut volume = vec![0; 300 * CHUNK + 5];
    let text = b"Sluice\n".iter().copied().cycle();
    volume[CHUNK..2 * CHUNK]
        .iter_mut()
        .zip(text)
        .for_each(|(byte, letter)| *byte = letter);
    volume[300 * CHUNK..].copy_from_slice(b"hello");
    volume
}

#[test]
fn the_page_alone_is_enough_to_restore_the_example() {
    let folder = tempfile::tempdir().unwrap();
    write_objects(folder.path());
    let reader = SecondReader::open(folder.path(), Secret::KeyFile(KEY_FILE)).unwrap();
    let points = reader.points().unwrap();
    assert_eq!(points.len(), 1);
    assert!(reader.restore(&points[0].1).unwrap() == expected_volume());
}

#[tokio::test]
async fn the_crate_restores_the_example_too() {
    let folder = tempfile::tempdir().unwrap();
    write_objects(folder.path());
    let store = Arc::new(DirectoryStore::open(folder.path()).unwrap());
    let secret = repository::Secret::parse_key_file(KEY_FILE).unwrap();
    let repository = Repository::open(store, &secret).await.unwrap();
    let points = repository.points().await.unwrap();
    assert!(points.damaged.is_empty());
    assert!(read_volume(&repository, &points.points[0]).await == expected_volume());
}

#[test]
fn every_block_says_what_the_objects_hold() {
    let folder = tempfile::tempdir().unwrap();
    write_objects(folder.path());
    let mut kinds = Vec::new();
    for (info, body) in blocks() {
        let made = block(folder.path(), info);
        assert_eq!(made, body, "the block `{info}` should be:\n{made}");
        kinds.push(info.split('/').take(3).collect::<Vec<_>>().join("/"));
    }
    let all = [
        "object super",
        "object keys/slot",
        "object d/default/p",
        "object d/default/m",
        "object d/default/c",
    ];
    for kind in all.into_iter().chain([
        "keys",
        "plain d/default/m",
        "plain d/default/p",
        "cbor d/default/c",
    ]) {
        assert!(
            kinds.iter().any(|found| found.starts_with(kind)),
            "no example of `{kind}`"
        );
    }
}

/// What a block should say.
fn block(folder: &Path, info: &str) -> String {
    let reader = SecondReader::open(folder, Secret::KeyFile(KEY_FILE)).unwrap();
    let object = |name: &str| fs::read(folder.join(name)).unwrap();
    let (kind, rest) = info.split_once(' ').unwrap_or((info, ""));
    let (name, slot) = rest.split_once(' ').unwrap_or((rest, ""));
    match kind {
        "object" => dump(&object(name), &fields(&reader, name, &object(name))),
        "cbor" => {
            let payload = match name.split('/').nth(2) {
                Some("c") => reader.register(name.rsplit('/').next().unwrap()).unwrap(),
                Some("i") => reader.record(10, name, &object(name)).unwrap(),
                _ => cbor_in_the_clear(&object(name)),
            };
            diagnostic(&Value::decode(&payload).unwrap(), 0) + "\n"
        }
        "plain" if slot == "table" => {
            let pack = object(name);
            let trailer = pack.len() - 32;
            let table = u32_at(&pack, trailer).unwrap() as usize;
            let payload = reader.record(8, name, &pack[table..trailer]).unwrap();
            dump(&payload, &table_fields(&payload))
        }
        "plain" => {
            let reference = &reader.slots(name).unwrap()[slot.parse::<usize>().unwrap()];
            let page = reader.page_bytes(reference).unwrap();
            dump(&page, &page_fields(&page))
        }
        _ => keys(folder, &reader),
    }
}

fn cbor_in_the_clear(object: &[u8]) -> Vec<u8> {
    match &object[..8] {
        b"SLUICERP" => object[16..object.len() - 32].to_vec(),
        _ => object[12..12 + usize::from(u16_at(object, 10).unwrap())].to_vec(),
    }
}

/// Every key on the way from the key file to the first chunk.
fn keys(folder: &Path, reader: &SecondReader) -> String {
    let only = |prefix| crate::second_reader::names(folder, prefix).pop().unwrap();
    let (slot_name, ring_name, pack_name) = (
        only("keys/slot/"),
        only("keys/default/"),
        only("d/default/p/"),
    );
    let (slot, ring) = (
        fs::read(folder.join(&slot_name)).unwrap(),
        fs::read(folder.join(&ring_name)).unwrap(),
    );
    let file: [u8; 32] = unhex(&KEY_FILE[13..]).unwrap().try_into().unwrap();
    let clear = 12 + usize::from(u16_at(&slot, 10).unwrap());
    let slot_key = kdf(&file, "slot", &slot[..clear]);
    let record_key = kdf(&slot_key, "record", &slot[clear + 8..clear + 40]);
    let root = array(open_record(&slot_key, &reader.id, 1, &slot_name, &slot[clear..]).unwrap());
    let length = u32_at(&ring, 0).unwrap() as usize;
    let domain =
        array(open_record(&root, &reader.id, 2, &ring_name, &ring[4..4 + length]).unwrap());
    let keyring = Value::decode(
        &open_record(&domain, &reader.id, 3, &ring_name, &ring[4 + length..]).unwrap(),
    )
    .unwrap();
    let first = |field| {
        array(
            keyring.get(field).unwrap().entries().unwrap()[0]
                .1
                .as_bytes()
                .unwrap()
                .to_vec(),
        )
    };
    let key = |field| array(keyring.bytes(field).unwrap().to_vec());
    let chunk = &reader.slots(&pack_name).unwrap()[0];
    let pack_key = kdf(&first(0), "pack", &chunk.pack);
    let rows: [(&str, [u8; 32]); 14] = [
        ("key file", file),
        ("slot key", slot_key),
        ("record key of the slot", record_key),
        ("root key", root),
        ("superblock MAC key", kdf(&root, "superblock", b"")),
        ("domain key", domain),
        ("data key 0", first(0)),
        ("meta key 0", first(1)),
        ("chunk id key", key(2)),
        ("page id key", key(3)),
        ("manifest key", key(5)),
        ("pack key of the first pack", pack_key),
        (
            "chunk key of its slot 0",
            kdf(&pack_key, "chunk", &chunk.context()),
        ),
        ("chunk id of its slot 0", chunk.id),
    ];
    rows.iter()
        .map(|(name, key)| format!("{name:<26} {}\n", hex(key)))
        .collect()
}

fn array(bytes: Vec<u8>) -> [u8; 32] {
    bytes.try_into().unwrap()
}

type Fields = Vec<(usize, String)>;

/// Bytes in lines of 32 at most, each field on lines of its own.
fn dump(bytes: &[u8], fields: &Fields) -> String {
    let mut out = String::new();
    let mut at = 0;
    for (length, what) in fields {
        for (number, line) in bytes[at..at + length].chunks(32).enumerate() {
            let remark = if number == 0 { what.as_str() } else { "" };
            out.push_str(format!("{:<64}  {remark}", hex(line)).trim_end());
            out.push('\n');
        }
        at += length;
    }
    assert_eq!(at, bytes.len(), "fields cover the object");
    out
}

fn fields(reader: &SecondReader, name: &str, object: &[u8]) -> Fields {
    let mut fields = Fields::new();
    let mut add = |length: usize, what: &str| fields.push((length, what.to_owned()));
    match name.split('/').collect::<Vec<_>>()[..] {
        ["super"] => {
            add(8, "magic");
            add(4, "major, minor, 0");
            add(4, "length");
            add(object.len() - 48, "CBOR");
            add(32, "MAC");
        }
        ["keys", "slot", _] => {
            let length = usize::from(u16_at(object, 10).unwrap());
            add(8, "magic");
            add(2, "version, 0");
            add(2, "length");
            add(length, "header, CBOR");
            fields.extend(record(object.len() - 12 - length, "root key"));
        }
        ["keys", ..] => {
            let length = u32_at(object, 0).unwrap() as usize;
            add(4, "length");
            fields.extend(record(length, "domain key"));
            fields.extend(record(object.len() - 4 - length, "keyring"));
        }
        ["d", _, "p" | "m", ..] => {
            add(8, "magic");
            add(4, "version, kind, suite, 0");
            add(4, "key, 0");
            add(20, "pack id");
            add(12, "0");
            let slots = reader.slots(name).unwrap();
            for slot in &slots {
                add(
                    slot.stored as usize - 16,
                    &format!("slot {}, sealed", slot.slot),
                );
                add(16, "tag");
            }
            let table = slots.last().map_or(48, |last| last.offset + last.stored) as usize;
            fields.extend(record(object.len() - 32 - table, "slot table"));
            for (length, what) in [
                (4, "table at"),
                (4, "bytes"),
                (2, "slots"),
                (14, "version, 0"),
                (8, "magic"),
            ] {
                fields.push((length, what.to_owned()));
            }
        }
        _ => fields.extend(record(object.len(), "payload")),
    }
    fields
}

fn record(length: usize, what: &str) -> Fields {
    let what = format!("{what}, sealed");
    let parts = [
        (8, "record: magic, version, kind, suite, 0"),
        (32, "salt"),
        (length - 56, &what),
        (16, "tag"),
    ];
    parts
        .map(|(length, what)| (length, what.to_owned()))
        .to_vec()
}

fn table_fields(payload: &[u8]) -> Fields {
    let mut fields = vec![(20, "pack id".to_owned()), (4, "key, 0".to_owned())];
    for slot in decode_table(payload).unwrap() {
        let Reference {
            slot,
            offset,
            stored,
            plain,
            ..
        } = slot;
        fields.push((32, format!("slot {slot}: id")));
        fields.push((
            16,
            format!("offset {offset}, stored {stored}, plain {plain}, codec, 0"),
        ));
    }
    fields
}

fn page_fields(bytes: &[u8]) -> Fields {
    let page = decode_page(bytes).unwrap();
    let packs = usize::from(u16_at(bytes, 16).unwrap());
    let mut fields: Fields = vec![
        (8, "magic, version, level, chunk_log2, 0".to_owned()),
        (8, format!("first: {}", page.first)),
        (
            4,
            format!("packs: {packs}, entries: {}", page.entries.len()),
        ),
        (32, "present".to_owned()),
    ];
    fields.extend((0..packs).map(|pack| (22, format!("pack {pack}: id, key"))));
    for (position, reference, chunks) in &page.entries {
        let Reference {
            slot,
            offset,
            stored,
            plain,
            ..
        } = reference;
        fields.push((32, format!("entry {position}: id")));
        fields.push((
            18,
            format!("pack, slot {slot}, offset {offset}, stored {stored}, plain {plain}, codec, 0"),
        ));
        if page.level > 0 {
            fields.push((8, format!("chunks: {chunks}")));
        }
    }
    fields
}

/// CBOR in diagnostic notation.
fn diagnostic(value: &Value, depth: usize) -> String {
    let list = |items: Vec<String>, [open, close]: [char; 2]| {
        let flat = format!("{open}{}{close}", items.join(", "));
        if flat.len() + 2 * depth <= 100 && depth > 0 {
            return flat;
        }
        let indent = "  ".repeat(depth);
        format!(
            "{open}\n{indent}  {}\n{indent}{close}",
            items.join(&format!(",\n{indent}  "))
        )
    };
    match value {
        Value::Uint(number) => number.to_string(),
        Value::Bytes(bytes) => format!("h'{}'", hex(bytes)),
        Value::Text(text) => format!("\"{text}\""),
        Value::Bool(truth) => truth.to_string(),
        Value::Array(items) => list(
            items
                .iter()
                .map(|item| diagnostic(item, depth + 1))
                .collect(),
            ['[', ']'],
        ),
        Value::Map(entries) => {
            let pair = |(key, value): &(Value, Value)| {
                format!(
                    "{}: {}",
                    diagnostic(key, depth + 1),
                    diagnostic(value, depth + 1)
                )
            };
            list(entries.iter().map(pair).collect(), ['{', '}'])
        }
    }
}
