//! `coframe top`: the store, live.
//!
//! `collect` reads the store, `view` holds what the user chose, and `draw` draws the screen. None of them depends on a
//! terminal.

mod collect;
mod draw;
mod view;

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use coframe::Store;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyEventKind},
};

use self::{
    collect::Sample,
    view::{After, View},
};
use crate::{
    context::Context,
    failure::{Failure, Result},
    output,
};

/// Each refresh reads /proc of every process.
const SHORTEST: Duration = Duration::from_millis(50);

/// Watch frames, their readers and the memory of the store
///
/// Keys: arrows or j and k choose a frame; n, v, r, s, a, u, p sort by name, version, rows, size, age, users, PSS, and
/// again the other way round; / filters by name; q quits. With --json prints one snapshot and ends.
#[derive(clap::Args)]
pub(crate) struct Top {
    /// Time between two refreshes: 500ms, 1s, 10s
    #[arg(long, default_value = "1s", value_parser = output::duration)]
    interval: Duration,
}

impl Top {
    pub(crate) fn run(self, context: &Context) -> Result {
        if self.interval < SHORTEST {
            return Err(Failure::usage("--interval is too short; the shortest is 50ms"));
        }
        let store = context.store()?;
        if context.json {
            return output::print_json(&Sample::take(&store)?);
        }
        if !std::io::stdout().is_terminal() {
            return Err(Failure::usage(
                "top needs a terminal; coframe top --json prints one snapshot, coframe ls a list",
            ));
        }
        let first = Sample::take(&store)?;
        let mut terminal = ratatui::try_init().map_err(terminal_error)?;
        let ended = self.watch(&store, View::new(first), &mut terminal);
        ratatui::try_restore().map_err(terminal_error)?;
        ended
    }

    fn watch(&self, store: &Store, mut view: View, terminal: &mut DefaultTerminal) -> Result {
        let mut next = Instant::now() + self.interval;
        loop {
            terminal.draw(|frame| draw::draw(frame, &mut view)).map_err(terminal_error)?;
            let left = next.saturating_duration_since(Instant::now());
            if event::poll(left).map_err(terminal_error)?
                && let Event::Key(key) = event::read().map_err(terminal_error)?
                && key.kind == KeyEventKind::Press
                && view.key(key) == After::Quit
            {
                return Ok(());
            }
            if Instant::now() >= next {
                view.refresh(Sample::take(store)?);
                next = Instant::now() + self.interval;
            }
        }
    }
}

fn terminal_error(error: std::io::Error) -> Failure {
    Failure::failed(format_args!("could not use the terminal: {error}; coframe top --json prints one snapshot"))
}
