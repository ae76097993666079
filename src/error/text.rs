//! Strings of others in messages: without control characters, and short enough for a screen.

use std::{borrow::Cow, fmt, path::Path};

/// Longest part of a message in characters: one of what failed, the value found, the next step.
const MOST: usize = 600;
/// Characters that stay at the end of a part that is cut. An explanation often follows a name.
const END: usize = 200;

/// A string of another program as an error shows it: without control characters, and short enough for a screen.
#[must_use]
pub fn excerpt(text: &str) -> String {
    const MOST: usize = 200;
    match text.char_indices().nth(MOST) {
        None => text.escape_debug().to_string(),
        Some((end, _)) => {
            format!("{}.. ({} bytes)", text.get(..end).unwrap_or_default().escape_debug(), text.len())
        }
    }
}

/// One part of a message, which may contain names of columns, paths or errors of any length.
pub(super) struct Part<'a>(pub(super) &'a str);

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0;
        // Not longer than its bytes, which are counted faster.
        if text.len() <= MOST || text.chars().nth(MOST).is_none() {
            return f.write_str(&visible(text));
        }
        let place = |characters: Option<(usize, char)>| characters.map_or(0, |(place, _)| place);
        let (start, end) = (place(text.char_indices().nth(MOST - END)), place(text.char_indices().nth_back(END - 1)));
        let (head, tail) = (text.get(..start).unwrap_or_default(), text.get(end..).unwrap_or_default());
        write!(f, "{}.. ({} bytes) ..{}", visible(head), text.len(), visible(tail))
    }
}

/// Escapes what a terminal obeys instead of showing it: control characters, and those that change the direction.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    let is_obeyed = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    text.chars().map(|c| if is_obeyed(c) { c.escape_debug().to_string() } else { c.to_string() }).collect()
}

/// A path in a message.
pub(super) struct Shown<'a>(pub(super) &'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Part(&self.0.to_string_lossy()).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Part, Shown, excerpt};

    #[test]
    fn a_part_of_a_message_keeps_its_start_and_its_end_and_shows_no_control_character() {
        let name = "ü\u{1b}".repeat(5_000_000);
        let part = Part(&format!("column `{name}` is too long")).to_string();
        assert!(part.starts_with("column `ü\\u{1b}ü") && part.ends_with("ü\\u{1b}` is too long"), "{part}");
        assert!(part.contains(".. (15000021 bytes) .."), "{part}");
        assert!(part.len() < 3_000 && !part.contains(char::is_control), "{part}");
        assert_eq!(Part("it's `x\u{202e}`\n").to_string(), "it's `x\\u{202e}`\\n");
    }

    #[test]
    fn a_path_or_a_string_of_ten_megabytes_fits_on_a_screen() {
        let text = "\n".repeat(10_000_000);
        assert!(excerpt(&text).len() < 500);
        assert!(Shown(Path::new(&text)).to_string().len() < 2_000);
        assert_eq!(Shown(Path::new("/a b/ü")).to_string(), "/a b/ü");
    }
}
