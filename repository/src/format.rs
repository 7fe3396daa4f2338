//! Numbers of the format: versions, sizes, limits. `FORMAT.md` explains each.

/// Readers refuse a repository whose major version is another.
pub const FORMAT_MAJOR: u8 = 1;
/// Raised when something optional is added.
pub const FORMAT_MINOR: u8 = 0;

/// BLAKE3 for ids and key derivation, AES-256-GCM for sealing.
pub const SUITE_BLAKE3_AES256GCM: u8 = 1;

/// The one domain that this version writes: one scope of deduplication, one of pruning, one of erasure.
pub const DOMAIN: &str = "default";

/// Smallest chunk of a volume, as a power of two: 64 KiB. Random writes of databases decide this: a 1 MiB chunk
/// uploads 95 times what changed, 64 KiB 8 times.
pub const CHUNK_LOG2_MIN: u8 = 16;
/// Largest chunk, as a power of two: 4 MiB.
pub const CHUNK_LOG2_MAX: u8 = 22;
/// Volumes above this size get chunks of 256 KiB unless told otherwise, so that their map stays small.
pub const SMALL_VOLUME_BYTES_MAX: u64 = 1 << 40;

/// The chunk size, as a power of two, of a new series of a volume of this size.
pub const fn chunk_log2_default(volume_bytes: u64) -> u8 {
    if volume_bytes <= SMALL_VOLUME_BYTES_MAX {
        CHUNK_LOG2_MIN
    } else {
        18
    }
}

/// Bytes that AES-256-GCM adds to what it seals.
pub const TAG_BYTES: usize = 16;

/// Bytes of packs that are written when there is memory for them.
pub const PACK_BYTES: usize = 16 << 20;
/// Bytes of packs that are written with little memory.
pub const PACK_BYTES_SMALL: usize = 4 << 20;
/// Readers refuse larger packs.
pub const PACK_BYTES_MAX: u64 = 64 << 20;
/// Chunks a pack holds at most, so that a slot fits 16 bits.
pub const PACK_SLOTS_MAX: usize = u16::MAX as usize;

/// Readers refuse sealed records (keyrings, intents, manifests, ...) above this.
pub const RECORD_BYTES_MAX: u64 = 1 << 20;
/// Readers refuse slot tables above this: 65,535 slots of 48 bytes and the seal.
pub const SLOT_TABLE_BYTES_MAX: u64 = 4 << 20;
/// Key slots a repository has at most, so that opening it stays bounded.
pub const KEY_SLOTS_MAX: usize = 64;
/// Memory of Argon2id in new passphrase slots, in KiB: 64 MiB. With 256 MiB an open would take 0.6 to 0.9 s.
pub const ARGON2_KIB: u32 = 64 << 10;
/// Passes of Argon2id in new passphrase slots: 0.15 CPU s with the memory above.
pub const ARGON2_PASSES: u32 = 3;
/// What a new passphrase slot costs to open: memory times passes.
pub const ARGON2_COST: u64 = ARGON2_KIB as u64 * ARGON2_PASSES as u64;
/// Readers refuse a passphrase slot that asks for more memory than this, in KiB: 256 MiB. Slots cannot be authenticated
/// before they are opened, so whoever can write to the store chooses these.
pub const ARGON2_KIB_MAX: u32 = 256 << 10;
/// Readers refuse a passphrase slot that costs more than this: 1.2 CPU s.
pub const ARGON2_COST_MAX: u64 = 8 * ARGON2_COST;
