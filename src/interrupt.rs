//! Waits that their caller can end.
//!
//! The interrupt callback is thread-local rather than an argument of every call, because locks are taken deep inside
//! calls that do not otherwise wait.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use crate::error::{Kind, Result};

/// How long a wait blocks between two calls of the callback.
const SLICE: Duration = Duration::from_millis(50);

type Stop = Rc<dyn Fn() -> bool>;

thread_local! {
    static STOP: RefCell<Option<Stop>> = const { RefCell::new(None) };
    /// Whether `STOP` is set: a cheap test before a lock is taken.
    static IS_POSSIBLE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `call`, and ends its waits once `stop` returns true.
///
/// While it is blocked, each wait of this thread calls `stop` about twenty times a second. If `stop` returns true, the
/// wait returns an error ([`is_interrupted`](crate::Error::is_interrupted)). The call has then changed nothing and can
/// be repeated. Language bindings use this for Ctrl-C. Rust callers can use it to add a timeout to calls without one:
/// the `insert` of a dict, for example, waits as long as another writer is stopped.
///
/// These waits call `stop`: for the store's lock, for other writers of a dict, for the lock of a cell or a claim on it,
/// at a barrier (which breaks, as after a timeout), for a permit, for an event, for a pool's workers and results, and
/// [`Store::wait`](crate::Store::wait).
///
/// Nested calls of `interruptible` check every callback. `stop` may use this crate; waits inside `stop` cannot be
/// interrupted.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use coframe::{Store, interruptible};
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::open_at(dir.path().join("store"))?;
/// let deadline = Instant::now() + Duration::from_millis(100);
/// let waited = interruptible(move || Instant::now() > deadline, || store.wait("never", 0, Duration::MAX));
/// assert!(waited.unwrap_err().is_interrupted());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn interruptible<R>(stop: impl Fn() -> bool + 'static, call: impl FnOnce() -> R) -> R {
    let stop: Stop = match current() {
        None => Rc::new(stop),
        Some(outer) => Rc::new(move || stop() || outer()),
    };
    with(Some(stop), call)
}

/// Runs `call` without interrupts, for drops that must release something.
pub(crate) fn uninterrupted<R>(call: impl FnOnce() -> R) -> R {
    with(None, call)
}

fn with<R>(stop: Option<Stop>, call: impl FnOnce() -> R) -> R {
    /// Restores the previous callback, even after a panic.
    struct Restore(Option<Stop>);

    impl Drop for Restore {
        fn drop(&mut self) {
            swap(self.0.take());
        }
    }

    let _restore = Restore(swap(stop));
    call()
}

// If a thread is ending, its storage may be destroyed already; then no callback is called.
fn swap(stop: Option<Stop>) -> Option<Stop> {
    IS_POSSIBLE.set(stop.is_some());
    STOP.try_with(|place| place.replace(stop)).ok().flatten()
}

fn current() -> Option<Stop> {
    STOP.try_with(|place| place.borrow().clone()).ok().flatten()
}

/// Whether the waits of this thread have a callback.
#[inline]
pub(crate) fn is_possible() -> bool {
    IS_POSSIBLE.get()
}

/// How long to block before the next [`check`], at most `left`.
pub(crate) fn slice(left: Option<Duration>) -> Option<Duration> {
    if is_possible() { Some(left.map_or(SLICE, |left| left.min(SLICE))) } else { left }
}

/// Returns an error if the callback ends this wait. `what` describes the wait.
pub(crate) fn check(what: impl FnOnce() -> String) -> Result<()> {
    let Some(stop) = current() else { return Ok(()) };
    if with(None, || stop()) {
        return Err(Kind::Interrupted { what: what() }.into());
    }
    Ok(())
}

/// Rate limit for a wait that polls.
pub(crate) struct Looks {
    next: Instant,
}

impl Looks {
    pub(crate) fn new() -> Self {
        Self { next: Instant::now() + SLICE }
    }

    /// Calls [`check`] if the last call was long enough ago.
    pub(crate) fn check(&mut self, what: impl FnOnce() -> String) -> Result<()> {
        if Instant::now() < self.next {
            return Ok(());
        }
        self.next = Instant::now() + SLICE;
        check(what)
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use super::{check, interruptible, is_possible};

    fn is_stopped() -> bool {
        check(|| "x".to_owned()).is_err_and(|error| error.is_interrupted())
    }

    #[test]
    fn the_callbacks_of_all_outer_calls_end_a_wait_and_no_others() {
        let (outer, inner) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
        let (ends_outer, ends_inner) = (outer.clone(), inner.clone());
        interruptible(
            move || ends_outer.get(),
            || {
                interruptible(
                    move || ends_inner.get(),
                    || {
                        assert!(!is_stopped());
                        inner.set(true);
                        assert!(is_stopped());
                        inner.set(false);
                        outer.set(true);
                        assert!(is_stopped());
                        outer.set(false);
                    },
                );
                inner.set(true);
                assert!(!is_stopped(), "the callback of a finished call is still used");
            },
        );
        assert!(!is_possible() && !is_stopped());
    }

    #[test]
    fn a_panic_restores_the_callback_and_a_callback_does_not_call_itself() {
        let asked = Rc::new(Cell::new(0));
        let count = asked.clone();
        let stop = move || {
            count.set(count.get() + 1);
            assert!(!is_stopped(), "a wait inside the callback calls it");
            true
        };
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            interruptible(stop, || {
                assert!(is_stopped());
                panic!("in the call");
            });
        }));
        assert!(caught.is_err() && !is_possible());
        assert_eq!(asked.get(), 1);
    }
}
