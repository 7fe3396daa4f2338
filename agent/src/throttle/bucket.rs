//! The arithmetic of a rate: pure, exact, and the same at a byte a second and at 100 GB a second.
//!
//! This is GCRA: the theoretical arrival time is when everything taken so far would have passed at the rate, and may
//! be ahead of now by the burst at most. Time is in nanoseconds with 32 fractional bits, so that a byte has a cost at
//! 100 GB a second too (whole nanoseconds would be wrong by a factor from 600 MB a second on).

use std::num::NonZeroU64;

/// What may pass at once, as a time at the rate: over any window, rate x (window + 250 ms) pass at most.
pub const BURST_NANOSECONDS: u64 = 250_000_000;

/// Rates above a terabyte a second are taken as that: the debt of a burst must fit at one unit a second too.
const RATE_MAX: u64 = 1_000_000_000_000;

const FRACTION_BITS: u32 = 32;

const SECOND: u64 = 1_000_000_000;

/// A rate of units (bytes, requests), and how much of it is used up.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// The time one unit takes, rounded up: never faster than asked for.
    unit_cost: u64,
    /// When everything taken would have passed at the rate.
    arrival: u128,
}

impl Bucket {
    /// A bucket from which a burst can be taken at once.
    pub fn new(per_second: NonZeroU64) -> Self {
        Self {
            unit_cost: unit_cost(per_second),
            arrival: 0,
        }
    }

    /// Takes `units` now.
    ///
    /// # Errors
    /// With the nanoseconds after which it can be taken, if nobody else takes and the rate stays.
    ///
    /// # Panics
    /// When it is more than [`burst_units`](Self::burst_units), which could never be taken.
    pub fn try_take(&mut self, now_ns: u64, units: u64) -> Result<(), u64> {
        assert!(
            units <= self.burst_units(),
            "more than a burst is taken in parts"
        );
        let now = fixed(now_ns);
        let cost = u128::from(units) * u128::from(self.unit_cost);
        let arrival = self.arrival.max(now).saturating_add(cost);
        let limit = now + self.burst();
        if arrival > limit {
            let wait = (arrival - limit).div_ceil(1 << FRACTION_BITS);
            return Err(u64::try_from(wait).unwrap_or(u64::MAX));
        }
        self.arrival = arrival;
        Ok(())
    }

    /// The most that can be taken at once: a burst, at least one.
    pub fn burst_units(&self) -> u64 {
        let units = self.burst() / u128::from(self.unit_cost);
        u64::try_from(units).unwrap_or(u64::MAX)
    }

    /// Units taken that would not have passed yet at the rate, rounded down.
    pub fn debt(&self, now_ns: u64) -> u64 {
        let debt = self.arrival.saturating_sub(fixed(now_ns)) / u128::from(self.unit_cost);
        u64::try_from(debt).unwrap_or(u64::MAX)
    }

    /// Goes on at another rate. The debt stays the same number of units: changing the rate gives nothing away.
    pub fn set_rate(&mut self, now_ns: u64, per_second: NonZeroU64) {
        let (old, new) = (
            u128::from(self.unit_cost),
            u128::from(unit_cost(per_second)),
        );
        let now = fixed(now_ns);
        let debt = self.arrival.saturating_sub(now);
        // Whole units and their rest apart, since debt x cost may need more than 128 bits. It saturates only when time
        // goes back by centuries.
        let debt = (debt / old)
            .saturating_mul(new)
            .saturating_add((debt % old * new).div_ceil(old));
        self.unit_cost = unit_cost(per_second);
        self.arrival = now.saturating_add(debt);
    }

    /// At low rates one unit takes longer than the burst, and must be possible.
    fn burst(&self) -> u128 {
        fixed(BURST_NANOSECONDS).max(u128::from(self.unit_cost))
    }
}

fn fixed(nanoseconds: u64) -> u128 {
    u128::from(nanoseconds) << FRACTION_BITS
}

fn unit_cost(per_second: NonZeroU64) -> u64 {
    (SECOND << FRACTION_BITS).div_ceil(per_second.get().min(RATE_MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    fn rate(per_second: u64) -> NonZeroU64 {
        NonZeroU64::new(per_second).unwrap()
    }

    #[test]
    fn a_burst_passes_at_once_and_then_the_rate() {
        let mut bucket = Bucket::new(rate(1000));
        assert_eq!(bucket.burst_units(), 250);
        assert_eq!(bucket.try_take(0, 250), Ok(()));
        assert_eq!(bucket.try_take(0, 1), Err(MS));
        assert_eq!(bucket.try_take(MS - 1, 1), Err(1));
        assert_eq!(bucket.try_take(MS, 1), Ok(()));
        assert_eq!(bucket.try_take(100 * MS, 100), Err(MS));
        // An idle hour saves up one burst, not an hour.
        assert_eq!(bucket.try_take(3600 * SECOND, 250), Ok(()));
        assert_eq!(bucket.try_take(3600 * SECOND, 1), Err(MS));
    }

    #[test]
    fn one_unit_is_possible_at_the_lowest_rate() {
        let mut bucket = Bucket::new(rate(1));
        assert_eq!(bucket.burst_units(), 1);
        assert_eq!(bucket.try_take(0, 1), Ok(()));
        assert_eq!(bucket.try_take(0, 1), Err(SECOND));
        assert_eq!(bucket.try_take(SECOND, 1), Ok(()));
    }

    #[test]
    fn a_changed_rate_keeps_the_debt() {
        let mut bucket = Bucket::new(rate(1000));
        bucket.try_take(0, 200).unwrap();
        bucket.set_rate(0, rate(100));
        assert_eq!(bucket.debt(0), 200);
        // 200 of debt, of which a burst of 25 less the one asked for may remain.
        assert_eq!(bucket.try_take(0, 1), Err((200 + 1 - 25) * 10 * MS));
        bucket.set_rate(SECOND, rate(1_000_000));
        assert_eq!(bucket.debt(SECOND), 100);
        assert_eq!(bucket.try_take(SECOND, 249_900), Ok(()));
        assert!(bucket.try_take(SECOND, 1).is_err());
    }

    #[test]
    fn the_rate_is_kept_to_a_millionth() {
        for per_second in [1, 7, 64 << 10, 300_000_000, 1_250_000_000, 100_000_000_000] {
            let mut bucket = Bucket::new(rate(per_second));
            let (mut now, mut passed) = (0, 0_u64);
            let step = bucket.burst_units().div_ceil(10);
            while now < 100 * SECOND {
                match bucket.try_take(now, step) {
                    Ok(()) => passed += step,
                    Err(wait) => now += wait,
                }
            }
            let expected = 100 * per_second;
            let (low, high) = (
                expected - expected / 1_000_000,
                expected + per_second / 4 + step,
            );
            assert!((low..=high).contains(&passed), "{passed} at {per_second}/s");
        }
    }

    /// Rates of every magnitude.
    fn any_rate() -> impl Strategy<Value = NonZeroU64> {
        (0_u32..37, 1_u64..1000)
            .prop_map(|(log2, mantissa)| rate((mantissa << log2).clamp(1, 100_000_000_000)))
    }

    proptest! {
        #[test]
        fn no_window_passes_more_than_the_rate_and_a_burst(
            per_second in any_rate(),
            steps in prop::collection::vec((0_u64..2 * SECOND, 1_u64..100), 1..60),
        ) {
            let mut bucket = Bucket::new(per_second);
            let mut now = 0;
            let mut passed: Vec<(u64, u64)> = Vec::new();
            for (pause, percent) in steps {
                now += pause;
                let units = (bucket.burst_units() / 100 * percent).max(1);
                if bucket.try_take(now, units).is_ok() {
                    passed.push((now, units));
                }
            }
            for first in 0..passed.len() {
                let mut sum = 0_u128;
                for (at, units) in &passed[first..] {
                    sum += u128::from(*units);
                    let window = u128::from(at - passed[first].0 + BURST_NANOSECONDS);
                    let limit = window * u128::from(per_second.get()) / u128::from(SECOND);
                    prop_assert!(sum <= limit.max(1) + 1, "{sum} > {limit}");
                }
            }
        }

        #[test]
        fn waiting_as_told_is_enough_and_not_too_long(
            per_second in any_rate(), taken in 0_u64..100, asked in 1_u64..100,
        ) {
            let mut bucket = Bucket::new(per_second);
            let part = |bucket: &Bucket, percent: u64| (bucket.burst_units() / 100 * percent).max(1);
            let (taken, asked) = (part(&bucket, taken), part(&bucket, asked));
            bucket.try_take(5, taken).unwrap();
            if let Err(wait) = bucket.clone().try_take(5, asked) {
                prop_assert!(bucket.clone().try_take(5 + wait - 1, asked).is_err());
                prop_assert_eq!(bucket.try_take(5 + wait, asked), Ok(()));
            }
        }

        #[test]
        fn changing_the_rate_forgets_nothing_and_invents_little(
            rates in prop::collection::vec(any_rate(), 1..20),
        ) {
            let mut bucket = Bucket::new(rates[0]);
            let units = bucket.burst_units();
            bucket.try_take(0, units).unwrap();
            for per_second in &rates {
                bucket.set_rate(0, *per_second);
            }
            let debt = bucket.debt(0);
            prop_assert!(debt >= units, "{debt} < {units}");
            prop_assert!(debt <= units + rates.len() as u64, "{debt} > {units}");
        }

        #[test]
        fn nothing_overflows(
            now in any::<u64>(), later in any::<u64>(), per_second in any_rate(), other in any::<u64>(),
        ) {
            let mut bucket = Bucket::new(per_second);
            let units = bucket.burst_units();
            prop_assert_eq!(bucket.try_take(now, units), Ok(()));
            bucket.set_rate(later, NonZeroU64::new(other).unwrap_or(NonZeroU64::MIN));
            bucket.try_take(later, 1).ok();
            bucket.set_rate(now, per_second);
            bucket.try_take(now, 1).ok();
            bucket.debt(later);
        }
    }
}
