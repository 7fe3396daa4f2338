//! Reading an object, going on where a cut or stalled connection left off.

use std::{ops::Range, time::Duration};

use aws_sdk_s3::{operation::get_object::GetObjectOutput, primitives::ByteStream};
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::{
    S3Store,
    body::Watch,
    buffers::{Buffer, Buffers},
    failure::{Course, Failure},
};
use crate::store::{ErrorKind, Result};

/// What moves within a stall at least, on any line that is of use; an attempt that brought this much is no failure to be
/// counted. It bounds the time and the attempts by the size of the object.
const RENEWING_BYTES: usize = 64 * 1024;

/// Servers read positions as signed numbers, and refuse larger ones with all sorts of errors.
pub(super) const POSITION_MAX: u64 = i64::MAX.cast_unsigned();

/// What is read.
#[derive(Clone, Debug)]
pub(super) enum Want {
    /// The whole object, if it is not larger.
    Whole { bytes_max: u64 },
    /// Exactly these bytes.
    Part(Range<u64>),
}

/// What has arrived so far.
struct Arrived {
    buffer: Buffer,
    /// Where the buffer starts in the object.
    start: u64,
    /// How much there will be.
    bytes: usize,
    /// Names the version: a later part must be of the same.
    etag: String,
}

impl S3Store {
    /// Reads what is wanted into one buffer, allocated once.
    pub(super) async fn read(&self, name: &str, want: &Want) -> Result<Bytes> {
        let mut attempts = self.patience.attempts();
        let mut arrived: Option<Arrived> = None;
        loop {
            let before = arrived.as_ref().map_or(0, |arrived| arrived.buffer.len());
            let outcome = self.read_on(name, want, &mut arrived).await;
            let failure = match outcome {
                Ok(()) => match arrived.take() {
                    Some(arrived) => return Ok(arrived.buffer.freeze()),
                    None => Failure::nonsense("nothing arrived"),
                },
                Err(failure) => failure,
            };
            let after = arrived.as_ref().map_or(0, |arrived| arrived.buffer.len());
            if after - before >= RENEWING_BYTES {
                attempts.renew();
            }
            self.pause(&mut attempts, failure, "get", name).await?;
        }
    }

    /// One attempt: asks for what is missing and takes what comes.
    async fn read_on(
        &self,
        name: &str,
        want: &Want,
        arrived: &mut Option<Arrived>,
    ) -> std::result::Result<(), Failure> {
        let range = match (&*arrived, want) {
            (Some(arrived), _) if arrived.is_complete() => return Ok(()),
            (Some(arrived), _) => Some(arrived.missing()),
            (None, Want::Part(range)) => Some(range.clone()),
            (None, Want::Whole { .. }) => None,
        };
        let slot = self.enter().await;
        let watch = Watch::start(&self.patience);
        let header = range.as_ref().map(|range| {
            let end = range.end.min(POSITION_MAX);
            format!("bytes={}-{}", range.start, end - 1)
        });
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(self.key(name));
        let mut answer = self
            .exchange(&slot, &watch, request.set_range(header).send())
            .await?;
        let body = std::mem::take(&mut answer.body);
        let arrived = match arrived {
            Some(arrived) => {
                arrived.continued_by(&answer)?;
                arrived
            }
            None => arrived.insert(Arrived::announced(want, &answer, &self.buffers)?),
        };
        arrived.take(body, self.patience.stall).await
    }
}

impl Arrived {
    /// Checks the head of a first answer, before anything is held in memory.
    fn announced(
        want: &Want,
        answer: &GetObjectOutput,
        buffers: &Buffers,
    ) -> std::result::Result<Self, Failure> {
        let bytes = announced_bytes(answer)?;
        let etag = answer
            .e_tag()
            .ok_or(Failure::nonsense("the answer to a get names no object"))?;
        let start = match want {
            Want::Whole { bytes_max } if bytes > *bytes_max => {
                let cause = format!("{bytes} bytes are more than {bytes_max}");
                return Err(Failure::new(ErrorKind::TooLarge, Course::Final, cause));
            }
            Want::Whole { .. } => 0,
            Want::Part(range) => {
                // A server that ignores ranges sends the whole object from its start.
                if !starts_at(answer, range.start) {
                    let cause = "the server ignores ranges";
                    return Err(Failure::new(ErrorKind::Unsupported, Course::Final, cause));
                }
                let wanted = range.end - range.start;
                if bytes < wanted {
                    let cause = format!("{bytes} of {wanted} bytes are there");
                    return Err(Failure::new(ErrorKind::Short, Course::Final, cause));
                }
                if bytes > wanted {
                    return Err(Failure::nonsense("more bytes than asked for"));
                }
                range.start
            }
        };
        let bytes = usize::try_from(bytes).map_err(|_| {
            Failure::new(
                ErrorKind::TooLarge,
                Course::Final,
                "larger than the address space",
            )
        })?;
        Ok(Self {
            buffer: buffers.take(bytes),
            start,
            bytes,
            etag: etag.to_owned(),
        })
    }

    fn is_complete(&self) -> bool {
        self.buffer.len() == self.bytes
    }

    /// The range of the object that has not arrived.
    fn missing(&self) -> Range<u64> {
        self.start + self.buffer.len() as u64..self.start + self.bytes as u64
    }

    /// Checks that an answer continues this one. The version is compared here and not by `If-Match`, whose quotes some
    /// servers do not understand.
    fn continued_by(&self, answer: &GetObjectOutput) -> std::result::Result<(), Failure> {
        let missing = self.missing();
        if answer.e_tag().is_some_and(|etag| etag != self.etag) {
            let cause = "the object changed while it was read";
            return Err(Failure::new(ErrorKind::Other, Course::Final, cause));
        }
        let bytes = announced_bytes(answer)?;
        if !starts_at(answer, missing.start) || bytes != missing.end - missing.start {
            return Err(Failure::nonsense(
                "the answer does not continue where the last one ended",
            ));
        }
        Ok(())
    }

    /// Takes what comes until the end, a cut or a stall. A byte now and then is a stall too: else a server could hold a
    /// restore for ever.
    async fn take(
        &mut self,
        mut body: ByteStream,
        stall: Duration,
    ) -> std::result::Result<(), Failure> {
        let mut moved = 0;
        let mut deadline = Instant::now() + stall;
        loop {
            let next = timeout_at(deadline, body.next())
                .await
                .map_err(|_| Failure::stalled())?;
            let Some(frame) = next else { break };
            let frame = frame.map_err(|error| Failure::cut(&error))?;
            if frame.len() > self.bytes - self.buffer.len() {
                return Err(Failure::nonsense("more bytes than announced"));
            }
            self.buffer.extend(&frame);
            moved += frame.len();
            if moved >= RENEWING_BYTES {
                (moved, deadline) = (0, Instant::now() + stall);
            }
        }
        if self.is_complete() {
            Ok(())
        } else {
            Err(Failure::nonsense("the object ended early"))
        }
    }
}

fn announced_bytes(answer: &GetObjectOutput) -> std::result::Result<u64, Failure> {
    answer
        .content_length()
        .and_then(|bytes| u64::try_from(bytes).ok())
        .ok_or(Failure::nonsense("the answer has no length"))
}

/// Whether an answer holds bytes from `start` on.
fn starts_at(answer: &GetObjectOutput, start: u64) -> bool {
    answer.content_range().map_or(start == 0, |range| {
        range.starts_with(&format!("bytes {start}-"))
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::primitives::SdkBody;
    use futures::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tokio::time::sleep;

    use super::*;

    /// A body that brings `frame_bytes` each `pause`.
    fn slow(bytes: usize, frame_bytes: usize, pause: Duration) -> ByteStream {
        let frames = stream::unfold(bytes, move |rest| async move {
            sleep(pause).await;
            let frame = Bytes::from(vec![7; frame_bytes.min(rest)]);
            let rest = rest - frame.len();
            (!frame.is_empty()).then_some((Ok::<_, std::io::Error>(Frame::data(frame)), rest))
        });
        ByteStream::new(SdkBody::from_body_1_x(StreamBody::new(frames)))
    }

    #[tokio::test(start_paused = true)]
    async fn slow_is_taken_and_a_drip_is_a_stall() {
        let stall = Duration::from_secs(30);
        let bytes = 4 * RENEWING_BYTES;
        for (frame_bytes, pause_s, arrives) in [
            (RENEWING_BYTES, 29, true),
            (RENEWING_BYTES / 4, 7, true),
            (RENEWING_BYTES, 31, false),
            (1, 29, false),
            (RENEWING_BYTES / 4, 8, false),
        ] {
            let announced = answer(i64::try_from(bytes).unwrap(), None, Some("a"));
            let whole = Want::Whole { bytes_max: 1 << 20 };
            let arrived = Arrived::announced(&whole, &announced, &Buffers::default());
            let mut arrived = arrived.map_err(|failure| failure.to_string()).unwrap();
            let body = slow(bytes, frame_bytes, Duration::from_secs(pause_s));
            let began = Instant::now();
            let taken = arrived.take(body, stall).await;
            assert_eq!(
                taken.is_ok(),
                arrives,
                "{frame_bytes} bytes each {pause_s} s"
            );
            assert!(arrives || began.elapsed() <= stall);
        }
    }

    fn answer(bytes: i64, range: Option<&str>, etag: Option<&str>) -> GetObjectOutput {
        GetObjectOutput::builder()
            .content_length(bytes)
            .set_content_range(range.map(str::to_owned))
            .set_e_tag(etag.map(str::to_owned))
            .build()
    }

    fn refusal(want: &Want, answer: &GetObjectOutput) -> Option<ErrorKind> {
        Arrived::announced(want, answer, &Buffers::default())
            .err()
            .map(|failure| failure.kind())
    }

    #[test]
    fn heads_are_checked_before_bodies_are_taken() {
        use ErrorKind::{Other, Short, TooLarge, Unsupported};
        let whole = Want::Whole { bytes_max: 10 };
        let part = Want::Part(5..10);
        for (want, bytes, range, etag, expected) in [
            (&whole, 10, None, Some("a"), None),
            (&whole, 11, None, Some("a"), Some(TooLarge)),
            (&whole, 10, None, None, Some(Other)),
            (&whole, -1, None, Some("a"), Some(Other)),
            (&part, 5, Some("bytes 5-9/20"), Some("a"), None),
            (&part, 4, Some("bytes 5-8/9"), Some("a"), Some(Short)),
            (&part, 6, Some("bytes 5-10/20"), Some("a"), Some(Other)),
            (&part, 20, None, Some("a"), Some(Unsupported)),
        ] {
            let answer = answer(bytes, range, etag);
            assert_eq!(refusal(want, &answer), expected, "{want:?} {answer:?}");
        }
    }

    #[test]
    fn only_the_same_version_continues() {
        let mut arrived = Arrived::announced(
            &Want::Part(5..10),
            &answer(5, Some("bytes 5-9/20"), Some("a")),
            &Buffers::default(),
        )
        .map_err(|failure| failure.to_string())
        .unwrap();
        arrived.buffer.extend(b"xy");
        assert_eq!(arrived.missing(), 7..10);
        let check = |bytes, range, etag| {
            arrived
                .continued_by(&answer(bytes, Some(range), Some(etag)))
                .map_err(|f| f.course())
        };
        assert_eq!(check(3, "bytes 7-9/20", "a"), Ok(()));
        assert_eq!(check(3, "bytes 7-9/20", "b"), Err(Course::Final));
        assert_eq!(check(5, "bytes 5-9/20", "a"), Err(Course::Doubt));
        assert_eq!(check(2, "bytes 7-8/20", "a"), Err(Course::Doubt));
    }
}
