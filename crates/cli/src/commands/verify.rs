//! `coframe verify`: checks every buffer of every batch, as if another program had written it.

use coframe::{Error, Frame, Store};
use serde::Serialize;

use crate::{
    context::Context,
    failure::{Failure, Result, chain},
    names::Target,
    output::{self, Style},
    text::Text,
};

/// Check every value of a frame, or of all frames; exit with 1 and the violated rule
///
/// docs/FORMAT.md has the rules. Reads the whole frame. A value that was changed to another valid one is not found,
/// because the checksum does not cover values.
#[derive(clap::Args)]
pub(crate) struct Verify {
    /// NAME or NAME@VERSION
    #[arg(required_unless_present = "all", value_name = "NAME")]
    names: Vec<Target>,

    /// All frames of the store
    #[arg(long, conflicts_with = "names")]
    all: bool,
}

#[derive(Serialize)]
struct Report {
    frames: Vec<Verdict>,
}

#[derive(Serialize)]
struct Verdict {
    name: String,
    version: Option<u64>,
    ok: bool,
    rule: Option<&'static str>,
    error: Option<String>,
}

impl Verify {
    pub(crate) fn run(self, context: &Context) -> Result {
        let store = context.store()?;
        let targets = if self.all {
            store.names()?.into_iter().map(|name| Target { name, version: None }).collect()
        } else {
            self.names
        };
        let mut frames = Vec::new();
        for target in targets {
            let verdict = match verify(&store, &target) {
                Err(error) if error.is_not_found() || error.is_superseded() => return Err(error.into()),
                found => verdict(&target, found),
            };
            if !context.json {
                output::print(&line(&verdict))?;
            }
            frames.push(verdict);
        }
        let broken = frames.iter().filter(|verdict| !verdict.ok).count();
        if context.json {
            output::print_json(&Report { frames })?;
        }
        if broken > 0 {
            return Err(Failure::failed(format_args!("{broken} damaged; publish from the source again")));
        }
        Ok(())
    }
}

fn verify(store: &Store, target: &Target) -> std::result::Result<Frame, Error> {
    match target.version {
        Some(version) => store.verify_version(target.name.as_str(), version),
        None => store.verify(target.name.as_str()),
    }
}

fn verdict(target: &Target, found: std::result::Result<Frame, Error>) -> Verdict {
    let name = target.name.to_string();
    match found {
        Ok(frame) => Verdict { name, version: Some(frame.version()), ok: true, rule: None, error: None },
        Err(error) => {
            Verdict { name, version: target.version, ok: false, rule: error.rule(), error: Some(chain(&error)) }
        }
    }
}

fn line(verdict: &Verdict) -> Text {
    let version = verdict.version.map(|version| format!("@{version}")).unwrap_or_default();
    let frame = Text::new(format_args!("{}{version}: ", verdict.name));
    match &verdict.error {
        None => frame.then(Text::new("ok").styled(Style::Green)),
        Some(error) => frame.then(Text::new("damaged").styled(Style::Red)).then(Text::new(format_args!(": {error}"))),
    }
}
