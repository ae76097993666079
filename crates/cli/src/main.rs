//! The `coframe` command.

fn main() {}
