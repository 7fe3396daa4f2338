//! How many requests may be in flight: more while all is well, half as many when the server asks to slow down.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

/// The rule, without the waiting: additive increase, multiplicative decrease.
#[derive(Debug)]
struct Window {
    limit: usize,
    limit_max: usize,
    /// Answers since the limit last changed.
    answers: usize,
    /// Counts the halvings, so that requests which left before one do not halve again: they say nothing new.
    round: u64,
}

impl Window {
    fn new(limit_max: usize) -> Self {
        let limit_max = limit_max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            limit: limit_max,
            limit_max,
            answers: 0,
            round: 0,
        }
    }

    /// A request was answered. Returns whether one more may be in flight: one more per full window of answers.
    fn answered(&mut self) -> bool {
        self.answers += 1;
        let grows = self.limit < self.limit_max && self.answers >= self.limit;
        if grows {
            self.limit += 1;
            self.answers = 0;
        }
        grows
    }

    /// The server refused a request of `round`. Returns how many fewer may be in flight.
    fn refused(&mut self, round: u64) -> usize {
        if round != self.round {
            return 0;
        }
        let fewer = self.limit / 2;
        self.limit -= fewer;
        self.answers = 0;
        self.round += 1;
        fewer
    }
}

/// Lets requests through, as many at a time as the window allows.
#[derive(Debug)]
pub(super) struct Gate {
    permits: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    window: Window,
    /// Permits that are in use but shall not come back.
    surplus: usize,
}

impl Gate {
    pub(super) fn new(in_flight_max: usize) -> Self {
        let window = Window::new(in_flight_max);
        Self {
            permits: Semaphore::new(window.limit),
            state: Mutex::new(State { window, surplus: 0 }),
        }
    }

    /// Waits for a place; first come, first served.
    pub(super) async fn enter(&self) -> Slot<'_> {
        let permit = self
            .permits
            .acquire()
            .await
            .expect("the semaphore is never closed");
        Slot {
            gate: self,
            permit: Some(permit),
            round: self.state().window.round,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the requests in flight; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    gate: &'a Gate,
    permit: Option<SemaphorePermit<'a>>,
    round: u64,
}

impl Slot<'_> {
    /// The server took the request.
    pub(super) fn answered(&self) {
        let mut state = self.gate.state();
        if state.window.answered() {
            if state.surplus > 0 {
                state.surplus -= 1;
            } else {
                self.gate.permits.add_permits(1);
            }
        }
    }

    /// The server asked to slow down.
    pub(super) fn refused(&self) {
        let mut state = self.gate.state();
        let fewer = state.window.refused(self.round);
        let forgotten = self.gate.permits.forget_permits(fewer);
        state.surplus += fewer - forgotten;
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        if state.surplus > 0 {
            state.surplus -= 1;
            if let Some(permit) = self.permit.take() {
                permit.forget();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_halves_once_per_round_and_never_below_one() {
        let mut window = Window::new(16);
        assert_eq!(window.refused(0), 8);
        assert_eq!(window.refused(0), 0, "sent before the halving");
        assert_eq!(window.refused(1), 4);
        for round in 2..10 {
            window.refused(round);
        }
        assert_eq!(window.limit, 1);
    }

    #[test]
    fn it_grows_by_one_per_window_of_answers_up_to_its_maximum() {
        let mut window = Window::new(4);
        window.refused(0);
        let grown: Vec<bool> = (0..8).map(|_| window.answered()).collect();
        assert_eq!(
            grown,
            [false, true, false, false, true, false, false, false]
        );
        assert_eq!(window.limit, 4);
    }

    #[tokio::test]
    async fn places_in_use_are_taken_away_when_they_come_back() {
        let gate = Gate::new(4);
        let slots = [
            gate.enter().await,
            gate.enter().await,
            gate.enter().await,
            gate.enter().await,
        ];
        slots[0].refused();
        slots[1].refused();
        drop(slots);
        assert_eq!(gate.permits.available_permits(), 2);
        let slot = gate.enter().await;
        for _ in 0..5 {
            slot.answered();
        }
        drop(slot);
        assert_eq!(gate.permits.available_permits(), 4);
    }

    #[tokio::test]
    async fn a_place_that_is_wanted_again_is_not_taken_away() {
        let gate = Gate::new(2);
        let slots = [gate.enter().await, gate.enter().await];
        slots[0].refused();
        slots[1].answered();
        drop(slots);
        assert_eq!(gate.permits.available_permits(), 2);
    }
}
