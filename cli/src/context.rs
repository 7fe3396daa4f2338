//! What every command works with: options, the screen, and the way to the repository.

use std::{future::Future, sync::Arc};

use agent::{Control, throttle::Throttle};
use repository::{Repository, read_superblock, store::SharedStore};
use tokio_util::sync::CancellationToken;

use crate::{
    args::{Global, JobArgs},
    exit::{Interrupted, Usage},
    location::Location,
    output::Screen,
    secret::{self, Asked},
};

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) screen: Screen,
    /// Set when the user asks to stop.
    pub(crate) cancel: CancellationToken,
    /// The rates of this process.
    pub(crate) throttle: Arc<Throttle>,
}

impl Context {
    /// Where the repository is.
    ///
    /// # Errors
    /// Says how to name it.
    pub(crate) fn location(&self) -> anyhow::Result<&Location> {
        let missing = || {
            Usage(
                "which repository? Give --repository PATH or s3://..., or set SLUICE_REPOSITORY"
                    .to_owned(),
            )
        };
        Ok(self.global.repository.as_ref().ok_or_else(missing)?)
    }

    /// Whether results are to be JSON.
    pub(crate) fn json(&self) -> bool {
        self.global.output.json
    }

    /// Opens the repository.
    pub(crate) async fn open(&self) -> anyhow::Result<Repository> {
        self.open_through(|store| store).await
    }

    /// Opens the repository over a store that something is wrapped around.
    pub(crate) async fn open_through(
        &self,
        wrap: impl FnOnce(SharedStore) -> SharedStore,
    ) -> anyhow::Result<Repository> {
        let location = self.location()?;
        let store = wrap(location.open(self.throttle.clone()).await?);
        // Nobody is asked for the passphrase of something that is no repository.
        if !self.global.secret.is_given() {
            self.interruptible(read_superblock(&store)).await??;
        }
        let place = store.location();
        let secret = secret::find(&self.global.secret, &place, Asked::Once);
        let secret = self.interruptible(secret).await??;
        let repository = self
            .interruptible(Repository::open(store, &secret))
            .await??;
        if repository.superblock().store.accepted_without {
            self.screen.warn(format_args!(
                "{place} does not enforce write-once objects: never run two writers at a time"
            ));
        }
        Ok(repository)
    }

    /// Does something that ends at once when the user asks to stop.
    pub(crate) async fn interruptible<T>(
        &self,
        work: impl Future<Output = T>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Interrupted.into()),
            done = work => Ok(done),
        }
    }

    /// How a job is held.
    pub(crate) fn control(&self, arguments: &JobArgs) -> Control {
        self.throttle.set_read_rate(arguments.limit_read);
        Control {
            throttle: Arc::clone(&self.throttle),
            memory_bytes: arguments.memory,
            progress: Arc::default(),
            cancel: self.cancel.clone(),
        }
    }
}
