//! Handles, names, columns and layouts that their sender made up.

use std::{path::Path, time::Instant};

use coframe::{Handle, Name, Store, StringLayout, map::MapHandle, sync::CellHandle};

use crate::{
    Result,
    content::{self, KEPT},
    ensure,
    random::Random,
};

/// A message that fits on a screen, whatever was sent.
const MESSAGE: usize = 2000;

pub(super) fn run(directory: &Path) -> Result<String> {
    let store = Store::open_at(directory.join("store"))?;
    let (frame, _) = content::publish(&store, KEPT[0], &mut Random::new(8))?;
    let good = frame.handle().to_string();
    let mut texts = vec![
        String::new(),
        good.replace("/a@", "/../a@"),
        good.replace("/a@", "/%2e%2e/a@"),
        good.replace("/a@", "/%2e%2e%2fa@"),
        good.replace("a@1", "..@1"),
        good.replace("a@1", "a%00@1"),
        good.replace("a@1", "a@-1"),
        good.replace("a@1", "a@18446744073709551616"),
        format!("{good}\n"),
        format!("\n{good}"),
        good.replace('?', "?\n"),
        format!("{good}&session=../.."),
        format!("{good}&session=%2e%2e"),
        format!("{good}&rows=5..1"),
        format!("{good}&rows=0..18446744073709551615"),
        format!("{good}&columns=,\u{1b}[2J"),
        good.replace("/a@", "/\u{1b}]0;title\u{7}a@"),
        good.replace("coframe:", "coframe:\u{202e}"),
    ];
    let large = 10_000_000;
    for filler in ["a", "\n", "%41", "&", "../", "é", "\u{1b}"] {
        let filler = filler.repeat(large / filler.len());
        texts.extend([
            filler.clone(),
            format!("coframe:{filler}"),
            format!("{good}{filler}"),
            format!("coframe:/{filler}/a@1?id=1"),
        ]);
        texts.push(format!("{good}&columns=,{filler}"));
    }
    let (mut refused, mut longest) = (0, 0);
    for text in &texts {
        let start = Instant::now();
        let errors = [
            text.parse::<Handle>().map(|handle| drop(handle.open())).err(),
            text.parse::<Name>().map(drop).err(),
            text.parse::<CellHandle>().map(drop).err(),
            text.parse::<MapHandle>().map(drop).err(),
            Store::open_session(store.path(), text).map(drop).err(),
            frame.column(text).map(drop).err(),
            frame.select([text]).map(drop).err(),
            text.parse::<StringLayout>().map(drop).err(),
            store.import_shared_memory("b", text).map(drop).err(),
        ];
        for message in errors.into_iter().flatten().map(|error| error.to_string()) {
            let shown: String = text.chars().take(60).collect();
            ensure!(!message.contains(char::is_control), "a raw control character for {shown:?}");
            ensure!(message.len() <= MESSAGE, "a message of {} bytes for {shown:?}", message.len());
            (refused, longest) = (refused + 1, longest.max(message.len()));
        }
        ensure!(start.elapsed().as_secs() < 10, "took {:?}", start.elapsed());
    }
    content::check(&store.open(KEPT[0])?)?;
    Ok(format!("{} texts, {refused} errors, the longest of {longest} bytes", texts.len()))
}
