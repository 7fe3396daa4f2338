//! The store contract against servers of others: `tests/stores/run.sh` starts them and names them here.
//!
//! `SLUICE_TEST_STORES="NAME=s3://bucket?endpoint=... ..."`, with the keys in the AWS environment. A server that is
//! named and does not keep the contract, or is not there, is a failure. Without the variable nothing is checked, and
//! that is said: this is why the suite has a `main` of its own.

use std::{process::ExitCode, sync::Arc};

use bytes::Bytes;
use futures::future::join_all;
use repository::store::{
    ErrorKind, SharedStore, Store, StoreError, conformance, probe,
    s3::{Credentials, Environment, S3Config, S3Store},
};
use tokio::time::Instant;

/// Names the servers.
const VARIABLE: &str = "SLUICE_TEST_STORES";

#[expect(clippy::print_stdout, reason = "this is the report of the suite")]
#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "the script of this suite sets it"
    )]
    let Ok(servers) = std::env::var(VARIABLE) else {
        println!(
            "stores: skipped, since {VARIABLE} names no server; `make test-stores` starts some"
        );
        return ExitCode::SUCCESS;
    };
    for server in servers.split_whitespace() {
        let (name, address) = server.split_once('=').expect("NAME=ADDRESS");
        let began = Instant::now();
        check(name, address).await;
        println!(
            "{name}: keeps the contract, {} ms, {address}",
            began.elapsed().as_millis()
        );
    }
    ExitCode::SUCCESS
}

async fn check(name: &str, address: &str) {
    let address = address.parse().expect("an address");
    let config = S3Config::resolve(&address, &Environment::of_process())
        .await
        .expect("settings");
    let shared: SharedStore = Arc::new(store(&config, "conformance").await);
    let report = conformance::check(&shared, "conformance/").await;
    assert!(report.passed(), "{name}:\n{report}");
    let report = probe::probe(&store(&config, "probe").await)
        .await
        .expect("probe");
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    exactly_one_writer_wins(&store(&config, "race").await).await;
    large_objects_come_back_whole(&store(&config, "large").await).await;
    refusals_have_their_kind(name, &config).await;
}

/// A store in a folder of its own, new in each run.
async fn store(config: &S3Config, folder: &str) -> S3Store {
    let prefix = format!("run-{}/{folder}", std::process::id());
    S3Store::new(S3Config {
        prefix,
        ..config.clone()
    })
    .await
    .expect("sound settings")
}

async fn exactly_one_writer_wins(store: &S3Store) {
    let writers =
        (0..16).map(|writer| store.put_new("packs/one", Bytes::from(vec![writer; 200_000])));
    let outcomes = join_all(writers).await;
    let winner = outcomes
        .iter()
        .position(Result::is_ok)
        .expect("somebody wins");
    for (writer, outcome) in outcomes
        .iter()
        .enumerate()
        .filter(|(writer, _)| *writer != winner)
    {
        let kind = outcome.as_ref().map_err(StoreError::kind);
        assert_eq!(
            kind,
            Err(ErrorKind::Exists),
            "writer {writer} beside {winner}"
        );
    }
    let kept = store.get("packs/one", 200_000).await.expect("it is there");
    let winner = u8::try_from(winner).expect("sixteen");
    assert!(
        kept.iter().all(|byte| *byte == winner),
        "the bytes of another"
    );
}

async fn large_objects_come_back_whole(store: &S3Store) {
    let large: Bytes = (0..16_u32 << 20)
        .map(|at| (at / 251).to_le_bytes()[0])
        .collect();
    store
        .put_new("packs/large", large.clone())
        .await
        .expect("write");
    store
        .put_new("packs/large", large.clone())
        .await
        .expect("the same bytes again are a success");
    let mut other = large.to_vec();
    other[8 << 20] ^= 1;
    let taken = store
        .put_new("packs/large", other.into())
        .await
        .expect_err("one byte differs");
    assert_eq!(taken.kind(), ErrorKind::Exists);
    assert!(
        store.get("packs/large", 1 << 30).await.expect("read") == large,
        "not the same bytes"
    );
    let part = store
        .get_range("packs/large", 1000..5_000_000)
        .await
        .expect("read a part");
    assert!(part == large.slice(1000..5_000_000), "not the same part");
}

async fn refusals_have_their_kind(name: &str, config: &S3Config) {
    let kinds = async |config: S3Config| {
        let store = store(&config, "refused").await;
        let put = store
            .put_new("packs/one", Bytes::from(vec![0; 4 << 20]))
            .await;
        let get = store.get("packs/one", 1).await.map(|_| ());
        let list = store.list("", None).await.map(|_| ());
        [put, get, list].map(|outcome| outcome.expect_err("refused").kind())
    };
    let elsewhere = S3Config {
        bucket: "sluice-nowhere".to_owned(),
        ..config.clone()
    };
    assert_eq!(kinds(elsewhere).await, [ErrorKind::NoContainer; 3]);
    // moto asks nobody who they are.
    if name != "moto" {
        let wrong = Credentials::keys("test-id", "wrong");
        let config = S3Config {
            credentials: wrong,
            ..config.clone()
        };
        assert_eq!(kinds(config).await, [ErrorKind::Denied; 3]);
    }
}
