//! Draws the screen of `top`.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Modifier, Style},
    text::Line as Text,
    widgets::{Block, Cell, Row, Table, TableState},
};

use super::{
    collect::{Line, Memory},
    view::{Order, View},
};
use crate::{commands::ls, output};

const KEYS: &str = "q quit   ↑↓ choose   / filter   sort: n name  v version  r rows  s size  a age  u users  p pss";

pub(super) fn draw(frame: &mut Frame<'_>, view: &mut View) {
    let readers = view.position().map_or(0, |position| view.lines()[position].readers.len());
    let below = u16::try_from(readers).unwrap_or(u16::MAX).saturating_add(3).clamp(4, 10);
    let areas =
        Layout::vertical([Constraint::Length(2), Constraint::Min(3), Constraint::Length(below), Constraint::Length(1)])
            .split(frame.area());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let head = vec![Text::styled(ls::totals(&view.snapshot.store), bold), Text::raw(sentence(&view.snapshot.memory))];
    frame.render_widget(ratatui::text::Text::from(head), areas[0]);
    frames(frame, view, areas[1]);
    readers_of_chosen(frame, view, areas[2]);
    let footer =
        if view.typing { format!("filter: {}_   enter keeps it, esc clears it", view.filter) } else { KEYS.to_owned() };
    frame.render_widget(Text::raw(footer), areas[3]);
}

/// Returns one line: whether memory is shared or duplicated.
pub(super) fn sentence(memory: &Memory) -> String {
    if memory.processes == 0 {
        return "memory: no visible process maps a frame".to_owned();
    }
    let size = output::size;
    let (mapped, pss) = (size(memory.mapped), size(memory.pss));
    let processes = output::plural(memory.processes, "process");
    let map = if memory.processes == 1 { "maps" } else { "map" };
    let shared =
        format!("{processes} {map} {mapped}, {pss} of it resident in all; copies would take {}", size(memory.separate));
    if memory.superseded > 0 {
        let (superseded, bytes) =
            (output::plural(memory.superseded, "superseded version"), size(memory.superseded_bytes));
        return format!("memory duplicated: {superseded} in use, {bytes} more; {shared}");
    }
    format!("memory shared: {shared}")
}

fn frames(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let lines = view.lines();
    let rows = lines.iter().map(|line| Row::new(cells(line)));
    let mark = |name: &str, order| {
        let arrow = if view.reverse { "↑" } else { "↓" };
        if view.order == order { format!("{name}{arrow}") } else { name.to_owned() }
    };
    let header = Row::new([
        mark("NAME", Order::Name),
        mark("VERSION", Order::Version),
        mark("ROWS", Order::Rows),
        mark("SIZE", Order::Size),
        mark("AGE", Order::Age),
        mark("USERS", Order::Users),
        mark("PSS", Order::Pss),
        "OLDER".to_owned(),
    ]);
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(8),
        Constraint::Length(15),
        Constraint::Length(9),
        Constraint::Length(5),
        Constraint::Length(6),
        Constraint::Length(9),
        Constraint::Length(6),
    ];
    let filter = if view.filter.is_empty() { String::new() } else { format!(" matching `{}`", view.filter) };
    let title = format!(" {}{filter} ", output::plural(lines.len(), "frame"));
    let table = Table::new(rows, widths)
        .header(header.style(Style::new().add_modifier(Modifier::BOLD)))
        .block(Block::bordered().title(title))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(view.position());
    frame.render_stateful_widget(table, area, &mut state);
}

fn cells(line: &Line) -> Vec<Cell<'static>> {
    let frame = &line.frame;
    let texts = match &frame.error {
        Some(error) => vec![format!("{}: {error}", frame.name)],
        None => vec![
            frame.name.clone(),
            frame.version.to_string(),
            output::thousands(frame.rows),
            output::size(frame.bytes),
            output::age(frame.time),
            frame.users.to_string(),
            output::size(line.pss),
            frame.superseded.len().to_string(),
        ],
    };
    texts.into_iter().map(Cell::from).collect()
}

fn readers_of_chosen(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let lines = view.lines();
    let chosen = view.position().map(|position| lines[position]);
    let title = chosen.map_or_else(|| " no frame ".to_owned(), |line| format!(" readers of {} ", line.frame.name));
    let rows = chosen.into_iter().flat_map(|line| &line.readers).map(|reader| {
        let pss = reader.pss.map_or_else(|| "-".to_owned(), output::size);
        Row::new([reader.pid.to_string(), reader.command.clone(), format!("@{}", reader.version), pss])
    });
    let widths = [Constraint::Length(8), Constraint::Fill(1), Constraint::Length(10), Constraint::Length(9)];
    let header = Row::new(["PID", "COMMAND", "VERSION", "PSS"]).style(Style::new().add_modifier(Modifier::BOLD));
    frame.render_widget(Table::new(rows, widths).header(header).block(Block::bordered().title(title)), area);
}

#[cfg(test)]
mod tests {
    use ratatui::{
        Terminal,
        backend::TestBackend,
        crossterm::event::{KeyCode, KeyEvent},
    };

    use super::{Memory, draw, sentence};
    use crate::commands::{
        ls::{FrameLine, StoreLine},
        show::Reader,
        top::{
            collect::{Line, Sample},
            view::{After, View},
        },
    };

    fn line(name: &str, bytes: u64, pids: &[u32]) -> Line {
        let frame = FrameLine {
            name: name.to_owned(),
            version: bytes,
            rows: 1000,
            columns: 2,
            bytes,
            created: None,
            users: pids.len(),
            superseded: Vec::new(),
            origin: None,
            error: None,
            time: None,
        };
        let reader =
            |pid: &u32| Reader { pid: *pid, command: format!("worker-{pid}"), version: bytes, pss: Some(bytes / 2) };
        Line { frame, pss: bytes, readers: pids.iter().map(reader).collect() }
    }

    fn view() -> View {
        let store = {
            let path = "/dev/shm/s".into();
            StoreLine { path, frames: 3, segments: 3, bytes: 6000, free: 9, total: 10, ..StoreLine::default() }
        };
        let frames = vec![line("alpha", 1000, &[]), line("beta", 3000, &[7, 8]), line("gamma", 2000, &[9])];
        View::new(Sample { store, frames, memory: Memory::default() })
    }

    fn picture(view: &mut View) -> String {
        let mut terminal = Terminal::new(TestBackend::new(100, 20)).unwrap();
        terminal.draw(|frame| draw(frame, view)).unwrap();
        terminal.backend().to_string()
    }

    fn names(view: &View) -> Vec<&str> {
        view.lines().iter().map(|line| line.frame.name.as_str()).collect()
    }

    fn press(view: &mut View, keys: &str) {
        for c in keys.chars() {
            assert_eq!(view.key(KeyEvent::from(KeyCode::Char(c))), After::Continue);
        }
    }

    #[test]
    fn keys_sort_and_the_same_key_turns_the_order() {
        let mut view = view();
        assert_eq!(names(&view), ["alpha", "beta", "gamma"]);
        press(&mut view, "s");
        assert_eq!(names(&view), ["beta", "gamma", "alpha"]);
        press(&mut view, "s");
        assert_eq!(names(&view), ["alpha", "gamma", "beta"]);
        press(&mut view, "u");
        assert_eq!(names(&view), ["beta", "gamma", "alpha"]);
        assert!(picture(&mut view).contains("USERS↓"));
    }

    #[test]
    fn a_filter_hides_frames_and_escape_brings_them_back() {
        let mut view = view();
        press(&mut view, "/AM");
        assert_eq!(names(&view), ["gamma"]);
        assert!(picture(&mut view).contains("filter: AM_"));
        // A letter that sorts or quits elsewhere is text here.
        press(&mut view, "q");
        assert!(names(&view).is_empty());
        view.key(KeyEvent::from(KeyCode::Esc));
        assert_eq!(names(&view).len(), 3);
    }

    #[test]
    fn the_readers_of_the_chosen_frame_are_shown_and_it_stays_chosen_when_lines_move() {
        let mut view = view();
        press(&mut view, "j");
        let picture_of_beta = picture(&mut view);
        assert!(picture_of_beta.contains("readers of beta"), "{picture_of_beta}");
        assert!(picture_of_beta.contains("worker-7") && picture_of_beta.contains("worker-8"), "{picture_of_beta}");
        press(&mut view, "s");
        assert_eq!(view.position(), Some(0));
        press(&mut view, "kjjjjj");
        assert!(picture(&mut view).contains("readers of alpha"));
    }

    #[test]
    fn a_process_that_maps_two_versions_is_one_user() {
        let mut view = view();
        let mut twice = line("alpha", 1000, &[5, 5]);
        twice.frame.users = 1;
        view.snapshot.frames = vec![twice, line("beta", 3000, &[7, 8])];
        press(&mut view, "u");
        assert_eq!(names(&view), ["beta", "alpha"]);
        let picture = picture(&mut view);
        let row = picture.lines().find(|line| line.contains("alpha") && line.contains("1.0 kB")).unwrap();
        assert_eq!(row.split_whitespace().rev().nth(4), Some("1"), "{row}");
    }

    #[test]
    fn one_line_reports_whether_memory_is_shared_or_duplicated() {
        let shared = Memory { processes: 4, mapped: 1000, separate: 4000, pss: 900, ..Memory::default() };
        let text = "memory shared: 4 processes map 1.0 kB, 900 B of it resident in all; copies would take 4.0 kB";
        assert_eq!(sentence(&shared), text);
        let duplicated = Memory { superseded: 2, superseded_bytes: 500, ..shared };
        assert!(sentence(&duplicated).starts_with("memory duplicated: 2 superseded versions in use, 500 B more;"));
    }
}
