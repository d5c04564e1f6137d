//! What a server and its child processes use: private memory, processor time, bytes written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value as Json, json};

/// A number of `/proc/<pid>/<file>`, by its key.
fn proc_number(pid: u32, file: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let rest = text.lines().find_map(|line| line.strip_prefix(key));
    rest.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    let of =
        |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let lists: Vec<String> = tasks.flatten().map(of).collect();
    let pids = lists.iter().flat_map(|list| list.split_whitespace());
    pids.filter_map(|pid| pid.parse().ok()).collect()
}

fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    (ticks(11) + ticks(12)) as f64 / 100.0
}

/// Samples a server every 10 ms.
pub(crate) struct Watch {
    pid: u32,
    server: Arc<AtomicU64>,
    child: Arc<AtomicU64>,
    both: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    pub(crate) fn new(pid: u32) -> Self {
        let of = Self {
            pid,
            server: Arc::default(),
            child: Arc::default(),
            both: Arc::default(),
            stop: Arc::default(),
        };
        let (server, child) = (of.server.clone(), of.child.clone());
        let (both, stop) = (of.both.clone(), of.stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let own = proc_number(pid, "status", "RssAnon");
                let below: u64 = children(pid)
                    .iter()
                    .map(|pid| proc_number(*pid, "status", "RssAnon"))
                    .sum();
                server.fetch_max(own, Ordering::Relaxed);
                child.fetch_max(below, Ordering::Relaxed);
                both.fetch_max(own + below, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        of
    }

    /// Peaks of private memory so far, and what was used so far.
    pub(crate) fn so_far(&self) -> Json {
        let mb = |kb: &AtomicU64| kb.load(Ordering::Relaxed) / 1024;
        let child: f64 = children(self.pid).iter().map(|pid| cpu_seconds(*pid)).sum();
        json!({
            "private_peak_mb": { "server": mb(&self.server), "child": mb(&self.child), "both": mb(&self.both) },
            "private_now_mb": proc_number(self.pid, "status", "RssAnon") / 1024,
            "cpu_seconds": { "server": cpu_seconds(self.pid), "child": child },
            "written_mb": proc_number(self.pid, "io", "write_bytes") >> 20,
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
