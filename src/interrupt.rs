//! Waits that end when their caller wants them to.
//!
//! Who may end a wait stands in the storage of its thread, and not in each call: locks are taken deep inside of calls
//! that have nothing else to do with waiting.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use crate::error::{Kind, Result};

/// How long a wait goes on before it asks.
const SLICE: Duration = Duration::from_millis(50);

type Stop = Rc<dyn Fn() -> bool>;

thread_local! {
    static STOP: RefCell<Option<Stop>> = const { RefCell::new(None) };
    /// Whether there is one: a look that costs nothing on the way to a free lock.
    static IS_POSSIBLE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `call`, and ends its waits for others once `stop` says so.
///
/// Each wait of this thread asks `stop` about twenty times a second, while it is blocked and never before, and ends with
/// an error ([`is_interrupted`](crate::Error::is_interrupted)) when it says true: nothing has changed then, and the call
/// may be made again. For language bindings, whose users press Ctrl-C, and for a time limit on calls that take none:
/// behind a writer that was stopped, a dict's `insert` would wait for ever.
///
/// These ask: waits for the store's lock, for other writers of a dict, for the lock of a cell or a claim on it, at a
/// barrier (which breaks, as when time is over), for a permit, for a pool's workers and results, and
/// [`Store::wait`](crate::Store::wait). An event's wait has no error to end with: wait for it with a time limit.
///
/// Calls inside each other are all asked. What `stop` does may use this crate; waits in there do not ask.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use coframe::{Store, interruptible};
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::at(dir.path().join("store"))?;
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

/// Runs `call`, whose waits nobody ends: in a drop, what is not done is lost.
#[cfg(feature = "cell")]
pub(crate) fn uninterrupted<R>(call: impl FnOnce() -> R) -> R {
    with(None, call)
}

fn with<R>(stop: Option<Stop>, call: impl FnOnce() -> R) -> R {
    /// Puts back what was there, also after a panic.
    struct Restore(Option<Stop>);

    impl Drop for Restore {
        fn drop(&mut self) {
            swap(self.0.take());
        }
    }

    let _restore = Restore(swap(stop));
    call()
}

// In a thread that is ending, its storage may be gone: then nobody is asked.
fn swap(stop: Option<Stop>) -> Option<Stop> {
    IS_POSSIBLE.set(stop.is_some());
    STOP.try_with(|place| place.replace(stop)).ok().flatten()
}

fn current() -> Option<Stop> {
    STOP.try_with(|place| place.borrow().clone()).ok().flatten()
}

/// Whether somebody may want to end the waits of this thread.
#[inline]
pub(crate) fn is_possible() -> bool {
    IS_POSSIBLE.get()
}

/// How long to block before the next [`check`], of what is left of a time limit.
pub(crate) fn slice(left: Option<Duration>) -> Option<Duration> {
    if is_possible() { Some(left.map_or(SLICE, |left| left.min(SLICE))) } else { left }
}

/// An error when the caller wants this wait to end. `what` names what is waited for.
pub(crate) fn check(what: impl FnOnce() -> String) -> Result<()> {
    let Some(stop) = current() else { return Ok(()) };
    if with(None, || stop()) {
        return Err(Kind::Interrupted { what: what() }.into());
    }
    Ok(())
}

/// For a wait that looks again and again, with pauses of its own.
pub(crate) struct Looks {
    next: Instant,
}

impl Looks {
    pub(crate) fn new() -> Self {
        Self { next: Instant::now() + SLICE }
    }

    /// As [`check`], when the last time was long enough ago.
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
    fn waits_end_when_any_of_the_calls_around_them_says_so_and_never_outside() {
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
                assert!(!is_stopped(), "an inner call goes on after its end");
            },
        );
        assert!(!is_possible() && !is_stopped());
    }

    #[test]
    fn a_panic_leaves_nothing_behind_and_what_is_asked_is_not_asked_again_inside() {
        let asked = Rc::new(Cell::new(0));
        let count = asked.clone();
        let stop = move || {
            count.set(count.get() + 1);
            assert!(!is_stopped(), "waits inside of the question ask");
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
