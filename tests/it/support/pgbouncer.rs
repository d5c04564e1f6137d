//! A PgBouncer in front of the tests' cluster, in transaction mode: each transaction gets any free
//! connection.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use super::postgres::Database;

/// A running PgBouncer; dropping this ends it.
pub(crate) struct PgBouncer {
    child: Child,
    folder: std::path::PathBuf,
}

impl PgBouncer {
    /// Starts one with so few connections to the server that they are shared.
    pub(crate) fn start(before: &Database) -> Self {
        let program = [
            "/usr/sbin/pgbouncer",
            "/usr/bin/pgbouncer",
            "/usr/local/bin/pgbouncer",
        ]
        .into_iter()
        .find(|program| Path::new(program).is_file())
        .expect("no PgBouncer found: `apt-get install pgbouncer`");
        // A short path: a socket's name has at most 107 characters.
        let folder = Path::new("/tmp").join(format!("tether-pb-{}-{}", std::process::id(), before.name()));
        std::fs::create_dir(&folder).unwrap();
        let settings = folder.join("pgbouncer.ini");
        std::fs::write(
            &settings,
            format!(
                "[databases]\n* = host={} user=postgres\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\n\
                 unix_socket_dir = {}\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 3\n\
                 max_client_conn = 100\n",
                before.socket().display(),
                folder.display(),
            ),
        )
        .unwrap();
        let mut command = Command::new(program);
        // It refuses to run as root, as PostgreSQL does.
        let root = Command::new("id")
            .arg("-u")
            .output()
            .is_ok_and(|out| out.stdout == b"0\n");
        if root {
            let id = |which: &str| -> u32 {
                let out = Command::new("id").args([which, "postgres"]).output().unwrap();
                String::from_utf8(out.stdout).unwrap().trim().parse().unwrap()
            };
            let (user, group) = (id("-u"), id("-g"));
            std::os::unix::fs::chown(&folder, Some(user), Some(group)).unwrap();
            std::os::unix::fs::chown(&settings, Some(user), Some(group)).unwrap();
            command.uid(user).gid(group);
        }
        let mut child = command
            .arg(&settings)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("process up") {
            line.clear();
            assert!(
                said.read_line(&mut line).unwrap() > 0,
                "PgBouncer ended: {:?}",
                child.wait()
            );
        }
        // Reads its output, so that a full pipe does not block it.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self { child, folder }
    }

    /// The address of a database behind it.
    pub(crate) fn url(&self, database: &str) -> String {
        format!(
            "postgres:///{database}?host={}&port=6432&user=postgres",
            self.folder.display()
        )
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
