//! The resources of a process, from /proc.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Threads, descriptors and memory of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
    /// Resident, in bytes.
    pub(crate) memory: u64,
}

impl Held {
    /// Of this process, or of another; None if the system does not report them.
    pub(crate) fn by(process: Option<u32>) -> Option<Self> {
        let folder = folder(process);
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let memory: u64 = memory.trim().trim_end_matches(" kB").trim().parse().ok()?;
        Some(Self {
            threads: fs::read_dir(folder.join("task")).ok()?.count(),
            descriptors: fs::read_dir(folder.join("fd")).ok()?.count(),
            memory: memory * 1024,
        })
    }

    /// The same, once threads and descriptors are back at their earlier numbers, or after two seconds.
    pub(crate) async fn after_release(process: Option<u32>, before: Self) -> Option<Self> {
        for _ in 0..40 {
            let held = Self::by(process)?;
            if held.threads <= before.threads && held.descriptors <= before.descriptors {
                return Some(held);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self::by(process)
    }
}

fn folder(process: Option<u32>) -> PathBuf {
    process.map_or_else(
        || PathBuf::from("/proc/self"),
        |process| PathBuf::from(format!("/proc/{process}")),
    )
}

/// The number of child processes with connectors.
pub(crate) fn children() -> usize {
    let ours = std::process::id().to_string();
    let Ok(processes) = fs::read_dir("/proc") else {
        return 0;
    };
    let child = |folder: PathBuf| {
        let stat = fs::read_to_string(folder.join("stat")).unwrap_or_default();
        // After the name, which may contain any characters: state, parent.
        let parent = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(1).map(str::to_owned));
        let command = fs::read(folder.join("cmdline")).unwrap_or_default();
        let carries =
            command.split(|byte| *byte == 0).nth(1) == Some(tether_connector_host::ARGUMENT.as_bytes());
        parent.as_ref() == Some(&ours) && carries
    };
    processes
        .flatten()
        .filter(|process| child(process.path()))
        .count()
}
