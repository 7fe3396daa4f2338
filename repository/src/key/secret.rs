//! What a user brings to open a repository.

use std::fmt;

use zeroize::Zeroizing;

use crate::{id::decode_hex, random};

/// How the text of a key file begins; 64 hex digits follow.
pub const KEY_FILE_PREFIX: &str = "sluice-key-1:";

/// A passphrase or the contents of a key file.
pub enum Secret {
    /// 32 random bytes; nothing needs to be stretched.
    KeyFile(Zeroizing<[u8; 32]>),
    /// Something a person remembers; stretched by Argon2id.
    Passphrase(Zeroizing<String>),
}

/// A key file that is none, or an empty passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Not the text of a key file.
    #[error(
        "not a Sluice key file: it must hold `{KEY_FILE_PREFIX}` and 64 hex digits on one line"
    )]
    NotAKeyFile,
    /// An empty passphrase.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
}

impl Secret {
    /// Draws the contents of a new key file.
    pub fn draw_key_file() -> Self {
        Self::KeyFile(Zeroizing::new(random::array()))
    }

    /// Reads the text of a key file.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse_key_file(text: &str) -> Result<Self, SecretError> {
        let digits = text
            .trim()
            .strip_prefix(KEY_FILE_PREFIX)
            .ok_or(SecretError::NotAKeyFile)?;
        let mut bytes = Zeroizing::new([0; 32]);
        decode_hex(digits, bytes.as_mut()).ok_or(SecretError::NotAKeyFile)?;
        Ok(Self::KeyFile(bytes))
    }

    /// Takes a passphrase, without the line end that files and commands add.
    ///
    /// # Errors
    /// When it is empty.
    pub fn passphrase(text: &str) -> Result<Self, SecretError> {
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(SecretError::EmptyPassphrase);
        }
        Ok(Self::Passphrase(Zeroizing::new(text.to_owned())))
    }

    /// The same once more, for another thread.
    pub(crate) fn duplicate(&self) -> Self {
        match self {
            Self::KeyFile(bytes) => Self::KeyFile(bytes.clone()),
            Self::Passphrase(text) => Self::Passphrase(text.clone()),
        }
    }

    /// The text of a key file; `None` for a passphrase.
    pub fn key_file_text(&self) -> Option<Zeroizing<String>> {
        match self {
            Self::KeyFile(bytes) => {
                let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_PREFIX.len() + 65));
                text.push_str(KEY_FILE_PREFIX);
                for byte in bytes.iter() {
                    for digit in [byte >> 4, byte & 15] {
                        text.push(char::from_digit(u32::from(digit), 16).expect("below 16"));
                    }
                }
                text.push('\n');
                Some(text)
            }
            Self::Passphrase(_) => None,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeyFile(_) => "Secret::KeyFile(..)",
            Self::Passphrase(_) => "Secret::Passphrase(..)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_file_text_is_read_back() {
        let text = Secret::draw_key_file().key_file_text().expect("a key file");
        let again = Secret::parse_key_file(&text)
            .unwrap()
            .key_file_text()
            .expect("a key file");
        assert_eq!(*text, *again);
    }

    #[test]
    fn other_files_are_refused() {
        for text in [
            "",
            "sluice-key-1:",
            "sluice-key-1:00",
            "-----BEGIN",
            "\u{0}\u{1}",
        ] {
            assert_eq!(
                Secret::parse_key_file(text).err(),
                Some(SecretError::NotAKeyFile)
            );
        }
        assert_eq!(
            Secret::passphrase("\n").err(),
            Some(SecretError::EmptyPassphrase)
        );
    }
}
