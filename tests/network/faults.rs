//! Every fault a network or a server is known for, its outcome, and how many requests it takes to get there.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use repository::store::{
    ErrorKind, Pace, Store,
    s3::{Patience, S3Config},
};
use support::{
    s3_backend::Buckets,
    s3_faults::{Fault, FaultyServer, errors},
    s3_server::{self, BUCKET, S3Server},
};

use crate::{Faulty, LARGE_BYTES, body, store};

/// A patience for connections on which nothing moves, short for the sake of the test.
fn impatient(config: &mut S3Config) {
    config.patience.stall = Duration::from_secs(2);
}

/// Writes through `times` faults; expects success after these requests.
async fn check_put(times: usize, fault: Fault, methods: &str) {
    let server = Faulty::start_with(impatient).await;
    server.faulty.fail(times, "PUT", fault);
    let outcome = server.store.put_new("object", body(100_000)).await;
    assert!(outcome.is_ok(), "{fault:?}: {outcome:?}");
    assert_eq!(server.methods(), methods, "{fault:?}");
    assert_eq!(
        server
            .store
            .get("object", 1 << 20)
            .await
            .expect("it works in the end"),
        body(100_000)
    );
}

/// Reads, lists and deletes through `times` faults each; expects success after `requests` requests each.
async fn check_others(times: usize, fault: Fault, requests: usize) {
    let server = Faulty::start_with(impatient).await;
    server
        .store
        .put_new("object", body(100_000))
        .await
        .expect("it works in the end");
    let before = server.faulty.seen().len();
    server.faulty.fail(times, "GET", fault);
    assert_eq!(
        server
            .store
            .get("object", 1 << 20)
            .await
            .expect("it works in the end"),
        body(100_000),
        "{fault:?}"
    );
    server.faulty.fail(times, "GET", fault);
    let part = server
        .store
        .get_range("object", 10..90_000)
        .await
        .expect("it works in the end");
    assert_eq!(part, body(100_000).slice(10..90_000), "{fault:?}");
    server.faulty.fail(times, "GET", fault);
    assert_eq!(
        server
            .store
            .list("", None)
            .await
            .expect("it works in the end")
            .entries
            .len(),
        1,
        "{fault:?}"
    );
    assert_eq!(
        server.faulty.seen().len() - before,
        3 * requests,
        "{fault:?}"
    );
    server.faulty.fail(times, "DELETE", fault);
    server
        .store
        .delete("object")
        .await
        .expect("it works in the end");
    assert!(
        server
            .store
            .list("", None)
            .await
            .expect("it works in the end")
            .entries
            .is_empty(),
        "{fault:?}"
    );
}

#[tokio::test]
async fn refusals_are_tried_again() {
    for fault in [
        Fault::Answer(503, errors::SLOW_DOWN),
        Fault::Answer(429, ""),
    ] {
        check_put(2, fault, "PUT PUT PUT").await;
        check_others(2, fault, 3).await;
    }
}

#[tokio::test]
async fn a_body_that_was_damaged_on_its_way_is_sent_again() {
    check_put(2, Fault::Corrupt, "PUT PUT PUT").await;
}

#[tokio::test]
async fn after_an_error_or_a_reset_a_write_is_looked_up_first() {
    for fault in [
        Fault::Answer(500, errors::INTERNAL),
        Fault::Answer(503, ""),
        Fault::Reset,
    ] {
        check_put(2, fault, "PUT GET PUT GET PUT").await;
        check_others(2, fault, 3).await;
    }
}

#[tokio::test]
async fn an_error_sent_as_success_is_none() {
    let fault = Fault::Answer(200, errors::INTERNAL);
    check_put(1, fault, "PUT GET PUT").await;
    let server = Faulty::start().await;
    server.store.put_new("object", body(1000)).await.unwrap();
    server.faulty.fail(2, "GET", fault);
    assert_eq!(server.store.get("object", 1000).await.unwrap(), body(1000));
    server.faulty.fail(2, "GET", fault);
    assert_eq!(server.store.list("", None).await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn two_writers_at_once_are_told_apart() {
    check_put(1, Fault::Answer(409, errors::CONFLICT), "PUT GET PUT").await;
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    check_put(1, Fault::Mute, "PUT GET PUT").await;
    check_others(1, Fault::Mute, 2).await;
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_succeeds_when_it_took_effect() {
    check_put(1, Fault::LostAnswer, "PUT GET").await;
}

#[tokio::test]
async fn a_lost_answer_that_said_the_name_is_taken_is_found_out() {
    let server = Faulty::start().await;
    for other in [body(99_999), body(100_001).slice(1..)] {
        server
            .sound
            .buckets
            .overwrite(BUCKET, "some/prefix/object", other);
        server.faulty.fail(1, "PUT", Fault::LostAnswer);
        let error = server
            .store
            .put_new("object", body(100_000))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exists);
    }
    assert_eq!(server.methods(), "PUT GET PUT GET");
}

#[tokio::test]
async fn what_is_under_a_name_is_compared_to_its_last_byte() {
    let server = Faulty::start().await;
    let ours = body(LARGE_BYTES);
    // Put there without a checksum, as by an old server: only reading tells.
    server
        .sound
        .buckets
        .overwrite(BUCKET, "some/prefix/object", ours.clone());
    server.faulty.fail(1, "GET", Fault::Cut(5 << 20));
    server.store.put_new("object", ours.clone()).await.unwrap();
    assert_eq!(server.methods(), "PUT GET GET");
    let mut other = ours.to_vec();
    other[LARGE_BYTES - 1] ^= 1;
    server
        .sound
        .buckets
        .overwrite(BUCKET, "some/prefix/object", other);
    let error = server.store.put_new("object", ours).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
}

#[tokio::test]
async fn large_uploads_survive_being_broken_off() {
    for fault in [
        Fault::CloseEarly,
        Fault::Deaf,
        Fault::AnswerEarly(503, errors::SLOW_DOWN),
        Fault::AnswerEarly(500, errors::INTERNAL),
    ] {
        let server = Faulty::start_with(impatient).await;
        server.faulty.fail(1, "PUT", fault);
        let large = body(LARGE_BYTES);
        server.store.put_new("object", large.clone()).await.unwrap();
        assert_eq!(
            server.store.get("object", 1 << 30).await.unwrap(),
            large,
            "{fault:?}"
        );
        let puts = server
            .faulty
            .methods()
            .iter()
            .filter(|method| *method == "PUT")
            .count();
        assert_eq!(puts, 2, "{fault:?}");
    }
}

#[tokio::test]
async fn reads_go_on_where_they_were_cut_or_stalled() {
    let large = body(LARGE_BYTES);
    for fault in [Fault::Cut(5 << 20), Fault::Stall(5 << 20)] {
        let server = Faulty::start_with(impatient).await;
        server.store.put_new("object", large.clone()).await.unwrap();
        server.faulty.fail(2, "GET", fault);
        assert_eq!(
            server.store.get("object", 1 << 30).await.unwrap(),
            large,
            "{fault:?}"
        );
        let ranges: Vec<Option<u64>> = server
            .faulty
            .seen()
            .iter()
            .filter(|seen| seen.method == "GET")
            .map(|seen| {
                seen.header("range")?
                    .strip_prefix("bytes=")?
                    .split('-')
                    .next()?
                    .parse()
                    .ok()
            })
            .collect();
        assert_eq!(ranges, [None, Some(5 << 20), Some(10 << 20)], "{fault:?}");

        server.faulty.fail(2, "GET", fault);
        let part = server
            .store
            .get_range("object", 1000..(15 << 20))
            .await
            .unwrap();
        assert_eq!(part, large.slice(1000..15 << 20), "{fault:?}");
    }
}

#[tokio::test]
async fn a_read_that_is_cut_at_every_step_ends_as_long_as_it_moves() {
    let server = Faulty::start().await;
    let large = body(2 << 20);
    server.store.put_new("object", large.clone()).await.unwrap();
    // More cuts than attempts.
    server.faulty.fail(20, "GET", Fault::Cut(100_000));
    assert_eq!(server.store.get("object", 1 << 30).await.unwrap(), large);
}

#[tokio::test]
async fn a_read_that_never_moves_ends_too() {
    let server = Faulty::start().await;
    server.store.put_new("object", body(1 << 20)).await.unwrap();
    server.faulty.fail(100, "GET", Fault::Cut(10));
    let error = server.store.get("object", 1 << 30).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert_eq!(100 - server.faulty.pending(), attempts_max());
}

/// Replaces the object between the first part of a read and the second.
#[derive(Debug)]
struct Meddler {
    buckets: Buckets,
    requests: AtomicUsize,
}

#[async_trait]
impl Pace for Meddler {
    async fn upload(&self, _bytes: u64) {}

    async fn request(&self) {
        // The write is the first request, the cut read the second.
        if self.requests.fetch_add(1, Ordering::Relaxed) == 2 {
            self.buckets
                .overwrite(BUCKET, "some/prefix/object", vec![0; LARGE_BYTES]);
        }
    }
}

#[tokio::test]
async fn versions_are_not_mixed() {
    let sound = S3Server::start().await;
    let faulty = FaultyServer::start(sound.address).await;
    let meddler = Meddler {
        buckets: sound.buckets.clone(),
        requests: AtomicUsize::new(0),
    };
    let pace: Option<Arc<dyn Pace>> = Some(Arc::new(meddler));
    let store = store(S3Config {
        pace,
        ..s3_server::config(faulty.endpoint())
    })
    .await;
    store.put_new("object", body(LARGE_BYTES)).await.unwrap();
    faulty.fail(1, "GET", Fault::Cut(1 << 20));
    let error = store.get("object", 1 << 30).await.unwrap_err();
    assert!(
        error
            .source()
            .is_some_and(|cause| cause.to_string().contains("changed")),
        "{error:?}"
    );
    assert_eq!(faulty.methods(), ["PUT", "GET", "GET"]);
}

#[tokio::test]
async fn endless_faults_end_with_their_kind_after_all_attempts() {
    for (fault, expected) in [
        (Fault::Answer(503, errors::SLOW_DOWN), ErrorKind::Throttled),
        (Fault::Answer(429, ""), ErrorKind::Throttled),
        (Fault::Answer(500, errors::INTERNAL), ErrorKind::Unreachable),
        (Fault::Reset, ErrorKind::Unreachable),
    ] {
        let server = Faulty::start().await;
        server.store.put_new("object", body(10)).await.unwrap();
        for method in ["PUT", "GET", "DELETE"] {
            server.faulty.fail(100, method, fault);
            let before = server.faulty.seen().len();
            let outcome = match method {
                "PUT" => server.store.put_new("another", body(10)).await,
                "GET" => server.store.get("object", 10).await.map(|_| ()),
                _ => server.store.delete("object").await,
            };
            assert_eq!(outcome.unwrap_err().kind(), expected, "{method} {fault:?}");
            let requests = server.faulty.seen().into_iter().skip(before);
            let tried = requests.filter(|seen| seen.method == method).count();
            assert_eq!(tried, attempts_max(), "{method} {fault:?}");
            server.faulty.forgive();
        }
    }
}

#[tokio::test]
async fn a_server_never_met_is_given_up_sooner() {
    let server = Faulty::start().await;
    server.faulty.fail(100, "GET", Fault::Reset);
    let error = server.store.get("object", 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert_eq!(server.methods(), "GET GET GET");
}

fn attempts_max() -> usize {
    Patience::default()
        .attempts_max
        .try_into()
        .expect("a small number")
}
