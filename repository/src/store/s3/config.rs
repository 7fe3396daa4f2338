//! All that a store needs to know, either built by hand or resolved from an address and the AWS environment.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{
    address::{self, S3Address, SignPayload},
    credentials::Credentials,
    environment::Environment,
    error::S3ConfigError,
    patience::Patience,
};
use crate::store::Pace;

/// Requests in flight at once: S3 gives 50 to 90 MB/s per connection, so this fills 10 Gb/s, and memory stays at 16 packs.
pub const IN_FLIGHT_MAX: usize = 16;

/// Region that requests are signed for when nobody says otherwise; S3-compatible servers take it or any.
const REGION: &str = "us-east-1";

/// Everything an [`S3Store`](super::S3Store) needs to know.
#[derive(Clone, Debug)]
pub struct S3Config {
    /// Name of the bucket, which must exist.
    pub bucket: String,
    /// What all keys start with; empty, or without a slash at either end.
    pub prefix: String,
    /// `http://` or `https://` address of the server; none means AWS.
    pub endpoint: Option<String>,
    /// Region that requests are signed for.
    pub region: String,
    /// Whether the bucket stands in the path (most own servers) or in the host name (AWS).
    pub path_style: bool,
    /// Whose certificates are trusted.
    pub trust: Trust,
    /// Who asks.
    pub credentials: Credentials,
    /// When bodies are signed.
    pub sign_payload: SignPayload,
    /// Requests in flight at most.
    pub in_flight_max: usize,
    /// How long to wait for an answer and how often to ask again.
    pub patience: Patience,
    /// Asked before bytes and requests go out; none means no limit.
    pub pace: Option<Arc<dyn Pace>>,
}

/// Whose certificates are trusted.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// The authorities of the operating system.
    #[default]
    System,
    /// Only these authorities, in PEM.
    Pem(Vec<u8>),
}

impl S3Config {
    /// The usual settings for a bucket at AWS; change what differs.
    pub fn new(bucket: impl Into<String>, credentials: Credentials) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: String::new(),
            endpoint: None,
            region: REGION.to_owned(),
            path_style: false,
            trust: Trust::System,
            credentials,
            sign_payload: SignPayload::Auto,
            in_flight_max: IN_FLIGHT_MAX,
            patience: Patience::default(),
            pace: None,
        }
    }

    /// Completes an address by what the AWS environment and profile files say; the address wins.
    ///
    /// # Errors
    /// When credentials are missing (the error names every place that was looked at), or a file cannot be used.
    pub async fn resolve(
        address: &S3Address,
        environment: &Environment,
    ) -> Result<Self, S3ConfigError> {
        let (name, profile) = environment.profile(address.profile.as_deref()).await?;
        let setting = |variables: &[&str], key: &str| {
            variables
                .iter()
                .find_map(|variable| environment.get(variable))
                .or_else(|| profile.as_ref().and_then(|profile| profile.get(key)))
                .map(str::to_owned)
        };
        let endpoint = match &address.endpoint {
            Some(endpoint) => Some(endpoint.clone()),
            None => setting(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"], "endpoint_url")
                .map(|endpoint| address::endpoint(&endpoint))
                .transpose()?,
        };
        let region = address
            .region
            .clone()
            .or_else(|| setting(&["AWS_REGION", "AWS_DEFAULT_REGION"], "region"));
        let ca_file = address
            .ca_file
            .clone()
            .or_else(|| setting(&["AWS_CA_BUNDLE"], "ca_bundle").map(Into::into));
        let credentials = Credentials::find(address, environment, &name, profile.as_ref())?;
        Ok(Self {
            prefix: address.prefix.clone(),
            path_style: address.path_style.unwrap_or(endpoint.is_some()),
            endpoint,
            region: region.unwrap_or_else(|| REGION.to_owned()),
            trust: ca_file
                .as_deref()
                .map(Trust::from_file)
                .transpose()?
                .unwrap_or_default(),
            sign_payload: address.sign_payload.unwrap_or_default(),
            ..Self::new(address.bucket.clone(), credentials)
        })
    }

    /// Where this is, without credentials.
    pub(super) fn location(&self) -> String {
        S3Address {
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone(),
            endpoint: self.endpoint.clone(),
            ..S3Address::default()
        }
        .to_string()
    }

    /// Whether bodies are signed.
    pub(super) fn signs_payload(&self) -> bool {
        match self.sign_payload {
            SignPayload::Always => true,
            SignPayload::Never => false,
            SignPayload::Auto => self
                .endpoint
                .as_deref()
                .and_then(|endpoint| endpoint.strip_prefix("http://"))
                .is_some_and(|host| !is_loopback(host)),
        }
    }
}

impl Trust {
    /// The authorities in a PEM file.
    ///
    /// # Errors
    /// When it cannot be read or holds no certificate.
    pub fn from_file(path: &Path) -> Result<Self, S3ConfigError> {
        let pem = fs::read(path).map_err(|source| S3ConfigError::CaFile {
            path: path.to_path_buf(),
            source,
        })?;
        check_certificates(&pem, || format!("`{}`", path.display()))?;
        Ok(Self::Pem(pem))
    }
}

/// Checks what the HTTP client would panic on.
pub(super) fn check_certificates(
    pem: &[u8],
    place: impl Fn() -> String,
) -> Result<(), S3ConfigError> {
    let bad = || S3ConfigError::BadCertificate { place: place() };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots
            .add(certificate.map_err(|_| bad())?)
            .map_err(|_| bad())?;
    }
    if roots.is_empty() { Err(bad()) } else { Ok(()) }
}

/// Whether `host`, `host:port` or `host:port/path` is this machine.
fn is_loopback(host: &str) -> bool {
    let host = host.split('/').next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host == "localhost"
        || host.ends_with(".localhost")
        || host
            .parse()
            .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [(&str, &str); 2] = [
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];

    async fn resolve(address: &str, variables: &[(&str, &str)]) -> Result<S3Config, S3ConfigError> {
        let home = ("HOME", "/nonexistent");
        let environment = KEYS.iter().chain([&home]).chain(variables);
        let environment = environment.map(|(name, value)| ((*name).into(), (*value).into()));
        S3Config::resolve(&address.parse().unwrap(), &environment.collect()).await
    }

    #[tokio::test]
    async fn aws_itself_is_addressed_by_host_name_and_own_servers_by_path() {
        let aws = resolve("s3://backups/a", &[]).await.unwrap();
        assert_eq!((aws.endpoint, aws.path_style), (None, false));
        assert_eq!(aws.region, "us-east-1");
        let own = resolve("s3://backups?endpoint=https://s3.example", &[])
            .await
            .unwrap();
        assert!(own.path_style);
        let own = resolve(
            "s3://backups?endpoint=https://s3.example&path-style=false",
            &[],
        )
        .await;
        assert!(!own.unwrap().path_style);
    }

    #[tokio::test]
    async fn the_address_wins_over_the_environment() {
        let variables = [
            ("AWS_ENDPOINT_URL", "http://general.example"),
            ("AWS_ENDPOINT_URL_S3", "http://s3.example/"),
            ("AWS_DEFAULT_REGION", "default"),
            ("AWS_REGION", "chosen"),
        ];
        let config = resolve("s3://backups", &variables).await.unwrap();
        assert_eq!(config.endpoint.as_deref(), Some("http://s3.example"));
        assert_eq!(config.region, "chosen");
        let address = "s3://backups?endpoint=http://mine.example&region=here";
        let config = resolve(address, &variables).await.unwrap();
        assert_eq!(config.endpoint.as_deref(), Some("http://mine.example"));
        assert_eq!(config.region, "here");
    }

    #[tokio::test]
    async fn authorities_are_checked_when_they_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let address = format!("s3://backups?ca-file={}", file.display());
        let missing = resolve(&address, &[]).await.unwrap_err();
        assert!(
            matches!(missing, S3ConfigError::CaFile { .. }),
            "{missing:?}"
        );
        for rubbish in [
            "",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            fs::write(&file, rubbish).unwrap();
            let variable = ("AWS_CA_BUNDLE", file.to_str().unwrap());
            let error = resolve("s3://backups", &[variable]).await.unwrap_err();
            assert!(
                matches!(error, S3ConfigError::BadCertificate { .. }),
                "{error:?}"
            );
        }
    }

    #[test]
    fn only_plain_http_to_other_machines_signs_bodies() {
        let mut config = S3Config::new("backups", Credentials::keys("id", "secret"));
        for (endpoint, signs) in [
            (None, false),
            (Some("https://s3.example"), false),
            (Some("http://s3.example:9000"), true),
            (Some("http://localhost:9000"), false),
            (Some("http://127.0.0.2:9000/path"), false),
            (Some("http://[::1]:9000"), false),
            (Some("http://[fd00::1]:9000"), true),
            (Some("http://10.0.0.1"), true),
        ] {
            config.endpoint = endpoint.map(str::to_owned);
            assert_eq!(config.signs_payload(), signs, "{endpoint:?}");
        }
        config.sign_payload = SignPayload::Never;
        assert!(!config.signs_payload());
        config.sign_payload = SignPayload::Always;
        config.endpoint = None;
        assert!(config.signs_payload());
    }
}
