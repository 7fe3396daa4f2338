//! A server that gives one canned answer to every request: how the answers of servers are fuzzed, with all that reads
//! them, ours and the SDK's.

use std::{
    str,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use aws_sdk_s3::{
    config::http::{HttpRequest, HttpResponse},
    primitives::SdkBody,
};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};

use super::{Credentials, Patience, S3Config, S3Store, client};
use crate::store::{Store, name};

/// The answer to come: `STATUS`, headers a line each, an empty line, the body.
#[derive(Clone, Debug, Default)]
struct Canned(Arc<Mutex<Bytes>>);

impl HttpConnector for Canned {
    fn call(&self, _request: HttpRequest) -> HttpConnectorFuture {
        let answer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        HttpConnectorFuture::ready(Ok(parse(&answer)))
    }
}

/// What is no status and no header is left out: HTTP itself is another's to read.
fn parse(answer: &Bytes) -> HttpResponse {
    let end = answer.windows(2).position(|two| two == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&answer[..end], answer.slice(end + 2..)),
        None => (&answer[..], Bytes::new()),
    };
    let mut lines = str::from_utf8(head).unwrap_or_default().lines();
    let status = lines.next().and_then(|line| line.parse::<u16>().ok());
    let status = status.filter(|status| (200..600).contains(status));
    let status = status.unwrap_or(200).try_into().expect("a status of HTTP");
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
        let _previous = response.headers_mut().try_append(name, value);
    }
    response
}

/// A store before the canned server, and what runs it. Nothing is tried twice, so nothing pauses.
struct Bench {
    answer: Canned,
    store: S3Store,
    runtime: Runtime,
}

impl Bench {
    fn set_up() -> Self {
        let answer = Canned::default();
        let connector = SharedHttpConnector::new(answer.clone());
        let mut config = S3Config::new("bucket", Credentials::keys("id", "secret"));
        config.endpoint = Some("http://127.0.0.1:1".to_owned());
        config.path_style = true;
        config.patience = Patience {
            attempts_max: 1,
            ..Patience::default()
        };
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime of one thread");
        let http = http_client_fn(move |_, _| connector.clone());
        let client = runtime.block_on(client::connect_by(&config, http));
        Self {
            answer,
            store: S3Store::over(config, client),
            runtime,
        }
    }
}

static BENCH: LazyLock<Mutex<Bench>> = LazyLock::new(|| Mutex::new(Bench::set_up()));

/// Gives this answer to each verb, and checks that what they make of it is within what was asked for.
pub(crate) fn answered(answer: &[u8]) {
    let bench = BENCH.lock().unwrap_or_else(PoisonError::into_inner);
    *bench
        .answer
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = Bytes::copy_from_slice(answer);
    let store = &bench.store;
    bench.runtime.block_on(async {
        if let Ok(page) = store.list("a/", Some("a/b")).await {
            assert!(page.entries.is_sorted_by(|one, next| one.name < next.name));
            for entry in page.entries {
                assert!(entry.name.starts_with("a/") && entry.name.as_str() > "a/b");
                assert!(name::is_valid(&entry.name), "{:?}", entry.name);
            }
        }
        if let Ok(whole) = store.get("a/b", 10).await {
            assert!(whole.len() <= 10);
        }
        if let Ok(part) = store.get_range("a/b", 3..7).await {
            assert_eq!(part.len(), 4);
        }
        let _written = store.put_new("a/b", Bytes::from_static(b"1234")).await;
        let _deleted = store.delete("a/b").await;
    });
}
