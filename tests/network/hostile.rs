//! Servers that lie: what they answer costs little memory, ends, and is refused by its name.

use std::{error::Error as _, time::Duration};

use repository::store::{ErrorKind, Store, StoreError, list_all, s3::S3Config};
use support::s3_faults::Fault;

use crate::{Faulty, body};

/// Every attempt of every operation fails like this.
const ALWAYS: usize = 100;

/// What does not end is soon given up.
fn impatient(config: &mut S3Config) {
    config.patience.stall = Duration::from_secs(2);
}

/// An error and what caused it.
fn told(error: &StoreError) -> String {
    let cause = error.source().map(ToString::to_string);
    format!("{error}: {}", cause.unwrap_or_default())
}

#[tokio::test]
async fn an_answer_that_never_ends_is_cut_off() {
    for status in [200, 500] {
        let server = Faulty::start_with(impatient).await;
        let fail = |method| {
            server.faulty.forgive();
            server.faulty.fail(ALWAYS, method, Fault::Endless(status));
        };
        let store = &server.store;
        fail("GET");
        let mut errors = vec![store.list("a/", None).await.map(drop)];
        // A successful answer to a read is taken as it comes, and has a length.
        if status != 200 {
            errors.push(store.get("a/object", 10).await.map(drop));
        }
        fail("PUT");
        errors.push(store.put_new("a/object", body(10)).await);
        fail("DELETE");
        errors.push(store.delete("a/object").await);
        for outcome in errors {
            let error = told(&outcome.expect_err("no answer"));
            assert!(error.contains("`a/"), "{error}");
            assert!(error.contains("larger than 4 MiB"), "{error}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_drips_is_given_up() {
    let server = Faulty::start_with(|config| {
        config.patience.stall = Duration::from_millis(500);
    })
    .await;
    server.faulty.fail(ALWAYS, "GET", Fault::Drip(200));
    let error = server.store.list("", None).await.expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{}", told(&error));
    server.faulty.forgive();
    server.faulty.fail(ALWAYS, "DELETE", Fault::Drip(500));
    let error = server.store.delete("object").await.expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{}", told(&error));
}

#[tokio::test]
async fn names_outside_the_prefix_are_refused_at_once() {
    let outside = "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a</Key>\
                   <Size>1</Size><LastModified>2026-11-20T00:00:00.000Z</LastModified></Contents></ListBucketResult>";
    let server = Faulty::start().await;
    server
        .faulty
        .fail(ALWAYS, "GET", Fault::Answer(200, outside));
    let listed = server.store.list("keys/slot/", None).await;
    let error = listed.expect_err("`a` is not in the folder asked for");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(told(&error).contains("prefix"), "{}", told(&error));
    assert_eq!(server.methods(), "GET");
}

/// Else a listing that was cut on its way would count as whole.
#[tokio::test]
async fn a_listing_that_does_not_add_up_is_refused() {
    let object = "<Contents><Key>some/prefix/a/object</Key><Size>1</Size>\
                  <LastModified>2026-11-20T00:00:00.000Z</LastModified></Contents>";
    for (says, told_as) in [
        (
            "<KeyCount>2</KeyCount><IsTruncated>false</IsTruncated>",
            Some("counts other entries"),
        ),
        (
            "<KeyCount>0</KeyCount><IsTruncated>false</IsTruncated>",
            Some("counts other entries"),
        ),
        ("<KeyCount>1</KeyCount>", Some("whether there is more")),
        (
            "<KeyCount>1</KeyCount><IsTruncated>false</IsTruncated>",
            None,
        ),
        // Servers of older days do not count.
        ("<IsTruncated>false</IsTruncated>", None),
    ] {
        let answer =
            format!("<?xml version=\"1.0\"?><ListBucketResult>{says}{object}</ListBucketResult>");
        let server = Faulty::start().await;
        server
            .faulty
            .fail(ALWAYS, "GET", Fault::Answer(200, answer.leak()));
        match (server.store.list("a/", None).await, told_as) {
            (Ok(page), None) => assert_eq!(page.entries.len(), 1),
            (Err(error), Some(what)) => assert!(told(&error).contains(what), "{}", told(&error)),
            (listed, _) => panic!("{says}: {listed:?}"),
        }
    }
}

#[tokio::test]
async fn names_that_no_object_may_have_are_skipped() {
    let server = Faulty::start().await;
    server.store.put_new("a/object", body(10)).await.unwrap();
    for foreign in ["a/ foreign", "a/../up", "a/.hidden", "a/zz\u{202e}"] {
        let key = format!("some/prefix/{foreign}");
        server
            .sound
            .buckets
            .overwrite(support::s3_server::BUCKET, &key, "");
    }
    let listed = list_all(&server.store, "a/").await.unwrap();
    let names: Vec<_> = listed.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["a/object"]);
}

#[tokio::test]
async fn long_messages_of_the_server_are_cut() {
    let long = format!(
        "<Error><Code>AccessDenied</Code><Message>{}</Message></Error>",
        "x".repeat(5000)
    );
    let server = Faulty::start().await;
    server
        .faulty
        .fail(1, "GET", Fault::Answer(403, long.leak()));
    let error = server.store.get("object", 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let told = told(&error);
    assert!(told.len() < 500 && told.contains("xxx"), "{told}");
}
