//! CBOR as `FORMAT.md` uses it, with nothing of the crate's types.

use minicbor::{Decoder, data::Type};

use super::Result;

/// Anything that the format writes as CBOR.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Uint(u64),
    Bytes(Vec<u8>),
    Text(String),
    Bool(bool),
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

impl Value {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut decoder = Decoder::new(bytes);
        let value = item(&mut decoder).map_err(|error| format!("CBOR: {error}"))?;
        if decoder.position() == bytes.len() {
            Ok(value)
        } else {
            Err("bytes after the CBOR".to_owned())
        }
    }

    /// The field of a map.
    pub(crate) fn get(&self, key: u64) -> Result<&Self> {
        let field = self
            .entries()?
            .iter()
            .find(|(found, _)| *found == Self::Uint(key));
        field
            .map(|(_, value)| value)
            .ok_or_else(|| format!("field {key} is missing"))
    }

    pub(crate) fn entries(&self) -> Result<&[(Self, Self)]> {
        if let Self::Map(entries) = self {
            Ok(entries)
        } else {
            Err(format!("not a map: {self:?}"))
        }
    }

    pub(crate) fn as_uint(&self) -> Result<u64> {
        if let Self::Uint(number) = self {
            Ok(*number)
        } else {
            Err(format!("not a number: {self:?}"))
        }
    }

    pub(crate) fn as_bytes(&self) -> Result<&[u8]> {
        if let Self::Bytes(bytes) = self {
            Ok(bytes)
        } else {
            Err(format!("not bytes: {self:?}"))
        }
    }

    pub(crate) fn uint(&self, key: u64) -> Result<u64> {
        self.get(key)?.as_uint()
    }

    pub(crate) fn bytes(&self, key: u64) -> Result<&[u8]> {
        self.get(key)?.as_bytes()
    }

    pub(crate) fn text(&self, key: u64) -> Result<&str> {
        if let Self::Text(text) = self.get(key)? {
            Ok(text)
        } else {
            Err(format!("field {key} is no text"))
        }
    }

    pub(crate) fn array(&self, key: u64) -> Result<&[Self]> {
        if let Self::Array(items) = self.get(key)? {
            Ok(items)
        } else {
            Err(format!("field {key} is no array"))
        }
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the format uses few of the many types"
)]
fn item(decoder: &mut Decoder<'_>) -> std::result::Result<Value, minicbor::decode::Error> {
    let message = minicbor::decode::Error::message;
    let indefinite = || message("an indefinite length");
    Ok(match decoder.datatype()? {
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => Value::Uint(decoder.u64()?),
        Type::Bytes => Value::Bytes(decoder.bytes()?.to_vec()),
        Type::String => Value::Text(decoder.str()?.to_owned()),
        Type::Bool => Value::Bool(decoder.bool()?),
        Type::Array => {
            let length = decoder.array()?.ok_or_else(indefinite)?;
            Value::Array(
                (0..length)
                    .map(|_| item(decoder))
                    .collect::<std::result::Result<_, _>>()?,
            )
        }
        Type::Map => {
            let length = decoder.map()?.ok_or_else(indefinite)?;
            let entries = (0..length).map(|_| Ok((item(decoder)?, item(decoder)?)));
            let entries: Vec<_> =
                entries.collect::<std::result::Result<_, minicbor::decode::Error>>()?;
            let numbers: Vec<u64> = entries
                .iter()
                .filter_map(|(key, _)| key.as_uint().ok())
                .collect();
            if !numbers.is_sorted() {
                return Err(message("keys out of order"));
            }
            Value::Map(entries)
        }
        _ => return Err(message("a type that is not used")),
    })
}
