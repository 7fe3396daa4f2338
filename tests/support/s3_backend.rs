//! What an S3 server does, in memory and to the letter: conditions and commits are one step, and a body is checked
//! against its checksum before anybody sees it.

use std::{
    collections::BTreeMap,
    fmt, io,
    ops::{Bound, Range},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use futures::{TryStreamExt, stream};
use s3s::{
    S3, S3Request, S3Response, S3Result,
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha256},
    dto::{
        Checksum, DeleteObjectInput, DeleteObjectOutput, ETag, ETagCondition, GetObjectInput,
        GetObjectOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input,
        ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp,
    },
    s3_error,
};

/// What a listing returns at most, as at AWS.
const PAGE_KEYS: usize = 1000;

/// Buckets in memory.
#[derive(Clone, Default)]
pub struct Buckets(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    buckets: BTreeMap<String, BTreeMap<String, Arc<Stored>>>,
    /// Versions so far; names each in its `ETag`. An MD5 would cost the server more than all else.
    versions: u64,
}

/// A stored object, in the pieces it came in.
struct Stored {
    pieces: Vec<Bytes>,
    bytes: u64,
    etag: String,
    modified: SystemTime,
    checksum: Checksum,
}

impl Buckets {
    /// Adds an empty bucket.
    pub fn create(&self, bucket: &str) {
        self.state().buckets.entry(bucket.to_owned()).or_default();
    }

    /// Replaces what is under a key, as no client of ours can.
    pub fn overwrite(&self, bucket: &str, key: &str, body: impl Into<Bytes>) {
        let pieces = vec![body.into()];
        let mut state = self.state();
        let stored = state.stored(pieces, Checksum::default());
        state
            .buckets
            .entry(bucket.to_owned())
            .or_default()
            .insert(key.to_owned(), stored);
    }

    /// The keys in a bucket.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        self.state()
            .buckets
            .get(bucket)
            .map(|keys| keys.keys().cloned().collect())
            .unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, bucket: &str, key: &str) -> S3Result<Arc<Stored>> {
        let state = self.state();
        let bucket = state
            .buckets
            .get(bucket)
            .ok_or_else(|| s3_error!(NoSuchBucket))?;
        bucket.get(key).cloned().ok_or_else(|| s3_error!(NoSuchKey))
    }
}

impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.state().buckets.keys()).finish()
    }
}

impl State {
    fn stored(&mut self, pieces: Vec<Bytes>, checksum: Checksum) -> Arc<Stored> {
        self.versions += 1;
        Arc::new(Stored {
            bytes: pieces.iter().map(|piece| piece.len() as u64).sum(),
            pieces,
            etag: format!("{:032x}", self.versions),
            modified: now(),
            checksum,
        })
    }
}

impl Stored {
    fn etag(&self) -> ETag {
        ETag::Strong(self.etag.clone())
    }

    fn length(&self) -> Option<i64> {
        i64::try_from(self.bytes).ok()
    }

    /// The pieces, or parts of them, that make up `range`.
    fn slices(&self, range: &Range<u64>) -> Vec<io::Result<Bytes>> {
        let mut slices = Vec::new();
        let mut start = 0;
        for piece in &self.pieces {
            let end = start + piece.len() as u64;
            let within = |at: u64| usize::try_from(at.clamp(start, end) - start);
            if let (Ok(first), Ok(last)) = (within(range.start), within(range.end))
                && first < last
            {
                slices.push(Ok(piece.slice(first..last)));
            }
            start = end;
        }
        slices
    }
}

#[async_trait::async_trait]
impl S3 for Buckets {
    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        if !self.state().buckets.contains_key(&input.bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        let announced = Checksum {
            checksum_crc32: input.checksum_crc32,
            checksum_crc32c: input.checksum_crc32c,
            checksum_sha256: input.checksum_sha256,
            checksum_crc64nvme: input.checksum_crc64nvme,
            ..Checksum::default()
        };
        let mut hasher = ChecksumHasher {
            crc32: announced.checksum_crc32.as_ref().map(|_| Crc32::new()),
            crc32c: announced.checksum_crc32c.as_ref().map(|_| Crc32c::new()),
            sha256: announced.checksum_sha256.as_ref().map(|_| Sha256::new()),
            crc64nvme: announced
                .checksum_crc64nvme
                .as_ref()
                .map(|_| Crc64Nvme::new()),
            ..ChecksumHasher::default()
        };
        let mut pieces: Vec<Bytes> = Vec::new();
        if let Some(mut body) = input.body {
            while let Some(piece) = body
                .try_next()
                .await
                .map_err(|_| s3_error!(IncompleteBody))?
            {
                hasher.update(&piece);
                pieces.push(piece);
            }
        }
        let checksum = hasher.finalize();
        if checksum != announced {
            return Err(s3_error!(BadDigest, "the body does not match its checksum"));
        }
        let mut state = self.state();
        let stored = state.stored(pieces, checksum);
        let keys = state
            .buckets
            .get_mut(&input.bucket)
            .ok_or_else(|| s3_error!(NoSuchBucket))?;
        let current = keys.get(&input.key);
        if input
            .if_none_match
            .is_some_and(|condition| condition.is_any())
            && current.is_some()
        {
            return Err(s3_error!(PreconditionFailed));
        }
        if let Some(ETagCondition::ETag(etag)) = &input.if_match
            && current.is_none_or(|current| etag.value() != current.etag)
        {
            return Err(s3_error!(PreconditionFailed));
        }
        let output = PutObjectOutput {
            e_tag: Some(stored.etag()),
            checksum_crc64nvme: stored.checksum.checksum_crc64nvme.clone(),
            ..PutObjectOutput::default()
        };
        keys.insert(input.key, stored);
        Ok(S3Response::new(output))
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let stored = self.find(&input.bucket, &input.key)?;
        if let Some(ETagCondition::ETag(etag)) = &input.if_match
            && etag.value() != stored.etag
        {
            return Err(s3_error!(PreconditionFailed));
        }
        let part = match input.range {
            Some(range) => Some(
                range
                    .check(stored.bytes)
                    .map_err(|_| s3_error!(InvalidRange))?,
            ),
            None => None,
        };
        let content_range = part
            .as_ref()
            .map(|part| format!("bytes {}-{}/{}", part.start, part.end - 1, stored.bytes));
        let checksum = stored
            .checksum
            .checksum_crc64nvme
            .clone()
            .filter(|_| part.is_none());
        let range = part.unwrap_or(0..stored.bytes);
        let body = StreamingBlob::wrap(stream::iter(stored.slices(&range)));
        Ok(S3Response::new(GetObjectOutput {
            body: Some(body),
            content_length: i64::try_from(range.end - range.start).ok(),
            content_range,
            e_tag: Some(stored.etag()),
            last_modified: Some(Timestamp::from(stored.modified)),
            checksum_crc64nvme: checksum,
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let stored = self.find(&request.input.bucket, &request.input.key)?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: stored.length(),
            e_tag: Some(stored.etag()),
            last_modified: Some(Timestamp::from(stored.modified)),
            ..HeadObjectOutput::default()
        }))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let mut state = self.state();
        let bucket = state.buckets.get_mut(&request.input.bucket);
        bucket
            .ok_or_else(|| s3_error!(NoSuchBucket))?
            .remove(&request.input.key);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        if input.delimiter.is_some() {
            return Err(s3_error!(NotImplemented, "listings have no delimiter here"));
        }
        let state = self.state();
        let keys = state
            .buckets
            .get(&input.bucket)
            .ok_or_else(|| s3_error!(NoSuchBucket))?;
        let prefix = input.prefix.unwrap_or_default();
        let after = input
            .continuation_token
            .or(input.start_after)
            .unwrap_or_default();
        let start = if after < prefix {
            Bound::Included(prefix.clone())
        } else {
            Bound::Excluded(after)
        };
        let keys_max = input.max_keys.and_then(|keys| usize::try_from(keys).ok());
        let keys_max = keys_max.unwrap_or(PAGE_KEYS).min(PAGE_KEYS);
        let mut found = keys
            .range((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(&prefix));
        let contents: Vec<Object> = found
            .by_ref()
            .take(keys_max)
            .map(|(key, stored)| Object {
                key: Some(key.clone()),
                size: stored.length(),
                e_tag: Some(stored.etag()),
                last_modified: Some(Timestamp::from(stored.modified)),
                ..Object::default()
            })
            .collect();
        let more = found.next().is_some();
        let last = contents.last().and_then(|object| object.key.clone());
        Ok(S3Response::new(ListObjectsV2Output {
            key_count: i32::try_from(contents.len()).ok(),
            contents: Some(contents),
            is_truncated: Some(more),
            next_continuation_token: last.filter(|_| more),
            name: Some(input.bucket),
            prefix: Some(prefix),
            ..ListObjectsV2Output::default()
        }))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a server dates its objects by its own clock"
)]
fn now() -> SystemTime {
    SystemTime::now()
}
