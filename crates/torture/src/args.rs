//! The command line: a command, and options with a value each.

use std::collections::VecDeque;

use crate::{Result, ensure};

pub(crate) struct Args(VecDeque<String>);

impl Args {
    pub(crate) fn from_env() -> Self {
        Self(std::env::args().skip(1).collect())
    }

    /// The next word that is not an option.
    pub(crate) fn command(&mut self) -> Option<String> {
        if self.0.front()?.starts_with('-') { None } else { self.0.pop_front() }
    }

    pub(crate) fn text(&mut self, option: &str) -> Result<Option<String>> {
        let Some(at) = self.0.iter().position(|word| word == option) else { return Ok(None) };
        let value = self.0.remove(at + 1).ok_or_else(|| format!("{option} needs a value"))?;
        self.0.remove(at);
        Ok(Some(value))
    }

    pub(crate) fn number(&mut self, option: &str, default: u64) -> Result<u64> {
        let Some(text) = self.text(option)? else { return Ok(default) };
        text.parse().map_err(|_| format!("{option} is `{text}`, expected a number").into())
    }

    pub(crate) fn finish(self) -> Result<()> {
        ensure!(self.0.is_empty(), "unknown arguments: {:?}", self.0);
        Ok(())
    }
}
