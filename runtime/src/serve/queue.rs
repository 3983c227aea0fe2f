//! What waits to be done: urgent errands first, then replies, one client after another.
//!
//! A client that asks much waits behind its own requests; one that asks little is next after one reply
//! of each other. There is a limit to all that wait.

use core::time::Duration;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// There is no room for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Requests `R` of clients, and errands `E`.
pub struct Queue<R, E> {
    inner: Mutex<Inner<R, E>>,
    change: Condvar,
    most: usize,
}

struct Inner<R, E> {
    errands: VecDeque<E>,
    /// Whose turn it is first.
    lanes: VecDeque<(String, VecDeque<R>)>,
    waiting: usize,
    closed: bool,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<R, E> {
    /// At once.
    Errand(E),
    /// In its turn.
    Request(R),
    /// Nothing came for so long.
    Idle,
    /// Nothing will come any more.
    Closed,
}

impl<R, E> Queue<R, E> {
    /// A queue of at most `most` requests, and as many errands.
    pub fn new(most: usize) -> Self {
        let inner =
            Inner { errands: VecDeque::new(), lanes: VecDeque::new(), waiting: 0, closed: false };
        Queue { inner: Mutex::new(inner), change: Condvar::new(), most }
    }

    /// Puts a request of `client` behind its others.
    ///
    /// # Errors
    /// If there is no room, or the queue is closed.
    pub fn push(&self, client: &str, request: R) -> Result<(), Full> {
        let mut inner = self.lock();
        if inner.closed || inner.waiting >= self.most {
            return Err(Full);
        }
        inner.waiting += 1;
        match inner.lanes.iter_mut().find(|(name, _)| name == client) {
            Some((_, lane)) => lane.push_back(request),
            None => inner.lanes.push_back((client.to_owned(), VecDeque::from([request]))),
        }
        self.change.notify_one();
        Ok(())
    }

    /// Puts an errand behind the others.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn errand(&self, errand: E) -> Result<(), Full> {
        let mut inner = self.lock();
        if inner.closed || inner.errands.len() >= self.most {
            return Err(Full);
        }
        inner.errands.push_back(errand);
        self.change.notify_one();
        Ok(())
    }

    /// Takes what is next, or waits for it for at most `time`.
    pub fn next(&self, time: Duration) -> Next<R, E> {
        let mut inner = self.lock();
        loop {
            if let Some(errand) = inner.errands.pop_front() {
                return Next::Errand(errand);
            }
            if let Some((client, mut lane)) = inner.lanes.pop_front()
                && let Some(request) = lane.pop_front()
            {
                inner.waiting -= 1;
                if !lane.is_empty() {
                    inner.lanes.push_back((client, lane));
                }
                return Next::Request(request);
            }
            if inner.closed {
                return Next::Closed;
            }
            let (back, late) =
                self.change.wait_timeout(inner, time).unwrap_or_else(PoisonError::into_inner);
            inner = back;
            if late.timed_out() && inner.errands.is_empty() && inner.waiting == 0 && !inner.closed {
                return Next::Idle;
            }
        }
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// Whether it takes nothing more.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Takes nothing more; what is in it is done still.
    pub fn close(&self) {
        self.lock().closed = true;
        self.change.notify_all();
    }

    /// Takes nothing more, and drops what is in it: nobody works it off.
    pub fn abandon(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.waiting = 0;
        let left = (core::mem::take(&mut inner.lanes), core::mem::take(&mut inner.errands));
        drop(inner);
        // Who waits for one of them hears that it is gone.
        drop(left);
        self.change.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner<R, E>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_millis(1);

    #[test]
    fn clients_take_turns_and_errands_go_first() {
        let queue = Queue::new(8);
        for (client, request) in [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5)] {
            queue.push(client, request).unwrap();
        }
        queue.errand('x').unwrap();
        assert_eq!(queue.next(NOW), Next::Errand('x'));
        let order: Vec<_> = (0..5).map(|_| queue.next(NOW)).collect();
        assert_eq!(order, [1, 4, 5, 2, 3].map(Next::Request));
        assert_eq!(queue.next(NOW), Next::Idle);
    }

    #[test]
    fn there_is_a_limit_and_an_end() {
        let queue: Queue<u32, ()> = Queue::new(2);
        queue.push("a", 1).unwrap();
        queue.push("b", 2).unwrap();
        assert_eq!((queue.push("c", 3), queue.waiting()), (Err(Full), 2));
        queue.close();
        assert_eq!(queue.push("a", 4), Err(Full));
        assert_eq!(queue.next(NOW), Next::Request(1));
        assert_eq!(queue.next(NOW), Next::Request(2));
        assert_eq!(queue.next(NOW), Next::Closed);
        let queue: Queue<std::sync::Arc<()>, ()> = Queue::new(2);
        let request = std::sync::Arc::new(());
        queue.push("a", request.clone()).unwrap();
        queue.abandon();
        assert_eq!(std::sync::Arc::strong_count(&request), 1, "it is dropped");
        assert_eq!((queue.next(NOW), queue.waiting()), (Next::Closed, 0));
    }

    #[test]
    fn one_that_waits_is_woken() {
        let queue: Queue<u32, ()> = Queue::new(2);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| queue.next(Duration::from_secs(60)));
            std::thread::sleep(NOW);
            queue.push("a", 7).unwrap();
            assert_eq!(waiter.join().unwrap(), Next::Request(7));
        });
    }
}
