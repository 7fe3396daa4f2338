//! What no repetition helps against is said at once, with its kind.

use std::time::Duration;

use bytes::Bytes;
use repository::store::{
    ErrorKind, Store, StoreError,
    s3::{Credentials, S3Config, S3Store, Trust},
};
use support::{
    certificates::Certificates,
    s3_faults::{Fault, errors},
    s3_server::{self, ACCESS_KEY_ID, S3Server},
};

use crate::{Faulty, LARGE_BYTES, body, store};

/// Expects `kind` from every verb, and one request each.
async fn check(change: impl FnOnce(&mut S3Config), kind: ErrorKind) {
    let server = Faulty::start_with(change).await;
    check_all(&server, kind).await;
    assert_eq!(server.methods(), "PUT GET GET GET DELETE");
}

async fn check_all(server: &Faulty, kind: ErrorKind) {
    let store = &server.store;
    assert_eq!(
        store
            .put_new("object", body(10))
            .await
            .expect_err("refused")
            .kind(),
        kind
    );
    assert_eq!(
        store.get("object", 10).await.expect_err("refused").kind(),
        kind
    );
    assert_eq!(
        store
            .get_range("object", 0..10)
            .await
            .expect_err("refused")
            .kind(),
        kind
    );
    assert_eq!(
        store.list("", None).await.expect_err("refused").kind(),
        kind
    );
    assert_eq!(
        store.delete("object").await.expect_err("refused").kind(),
        kind
    );
}

#[tokio::test]
async fn a_bucket_that_does_not_exist() {
    check(
        |config| config.bucket = "elsewhere".into(),
        ErrorKind::NoContainer,
    )
    .await;
}

#[tokio::test]
async fn a_wrong_secret() {
    check(
        |config| config.credentials = Credentials::keys(ACCESS_KEY_ID, "wrong"),
        ErrorKind::Denied,
    )
    .await;
}

#[tokio::test]
async fn an_unknown_key() {
    check(
        |config| config.credentials = Credentials::keys("nobody", "wrong"),
        ErrorKind::Denied,
    )
    .await;
}

#[tokio::test]
async fn clocks_that_differ() {
    let server = Faulty::start().await;
    for method in ["PUT", "GET", "GET", "GET", "DELETE"] {
        server
            .faulty
            .fail(1, method, Fault::Answer(403, errors::SKEWED));
    }
    check_all(&server, ErrorKind::Clock).await;
    assert_eq!(server.methods(), "PUT GET GET GET DELETE");
}

/// A server may refuse a large body before it read it, and close: the refusal is then lost in a broken pipe.
#[tokio::test]
async fn refusals_of_large_bodies_are_found_out() {
    let server = S3Server::start().await;
    let wrong = Credentials::keys(ACCESS_KEY_ID, "wrong");
    for (config, kind) in [
        (
            S3Config {
                bucket: "elsewhere".into(),
                ..server.config()
            },
            ErrorKind::NoContainer,
        ),
        (
            S3Config {
                credentials: wrong,
                ..server.config()
            },
            ErrorKind::Denied,
        ),
    ] {
        let error = store(config)
            .await
            .put_new("object", body(LARGE_BYTES))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
    }
}

#[tokio::test]
async fn a_certificate_of_an_authority_we_do_not_trust() {
    let server = S3Server::start_tls().await;
    let another = Trust::Pem(Certificates::generate().authority.into_bytes());
    for trust in [Trust::System, another] {
        let mut config = S3Config {
            trust,
            ..server.config()
        };
        // A second attempt would come too late for this test.
        config.patience.pause_first = Duration::from_secs(1 << 30);
        config.patience.pause_max = Duration::from_secs(1 << 30);
        let store = S3Store::new(config).await.unwrap();
        let asked = tokio::time::timeout(Duration::from_secs(60), store.get("object", 10));
        let error = asked.await.expect("no second attempt").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Certificate, "{error:?}");
        assert!(error.to_string().contains("ca-file"), "{error}");
    }
}

#[tokio::test]
async fn a_port_that_nobody_listens_on() {
    let address = S3Server::start().await.address;
    let store = store(s3_server::config(format!("http://{address}"))).await;
    let error = store.get("object", 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("refused"), "{cause}");
}

#[tokio::test]
async fn objects_that_are_missing_too_large_or_too_short() {
    let server = Faulty::start().await;
    let store = &server.store;
    store.put_new("object", body(100)).await.unwrap();
    let kind = |outcome: Result<Bytes, StoreError>| outcome.unwrap_err().kind();
    assert_eq!(kind(store.get("absent", 10).await), ErrorKind::NotFound);
    assert_eq!(
        kind(store.get_range("absent", 0..1).await),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(store.get_range("absent", 0..0).await),
        ErrorKind::NotFound
    );
    assert_eq!(kind(store.get("object", 99).await), ErrorKind::TooLarge);
    assert_eq!(
        kind(store.get_range("object", 90..101).await),
        ErrorKind::Short
    );
    assert_eq!(
        kind(store.get_range("object", 100..101).await),
        ErrorKind::Short
    );
    assert_eq!(
        kind(store.get_range("object", 101..101).await),
        ErrorKind::Short
    );
    assert_eq!(
        kind(store.get_range("object", 0..u64::MAX).await),
        ErrorKind::Short
    );
    assert_eq!(server.methods(), "PUT GET GET GET GET GET GET GET GET");
    assert_eq!(
        kind(store.get_range("object", u64::MAX - 1..u64::MAX).await),
        ErrorKind::Short
    );
    for empty in [0..0, 50..50, 100..100] {
        assert!(store.get_range("object", empty).await.unwrap().is_empty());
    }
    assert_eq!(kind(store.get("../object", 100).await), ErrorKind::Other);
}
