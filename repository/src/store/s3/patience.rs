//! How long to wait for an answer, how often to ask again, and how long to pause between: pure decisions.

use std::time::Duration;

use super::failure::{Course, Failure};

/// How long to wait for an answer and how often to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long a connection may take to open.
    pub connect: Duration,
    /// How long a connection may move no byte, in either direction, before it is given up. Time that an upload waits
    /// for its own pace does not count. An answer that is not an object may take no longer from the request to its end.
    pub stall: Duration,
    /// How often one operation is tried.
    pub attempts_max: u32,
    /// How often it is tried while no server has ever answered: a wrong endpoint should not look like a long outage.
    pub attempts_unmet_max: u32,
    /// The first pause lasts at most this long; each further one may last twice as long as the one before.
    pub pause_first: Duration,
    /// No pause lasts longer.
    pub pause_max: Duration,
}

/// Ten attempts with pauses of up to 65 s together (33 s on average) outlive the restart of a server; a stall of 30 s
/// is one at less than 64 KiB/s, with the 2 MiB that a kernel may hold back at a time.
impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            stall: Duration::from_secs(30),
            attempts_max: 10,
            attempts_unmet_max: 3,
            pause_first: Duration::from_millis(200),
            pause_max: Duration::from_secs(20),
        }
    }
}

/// Bytes per second below which a connection counts as stalled.
const RATE_MIN: u64 = 64 * 1024;

/// What the kernel may still have to send after it took the last byte of a body: the usual maximum of `tcp_wmem`,
/// doubled for what the HTTP client and TLS hold.
const BUFFERED_BYTES_MAX: u64 = 8 * 1024 * 1024;

impl Patience {
    /// How long after its last byte was taken an upload of `bytes` may remain unanswered.
    pub(super) fn answer(&self, bytes: u64) -> Duration {
        self.stall + Duration::from_secs(bytes.min(BUFFERED_BYTES_MAX) / RATE_MIN)
    }

    /// Starts counting the attempts of one operation.
    pub(super) fn attempts(&self) -> Attempts {
        Attempts {
            patience: *self,
            made: 0,
        }
    }
}

/// Attempts of one operation.
#[derive(Debug)]
pub(super) struct Attempts {
    patience: Patience,
    made: u32,
}

impl Attempts {
    /// How long to pause before the next attempt after `failure`; none means to give up.
    ///
    /// The pause is drawn between nothing and twice the one before ("full jitter"), so that many clients that failed
    /// together do not come back together. `met` says whether a server has ever answered; `draw` is random.
    pub(super) fn pause(&mut self, failure: &Failure, met: bool, draw: u32) -> Option<Duration> {
        self.made += 1;
        let Patience {
            attempts_max,
            attempts_unmet_max,
            pause_first,
            pause_max,
            ..
        } = self.patience;
        let worth_it = match failure.course() {
            Course::Final => false,
            Course::Again | Course::Doubt | Course::Conflict => true,
        };
        let attempts_max = if met {
            attempts_max
        } else {
            attempts_max.min(attempts_unmet_max)
        };
        if !worth_it || self.made >= attempts_max {
            return None;
        }
        let doublings = (self.made - 1).min(16);
        let longest = pause_first.saturating_mul(1 << doublings).min(pause_max);
        Some(longest.mul_f64(f64::from(draw) / f64::from(u32::MAX)))
    }

    /// Starts counting anew, since something was achieved.
    pub(super) fn renew(&mut self) {
        self.made = 0;
    }

    /// Attempts made so far.
    pub(super) fn made(&self) -> u32 {
        self.made
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ErrorKind;

    fn pauses(course: Course, met: bool) -> Vec<Duration> {
        let failure = Failure::new(ErrorKind::Unreachable, course, "down");
        let mut attempts = Patience::default().attempts();
        std::iter::from_fn(|| attempts.pause(&failure, met, u32::MAX)).collect()
    }

    #[test]
    fn pauses_double_up_to_their_maximum_and_end() {
        let seconds: Vec<_> = pauses(Course::Again, true)
            .iter()
            .map(Duration::as_secs_f32)
            .collect();
        assert_eq!(seconds, [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20.0, 20.0]);
    }

    #[test]
    fn what_is_final_is_not_tried_again() {
        assert!(pauses(Course::Final, true).is_empty());
    }

    #[test]
    fn a_server_that_never_answered_is_given_up_sooner() {
        assert_eq!(pauses(Course::Doubt, false).len(), 2);
    }

    #[test]
    fn the_pause_is_drawn() {
        let failure = Failure::new(ErrorKind::Throttled, Course::Again, "slow down");
        let pause = |draw| Patience::default().attempts().pause(&failure, true, draw);
        assert_eq!(pause(0), Some(Duration::ZERO));
        assert!(pause(u32::MAX / 2) < pause(u32::MAX));
    }

    #[test]
    fn large_bodies_may_drain_slowly() {
        let patience = Patience::default();
        assert_eq!(patience.answer(0), patience.stall);
        assert_eq!(
            patience.answer(1 << 40),
            patience.stall + Duration::from_secs(128)
        );
    }
}
