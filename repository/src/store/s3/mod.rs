//! Objects in a bucket of Amazon S3 or of a server that speaks its protocol.
//!
//! What is particular: one attempt per request of the SDK, and a loop of our own around it that knows what may be
//! repeated; a watch that notices a connection on which nothing moves, rather than a deadline that would have to know
//! how fast it should be; one checksum per body, sent as a header with an unsigned, unchunked body, which every server
//! understands; and an answer to "did my write arrive?" that is never a guess.
//!
//! In reading order: `error`, `address`, `environment`, `credentials`, `answer`, `failure`, `patience`, `config`, `client`,
//! `body`, `window`, `buffers`; each uses only those before it. Then the operations, methods of [`S3Store`]: `write`, `read`, `list`.

mod error;
mod address;
mod environment;
mod credentials;
mod answer;
mod failure;
mod patience;
mod config;
mod client;
mod body;
mod window;
mod buffers;
mod write;
mod read;
mod list;
#[cfg(feature = "fuzzing")]
pub(crate) mod canned;

use std::{
    fmt,
    future::Future,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use aws_sdk_s3::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use bytes::Bytes;

pub use self::{
    address::{S3Address, SignPayload},
    config::{IN_FLIGHT_MAX, S3Config, Trust},
    credentials::Credentials,
    environment::Environment,
    error::S3ConfigError,
    patience::Patience,
};
use self::{
    body::Watch,
    buffers::Buffers,
    failure::Failure,
    patience::Attempts,
    read::{POSITION_MAX, Want},
    window::{Gate, Slot},
};
use super::{ErrorKind, Pace, Page, Result, Store, StoreError, name};
use crate::random;

/// From this attempt on a person is told: the first few are everyday, but who sees nothing move wants to know why.
const TOLD_ATTEMPT: u32 = 4;

/// A bucket, or a folder in one.
pub struct S3Store {
    client: Client,
    bucket: String,
    prefix: String,
    location: String,
    signs_payload: bool,
    patience: Patience,
    pace: Option<Arc<dyn Pace>>,
    gate: Gate,
    buffers: Buffers,
    /// Whether any server has ever answered.
    met: AtomicBool,
}

impl S3Store {
    /// Prepares a store. Nothing is asked of the server yet.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub async fn new(config: S3Config) -> std::result::Result<Self, S3ConfigError> {
        address::bucket_name(&config.bucket)?;
        address::key_prefix(&config.prefix)?;
        config
            .endpoint
            .as_deref()
            .map(address::endpoint)
            .transpose()?;
        let client = client::connect(&config).await?;
        Ok(Self::over(config, client))
    }

    /// A store that asks by this client.
    fn over(config: S3Config, client: Client) -> Self {
        Self {
            client,
            location: config.location(),
            signs_payload: config.signs_payload(),
            gate: Gate::new(config.in_flight_max),
            buffers: Buffers::default(),
            met: AtomicBool::new(false),
            bucket: config.bucket,
            prefix: config.prefix,
            patience: config.patience,
            pace: config.pace,
        }
    }

    /// The key of an object.
    fn key(&self, name: &str) -> String {
        if self.prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.prefix)
        }
    }

    /// Waits until one more request may be made.
    async fn enter(&self) -> Slot<'_> {
        if let Some(pace) = &self.pace {
            pace.request().await;
        }
        self.gate.enter().await
    }

    /// Makes one request and waits for the head of its answer.
    async fn exchange<T, E>(
        &self,
        slot: &Slot<'_>,
        watch: &Watch,
        request: impl Future<Output = std::result::Result<T, SdkError<E, HttpResponse>>> + Send,
    ) -> std::result::Result<T, Failure>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let answer = tokio::select! {
            answer = request => answer,
            () = watch.stalled() => return Err(Failure::stalled()),
        };
        let error = match answer {
            Ok(answer) => {
                self.met.store(true, Ordering::Relaxed);
                slot.answered();
                return Ok(answer);
            }
            Err(error) => error,
        };
        let failure = Failure::of(&error);
        if error.raw_response().is_some() {
            self.met.store(true, Ordering::Relaxed);
            if failure.kind() == ErrorKind::Throttled {
                slot.refused();
            } else {
                slot.answered();
            }
        }
        Err(failure)
    }

    /// Pauses before the next attempt, or gives up with `failure`.
    async fn pause(
        &self,
        attempts: &mut Attempts,
        failure: Failure,
        operation: &'static str,
        name: &str,
    ) -> Result<()> {
        let draw = u32::from_le_bytes(random::array());
        let Some(pause) = attempts.pause(&failure, self.met.load(Ordering::Relaxed), draw) else {
            return Err(failure.into_error(operation, name));
        };
        let (attempt, pause_ms) = (attempts.made(), pause.as_millis());
        if attempt < TOLD_ATTEMPT {
            tracing::debug!(object = name, attempt, pause_ms, error = %failure, "{operation} is tried again");
        } else {
            tracing::warn!(object = name, attempt, pause_ms, error = %failure, "{operation} is tried again");
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    async fn delete_once(&self, name: &str) -> std::result::Result<(), Failure> {
        let slot = self.enter().await;
        let watch = Watch::start(&self.patience);
        let request = self
            .client
            .delete_object()
            .bucket(&self.bucket)
            .key(self.key(name));
        self.exchange(&slot, &watch, request.send()).await?;
        Ok(())
    }
}

#[async_trait]
impl Store for S3Store {
    fn location(&self) -> String {
        self.location.clone()
    }

    async fn put_new(&self, name: &str, body: Bytes) -> Result<()> {
        name::check("put", name)?;
        self.write(name, body).await
    }

    async fn get(&self, name: &str, bytes_max: u64) -> Result<Bytes> {
        name::check("get", name)?;
        self.read(name, &Want::Whole { bytes_max }).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        name::check("get", name)?;
        match range {
            Range { start, end } if start > end || start >= POSITION_MAX => {
                Err(StoreError::new("get", name, ErrorKind::Short))
            }
            // HTTP has no empty ranges: what is asked is whether the object reaches so far.
            Range { start: 0, end: 0 } => {
                match self.read(name, &Want::Whole { bytes_max: 0 }).await {
                    Err(error) if error.kind() != ErrorKind::TooLarge => Err(error),
                    _ => Ok(Bytes::new()),
                }
            }
            Range { start, end } if start == end => {
                self.read(name, &Want::Part(start - 1..start)).await?;
                Ok(Bytes::new())
            }
            range => self.read(name, &Want::Part(range)).await,
        }
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page> {
        self.list_page(prefix, after).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        name::check("delete", name)?;
        let mut attempts = self.patience.attempts();
        loop {
            match self.delete_once(name).await {
                Ok(()) => return Ok(()),
                Err(failure) if failure.kind() == ErrorKind::NotFound => return Ok(()),
                Err(failure) => self.pause(&mut attempts, failure, "delete", name).await?,
            }
        }
    }
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store")
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}
