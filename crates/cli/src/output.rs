//! The output of commands: sizes and ages for people, JSON for programs.

use std::{
    fmt,
    io::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

pub(crate) use crate::stdout::{Style, shared_stdout, stdout};
use crate::{
    failure::Result,
    text::{Json, Text, escaped},
};

/// The width if neither the terminal nor the user gives one.
const DEFAULT_WIDTH: usize = 100;

/// The longest time that a command waits: 136 years.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);

pub(crate) fn print(text: &Text) -> Result {
    let mut out = stdout();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Prints one line, in which all data is escaped.
pub(crate) fn print_line(line: impl fmt::Display) -> Result {
    print(&Text::new(line))
}

/// Prints one JSON value on one line.
pub(crate) fn print_json(value: &impl Serialize) -> Result {
    let mut out = stdout();
    serde_json::to_writer(Json::new(&mut out), value)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// Prints a line that is not data to standard error.
pub(crate) fn note(line: impl fmt::Display) {
    eprintln!("{}", Text::new(line));
}

/// Returns the width of the output: `$COLUMNS`, else the terminal's width.
pub(crate) fn width() -> usize {
    let named = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let asked = || rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
    named.or_else(asked).filter(|columns| *columns > 0).unwrap_or(DEFAULT_WIDTH)
}

/// Arranges rows in columns without borders. Columns in `right` contain numbers.
pub(crate) fn columns(header: &[&str], rows: Vec<Vec<String>>, right: &[usize]) -> Text {
    let rows = rows.iter().map(|row| row.iter().map(|cell| escaped(cell)));
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header.iter().copied()).add_rows(rows);
    for (position, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&position) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let text = table.trim_fmt();
    let (head, rest) = text.split_once('\n').map_or((text.as_str(), None), |(head, rest)| (head, Some(rest)));
    Text::lines([Text::new(head).styled(Style::Bold)].into_iter().chain(rest.map(Text::from_lines)))
}

/// Formats a size in bytes, kilobytes (1000 bytes), megabytes and so on.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Formats an age in one unit; `-` if it is unknown.
pub(crate) fn age(created: Option<SystemTime>) -> String {
    let Some(created) = created else { return "-".to_owned() };
    let seconds = SystemTime::now().duration_since(created).unwrap_or_default().as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Returns the milliseconds since 1970, as JSON has them.
pub(crate) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Formats a number with a space every three digits.
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Formats a count: `1 frame`, `2 frames`.
pub(crate) fn plural(count: usize, what: &str) -> String {
    let end = match what {
        _ if count == 1 => "",
        _ if what.ends_with('s') || what.ends_with('h') => "es",
        _ => "s",
    };
    format!("{} {what}{end}", thousands(count))
}

/// Reads `500ms`, `10s`, `2m`, `1h`, or a number of seconds.
pub(crate) fn duration(text: &str) -> std::result::Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write for example 500ms, 10s, 2m or 1h");
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[number.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let value: f64 = number.parse().map_err(|_| wrong())?;
    // Longer than any process runs, and still a deadline that clocks can represent.
    Duration::try_from_secs_f64(value * seconds).map(|duration| duration.min(FOR_EVER)).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{duration, size, thousands};

    #[test]
    fn sizes_have_one_digit_after_the_point_and_never_four_before_it() {
        let sizes = [0, 999, 1000, 999_949, 999_950, 1_191_400_000].map(size);
        assert_eq!(sizes, ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "1.2 GB"]);
    }

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!([0, 999, 1000, 16_838_800].map(thousands), ["0", "999", "1 000", "16 838 800"]);
    }

    #[test]
    fn durations_are_read_with_and_without_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        assert_eq!(duration("9999999999999999999s"), Ok(super::FOR_EVER));
        for wrong in ["", "s", "-1s", "3 days", "1e400"] {
            assert!(duration(wrong).is_err(), "{wrong} was accepted");
        }
    }
}
