//! Buffers for direct reads, and the pool that bounds how much memory reading may hold.

use std::{
    fmt,
    future::Future,
    ops::{Deref, DerefMut},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Alignment of offsets, lengths and buffers that direct reads and writes need.
pub const DIRECT_ALIGN: usize = 4096;

/// Bytes whose address is a multiple of [`DIRECT_ALIGN`], as direct reads and writes need it.
pub struct Buffer {
    /// Longer than asked for by up to one alignment, since `Vec` promises no alignment.
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Buffer {
    /// A buffer of `length` zeros. The kernel gives out its memory only when it is written.
    pub fn new(length: usize) -> Self {
        let memory = vec![0; length + DIRECT_ALIGN - 1];
        let address = memory.as_ptr().addr();
        let start = address.next_multiple_of(DIRECT_ALIGN) - address;
        Self {
            memory,
            start,
            length,
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// At most `count` buffers of `length` bytes, handed out again and again.
///
/// The pool is the memory bound of whoever reads: who wants one more waits until another is dropped.
#[derive(Clone, Debug)]
pub struct BufferPool {
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
}

#[derive(Debug)]
struct Shared {
    length: usize,
    /// Made so far and not in use; buffers are made when first needed.
    free: Mutex<Vec<Buffer>>,
}

impl BufferPool {
    /// A pool that holds at most `count` buffers of `length` bytes.
    pub fn new(count: usize, length: usize) -> Self {
        let shared = Arc::new(Shared {
            length,
            free: Mutex::new(Vec::with_capacity(count)),
        });
        Self {
            shared,
            permits: Arc::new(Semaphore::new(count)),
        }
    }

    /// A buffer, as soon as there is one. It holds whatever it held before. Cancel-safe.
    ///
    /// # Panics
    /// Never: nothing closes the semaphore.
    pub async fn take(&self) -> PooledBuffer {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .expect("the pool never closes its semaphore");
        self.wrap(permit)
    }

    /// A buffer if one is free right now.
    pub fn try_take(&self) -> Option<PooledBuffer> {
        Arc::clone(&self.permits)
            .try_acquire_owned()
            .ok()
            .map(|permit| self.wrap(permit))
    }

    /// The same as [`take`](Self::take) for a thread that is not part of a runtime.
    pub fn take_blocking(&self) -> PooledBuffer {
        block_on(self.take())
    }

    /// Buffers that can be taken now without waiting.
    pub fn available(&self) -> usize {
        self.permits.available_permits()
    }

    fn wrap(&self, permit: OwnedSemaphorePermit) -> PooledBuffer {
        let free = self
            .shared
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let buffer = free.unwrap_or_else(|| Buffer::new(self.shared.length));
        PooledBuffer {
            buffer: Some(buffer),
            shared: Arc::clone(&self.shared),
            _permit: permit,
        }
    }
}

/// A buffer of a [`BufferPool`], which gets it back when this is dropped.
#[derive(Debug)]
pub struct PooledBuffer {
    /// Taken only by `drop`.
    buffer: Option<Buffer>,
    shared: Arc<Shared>,
    /// A field, so that it is released after `drop` has put the buffer back.
    _permit: OwnedSemaphorePermit,
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.shared
                .free
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(buffer);
        }
    }
}

impl Deref for PooledBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.as_ref().expect("only drop takes the buffer")
    }
}

impl DerefMut for PooledBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.buffer.as_mut().expect("only drop takes the buffer")
    }
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// Parks this thread until the future is ready; it needs no runtime, as nothing it waits for has a timer.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_whatever_their_length() {
        for length in [0, 1, 4095, 4096, 4097, 65_536, 1 << 20] {
            let buffer = Buffer::new(length);
            assert_eq!(buffer.len(), length);
            assert_eq!(buffer.as_ptr().addr() % DIRECT_ALIGN, 0);
            assert!(buffer.iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn the_pool_never_exceeds_its_count() {
        let pool = BufferPool::new(2, 4096);
        let first = pool.try_take().unwrap();
        let second = pool.try_take().unwrap();
        assert!(pool.try_take().is_none());
        drop(first);
        let third = pool.try_take().unwrap();
        assert_eq!(pool.available(), 0);
        drop((second, third));
        assert_eq!(pool.available(), 2);
        assert_eq!(pool.shared.free.lock().unwrap().len(), 2);
    }

    #[test]
    fn a_returned_buffer_is_used_again() {
        let pool = BufferPool::new(1, 4096);
        let mut buffer = pool.try_take().unwrap();
        buffer[0] = 7;
        let address = buffer.as_ptr().addr();
        drop(buffer);
        let buffer = pool.try_take().unwrap();
        assert_eq!((buffer.as_ptr().addr(), buffer[0]), (address, 7));
    }

    #[tokio::test]
    async fn a_waiter_gets_the_buffer_that_is_returned() {
        let pool = BufferPool::new(1, 4096);
        let held = pool.take().await;
        let mut waiting = pin!(pool.take());
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        drop(held);
        waiting.await;
    }

    #[test]
    fn a_waiting_thread_gets_the_buffer_that_is_returned() {
        let pool = BufferPool::new(1, 4096);
        let held = pool.take_blocking();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| pool.take_blocking().len());
            drop(held);
            assert_eq!(waiting.join().unwrap(), 4096);
        });
    }
}
