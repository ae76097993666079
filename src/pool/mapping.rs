//! The methods of a pool that call a function with many items.

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Argument, Output, Pool, TaskError,
    common::Common,
    function::Function,
    stream::{MapIter, Stream, Unordered},
};
use crate::{error::Result, frame::Frame};

impl Pool {
    fn stream<I>(&self, function: Function, items: I) -> Result<Stream<'_, I::IntoIter>>
    where
        I: IntoIterator<Item: Argument>,
    {
        self.stream_with(function, None, items)
    }

    fn stream_with<I>(&self, function: Function, common: Option<Common>, items: I) -> Result<Stream<'_, I::IntoIter>>
    where
        I: IntoIterator<Item: Argument>,
    {
        let limit = self.terms.in_flight.unwrap_or(4096.max(64 * self.workers));
        Stream::new(&self.shared, (function, common), items.into_iter(), limit, self.terms.clone())
    }

    /// Calls a function with each item and returns the results in the order of the items. Blocks until all have ended.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// # coframe::pool::init();
    /// # let pool = coframe::Pool::builder().build()?;
    /// fn square(n: u64) -> u64 {
    ///     n * n
    /// }
    /// assert_eq!(pool.map(square, 1..=3)?, [1, 4, 9]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The first failure, by default at once ([`Builder::on_failure`](super::Builder::on_failure)). [`map_iter`](Self::map_iter) gives each task its own.
    pub fn map<A: Argument, R: Output>(&self, f: fn(A) -> R, items: impl IntoIterator<Item = A>) -> Result<Vec<R>> {
        self.stream(Function::new(f)?, items)?.collect()
    }

    /// Like [`map`](Self::map), for a function that may fail: its error, with its chain, is a failure of the task.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// fn parse(text: String) -> Result<i32, std::num::ParseIntError> {
    ///     text.parse()
    /// }
    /// # let pool = coframe::Pool::builder().build()?;
    /// let error = pool.try_map(parse, ["1".to_owned(), "x".to_owned()]).unwrap_err();
    /// assert_eq!((error.is_task_failure(), error.task()), (true, Some(1)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_map<A, R, E>(&self, f: fn(A) -> Result<R, E>, items: impl IntoIterator<Item = A>) -> Result<Vec<R>>
    where
        A: Argument,
        R: Output,
        E: TaskError,
    {
        self.stream(Function::fallible(f)?, items)?.collect()
    }

    /// As [`map`](Self::map), for a function that also gets a value which all its tasks share: a frame, a model, a
    /// configuration.
    ///
    /// The value is encoded once, sent to each worker once, and decoded (a frame: opened) once in each, where
    /// [`map`](Self::map) would do all of it for each item. A worker drops it after the call.
    ///
    /// ```no_run
    /// use coframe::{Frame, Pool, polars::prelude::*};
    ///
    /// fn above(prices: &Frame, limit: f64) -> PolarsResult<usize> {
    ///     let prices = prices.to_polars()?;
    ///     Ok(prices.column("x")?.f64()?.gt(limit).sum().unwrap_or(0) as usize)
    /// }
    ///
    /// fn main() -> coframe::Result<()> {
    ///     coframe::pool::init();
    ///     let pool = Pool::builder().build()?;
    ///     let prices = pool.session().publish("prices", &df!("x" => [1.0, 2.5]).unwrap())?;
    ///     assert_eq!(pool.try_map_with(above, &prices, [0.0, 2.0])?, [2, 1]);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`map`](Self::map), and [`is_invalid_argument`](crate::Error::is_invalid_argument) when the value cannot be serialised.
    pub fn map_with<S, A, R>(&self, f: fn(&S, A) -> R, shared: &S, items: impl IntoIterator<Item = A>) -> Result<Vec<R>>
    where
        S: Serialize + DeserializeOwned + 'static,
        A: Argument,
        R: Output,
    {
        self.stream_with(Function::common(f)?, Some(Common::new(shared)?), items)?.collect()
    }

    /// Like [`map_with`](Self::map_with), for a function that may fail.
    pub fn try_map_with<S, A, R, E>(
        &self,
        f: fn(&S, A) -> Result<R, E>,
        shared: &S,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>>
    where
        S: Serialize + DeserializeOwned + 'static,
        A: Argument,
        R: Output,
        E: TaskError,
    {
        self.stream_with(Function::common_fallible(f)?, Some(Common::new(shared)?), items)?.collect()
    }

    /// Cuts a frame into `n` row ranges and calls a function with each; results in the order of rows.
    ///
    /// The most common case, the same as `map(f, frame.split(n))`. More ranges than workers, such as four
    /// for each, even out what takes longer. Each task opens its part in microseconds and copies nothing.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// # coframe::pool::init();
    /// # let pool = coframe::Pool::builder().build()?;
    /// # let frame = pool.session().open("flights")?;
    /// fn rows(part: coframe::Frame) -> usize {
    ///     part.num_rows()
    /// }
    /// let counts = pool.map_rows(rows, &frame, 16)?; // 16 ranges, no copy
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_rows<R: Output>(&self, f: fn(Frame) -> R, frame: &Frame, n: usize) -> Result<Vec<R>> {
        self.map(f, frame.split(n))
    }

    /// Like [`map_rows`](Self::map_rows), for a function that may fail.
    pub fn try_map_rows<R, E>(&self, f: fn(Frame) -> Result<R, E>, frame: &Frame, n: usize) -> Result<Vec<R>>
    where
        R: Output,
        E: TaskError,
    {
        self.try_map(f, frame.split(n))
    }

    /// Calls a function with each item, for its effects. Blocks until all calls have ended.
    pub fn for_each<A: Argument>(&self, f: fn(A), items: impl IntoIterator<Item = A>) -> Result<()> {
        self.map(f, items).map(drop)
    }

    /// Calls a function with each item and folds the results, in the order of items, in this process.
    ///
    /// Holds only the results of tasks in progress, so its memory does not depend on the number of items.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// # coframe::pool::init();
    /// # let pool = coframe::Pool::builder().build()?;
    /// fn length(text: String) -> usize {
    ///     text.len()
    /// }
    /// let total = pool.map_reduce(length, ["a".to_owned(), "bc".to_owned()], 0, |sum, n| sum + n)?;
    /// assert_eq!(total, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_reduce<A, R, T>(
        &self,
        f: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
        start: T,
        mut fold: impl FnMut(T, R) -> T,
    ) -> Result<T>
    where
        A: Argument,
        R: Output,
    {
        self.map_iter(f, items)?.try_fold(start, |folded, result| Ok(fold(folded, result?)))
    }

    /// Calls a function with each item, lazily: results in the order of items as they come, each task's own error
    /// among them.
    ///
    /// Items are taken from the iterator by the thread that asks for results, no more than
    /// [`in_flight`](super::Builder::in_flight) ahead; it may be endless, and slow, but must not wait for results itself.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// # coframe::pool::init();
    /// # let pool = coframe::Pool::builder().build()?;
    /// fn square(n: u64) -> u64 {
    ///     n * n
    /// }
    /// for result in pool.map_iter(square, 0..1_000_000_000)? { // takes items as workers need them
    ///     if result? > 100 {
    ///         break;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_iter<A, R, I>(&self, f: fn(A) -> R, items: I) -> Result<MapIter<'_, I::IntoIter, R>>
    where
        A: Argument,
        R: Output,
        I: IntoIterator<Item = A>,
    {
        Ok(MapIter::new(self.stream(Function::new(f)?, items)?))
    }

    /// Like [`map_iter`](Self::map_iter), for a function that may fail.
    pub fn try_map_iter<A, R, E, I>(&self, f: fn(A) -> Result<R, E>, items: I) -> Result<MapIter<'_, I::IntoIter, R>>
    where
        A: Argument,
        R: Output,
        E: TaskError,
        I: IntoIterator<Item = A>,
    {
        Ok(MapIter::new(self.stream(Function::fallible(f)?, items)?))
    }

    /// As [`map_iter`](Self::map_iter), with results as they come, each with the position of its item. The position of a
    /// failure is [`task`](crate::Error::task).
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// # coframe::pool::init();
    /// # let pool = coframe::Pool::builder().build()?;
    /// fn square(n: u64) -> u64 {
    ///     n * n
    /// }
    /// for item in pool.map_unordered(square, 1..=3)? {
    ///     println!("{:?}", item); // as they finish
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_unordered<A, R, I>(&self, f: fn(A) -> R, items: I) -> Result<Unordered<'_, I::IntoIter, R>>
    where
        A: Argument,
        R: Output,
        I: IntoIterator<Item = A>,
    {
        Ok(Unordered::new(self.stream(Function::new(f)?, items)?))
    }
}
