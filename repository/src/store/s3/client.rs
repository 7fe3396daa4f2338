//! The AWS client, set up so that it does one attempt and nothing behind our back.

use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Builder, Credentials as Keys, Region, RequestChecksumCalculation,
        ResponseChecksumValidation, SharedCredentialsProvider, SharedHttpClient,
        StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig,
    },
};
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore, rustls_provider::CryptoMode};

use super::{
    answer::Bounded,
    config::{S3Config, Trust, check_certificates},
    credentials::Credentials,
    error::S3ConfigError,
};

/// What the SDK calls the place that credentials come from, in its logs.
const PROVIDER: &str = "sluice";

/// Makes the one client of a store.
pub(super) async fn connect(config: &S3Config) -> Result<Client, S3ConfigError> {
    let http = http_client(config)?;
    Ok(connect_by(config, http).await)
}

/// Makes a client that connects in this way.
pub(super) async fn connect_by(config: &S3Config, http: SharedHttpClient) -> Client {
    let mut builder = settings(config).http_client(http.clone());
    builder.set_credentials_provider(Some(provider(config, http).await));
    Client::from_conf(builder.build())
}

/// All settings but the connection and the credentials.
fn settings(config: &S3Config) -> Builder {
    let mut builder = Builder::new()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(config.region.clone()))
        .force_path_style(config.path_style)
        .interceptor(Bounded)
        // Our own loop knows what may be repeated, and sees every refusal.
        .retry_config(RetryConfig::disabled())
        // Our own watch covers what these do not: large bodies, paced bodies, the wait for an answer.
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(config.patience.connect)
                .build(),
        )
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // We send our own checksum once per body; the SDK's would turn framed bodies into `aws-chunked`, which older
        // servers refuse or, worse, store as content.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        // Some servers send the checksum of the whole object with a part of it.
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    builder.set_endpoint_url(config.endpoint.clone());
    builder
}

/// Connections: one pool, wide enough that none is closed between two requests.
fn http_client(config: &S3Config) -> Result<SharedHttpClient, S3ConfigError> {
    let store = match &config.trust {
        Trust::System => TrustStore::empty().with_native_roots(true),
        Trust::Pem(pem) => {
            check_certificates(pem, || "the inline CA".to_owned())?;
            TrustStore::empty().with_pem_certificate(pem.clone())
        }
    };
    let context = TlsContext::builder()
        .with_trust_store(store)
        .build()
        .expect("only s2n contexts can fail");
    Ok(aws_smithy_http_client::Builder::new()
        .pool_max_idle_per_host(config.in_flight_max)
        .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(context)
        .build_https())
}

#[cfg_attr(
    not(feature = "cloud-credentials"),
    expect(clippy::unused_async, reason = "the chain of the SDK asks around")
)]
async fn provider(
    config: &S3Config,
    #[cfg_attr(
        not(feature = "cloud-credentials"),
        expect(unused_variables, reason = "no chain")
    )]
    http: SharedHttpClient,
) -> SharedCredentialsProvider {
    match &config.credentials {
        Credentials::Keys {
            access_key_id,
            secret_access_key,
            session_token,
        } => SharedCredentialsProvider::new(Keys::new(
            access_key_id.as_str(),
            secret_access_key.as_str(),
            session_token.as_ref().map(|token| token.to_string()),
            None,
            PROVIDER,
        )),
        #[cfg(feature = "cloud-credentials")]
        Credentials::Cloud { profile } => {
            let region = Region::new(config.region.clone());
            let settings = aws_config::provider_config::ProviderConfig::default()
                .with_region(Some(region))
                .with_http_client(http);
            let mut chain =
                aws_config::default_provider::credentials::DefaultCredentialsChain::builder()
                    .configure(settings);
            if let Some(profile) = profile {
                chain = chain.profile_name(profile);
            }
            SharedCredentialsProvider::new(chain.build().await)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use aws_smithy_runtime_api::client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
        orchestrator::HttpRequest,
        result::ConnectorError,
    };

    use super::*;

    /// Remembers where a request would have gone.
    #[derive(Clone, Debug, Default)]
    struct Nowhere(Arc<Mutex<Vec<String>>>);

    impl HttpConnector for Nowhere {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            self.0
                .lock()
                .unwrap()
                .push(request.uri().split('?').next().unwrap().to_owned());
            HttpConnectorFuture::ready(Err(ConnectorError::io("nowhere".into())))
        }
    }

    async fn address(endpoint: Option<&str>, path_style: bool) -> String {
        let mut config = S3Config::new("backups", Credentials::keys("id", "secret"));
        config.endpoint = endpoint.map(str::to_owned);
        config.region = "eu-west-1".to_owned();
        config.path_style = path_style;
        let nowhere = Nowhere::default();
        let connector = SharedHttpConnector::new(nowhere.clone());
        let http = http_client_fn(move |_, _| connector.clone());
        let credentials = provider(&config, http.clone()).await;
        let settings = settings(&config)
            .http_client(http)
            .credentials_provider(credentials);
        let client = Client::from_conf(settings.build());
        client
            .get_object()
            .bucket("backups")
            .key("a/b")
            .send()
            .await
            .unwrap_err();
        let requests = nowhere.0.lock().unwrap();
        assert_eq!(requests.len(), 1, "the SDK tries once");
        requests[0].clone()
    }

    #[tokio::test]
    async fn buckets_are_addressed_by_host_name_or_by_path() {
        for (endpoint, path_style, expected) in [
            (
                None,
                false,
                "https://backups.s3.eu-west-1.amazonaws.com/a/b",
            ),
            (None, true, "https://s3.eu-west-1.amazonaws.com/backups/a/b"),
            (
                Some("https://s3.example:9000"),
                true,
                "https://s3.example:9000/backups/a/b",
            ),
            (
                Some("https://s3.example:9000"),
                false,
                "https://backups.s3.example:9000/a/b",
            ),
        ] {
            assert_eq!(address(endpoint, path_style).await, expected);
        }
    }
}
