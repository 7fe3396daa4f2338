//! Identifiers: fixed bytes, one textual form each (lower-case hex).

use std::{fmt, str::FromStr};

use crate::random;

/// Text that is not the hex form of the identifier asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an identifier")]
pub struct IdError(String);

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Length in bytes.
            pub const BYTES: usize = $bytes;

            /// Takes the raw bytes.
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut bytes = [0; $bytes];
                decode_hex(text, &mut bytes).ok_or_else(|| IdError(text.to_owned()))?;
                Ok(Self(bytes))
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(
                d: &mut minicbor::Decoder<'b>,
                _: &mut C,
            ) -> Result<Self, minicbor::decode::Error> {
                <[u8; $bytes]>::try_from(d.bytes()?)
                    .map(Self)
                    .map_err(|_| minicbor::decode::Error::message("wrong length of an identifier"))
            }
        }
    };
}

identifier!(
    /// A repository: drawn at random by `init`, bound into everything that is sealed.
    RepositoryId, 16
);
identifier!(
    /// The keyed hash of a chunk's or page's plaintext.
    ChunkId, 32
);
identifier!(
    /// One run of one writer: twelve random bytes and the era it began in. Never used again.
    ///
    /// A recovery point is named by the session that committed it.
    SessionId, 16
);
identifier!(
    /// A pack: its session and a number that the session uses once.
    PackId, 20
);
identifier!(
    /// Proof that a write-once object is ours: drawn for each attempt to write it.
    Nonce, 16
);

impl RepositoryId {
    /// Draws a new one.
    pub fn draw() -> Self {
        Self(random::array())
    }
}

impl Nonce {
    /// Draws a new one.
    pub fn draw() -> Self {
        Self(random::array())
    }
}

impl SessionId {
    /// Draws a new one in `era`.
    pub fn draw(era: u32) -> Self {
        let mut bytes = [0; 16];
        bytes[..12].copy_from_slice(&random::array::<12>());
        bytes[12..].copy_from_slice(&era.to_be_bytes());
        Self(bytes)
    }

    /// The prune round that had been published when the session began.
    pub fn era(&self) -> u32 {
        u32::from_be_bytes([self.0[12], self.0[13], self.0[14], self.0[15]])
    }

    /// The first eight hex digits: what tables show and people type.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl PackId {
    /// The pack with this number of this session.
    pub fn new(session: SessionId, sequence: u32) -> Self {
        let mut bytes = [0; 20];
        bytes[..16].copy_from_slice(session.as_bytes());
        bytes[16..].copy_from_slice(&sequence.to_be_bytes());
        Self(bytes)
    }

    /// The session that wrote it.
    pub fn session(&self) -> SessionId {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.0[..16]);
        SessionId(bytes)
    }

    /// Its number within the session.
    pub fn sequence(&self) -> u32 {
        u32::from_be_bytes([self.0[16], self.0[17], self.0[18], self.0[19]])
    }
}

/// Decodes exactly as many lower-case hex digits as `bytes` has room for.
pub(crate) fn decode_hex(text: &str, bytes: &mut [u8]) -> Option<()> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != bytes.len() * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_agree_both_ways() {
        let pack = PackId::new(SessionId::draw(7), 0x0102_0304);
        assert_eq!(pack.to_string().parse(), Ok(pack));
        assert_eq!((pack.session().era(), pack.sequence()), (7, 0x0102_0304));
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "00", "zz", "0123456789ABCDEF0123456789ABCDEF"] {
            assert!(text.parse::<SessionId>().is_err(), "{text}");
        }
    }
}
