//! A call while its caller takes results: taking items from the iterator, and putting results into order.

use std::{
    collections::VecDeque,
    fmt::Debug,
    iter::Fuse,
    marker::PhantomData,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    call::{Call, Finished, Frames, Value},
    codec::read,
    common::Common,
    function::Function,
    shared::Shared,
};
use crate::error::{Error, Result, TaskFailure};

/// What happens to the other tasks of a call when one has failed.
///
/// ```no_run
/// # fn main() -> coframe::Result<()> {
/// # coframe::pool::init();
/// # let pool = coframe::Pool::builder().build()?;
/// use coframe::pool::OnFailure;
/// let pool = coframe::Pool::builder().on_failure(OnFailure::Finish).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Waiting tasks never run, the results of running tasks are ignored, and the call returns the error at once.
    #[default]
    Cancel,
    /// All run; then the call returns the error of the first item that failed.
    Finish,
}

/// The progress of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Tasks that have ended, including failed ones.
    pub done: usize,
    /// Tasks that failed.
    pub failed: usize,
    /// Total number of tasks, if the iterator of items knows it.
    pub total: Option<usize>,
}

/// The settings of every call of a pool.
#[derive(Clone, Default)]
pub(super) struct Terms {
    pub(super) retries: u32,
    pub(super) in_flight: Option<usize>,
    pub(super) on_failure: OnFailure,
    pub(super) progress: Option<Arc<dyn Fn(Progress) + Send + Sync>>,
}

/// A call with items that are still to come. When it is dropped, tasks that no worker has are removed.
pub(super) struct Stream<'p, I> {
    shared: &'p Shared,
    pub(super) call: Arc<Call>,
    items: Fuse<I>,
    /// The number of tasks that may be in progress.
    limit: usize,
    /// Index of the next item.
    next: usize,
    /// Tasks in progress: submitted, and their results not returned.
    under_way: usize,
    arrived: VecDeque<Finished>,
    terms: Terms,
    progress: Progress,
}

impl<'p, I: Iterator<Item: Serialize + DeserializeOwned + Debug>> Stream<'p, I> {
    pub(super) fn new(
        shared: &'p Shared,
        (function, common): (Function, Option<Common>),
        items: I,
        limit: usize,
        terms: Terms,
    ) -> Result<Self> {
        shared.begin_adding()?;
        let total = match items.size_hint() {
            (least, Some(most)) if least == most => Some(most),
            _ => None,
        };
        Ok(Self {
            shared,
            call: Call::new::<I::Item>(function, common),
            items: items.fuse(),
            limit,
            next: 0,
            under_way: 0,
            arrived: VecDeque::new(),
            terms,
            progress: Progress { done: 0, failed: 0, total },
        })
    }

    /// Submits items until enough tasks are in progress.
    fn feed(&mut self) -> Result<()> {
        const GROUP: usize = 256;
        const PATIENCE: Duration = Duration::from_millis(1);
        /// After this, results come first, if any have arrived.
        const SLOW: Duration = Duration::from_millis(10);
        if self.under_way > self.limit / 2 {
            return Ok(());
        }
        let mut group = Vec::new();
        let start = Instant::now();
        let mut since = start;
        while self.under_way < self.limit {
            let Some(item) = self.items.next() else { break };
            match Call::encode(self.next, &item, self.terms.retries) {
                Ok(task) => group.push(task),
                Err(failure) => {
                    self.arrived.push_back(Finished { index: self.next, result: Err(failure), argument: None });
                }
            }
            self.next += 1;
            self.under_way += 1;
            // The first item is submitted at once, and no item waits long for a slow iterator.
            if self.next == 1 || group.len() == GROUP || since.elapsed() > PATIENCE {
                self.shared.submit(&self.call, &mut group)?;
                since = Instant::now();
                if since - start > SLOW && (self.call.has_finished() || !self.arrived.is_empty()) {
                    return Ok(());
                }
            }
        }
        self.shared.submit(&self.call, &mut group)
    }

    /// Returns the next task that has ended, in any order. `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Finished>> {
        self.shared.check_process("a wait for results of a pool")?;
        loop {
            if let Some(finished) = self.arrived.pop_front() {
                self.count(&finished);
                return Ok(Some(finished));
            }
            self.feed()?;
            if !self.arrived.is_empty() {
                continue;
            }
            if self.under_way == 0 {
                return Ok(None);
            }
            self.call.wait(&mut self.arrived, None)?;
            if self.arrived.is_empty() {
                let why = self.call.why_ended().unwrap_or_default();
                return Err(Error::invalid("a call of a pool that has ended", why));
            }
        }
    }

    /// Counts a finished task, and reports progress once all that have arrived are counted.
    fn count(&mut self, finished: &Finished) {
        self.progress.done += 1;
        self.progress.failed += usize::from(finished.result.is_err());
        if let (Some(progress), true) = (&self.terms.progress, self.arrived.is_empty()) {
            progress(self.progress);
        }
    }

    /// Returns the value of a task of this call, or its error.
    fn value<R: DeserializeOwned>(&self, finished: Finished) -> Result<R> {
        value(&self.call, finished)
    }

    /// Records that one result was returned.
    pub(super) fn handed_on(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Returns all results, in the order of items.
    pub(super) fn collect<R: DeserializeOwned>(mut self) -> Result<Vec<R>> {
        let mut results: Vec<Option<R>> = Vec::new();
        let mut error: Option<(usize, Error)> = None;
        while let Some(finished) = self.next()? {
            self.handed_on();
            let index = finished.index;
            match self.value(finished) {
                Ok(value) => {
                    if results.len() <= index {
                        results.resize_with(index + 1, || None);
                    }
                    if let Some(place) = results.get_mut(index) {
                        *place = Some(value);
                    }
                }
                Err(failed) if self.terms.on_failure == OnFailure::Cancel => return Err(failed),
                Err(failed) => {
                    if error.as_ref().is_none_or(|(first, _)| index < *first) {
                        error = Some((index, failed));
                    }
                }
            }
        }
        match error {
            Some((_, error)) => Err(error),
            None => Ok(results.into_iter().flatten().collect()),
        }
    }
}

impl<I> Drop for Stream<'_, I> {
    fn drop(&mut self) {
        if !self.shared.is_here() {
            return;
        }
        self.call.abandon();
        self.shared.end_adding();
    }
}

/// Returns the value of a task, or its error.
pub(super) fn value<R: DeserializeOwned>(call: &Call, finished: Finished) -> Result<R> {
    let Finished { index, result, argument } = finished;
    let failure = match result {
        Ok(Value { bytes, frames }) => {
            let value = match frames.map(|frames| *frames) {
                None => read(&bytes),
                // The frames stay mapped until they are opened here.
                Some(Frames { held: _held, owners }) => owners.reading(|| read(&bytes)),
            };
            match value {
                Ok(value) => return Ok(value),
                Err(detail) => TaskFailure::NotSent { what: "result", detail },
            }
        }
        Err(failure) => failure,
    };
    Err(call.error(index, argument.as_deref(), failure))
}

/// Results in the order of items, as they arrive; returned by [`Pool::map_iter`](super::Pool::map_iter).
///
/// The error of a task takes the place of its result. An error that ends the call, such as that of a pool that has
/// ended, is the last item. After the error of an interrupted wait ([`is_interrupted`](Error::is_interrupted)), the
/// next call continues to wait.
///
/// Memory is bounded: at most [`in_flight`](super::Builder::in_flight) tasks are in progress, including those whose
/// results wait for an earlier one. When it is dropped, tasks that no worker has are removed.
///
/// ```no_run
/// # fn main() -> coframe::Result<()> {
/// # coframe::pool::init();
/// # let pool = coframe::Pool::builder().build()?;
/// fn length(line: String) -> usize {
///     line.len()
/// }
/// let lengths: coframe::Result<Vec<usize>> = pool.map_iter(length, ["a".to_owned()])?.collect();
/// # Ok(())
/// # }
/// ```
pub struct MapIter<'p, I, R> {
    stream: Stream<'p, I>,
    /// Results from the next one on, if they have arrived.
    window: VecDeque<Option<Finished>>,
    /// Index of the next result.
    next: usize,
    is_over: bool,
    result: PhantomData<fn() -> R>,
}

impl<'p, I, R> MapIter<'p, I, R> {
    pub(super) fn new(stream: Stream<'p, I>) -> Self {
        Self { stream, window: VecDeque::new(), next: 0, is_over: false, result: PhantomData }
    }
}

impl<I, R> Iterator for MapIter<'_, I, R>
where
    I: Iterator<Item: Serialize + DeserializeOwned + Debug>,
    R: DeserializeOwned,
{
    type Item = Result<R>;

    fn next(&mut self) -> Option<Result<R>> {
        while !self.is_over {
            if let Some(Some(_)) = self.window.front() {
                let finished = self.window.pop_front().flatten()?;
                self.next += 1;
                self.stream.handed_on();
                return Some(self.stream.value(finished));
            }
            match self.stream.next() {
                Ok(None) => self.is_over = true,
                Ok(Some(finished)) => {
                    let ahead = finished.index.saturating_sub(self.next);
                    if self.window.len() <= ahead {
                        self.window.resize_with(ahead + 1, || None);
                    }
                    if let Some(place) = self.window.get_mut(ahead) {
                        *place = Some(finished);
                    }
                }
                Err(error) => {
                    self.is_over = !error.is_interrupted();
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// Results as they arrive, with the positions of their items; returned by
/// [`Pool::map_unordered`](super::Pool::map_unordered).
pub struct Unordered<'p, I, R> {
    stream: Stream<'p, I>,
    is_over: bool,
    result: PhantomData<fn() -> R>,
}

impl<'p, I, R> Unordered<'p, I, R> {
    pub(super) fn new(stream: Stream<'p, I>) -> Self {
        Self { stream, is_over: false, result: PhantomData }
    }
}

impl<I, R> Iterator for Unordered<'_, I, R>
where
    I: Iterator<Item: Serialize + DeserializeOwned + Debug>,
    R: DeserializeOwned,
{
    type Item = Result<(usize, R)>;

    fn next(&mut self) -> Option<Result<(usize, R)>> {
        if self.is_over {
            return None;
        }
        match self.stream.next() {
            Ok(Some(finished)) => {
                self.stream.handed_on();
                let index = finished.index;
                Some(self.stream.value(finished).map(|value| (index, value)))
            }
            Ok(None) => {
                self.is_over = true;
                None
            }
            Err(error) => {
                self.is_over = !error.is_interrupted();
                Some(Err(error))
            }
        }
    }
}
