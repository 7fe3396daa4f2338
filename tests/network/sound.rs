//! What holds when nothing goes wrong, with and without TLS.

use std::{fs, sync::Arc};

use repository::store::{
    SharedStore, Store, conformance, probe,
    s3::{Environment, S3Config, S3Store, Trust},
};
use support::s3_server::{ACCESS_KEY_ID, BUCKET, S3Server, SECRET_ACCESS_KEY};

use crate::{LARGE_BYTES, body, store};

async fn check(store: S3Store) {
    let store: SharedStore = Arc::new(store);
    let report = conformance::check(&store, "conformance/").await;
    assert!(report.passed(), "{report}");
    let report = probe::probe(&*store).await.expect("the server answers");
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    let large = body(LARGE_BYTES);
    let written = store.put_new("packs/large", large.clone()).await;
    written.expect("the name is free");
    let again = store.put_new("packs/large", large).await;
    again.expect("the same bytes again, as after a lost answer, are a success");
}

#[tokio::test]
async fn a_sound_server_keeps_the_contract() {
    let server = S3Server::start().await;
    check(store(server.config()).await).await;
}

#[tokio::test]
async fn a_server_with_an_authority_given_inline_keeps_the_contract() {
    let server = S3Server::start_tls().await;
    check(store(server.config()).await).await;
}

#[tokio::test]
async fn a_server_with_an_authority_in_a_file_keeps_the_contract() {
    let server = S3Server::start_tls().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    fs::write(&file, &server.authority).unwrap();
    let address = format!(
        "s3://{BUCKET}/a?endpoint=https://localhost:{}&ca-file={}",
        server.address.port(),
        file.display(),
    );
    let environment: Environment = [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into_iter()
    .collect();
    let config = S3Config::resolve(&address.parse().unwrap(), &environment)
        .await
        .unwrap();
    assert!(matches!(config.trust, Trust::Pem(_)));
    check(store(config).await).await;
}

#[tokio::test]
async fn sharing_a_bucket_needs_only_a_prefix_each() {
    let server = S3Server::start().await;
    let one = store(S3Config {
        prefix: "one".into(),
        ..server.config()
    })
    .await;
    let whole = store(S3Config {
        prefix: String::new(),
        ..server.config()
    })
    .await;
    one.put_new("a/b", body(10)).await.unwrap();
    server.buckets.overwrite(BUCKET, "oneself", body(10));
    server.buckets.overwrite(BUCKET, "one/", "");
    let entries = one.list("", None).await.unwrap().entries;
    assert_eq!(entries.len(), 1, "the mark of a folder is no object");
    assert_eq!(entries[0].name, "a/b");
    let names: Vec<_> = whole
        .list("one", None)
        .await
        .unwrap()
        .entries
        .into_iter()
        .map(|e| e.name)
        .collect();
    assert_eq!(names, ["one/a/b", "oneself"]);
}

#[tokio::test]
async fn a_location_can_be_typed_again_and_shows_no_secret() {
    let server = S3Server::start().await;
    let store = store(server.config()).await;
    let location = store.location();
    assert_eq!(
        location,
        format!("s3://{BUCKET}/some/prefix?endpoint={}", server.endpoint())
    );
    for shown in [
        location,
        format!("{store:?}"),
        format!("{:?}", server.config()),
    ] {
        assert!(!shown.contains(SECRET_ACCESS_KEY), "{shown}");
    }
}
