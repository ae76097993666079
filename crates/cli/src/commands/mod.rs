//! One file for each command, with its name. `rows` and `versions` contain what several commands share.

pub(crate) mod adopt;
pub(crate) mod completions;
pub(crate) mod cp;
pub(crate) mod describe;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod head;
pub(crate) mod ls;
pub(crate) mod machines;
pub(crate) mod mv;
pub(crate) mod publish;
pub(crate) mod rm;
mod rows;
pub(crate) mod sample;
pub(crate) mod show;
pub(crate) mod sql;
pub(crate) mod sweep;
pub(crate) mod tail;
pub(crate) mod top;
pub(crate) mod verify;
mod versions;
pub(crate) mod wait;
pub(crate) mod watch;
