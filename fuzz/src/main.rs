//! Fuzzes every parser of stored or received bytes: no input may end in a panic, a hang or much memory.
//!
//! A target is a line in `TARGETS` and a folder of seeds. One program holds them all, so that it is
//! linked once; `run.sh` names the one to run in `FUZZ_TARGET`, and asks for all with `list`.

#![no_main]

use std::{env, process, str, sync::OnceLock};

use agent::changes::Extents;
use libfuzzer_sys::fuzz_target;
use repository::{
    fuzzing,
    id::{PackId, SessionId},
};

/// One parser, given any bytes. It may check laws on what it accepted.
type Target = fn(&[u8]);

const TARGETS: &[(&str, Target)] = &[
    ("hex-id", |bytes| text(bytes, round_trip::<SessionId>)),
    ("pack-id", |bytes| text(bytes, round_trip::<PackId>)),
    ("superblock", fuzzing::superblock),
    ("key-slot", fuzzing::key_slot),
    ("key-file", |bytes| text(bytes, fuzzing::key_file)),
    ("keyring", fuzzing::keyring),
    ("record", fuzzing::record),
    ("records", fuzzing::records),
    ("slot-table", fuzzing::slot_table),
    ("trailer", fuzzing::trailer),
    ("page", fuzzing::page),
    ("chunk", fuzzing::chunk),
    ("names", |bytes| text(bytes, fuzzing::names)),
    ("s3-address", |bytes| text(bytes, fuzzing::s3_address)),
    ("s3-answer", fuzzing::s3_answer),
    ("extents", extents),
];

static CHOSEN: OnceLock<Target> = OnceLock::new();

fuzz_target!(
    init: {
        let wanted = env::var("FUZZ_TARGET").unwrap_or_default();
        let Some((_, target)) = TARGETS.iter().find(|(name, _)| *name == wanted) else {
            TARGETS.iter().for_each(|(name, _)| println!("{name}"));
            process::exit(i32::from(wanted != "list"));
        };
        CHOSEN.set(*target).expect("libFuzzer initializes once");
    },
    |bytes: &[u8]| {
        CHOSEN.get().expect("it was chosen by init")(bytes);
    }
);

/// For parsers of text.
fn text(bytes: &[u8], target: fn(&str)) {
    if let Ok(text) = str::from_utf8(bytes) {
        target(text);
    }
}

/// What parses is printed in the one form that parses to it again.
fn round_trip<T: str::FromStr + ToString + PartialEq>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let again = value.to_string().parse::<T>().ok();
        assert!(again == Some(value), "{text:?} does not survive printing");
    }
}

/// A list of changed extents: those that are accepted ascend, do not touch and are within the volume.
fn extents(bytes: &[u8]) {
    const VOLUME_BYTES: u64 = 1 << 40;
    let Ok(extents) = Extents::parse(bytes, VOLUME_BYTES) else {
        return;
    };
    let mut end = None;
    for range in extents.iter() {
        assert!(range.start < range.end && range.end <= VOLUME_BYTES);
        assert!(end.is_none_or(|end| end < range.start));
        end = Some(range.end);
    }
    assert!(extents.bytes() <= VOLUME_BYTES);
}
