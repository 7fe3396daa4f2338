//! Writing an object once, and finding out what happened when nobody said.

use aws_lc_rs::digest::{SHA256, digest};
use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::{
    config::{ConfigBag, Intercept, RuntimeComponents},
    error::BoxError,
    types::ChecksumMode,
};
use aws_smithy_runtime_api::client::interceptors::{
    context::BeforeTransmitInterceptorContextMut, dyn_dispatch_hint,
};
use aws_smithy_types::base64;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum};
use tokio::time::timeout;

use super::{
    S3Store,
    body::{Watch, frames},
    failure::{Course, Failure},
};
use crate::store::{ErrorKind, Result, StoreError};

/// A body and what is computed over it, once for all attempts.
struct Upload {
    body: Bytes,
    /// CRC-64/NVME as S3 writes it: the server refuses a body that was damaged on its way.
    checksum: String,
    /// SHA-256 in hexadecimal, when the body is signed.
    signed: Option<String>,
}

/// What is under a name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Ours,
    Other,
}

impl S3Store {
    /// Writes `name` unless it exists.
    ///
    /// After a refused condition, or when an answer was lost, the object is read back: if it is ours, an earlier
    /// attempt of this very call (or of one just like it) took effect; if there is none, the next attempt follows.
    pub(super) async fn write(&self, name: &str, body: Bytes) -> Result<()> {
        let upload = Upload::of(body, self.signs_payload).await;
        let mut attempts = self.patience.attempts();
        loop {
            let Err(failure) = self.send(name, &upload).await else {
                return Ok(());
            };
            match failure.course() {
                Course::Doubt | Course::Conflict => match self.settle(name, &upload).await? {
                    Found::Ours => return Ok(()),
                    Found::Other => {
                        return Err(
                            StoreError::new("put", name, ErrorKind::Exists).because(failure)
                        );
                    }
                    Found::Nothing => {}
                },
                Course::Final | Course::Again => {}
            }
            self.pause(&mut attempts, failure, "put", name).await?;
        }
    }

    /// One attempt.
    async fn send(&self, name: &str, upload: &Upload) -> std::result::Result<(), Failure> {
        let slot = self.enter().await;
        let watch = Watch::start(&self.patience);
        let bytes = i64::try_from(upload.body.len()).expect("memory is smaller than 2^63 bytes");
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.key(name))
            .if_none_match("*")
            .content_length(bytes)
            .checksum_crc64_nvme(&upload.checksum)
            .body(frames(
                upload.body.clone(),
                self.pace.clone(),
                watch.clone(),
            ))
            .customize();
        let request = match &upload.signed {
            Some(sha256) => request.interceptor(Signed(sha256.clone())),
            None => request.disable_payload_signing(),
        };
        let stored = self.exchange(&slot, &watch, request.send()).await?;
        match stored.e_tag() {
            Some(_) => Ok(()),
            None => Err(Failure::nonsense("the answer to a put names no object")),
        }
    }

    /// Finds out what is under `name`, with the patience of an operation of its own.
    async fn settle(&self, name: &str, upload: &Upload) -> Result<Found> {
        let mut attempts = self.patience.attempts();
        loop {
            match self.compare(name, upload).await {
                Ok(found) => return Ok(found),
                Err(failure) if failure.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
                Err(failure) => self.pause(&mut attempts, failure, "put", name).await?,
            }
        }
    }

    /// Compares what is under `name` with ours: by length and checksum if the server keeps one over the whole object,
    /// else byte by byte, until the first that differs.
    ///
    /// This asks by GET, since only the answer to a GET says whether the bucket or the object is missing.
    async fn compare(&self, name: &str, upload: &Upload) -> std::result::Result<Found, Failure> {
        let slot = self.enter().await;
        let watch = Watch::start(&self.patience);
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(self.key(name))
            .checksum_mode(ChecksumMode::Enabled);
        let mut stored = self.exchange(&slot, &watch, request.send()).await?;
        if stored.e_tag().is_none() {
            return Err(Failure::nonsense("the answer to a get names no object"));
        }
        let bytes = stored
            .content_length()
            .and_then(|bytes| usize::try_from(bytes).ok());
        if bytes != Some(upload.body.len()) {
            return Ok(Found::Other);
        }
        if let Some(checksum) = stored.checksum_crc64_nvme() {
            let same = checksum == upload.checksum;
            return Ok(if same { Found::Ours } else { Found::Other });
        }
        let mut rest = upload.body.clone();
        loop {
            let next = timeout(self.patience.stall, stored.body.next());
            match next.await.map_err(|_| Failure::stalled())? {
                None if rest.is_empty() => return Ok(Found::Ours),
                None => return Err(Failure::nonsense("the object ended early")),
                Some(frame) => {
                    let frame = frame.map_err(|error| Failure::cut(&error))?;
                    if !rest.starts_with(&frame) {
                        return Ok(Found::Other);
                    }
                    rest = rest.split_off(frame.len());
                }
            }
        }
    }
}

impl Upload {
    async fn of(body: Bytes, signs: bool) -> Self {
        let checksum = checksum(CrcAlgorithm::Crc64Nvme, &body);
        let signed = if signs {
            let body = body.clone();
            let hash = tokio::task::spawn_blocking(move || digest(&SHA256, &body));
            let hash = hash.await.expect("hashing does not panic");
            Some(
                hash.as_ref()
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect(),
            )
        } else {
            None
        };
        Self {
            body,
            checksum: base64::encode(checksum.to_be_bytes()),
            signed,
        }
    }
}

/// Signs a framed body by its SHA-256; on its own the SDK signs only bodies in one piece.
#[derive(Debug)]
struct Signed(String);

#[dyn_dispatch_hint]
impl Intercept for Signed {
    fn name(&self) -> &'static str {
        "Signed"
    }

    fn modify_before_signing(
        &self,
        _context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        config
            .interceptor_state()
            .store_put(PayloadSigningOverride::Precomputed(self.0.clone()));
        Ok(())
    }
}
