//! Interrupts: the first asks to stop, a later one stops.

use std::{future, io, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// Signals that come so soon after the first are the same one: `timeout` sends it to the process and to its group.
const SAME: Duration = Duration::from_millis(500);

/// SIGINT and SIGTERM.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes the signals from now on.
    ///
    /// # Errors
    /// When the kernel does not give them.
    pub(crate) fn take() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Cancels `token` at the first signal, and returns at a later one.
    pub(crate) async fn listen(mut self, token: &CancellationToken) {
        self.next().await;
        token.cancel();
        sleep(SAME).await;
        self.drop_waiting().await;
        self.next().await;
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Forgets signals that came and were not taken.
    async fn drop_waiting(&mut self) {
        loop {
            tokio::select! {
                biased;
                () = self.next() => {}
                () = future::ready(()) => return,
            }
        }
    }
}
