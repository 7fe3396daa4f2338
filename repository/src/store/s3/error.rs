//! What can be wrong with an address or with the AWS settings around it, before any request is made.

use std::{io, path::PathBuf};

use thiserror::Error;

/// An address, a setting or a file that cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum S3ConfigError {
    /// Another kind of location.
    #[error("not an S3 address: write `s3://bucket/prefix?endpoint=https://host:port`")]
    NotS3,
    /// A user name or password, not repeated here.
    #[error(
        "credentials do not belong in an address: use AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
    )]
    CredentialsInAddress,
    /// No server takes this name.
    #[error("bucket `{bucket}`: a name has 3 to 63 letters, digits, dots, dashes or underscores")]
    BadBucket {
        /// As written.
        bucket: String,
    },
    /// Some servers mistreat such keys.
    #[error("prefix `{prefix}`: its segments may not be empty, `.`, `..` or longer than 200 bytes")]
    BadPrefix {
        /// As written.
        prefix: String,
    },
    /// A `%` without two hexadecimal digits, or not UTF-8.
    #[error("`{text}`: `%` is followed by two hexadecimal digits; write `%25` for `%` itself")]
    BadEscape {
        /// As written.
        text: String,
    },
    /// A value that its option does not take.
    #[error("option `{name}` is `{value}`: expected {expected}")]
    BadOption {
        /// Name of the option.
        name: String,
        /// As written.
        value: String,
        /// What it could be.
        expected: &'static str,
    },
    /// An option nobody reads.
    #[error(
        "unknown option `{name}`: known are {known}; credentials come from the environment or a profile"
    )]
    UnknownOption {
        /// Name of the option.
        name: String,
        /// All names.
        known: &'static str,
    },
    /// Two values for one option.
    #[error("option `{name}` is given twice")]
    RepeatedOption {
        /// Name of the option.
        name: String,
    },
    /// Neither keys nor a way to get them.
    #[error("no credentials for S3: looked at {looked_at}")]
    NoCredentials {
        /// Every place that could have had them.
        looked_at: String,
    },
    /// Half a pair of keys.
    #[error("{place} has only one of the access key id and the secret access key: give both")]
    HalfCredentials {
        /// The environment or a profile.
        place: String,
    },
    /// Keys that only STS or a program can give.
    #[error("profile `{profile}` gets its credentials by `{method}`: {remedy}")]
    IndirectCredentials {
        /// Name of the profile.
        profile: String,
        /// The setting that says so.
        method: &'static str,
        /// What helps.
        remedy: &'static str,
    },
    /// The profile asked for is in no file.
    #[error("no profile `{profile}` in the AWS configuration files")]
    NoProfile {
        /// Name of the profile.
        profile: String,
    },
    /// The AWS configuration files cannot be parsed.
    #[error("read the AWS configuration files")]
    Profiles(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The file of authorities cannot be read.
    #[error("read the certificates in `{}`", path.display())]
    CaFile {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The authorities given are none.
    #[error("{place} holds no usable certificate: expected PEM, `-----BEGIN CERTIFICATE-----`")]
    BadCertificate {
        /// A file, or that they were given inline.
        place: String,
    },
}
