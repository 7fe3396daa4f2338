//! S3 over the network: a sound server and one that fails on purpose, both in this process.

mod faults;
mod hostile;
mod pace;
mod refusals;
mod sound;
mod wire;

use std::time::Duration;

use bytes::Bytes;
use repository::store::s3::{Patience, S3Config, S3Store};
use support::{
    s3_faults::FaultyServer,
    s3_server::{self, S3Server},
};

/// More than the kernel takes from a sender whose peer does not read.
const LARGE_BYTES: usize = 16 << 20;

/// A store that pauses hardly at all between attempts, so that many attempts take no time.
async fn store(config: S3Config) -> S3Store {
    let patience = Patience {
        pause_first: Duration::from_millis(1),
        pause_max: Duration::from_millis(5),
        ..config.patience
    };
    S3Store::new(S3Config { patience, ..config })
        .await
        .expect("sound settings")
}

/// A store before a faulty server before a sound one.
struct Faulty {
    sound: S3Server,
    faulty: FaultyServer,
    store: S3Store,
}

impl Faulty {
    async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    async fn start_with(change: impl FnOnce(&mut S3Config)) -> Self {
        let sound = S3Server::start().await;
        let faulty = FaultyServer::start(sound.address).await;
        let mut config = s3_server::config(faulty.endpoint());
        change(&mut config);
        let store = store(config).await;
        Self {
            sound,
            faulty,
            store,
        }
    }

    /// Methods of the requests so far, in one word each.
    fn methods(&self) -> String {
        self.faulty.methods().join(" ")
    }
}

/// Bytes that differ everywhere.
fn body(bytes: usize) -> Bytes {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}
