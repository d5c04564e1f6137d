//! Running a simulator as a child process.

use std::io::Read as _;

use serde_json::Value;

/// Prints the line with the simulator's addresses, then waits until it has to exit: at the end of stdin with
/// `exit_with_parent`, else at Ctrl-C.
///
/// # Errors
/// Waiting for Ctrl-C failed.
pub async fn run(addresses: &Value, exit_with_parent: bool) -> std::io::Result<()> {
    #[expect(
        clippy::print_stdout,
        reason = "the one line with the address for the parent process"
    )]
    {
        println!("{addresses}");
    }
    if !exit_with_parent {
        return tokio::signal::ctrl_c().await;
    }
    // A thread, not a task: a blocked read of stdin would keep the runtime from ending.
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while std::io::stdin().read(&mut buffer).is_ok_and(|n| n > 0) {}
        _ = ended.send(());
    });
    _ = end.await;
    Ok(())
}
