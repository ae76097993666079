//! `coframe adopt`: trusts a store that came from elsewhere.

use serde::Serialize;

use crate::{context::Context, failure::Result, output};

/// Trust a store that was copied, unpacked or mounted here, after a check of every value in it
///
/// Until then every open validates the whole frame, and cells and dicts are refused. They cannot be checked: adopt a
/// store with dicts only if you trust its writer, because Python unpickles their values.
#[derive(clap::Args)]
pub(crate) struct Adopt {}

#[derive(Serialize)]
struct Adopted {
    store: String,
    versions: usize,
}

impl Adopt {
    #[expect(clippy::unused_self, reason = "every command runs alike")]
    pub(crate) fn run(self, context: &Context) -> Result {
        let store = context.store()?;
        let (versions, path) = (store.adopt()?, store.path().display().to_string());
        if context.json {
            return output::print_json(&Adopted { store: path, versions });
        }
        output::print_line(format_args!("adopted {path}: {} checked", output::plural(versions, "version")))
    }
}
