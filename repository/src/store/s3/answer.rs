//! How large an answer may be, and whether it is whole. All but objects are read into memory as a whole, and the server
//! decides how long they are: without a bound, one that never ends takes all there is. And what reads their XML takes a
//! listing that was cut off between two entries for a shorter one.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use aws_sdk_s3::{
    config::{ConfigBag, Intercept, RuntimeComponents},
    error::BoxError,
    primitives::SdkBody,
};
use aws_smithy_runtime_api::client::{
    interceptors::{context::BeforeDeserializationInterceptorContextMut, dyn_dispatch_hint},
    orchestrator::Metadata,
};
use bytes::{Buf, Bytes};
use http_body::{Body, Frame};
use http_body_util::Limited;

/// The longest answer that is not an object: four times a page of 1,000 keys of 1,024 bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What is said about a longer one.
pub(super) const TOO_LARGE: &str = "the answer is larger than 4 MiB";

/// Cuts off every answer but an object: that is taken as it comes, and never more of it than was announced.
#[derive(Debug)]
pub(super) struct Bounded;

#[dyn_dispatch_hint]
impl Intercept for Bounded {
    fn name(&self) -> &'static str {
        "Bounded"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response_mut();
        let request = config.load::<Metadata>();
        let is = |name| request.is_some_and(|request| request.name() == name);
        let success = answer.status().is_success();
        if is("GetObject") && success {
            return Ok(());
        }
        let body = std::mem::replace(answer.body_mut(), SdkBody::taken());
        let body = Limited::new(body, ANSWER_BYTES_MAX);
        *answer.body_mut() = if is("ListObjectsV2") && success {
            SdkBody::from_body_1_x(Whole {
                body,
                tail: Vec::new(),
                ended: false,
            })
        } else {
            SdkBody::from_body_1_x(body)
        };
        Ok(())
    }
}

/// What the last tag of a whole listing ends with. Before it may stand a prefix.
const END: &[u8] = b"ListBucketResult>";

/// How much of the end is kept: the tag with any prefix that a server uses.
const TAIL_BYTES: usize = 64;

/// A listing that fails at its end unless its last tag is there.
struct Whole<B> {
    body: B,
    /// The last bytes that are no white space.
    tail: Vec<u8>,
    ended: bool,
}

impl<B: Body<Data = Bytes, Error = BoxError> + Unpin> Body for Whole<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                let data = frame.data_ref().map(Bytes::chunk).unwrap_or_default();
                self.see(data);
            }
            None if !self.ended => {
                self.ended = true;
                if self.is_closed() {
                    return Poll::Ready(None);
                }
                return Poll::Ready(Some(Err("the listing was cut off".into())));
            }
            Some(Err(_)) | None => {}
        }
        Poll::Ready(frame)
    }
}

impl<B> Whole<B> {
    fn see(&mut self, data: &[u8]) {
        let seen = data.iter().filter(|byte| !byte.is_ascii_whitespace());
        self.tail.extend(seen);
        let superfluous = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..superfluous);
    }

    fn is_closed(&self) -> bool {
        let tag = self.tail.rsplit(|byte| *byte == b'<').next();
        tag.is_some_and(|tag| tag.starts_with(b"/") && tag.ends_with(END))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Collected, Full};

    use super::*;

    async fn read(text: &str) -> Result<Bytes, BoxError> {
        let body = Full::new(Bytes::copy_from_slice(text.as_bytes()));
        let whole = Whole {
            body: body.map_err(|never| match never {}),
            tail: Vec::new(),
            ended: false,
        };
        whole.collect().await.map(Collected::to_bytes)
    }

    #[tokio::test]
    async fn a_listing_that_was_cut_off_is_none() {
        let listing = "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>\n";
        assert_eq!(read(listing).await.unwrap(), listing);
        for bytes in 0..listing.len() - 1 {
            assert!(read(&listing[..bytes]).await.is_err(), "{bytes}");
        }
    }
}
