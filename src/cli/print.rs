//! The output of commands.

/// Prints the result of a command to standard output. Logs go to standard error.
#[expect(clippy::print_stdout, reason = "this is what the command was asked for")]
pub(super) fn say(text: &str) {
    println!("{text}");
}
