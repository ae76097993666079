//! What the user of `top` chose: order, filter, one frame.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::collect::{Line, Sample};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Name,
    Version,
    Rows,
    Size,
    Age,
    Users,
    Pss,
}

impl Order {
    fn from_key(key: char) -> Option<Self> {
        Some(match key {
            'n' => Self::Name,
            'v' => Self::Version,
            'r' => Self::Rows,
            's' => Self::Size,
            'a' => Self::Age,
            'u' => Self::Users,
            'p' => Self::Pss,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Continue,
    Quit,
}

pub(super) struct View {
    pub(super) snapshot: Sample,
    pub(super) order: Order,
    pub(super) reverse: bool,
    pub(super) filter: String,
    /// Whether keys go to the filter.
    pub(super) typing: bool,
    /// The chosen frame, by name, so that it stays chosen when lines move.
    chosen: Option<String>,
}

impl View {
    pub(super) fn new(snapshot: Sample) -> Self {
        Self { snapshot, order: Order::Name, reverse: false, filter: String::new(), typing: false, chosen: None }
    }

    pub(super) fn refresh(&mut self, snapshot: Sample) {
        self.snapshot = snapshot;
    }

    /// Returns the frames that are shown, in order.
    pub(super) fn lines(&self) -> Vec<&Line> {
        let matches = |line: &&Line| line.frame.name.to_lowercase().contains(&self.filter.to_lowercase());
        let mut lines: Vec<&Line> = self.snapshot.frames.iter().filter(matches).collect();
        // Names ascending, everything else with the greatest first; equal ones by name.
        lines.sort_by(|a, b| a.frame.name.cmp(&b.frame.name));
        let key = |line: &Line| match self.order {
            Order::Name => 0,
            Order::Version => line.frame.version,
            Order::Rows => line.frame.rows as u64,
            Order::Size => line.frame.bytes,
            Order::Age => line.frame.created.unwrap_or(0),
            Order::Users => line.frame.users as u64,
            Order::Pss => line.pss,
        };
        lines.sort_by_key(|line| std::cmp::Reverse(key(line)));
        if self.reverse {
            lines.reverse();
        }
        lines
    }

    /// Returns the position of the chosen frame among the lines; the first if it is not among them.
    pub(super) fn position(&self) -> Option<usize> {
        let lines = self.lines();
        let chosen = lines.iter().position(|line| Some(&line.frame.name) == self.chosen.as_ref());
        chosen.or(if lines.is_empty() { None } else { Some(0) })
    }

    fn step(&mut self, by: isize) {
        let Some(position) = self.position() else { return };
        let lines = self.lines();
        let last = lines.len() - 1;
        self.chosen = Some(lines[position.saturating_add_signed(by).min(last)].frame.name.clone());
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> After {
        let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        if control_c {
            return After::Quit;
        }
        if self.typing {
            self.type_filter(key.code);
            return After::Continue;
        }
        match key.code {
            KeyCode::Char('q') => return After::Quit,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::PageDown => self.step(10),
            KeyCode::PageUp => self.step(-10),
            KeyCode::Char(letter) => {
                if let Some(order) = Order::from_key(letter) {
                    self.reverse = self.order == order && !self.reverse;
                    self.order = order;
                }
            }
            _ => {}
        }
        After::Continue
    }

    fn type_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(c) => self.filter.push(c),
            _ => {}
        }
    }
}
