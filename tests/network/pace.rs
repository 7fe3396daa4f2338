//! Uploads keep the pace they are given.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use repository::store::{PACE_FRAME_BYTES, Pace, Store};
use support::s3_faults::{Fault, errors};
use tokio::sync::Semaphore;

use crate::{Faulty, body};

/// Lets bytes go as the test adds them, and counts.
#[derive(Debug)]
struct Purse {
    bytes: Semaphore,
    asked: AtomicU64,
    largest: AtomicU64,
    requests: AtomicU64,
}

impl Purse {
    fn with(bytes: usize) -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        Arc::new(Self {
            bytes: Semaphore::new(bytes),
            asked: zero(),
            largest: zero(),
            requests: zero(),
        })
    }
}

#[async_trait]
impl Pace for Purse {
    async fn upload(&self, bytes: u64) {
        self.asked.fetch_add(bytes, Ordering::Relaxed);
        self.largest.fetch_max(bytes, Ordering::Relaxed);
        let bytes = u32::try_from(bytes).expect("a frame is small");
        self.bytes
            .acquire_many(bytes)
            .await
            .expect("never closed")
            .forget();
    }

    async fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn an_upload_asks_for_each_frame_and_each_request() {
    let purse = Purse::with(Semaphore::MAX_PERMITS);
    let server = Faulty::start_with(|config| config.pace = Some(Arc::clone(&purse) as _)).await;
    server
        .faulty
        .fail(1, "PUT", Fault::Answer(503, errors::SLOW_DOWN));
    server
        .store
        .put_new("object", body(1_000_001))
        .await
        .unwrap();
    assert_eq!(server.methods(), "PUT PUT");
    let asked = purse.asked.load(Ordering::Relaxed);
    assert_eq!(
        asked,
        2 * 1_000_001,
        "bytes that are sent again are asked for again"
    );
    assert_eq!(
        purse.largest.load(Ordering::Relaxed),
        PACE_FRAME_BYTES as u64
    );
    assert_eq!(purse.requests.load(Ordering::Relaxed), 2);
    server.store.get("object", 1 << 20).await.unwrap();
    server.store.list("", None).await.unwrap();
    server.store.delete("object").await.unwrap();
    assert_eq!(purse.requests.load(Ordering::Relaxed), 5);
    assert_eq!(
        purse.asked.load(Ordering::Relaxed),
        asked,
        "only uploads ask for bytes"
    );
}

#[tokio::test]
async fn an_upload_waits_for_its_pace() {
    let purse = Purse::with(500_000);
    let server = Faulty::start_with(|config| config.pace = Some(Arc::clone(&purse) as _)).await;
    let upload = server.store.put_new("object", body(1_000_000));
    let release = async {
        // Seven frames fit; the eighth waits.
        while purse.asked.load(Ordering::Relaxed) < 8 * PACE_FRAME_BYTES as u64 {
            tokio::task::yield_now().await;
        }
        assert!(server.sound.buckets.keys("backups").is_empty());
        purse.bytes.add_permits(500_000);
    };
    let (outcome, ()) = futures::join!(upload, release);
    outcome.unwrap();
    assert_eq!(purse.bytes.available_permits(), 0);
}
