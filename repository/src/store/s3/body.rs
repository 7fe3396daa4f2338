//! The body of an upload: sent in frames, each when its pace allows, watched so that a stall is noticed.
//!
//! A body handed over in one piece moves no frame until it was sent, so nobody could tell slow from dead; and a
//! deadline for the whole would have to know the pace in advance. So the clock starts anew with each frame that the
//! connection takes, and stands still while a frame waits for its pace.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep, sleep_until};

use super::patience::Patience;
use crate::store::{PACE_FRAME_BYTES, Pace};

/// A frame when there is no pace to keep: large enough to cost nothing, small enough to move within a stall.
const FRAME_BYTES: usize = 1024 * 1024;

/// When a request is given up unless something moves.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    patience: Patience,
    /// None while we ourselves hold back.
    deadline: Arc<Mutex<Option<Instant>>>,
}

impl Watch {
    /// Starts with the time to connect and send a head.
    pub(super) fn start(patience: &Patience) -> Self {
        let deadline = Some(Instant::now() + patience.stall);
        Self {
            patience: *patience,
            deadline: Arc::new(Mutex::new(deadline)),
        }
    }

    /// Returns when the request has stalled; never, if it goes on moving.
    pub(super) async fn stalled(&self) {
        loop {
            match self.deadline() {
                Some(deadline) if deadline <= Instant::now() => return,
                Some(deadline) => sleep_until(deadline).await,
                None => sleep(self.patience.stall).await,
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, deadline: Option<Instant>) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }
}

/// The frames of a body.
struct Frames {
    rest: Bytes,
    bytes: u64,
    pace: Option<Arc<dyn Pace>>,
    /// The wait for the pace of the next frame. A mutex only because a body must be `Sync`; it is never locked.
    turn: Option<Mutex<BoxFuture<'static, ()>>>,
    watch: Watch,
}

/// Makes the body of one attempt.
pub(super) fn frames(body: Bytes, pace: Option<Arc<dyn Pace>>, watch: Watch) -> ByteStream {
    let bytes = body.len() as u64;
    let frames = Frames {
        rest: body,
        bytes,
        pace,
        turn: None,
        watch,
    };
    ByteStream::new(SdkBody::from_body_1_x(frames))
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            return Poll::Ready(None);
        }
        let frame_bytes = if this.pace.is_some() {
            PACE_FRAME_BYTES
        } else {
            FRAME_BYTES
        };
        let frame_bytes = frame_bytes.min(this.rest.len());
        if let Some(pace) = &this.pace {
            let turn = this.turn.get_or_insert_with(|| {
                let (pace, bytes) = (Arc::clone(pace), frame_bytes as u64);
                Mutex::new(Box::pin(async move { pace.upload(bytes).await }))
            });
            this.watch.set(None);
            ready!(
                turn.get_mut()
                    .unwrap_or_else(PoisonError::into_inner)
                    .as_mut()
                    .poll(context)
            );
            this.turn = None;
        }
        let frame = this.rest.split_to(frame_bytes);
        let patience = this.watch.patience;
        let wait = if this.rest.is_empty() {
            patience.answer(this.bytes)
        } else {
            patience.stall
        };
        this.watch.set(Some(Instant::now() + wait));
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, time::Duration};

    use async_trait::async_trait;
    use tokio::sync::Semaphore;

    use super::*;

    /// Lets bytes go as the test adds them.
    #[derive(Debug)]
    struct Purse(Semaphore);

    #[async_trait]
    impl Pace for Purse {
        async fn upload(&self, bytes: u64) {
            let bytes = u32::try_from(bytes).unwrap();
            self.0.acquire_many(bytes).await.unwrap().forget();
        }

        async fn request(&self) {}
    }

    fn paced(bytes: usize) -> (Arc<Purse>, Watch, Frames) {
        let purse = Arc::new(Purse(Semaphore::new(0)));
        let watch = Watch::start(&Patience::default());
        let body = Frames {
            rest: vec![7; bytes].into(),
            bytes: bytes as u64,
            pace: Some(Arc::clone(&purse) as _),
            turn: None,
            watch: watch.clone(),
        };
        (purse, watch, body)
    }

    async fn next(body: &mut Frames) -> Option<usize> {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        frame.unwrap().into_data().ok().map(|data| data.len())
    }

    #[tokio::test(start_paused = true)]
    async fn each_frame_waits_for_its_own_bytes() {
        let (purse, _, mut body) = paced(PACE_FRAME_BYTES + 10);
        purse.0.add_permits(PACE_FRAME_BYTES);
        assert_eq!(next(&mut body).await, Some(PACE_FRAME_BYTES));
        {
            let mut last = pin!(next(&mut body));
            assert!(futures::poll!(last.as_mut()).is_pending());
            purse.0.add_permits(10);
            assert_eq!(last.await, Some(10));
        }
        assert_eq!(next(&mut body).await, None);
        assert_eq!(purse.0.available_permits(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_the_pace_is_no_stall_but_waiting_for_the_server_is() {
        let (purse, watch, mut body) = paced(PACE_FRAME_BYTES * 2);
        let hour = Duration::from_secs(3600);
        {
            let mut first = pin!(next(&mut body));
            assert!(futures::poll!(first.as_mut()).is_pending());
            tokio::time::timeout(hour, watch.stalled())
                .await
                .expect_err("we hold back ourselves");
            purse.0.add_permits(PACE_FRAME_BYTES);
            first.await;
        }
        let sent = Instant::now();
        tokio::time::timeout(hour, watch.stalled())
            .await
            .expect("nothing moves any more");
        assert_eq!(sent.elapsed(), Patience::default().stall);
    }

    #[tokio::test(start_paused = true)]
    async fn the_answer_to_a_large_body_may_take_longer() {
        let (purse, watch, mut body) = paced(PACE_FRAME_BYTES * 64);
        purse.0.add_permits(PACE_FRAME_BYTES * 64);
        while next(&mut body).await.is_some() {}
        let sent = Instant::now();
        watch.stalled().await;
        assert_eq!(sent.elapsed(), Patience::default().answer(4 << 20));
    }
}
