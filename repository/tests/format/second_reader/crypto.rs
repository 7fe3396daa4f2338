//! The primitives, put together as `FORMAT.md` says.

use std::io::Read as _;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::Result;

/// `HASH(k, x)`.
pub(crate) fn hash(key: &[u8; 32], bytes: &[u8]) -> [u8; 32] {
    *blake3::keyed_hash(key, bytes).as_bytes()
}

/// `KDF(k, label, context)`.
pub(crate) fn kdf(key: &[u8; 32], label: &str, context: &[u8]) -> [u8; 32] {
    let mut input = vec![u8::try_from(label.len()).expect("labels are short")];
    input.extend(label.as_bytes());
    input.extend(context);
    hash(key, &input)
}

/// Opens what `SEAL(k, nonce, aad, x)` made.
pub(super) fn open_aead(
    key: &[u8; 32],
    nonce: [u8; 12],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are a key"));
    let mut bytes = sealed.to_vec();
    let opened = key.open_in_place(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(aad),
        &mut bytes,
    );
    Ok(opened.map_err(|_| "it does not match its seal")?.to_vec())
}

/// Opens a sealed record.
pub(crate) fn open_record(
    key: &[u8; 32],
    repository: &[u8],
    kind: u8,
    name: &str,
    record: &[u8],
) -> Result<Vec<u8>> {
    let (header, rest) = record.split_at_checked(8).ok_or("the record is cut")?;
    let (salt, sealed) = rest.split_at_checked(32).ok_or("the record is cut")?;
    if *header != [b'S', b'L', b'R', b'C', 1, kind, 1, 0] {
        return Err(format!("{name}: not a record of kind {kind}"));
    }
    let mut aad = header[4..].to_vec();
    aad.extend(repository);
    for text in ["default", name] {
        aad.extend(
            u32::try_from(text.len())
                .expect("names are short")
                .to_le_bytes(),
        );
        aad.extend(text.as_bytes());
    }
    open_aead(&kdf(key, "record", salt), [0; 12], &aad, sealed)
        .map_err(|error| format!("{name}: {error}"))
}

/// Argon2id, as key slots use it.
pub(super) fn stretch(passphrase: &str, salt: &[u8], kib: u64, passes: u64) -> Result<[u8; 32]> {
    if kib > 1 << 20 || passes > 64 {
        return Err("the slot asks for too much".to_owned());
    }
    let number = |value: u64| u32::try_from(value).expect("checked above");
    let params =
        Params::new(number(kib), number(passes), 1, Some(32)).map_err(|error| error.to_string())?;
    let mut key = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut key)
        .map_err(|error| error.to_string())?;
    Ok(key)
}

/// One zstd frame of exactly this many bytes.
pub(super) fn decompress(frame: &[u8], bytes: usize) -> Result<Vec<u8>> {
    let decoder = zstd::stream::read::Decoder::new(frame).map_err(|error| error.to_string())?;
    let mut contents = Vec::new();
    let limit = bytes as u64 + 1;
    decoder
        .single_frame()
        .take(limit)
        .read_to_end(&mut contents)
        .map_err(|error| error.to_string())?;
    if contents.len() == bytes {
        Ok(contents)
    } else {
        Err("a frame of another length".to_owned())
    }
}
