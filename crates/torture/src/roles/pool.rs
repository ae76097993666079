//! The process of a pool, whose workers are killed too.

use coframe::{Frame, Pool, pool::Published};

use super::{Context, Role};
use crate::{
    Result,
    content::{self, KEPT},
    ensure,
};

#[derive(Default)]
pub(super) struct Parent {
    pool: Option<Pool>,
    rounds: u32,
}

/// A task: compares every value of a frame.
fn token_of(frame: Frame) -> Result<u64> {
    content::check(&frame)
}

/// A task whose result is a frame: a part of its argument.
fn first_half(frame: Frame) -> Result<Published> {
    let half = frame.slice(0..frame.num_rows() / 2)?;
    Ok(Published::new(&half)?)
}

impl Role for Parent {
    fn step(&mut self, context: &mut Context) -> Result<()> {
        self.rounds += 1;
        if self.rounds.is_multiple_of(40) {
            self.pool = None;
        }
        let pool = match self.pool.take() {
            Some(pool) => pool,
            None => match Pool::builder().workers(2).retries(5).store(&context.store).build() {
                Err(error) if is_of_killed_workers(&error) => return Ok(()),
                pool => pool?,
            },
        };
        match work(&pool, context) {
            Ok(()) => self.pool = Some(pool),
            Err(error) if error.downcast_ref::<coframe::Error>().is_some_and(is_of_killed_workers) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Whether a pool reports that its workers were killed: during a task, more often than it retries, or one after the other
/// before they were ready. It then ends its other tasks.
fn is_of_killed_workers(error: &coframe::Error) -> bool {
    let killed = error.to_string().contains("killed by signal 9");
    killed || error.is_worker_lost() || error.is_cancelled()
}

fn work(pool: &Pool, context: &mut Context) -> Result<()> {
    if context.random.one_in(3) {
        let (frame, _) = content::publish(pool.session(), KEPT[0], &mut context.random)?;
        let halves = pool.try_map(first_half, [frame.clone(), frame.clone()])?;
        for half in &halves {
            let (found, rows) = (half.frame(), frame.num_rows() / 2);
            ensure!(found.num_rows() == rows, "a result has {} rows instead of {rows}", found.num_rows());
            let expected = frame.slice(0..rows)?;
            let same = rows == 0 || joined(found)?.columns() == joined(&expected)?.columns();
            ensure!(same, "the result of a pool is torn");
        }
        return Ok(());
    }
    let frames: Vec<Frame> = KEPT.iter().map(|name| context.store.open(name)).collect::<coframe::Result<_>>()?;
    let tokens = pool.try_map(token_of, frames.iter().cycle().take(12).cloned().collect::<Vec<_>>())?;
    for (frame, token) in frames.iter().cycle().zip(tokens) {
        ensure!(content::token(frame)? == token, "a task got another frame than `{}`", frame.name());
    }
    Ok(())
}

fn joined(frame: &Frame) -> Result<arrow::array::RecordBatch> {
    Ok(arrow::compute::concat_batches(frame.schema(), frame.batches())?)
}
