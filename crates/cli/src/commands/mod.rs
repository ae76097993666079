//! One file for each command, or for a few that are alike.

pub(crate) mod adopt;
pub(crate) mod completions;
pub(crate) mod describe;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod list;
pub(crate) mod manage;
pub(crate) mod publish;
pub(crate) mod rows;
pub(crate) mod show;
pub(crate) mod sql;
pub(crate) mod top;
pub(crate) mod verify;
pub(crate) mod wait;
