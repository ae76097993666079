//! One task that runs by itself.

use std::{
    collections::VecDeque,
    fmt::Debug,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use super::{call::Call, function::Function, shared::Shared, stream::value};
use crate::error::{Error, Result};

/// One task that runs by itself; returned by [`Pool::submit`](super::Pool::submit).
///
/// A dropped task still runs, but its result is lost. A task does not keep the pool alive.
///
/// It is a [`Future`] of its result, for any executor: the pool's thread wakes the executor when the result arrives, and
/// the result is decoded where it is awaited.
///
/// ```no_run
/// fn double(x: u32) -> u32 {
///     2 * x
/// }
///
/// async fn doubled(pool: &coframe::Pool) -> coframe::Result<u32> {
///     let (one, two) = (pool.submit(double, &1)?, pool.submit(double, &2)?);
///     Ok(one.await? + two.await?)
/// }
/// ```
#[must_use = "a task that is dropped loses its result"]
pub struct Task<R> {
    shared: Arc<Shared>,
    call: Arc<Call>,
    /// Its result was taken; an executor that polls it again gets an error.
    is_over: bool,
    result: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> Task<R> {
    pub(super) fn start<A>(shared: &Arc<Shared>, function: Function, argument: &A, retries: u32) -> Result<Self>
    where
        A: Serialize + DeserializeOwned + Debug,
    {
        let call = Call::new::<A>(function, None);
        let task = Call::encode(0, argument, retries).map_err(|failure| call.error(0, None, failure))?;
        shared.begin_adding()?;
        let submitted = shared.submit(&call, &mut vec![task]);
        shared.end_adding();
        submitted?;
        Ok(Self { shared: shared.clone(), call, is_over: false, result: PhantomData })
    }

    /// Blocks until the result arrives.
    ///
    /// # Errors
    ///
    /// The error of the task, or of a pool that has ended; [`is_interrupted`](Error::is_interrupted) if
    /// [`interruptible`](crate::interruptible) ends the wait, which loses the result
    /// ([`wait_timeout`](Self::wait_timeout) keeps the task); [`is_invalid_argument`](Error::is_invalid_argument) in a
    /// forked child.
    pub fn wait(self) -> Result<R> {
        self.take(None)?.unwrap_or_else(|task| Err(task.no_result()))
    }

    /// Blocks until the result arrives, the time limit passes, or [`interruptible`](crate::interruptible) ends the
    /// wait. In the last two cases it returns the task.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// # coframe::pool::init();
    /// # let pool = coframe::Pool::builder().build()?;
    /// fn square(n: u64) -> u64 {
    ///     n * n
    /// }
    /// match pool.submit(square, &7)?.wait_timeout(std::time::Duration::from_secs(1)) {
    ///     Ok(result) => assert_eq!(result?, 49),
    ///     Err(task) => task.cancel(), // still running
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_timeout(self, limit: Duration) -> std::result::Result<Result<R>, Self> {
        let kept = Self { shared: self.shared.clone(), call: self.call.clone(), is_over: false, result: PhantomData };
        match self.take(Some(limit)) {
            Ok(taken) => taken,
            Err(error) if error.is_interrupted() => Err(kept),
            Err(error) => Ok(Err(error)),
        }
    }

    fn take(self, limit: Option<Duration>) -> Result<std::result::Result<Result<R>, Self>> {
        self.shared.check_process("a wait for a task of a pool")?;
        let mut finished = VecDeque::new();
        self.call.wait(&mut finished, limit)?;
        Ok(match finished.pop_front() {
            Some(finished) => Ok(value(&self.call, finished)),
            None => Err(self),
        })
    }

    fn no_result(&self) -> Error {
        Error::invalid("a task of a pool that has ended", self.call.why_ended().unwrap_or_default())
    }

    /// Cancels the task. A waiting task never runs. A running task is ended with its worker, which is replaced. A task
    /// that was sent to a worker but has not started may start before it is ended. In a forked child this does nothing.
    pub fn cancel(self) {
        self.shared.cancel(&self.call);
    }
}

impl<R: DeserializeOwned> Future for Task<R> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R>> {
        if let Err(error) = self.shared.check_process("a wait for a task of a pool") {
            return Poll::Ready(Err(error));
        }
        if self.is_over {
            let expected = "expected one that is polled until it is ready, and not again";
            return Poll::Ready(Err(Error::invalid("a task whose result was taken", expected)));
        }
        let mut finished = VecDeque::new();
        if !self.call.poll(&mut finished, context.waker()) {
            return Poll::Pending;
        }
        self.is_over = true;
        Poll::Ready(match finished.pop_front() {
            Some(finished) => value(&self.call, finished),
            None => Err(self.no_result()),
        })
    }
}
