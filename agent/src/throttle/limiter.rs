//! Waiting for a rate.

use std::{
    num::NonZeroU64,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::Notify,
    time::{Instant, sleep},
};

use super::Bucket;

/// A rate that any number of tasks share, in turn.
#[derive(Debug)]
pub struct Limiter {
    /// The rate, 0 for none: all that is looked at while there is none.
    per_second: AtomicU64,
    /// `None` while there is no limit.
    bucket: Mutex<Option<Bucket>>,
    /// Held by the one whose turn it is to wait; the others queue here, first come first served.
    turn: tokio::sync::Mutex<()>,
    /// Wakes the one who waits when the rate changes.
    changed: Notify,
    /// Units that passed so far.
    passed: AtomicU64,
    /// What bucket times count from.
    started: Instant,
}

impl Default for Limiter {
    /// No limit.
    fn default() -> Self {
        Self {
            per_second: AtomicU64::new(0),
            bucket: Mutex::new(None),
            turn: tokio::sync::Mutex::new(()),
            changed: Notify::new(),
            passed: AtomicU64::new(0),
            started: Instant::now(),
        }
    }
}

impl Limiter {
    /// The rate; `None` when there is no limit.
    pub fn rate(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.per_second.load(Relaxed))
    }

    /// Changes the rate at once, for those who wait too. What was taken already still counts.
    pub fn set_rate(&self, per_second: Option<NonZeroU64>) {
        let now = self.now();
        let mut bucket = self.bucket();
        match (bucket.as_mut(), per_second) {
            (Some(bucket), Some(per_second)) => bucket.set_rate(now, per_second),
            (_, per_second) => *bucket = per_second.map(Bucket::new),
        }
        self.per_second
            .store(per_second.map_or(0, NonZeroU64::get), Relaxed);
        drop(bucket);
        self.changed.notify_waiters();
    }

    /// Returns when `units` more may pass.
    ///
    /// More than a burst passes in parts, between which others have their turn. When it is cancelled, the parts that
    /// were taken stay taken.
    pub async fn take(&self, units: u64) {
        let mut left = units;
        while left > 0 && self.rate().is_some() {
            let part = self.take_part(left).await;
            self.passed.fetch_add(part, Relaxed);
            left -= part;
        }
        self.passed.fetch_add(left, Relaxed);
    }

    /// Units that passed so far, with and without a limit.
    pub fn passed(&self) -> u64 {
        self.passed.load(Relaxed)
    }

    /// The same as [`take`](Self::take), on a thread that may block, such as one of `spawn_blocking`.
    ///
    /// # Panics
    /// On a thread that drives a runtime.
    pub fn take_blocking(&self, runtime: &Handle, units: u64) {
        runtime.block_on(self.take(units));
    }

    /// Takes a burst at most; returns how much. Holds the turn only for that.
    async fn take_part(&self, units: u64) -> u64 {
        let _turn = self.turn.lock().await;
        loop {
            // Before looking: a change of the rate between looking and waiting is then not missed.
            let changed = self.changed.notified();
            let wait = match self.bucket().as_mut() {
                None => return units,
                Some(bucket) => {
                    let part = units.min(bucket.burst_units());
                    match bucket.try_take(self.now(), part) {
                        Ok(()) => return part,
                        Err(wait) => Duration::from_nanos(wait),
                    }
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = changed => {}
            }
        }
    }

    fn bucket(&self) -> MutexGuard<'_, Option<Bucket>> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// 584 years fit.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, sync::Arc};

    use futures::{future::join_all, poll};

    use super::*;

    fn limiter(per_second: u64) -> Limiter {
        let limiter = Limiter::default();
        limiter.set_rate(NonZeroU64::new(per_second));
        limiter
    }

    fn seconds(since: Instant) -> f64 {
        since.elapsed().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nothing_waits() {
        let limiter = Limiter::default();
        assert!(poll!(pin!(limiter.take(u64::MAX))).is_ready());
        limiter.set_rate(NonZeroU64::new(1));
        assert_eq!(limiter.rate(), NonZeroU64::new(1));
        limiter.set_rate(None);
        assert!(poll!(pin!(limiter.take(u64::MAX))).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_a_burst_takes_its_time() {
        let (limiter, start) = (limiter(1_000_000), Instant::now());
        limiter.take(10_000_000).await;
        assert_eq!(limiter.passed(), 10_000_000);
        assert!((9.74..9.8).contains(&seconds(start)), "{}", seconds(start));
        limiter.take(1_000_000).await;
        assert!(
            (10.74..10.8).contains(&seconds(start)),
            "{}",
            seconds(start)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn many_takers_share_one_rate() {
        let (limiter, start) = (limiter(1_000_000), Instant::now());
        join_all((0..100).map(|_| limiter.take(65_536))).await;
        let expected = 6.5536 - 0.25;
        assert!(
            (expected..expected + 0.2).contains(&seconds(start)),
            "{}",
            seconds(start)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_came_first_is_served_first() {
        let limiter = limiter(1000);
        limiter.take(250).await;
        let served = Mutex::new(Vec::new());
        join_all((0..10).map(|number| {
            let (limiter, served) = (&limiter, &served);
            async move {
                limiter.take(100).await;
                served.lock().unwrap().push(number);
            }
        }))
        .await;
        assert_eq!(served.into_inner().unwrap(), (0..10).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_taker_does_not_keep_a_small_one_waiting() {
        let (limiter, start) = (limiter(1000), Instant::now());
        let mut large = pin!(limiter.take(100_000));
        assert!(poll!(large.as_mut()).is_pending());
        let small = async {
            limiter.take(100).await;
            seconds(start)
        };
        let (small, ()) = tokio::join!(small, large);
        assert!(small < 1.0, "{small}");
        assert!(seconds(start) > 99.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_rate_reaches_those_who_wait() {
        let (limiter, start) = (limiter(1), Instant::now());
        limiter.take(1).await;
        let mut first = pin!(limiter.take(1_000_000));
        let mut second = pin!(limiter.take(1));
        assert!(poll!(first.as_mut()).is_pending() && poll!(second.as_mut()).is_pending());
        limiter.set_rate(NonZeroU64::new(1_000_000));
        tokio::join!(first.as_mut(), second.as_mut());
        assert!(seconds(start) < 1.1, "{}", seconds(start));

        limiter.set_rate(NonZeroU64::new(1));
        let mut third = pin!(limiter.take(1_000_000));
        assert!(poll!(third.as_mut()).is_pending());
        limiter.set_rate(None);
        assert!(poll!(third.as_mut()).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_reaches_those_who_wait() {
        let (limiter, start) = (limiter(1000), Instant::now());
        limiter.take(250).await;
        let mut waiting = pin!(limiter.take(10));
        assert!(poll!(waiting.as_mut()).is_pending());
        limiter.set_rate(NonZeroU64::new(10));
        waiting.await;
        // 250 of debt and 10 more, less a burst of 2.5, at 10 a second. It may take parts of two.
        assert!((25.5..26.0).contains(&seconds(start)), "{}", seconds(start));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_taker_gives_its_turn_away() {
        let limiter = limiter(1000);
        limiter.take(250).await;
        {
            let mut cancelled = pin!(limiter.take(100));
            assert!(poll!(cancelled.as_mut()).is_pending());
        }
        let start = Instant::now();
        limiter.take(100).await;
        assert!(seconds(start) < 0.11, "{}", seconds(start));
    }

    #[test]
    fn a_blocking_thread_waits_too() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let limiter = Arc::new(limiter(1_000_000));
        let start = Instant::now();
        limiter.take_blocking(runtime.handle(), 250_000);
        runtime.block_on(limiter.take(20_000));
        assert!(seconds(start) >= 0.019);
        limiter.set_rate(None);
        limiter.take_blocking(runtime.handle(), u64::MAX);
    }
}
