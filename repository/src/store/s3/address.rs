//! `s3://bucket/prefix?endpoint=...`: what a user writes, parsed without looking at the world.

use std::{collections::BTreeSet, fmt, path::PathBuf, str::FromStr};

use super::error::S3ConfigError;

/// The options an address may carry.
const OPTIONS: &str = "endpoint, region, path-style, ca-file, profile, sign-payload";

/// The longest segment of a key that every server known to us stores.
const SEGMENT_BYTES_MAX: usize = 200;

/// A parsed `s3://` address. It never holds credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3Address {
    /// Name of the bucket.
    pub bucket: String,
    /// What all keys start with; empty, or without a slash at either end.
    pub prefix: String,
    /// `http://` or `https://` address of the server; none means AWS.
    pub endpoint: Option<String>,
    /// Region that requests are signed for.
    pub region: Option<String>,
    /// Whether the bucket stands in the path rather than in the host name.
    pub path_style: Option<bool>,
    /// PEM file with the authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Profile in the AWS configuration files.
    pub profile: Option<String>,
    /// When bodies are signed.
    pub sign_payload: Option<SignPayload>,
}

/// When the bodies of uploads are signed, at the price of one SHA-256 over each: four times all else together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignPayload {
    /// Only over plain HTTP to another machine, where nothing else protects them on their way.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never: what is stored is authenticated by the repository's own keys.
    Never,
}

impl SignPayload {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

impl FromStr for S3Address {
    type Err = S3ConfigError;

    fn from_str(address: &str) -> Result<Self, S3ConfigError> {
        let rest = address.strip_prefix("s3://").ok_or(S3ConfigError::NotS3)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if path
            .split('/')
            .next()
            .is_some_and(|host| host.contains('@'))
        {
            return Err(S3ConfigError::CredentialsInAddress);
        }
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        let mut parsed = Self {
            bucket: bucket_name(bucket)?,
            prefix: key_prefix(&decode(prefix)?)?,
            ..Self::default()
        };
        let mut seen = BTreeSet::new();
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            if !seen.insert(name) {
                return Err(S3ConfigError::RepeatedOption {
                    name: name.to_owned(),
                });
            }
            parsed.set(name, decode(value)?)?;
        }
        Ok(parsed)
    }
}

impl S3Address {
    fn set(&mut self, name: &str, value: String) -> Result<(), S3ConfigError> {
        let bad = |value: String, expected| S3ConfigError::BadOption {
            name: name.to_owned(),
            value,
            expected,
        };
        match name {
            "endpoint" => self.endpoint = Some(endpoint(&value)?),
            "region" | "profile" | "ca-file" if value.is_empty() => {
                return Err(bad(value, "a value"));
            }
            "region" => self.region = Some(value),
            "profile" => self.profile = Some(value),
            "ca-file" => self.ca_file = Some(value.into()),
            "path-style" => {
                self.path_style = match value.as_str() {
                    "true" => Some(true),
                    "false" => Some(false),
                    _ => return Err(bad(value, "`true` or `false`")),
                };
            }
            "sign-payload" => {
                self.sign_payload = match value.as_str() {
                    "auto" => Some(SignPayload::Auto),
                    "always" => Some(SignPayload::Always),
                    "never" => Some(SignPayload::Never),
                    _ => return Err(bad(value, "`auto`, `always` or `never`")),
                };
            }
            // The value may be a secret that strayed here: only the name is shown.
            _ => {
                return Err(S3ConfigError::UnknownOption {
                    name: name.to_owned(),
                    known: OPTIONS,
                });
            }
        }
        Ok(())
    }
}

impl fmt::Display for S3Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", encode(&self.prefix))?;
        }
        let ca_file = self.ca_file.as_ref().map(|path| path.to_string_lossy());
        let options = [
            ("endpoint", self.endpoint.as_deref()),
            ("region", self.region.as_deref()),
            (
                "path-style",
                self.path_style
                    .map(|yes| if yes { "true" } else { "false" }),
            ),
            ("ca-file", ca_file.as_deref()),
            ("profile", self.profile.as_deref()),
            ("sign-payload", self.sign_payload.map(SignPayload::word)),
        ];
        let mut separator = '?';
        for (name, value) in options {
            if let Some(value) = value {
                write!(f, "{separator}{name}={}", encode(value))?;
                separator = '&';
            }
        }
        Ok(())
    }
}

/// Checks the form of a bucket's name, as loosely as any server does.
pub(super) fn bucket_name(name: &str) -> Result<String, S3ConfigError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if !(3..=63).contains(&name.len()) || !name.bytes().all(allowed) {
        return Err(S3ConfigError::BadBucket {
            bucket: name.to_owned(),
        });
    }
    Ok(name.to_owned())
}

/// Checks a prefix and drops the slash at its end.
pub(super) fn key_prefix(prefix: &str) -> Result<String, S3ConfigError> {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let sound = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.len() <= SEGMENT_BYTES_MAX
            && !segment.contains(char::is_control)
    };
    if !prefix.is_empty() && !prefix.split('/').all(sound) {
        return Err(S3ConfigError::BadPrefix {
            prefix: prefix.to_owned(),
        });
    }
    Ok(prefix.to_owned())
}

/// Checks the form of an endpoint and drops the slash at its end.
pub(super) fn endpoint(text: &str) -> Result<String, S3ConfigError> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    if host.is_some_and(|host| host.contains('@')) {
        return Err(S3ConfigError::CredentialsInAddress);
    }
    match host {
        Some(host)
            if !host.is_empty() && !host.ends_with('/') && !host.contains([' ', '?', '#']) =>
        {
            Ok(text.to_owned())
        }
        _ => Err(S3ConfigError::BadOption {
            name: "endpoint".to_owned(),
            value: text.to_owned(),
            expected: "`https://host:port` or `http://host:port`",
        }),
    }
}

/// Replaces `%41` by `A`.
fn decode(text: &str) -> Result<String, S3ConfigError> {
    let bad = || S3ConfigError::BadEscape {
        text: text.to_owned(),
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err(bad());
        };
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| bad())?);
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

/// The inverse of [`decode`], escaping only what would be misread.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '%' | '&' | '?' | '#' | ' ') {
            encoded.push_str(&format!("%{:02X}", u32::from(character)));
        } else {
            encoded.push(character);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(address: &str) -> S3Address {
        address.parse().unwrap()
    }

    #[test]
    fn every_option_is_read() {
        let address = parse(
            "s3://backups/site%20a/db/?endpoint=https://s3.example:9000/&region=eu-1&path-style=false\
             &ca-file=/etc/ca.pem&profile=ops&sign-payload=always",
        );
        assert_eq!(
            address,
            S3Address {
                bucket: "backups".into(),
                prefix: "site a/db".into(),
                endpoint: Some("https://s3.example:9000".into()),
                region: Some("eu-1".into()),
                path_style: Some(false),
                ca_file: Some("/etc/ca.pem".into()),
                profile: Some("ops".into()),
                sign_payload: Some(SignPayload::Always),
            }
        );
    }

    #[test]
    fn a_bucket_alone_is_an_address() {
        assert_eq!(parse("s3://backups"), parse("s3://backups/"));
        assert_eq!(parse("s3://backups").to_string(), "s3://backups");
    }

    #[test]
    fn mistakes_are_named() {
        for (address, expected) in [
            ("/mnt/backup", "s3://"),
            ("s3:///prefix", "bucket ``"),
            ("s3://a_b", ""),
            ("s3://no spaces", "bucket `no spaces`"),
            ("s3://backups/a//b", "prefix `a//b`"),
            ("s3://backups/../b", "prefix `../b`"),
            ("s3://backups?endpoint=s3.example:9000", "https://host:port"),
            (
                "s3://backups?endpoint=https://s3.example//",
                "https://host:port",
            ),
            ("s3://backups?path-style=yes", "`true` or `false`"),
            ("s3://backups?region=", "`region`"),
            ("s3://backups?region=a&region=b", "`region` is given twice"),
            ("s3://backups?colour=red", "`colour`"),
            ("s3://backups/%4", "%4"),
        ] {
            match address.parse::<S3Address>() {
                Ok(parsed) => assert_eq!(expected, "", "{address} was read as {parsed:?}"),
                Err(error) => assert!(error.to_string().contains(expected), "{address}: {error}"),
            }
        }
    }

    #[test]
    fn credentials_in_an_address_are_refused_and_not_repeated() {
        for address in [
            "s3://key:hunter2@backups/a",
            "s3://backups?endpoint=https://key:hunter2@s3.example",
            "s3://backups?secret-access-key=hunter2",
        ] {
            let error = address.parse::<S3Address>().unwrap_err();
            assert!(
                !format!("{error} {error:?}").contains("hunter2"),
                "{error:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn display_is_read_back(
            prefix in "([a-z%&? #é]{1,9}/){0,2}[a-z%&? ]{1,9}",
            region in proptest::option::of("[a-z0-9%& -]{1,12}"),
            path_style: Option<bool>,
        ) {
            let address = S3Address { bucket: "backups".into(), prefix, region, path_style, ..S3Address::default() };
            prop_assert_eq!(parse(&address.to_string()), address);
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let parsed = format!("s3://{text}").parse::<S3Address>();
            if let Ok(address) = parsed {
                prop_assert_eq!(parse(&address.to_string()), address);
            }
        }
    }
}
