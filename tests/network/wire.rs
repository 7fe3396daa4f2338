//! What the server gets to see.

use repository::store::{
    Store,
    s3::{Credentials, S3Config, SignPayload},
};
use support::{
    s3_faults::Seen,
    s3_server::{ACCESS_KEY_ID, SECRET_ACCESS_KEY},
};
use zeroize::Zeroizing;

use crate::{Faulty, body};

/// The head of a write.
async fn put(change: impl FnOnce(&mut S3Config)) -> Seen {
    let server = Faulty::start_with(change).await;
    server
        .store
        .put_new("packs/one", body(3 << 20))
        .await
        .expect("a sound server takes it");
    server.faulty.seen().remove(0)
}

#[tokio::test]
async fn a_write_is_conditional_checked_unsigned_and_in_one_piece() {
    let seen = put(|_| ()).await;
    assert_eq!(
        seen.target.split('?').next(),
        Some("/backups/some/prefix/packs/one")
    );
    assert_eq!(seen.header("if-none-match"), Some("*"));
    assert_eq!(
        seen.header("x-amz-content-sha256"),
        Some("UNSIGNED-PAYLOAD")
    );
    assert_eq!(seen.header("content-length"), Some("3145728"));
    assert!(
        seen.header("x-amz-checksum-crc64nvme")
            .is_some_and(|checksum| checksum.len() == 12)
    );
    for absent in [
        "transfer-encoding",
        "content-encoding",
        "x-amz-trailer",
        "x-amz-decoded-content-length",
    ] {
        assert_eq!(seen.header(absent), None, "{absent}");
    }
}

#[tokio::test]
async fn a_signed_body_is_signed_by_its_hash() {
    let seen = put(|config| config.sign_payload = SignPayload::Always).await;
    let hash = seen.header("x-amz-content-sha256").unwrap();
    assert_eq!(hash.len(), 64, "{hash}");
    assert_eq!(seen.header("content-length"), Some("3145728"));
    assert_eq!(seen.header("content-encoding"), None);
}

#[tokio::test]
async fn temporary_keys_send_their_token() {
    let token = || Zeroizing::new("session-token".to_owned());
    let seen = put(|config| {
        config.credentials = Credentials::Keys {
            access_key_id: ACCESS_KEY_ID.into(),
            secret_access_key: Zeroizing::new(SECRET_ACCESS_KEY.into()),
            session_token: Some(token()),
        };
    })
    .await;
    assert_eq!(seen.header("x-amz-security-token"), Some("session-token"));
}

#[tokio::test]
async fn requests_are_signed_for_the_region() {
    let seen = put(|config| config.region = "eu-north-9".into()).await;
    let authorization = seen.header("authorization").unwrap();
    assert!(
        authorization.contains("/eu-north-9/s3/aws4_request"),
        "{authorization}"
    );
}
