//! Throw-away PostgreSQL databases for tests.
//!
//! nextest runs every test in a process of its own, so processes share the cluster: the first that needs it
//! starts it, and a small watcher process stops it and removes its folder when no test process has used it
//! for some seconds. Three files in the target folder coordinate this:
//!
//! - `start.lock`: locked while a process starts, stops or checks the cluster, and while a template is
//!   created;
//! - `users.lock`: locked (shared) by every process that uses the cluster, until the process ends;
//! - `folder`: the path of the cluster. It is in the temporary folder, because PostgreSQL refuses to run as
//!   root, and its own user may have no access to the target folder.
//!
//! There is one template database for each state of the migrations, and one clone of it for each test.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use diesel::{Connection, PgConnection, RunQueryDsl, connection::SimpleConnection};

/// A database for one test, removed when dropped.
pub(crate) struct Database {
    /// Its address.
    pub(crate) url: String,
    /// Further databases for data sets, without tables.
    pub(crate) data: Vec<Database>,
    name: String,
    cluster: &'static Cluster,
}

/// The running cluster, in use by this process.
struct Cluster {
    socket: PathBuf,
    template: String,
    _user: File,
}

/// A new database with all migrations applied.
pub(crate) fn database() -> Database {
    create(true)
}

/// The same, with two further databases for data sets.
#[allow(dead_code, reason = "the benches need less")]
pub(crate) fn split() -> Database {
    let mut control = create(true);
    control.data = vec![create(false), create(false)];
    control
}

fn create(migrated: bool) -> Database {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let cluster = CLUSTER.get_or_init(Cluster::join);
    let name = format!(
        "t_{}_{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    cluster.admin(&format!("DROP DATABASE IF EXISTS {name}"));
    let template = if migrated { &cluster.template } else { "template0" };
    cluster.admin(&format!("CREATE DATABASE {name} TEMPLATE {template}"));
    Database {
        url: cluster.url(&name),
        data: Vec::new(),
        name,
        cluster,
    }
}

#[allow(dead_code, reason = "the benches need less")]
impl Database {
    /// The addresses of the further databases, by name.
    pub(crate) fn data_urls(&self) -> Vec<(String, String)> {
        let named = |(n, one): (usize, &Self)| (format!("data{n}"), one.url.clone());
        self.data.iter().enumerate().map(named).collect()
    }

    /// Its name in the cluster.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The folder of the cluster's socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.cluster.socket
    }

    /// Its address for another role.
    pub(crate) fn url_for(&self, role: &str) -> String {
        self.url.replace("user=postgres", &format!("user={role}"))
    }

    /// Executes SQL as the superuser, in the cluster's own database.
    pub(crate) fn admin(&self, sql: &str) {
        self.cluster.admin(sql);
    }

    /// The log of the cluster: each message begins with the database's name and a colon.
    pub(crate) fn log(&self) -> PathBuf {
        self.cluster.socket.join("server.log")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.cluster
            .admin(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

impl Cluster {
    fn join() -> Self {
        let state = Path::new(env!("CARGO_TARGET_TMPDIR")).join("postgres");
        fs::create_dir_all(&state).unwrap();
        let start = File::create(state.join("start.lock")).unwrap();
        start.lock().unwrap();
        let user = File::create(state.join("users.lock")).unwrap();
        user.lock_shared().unwrap();

        let known = fs::read_to_string(state.join("folder")).unwrap_or_default();
        let folder = match running(known.trim()) {
            Some(folder) => folder,
            None => {
                // Left by a watcher that was killed.
                if known.starts_with("/tmp/tether-pg-") {
                    let _ = fs::remove_dir_all(known.trim());
                }
                start_cluster(&state)
            }
        };
        let mut cluster = Self {
            socket: folder,
            template: String::new(),
            _user: user,
        };
        cluster.template = cluster.template();
        drop(start);
        cluster
    }

    fn url(&self, database: &str) -> String {
        format!(
            "postgres:///{database}?host={}&user=postgres",
            self.socket.display()
        )
    }

    fn admin(&self, sql: &str) {
        let mut conn = PgConnection::establish(&self.url("postgres")).unwrap();
        conn.batch_execute("SET client_min_messages = error").unwrap();
        conn.batch_execute(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// The template for the current migrations; created if it does not exist.
    fn template(&self) -> String {
        let mut hash = DefaultHasher::new();
        let mut files: Vec<PathBuf> = Vec::new();
        for folder in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres")).unwrap() {
            files.push(folder.unwrap().path().join("up.sql"));
        }
        files.sort();
        for file in files {
            fs::read_to_string(&file).unwrap_or_default().hash(&mut hash);
        }
        let name = format!("template_{:016x}", hash.finish());
        let mut conn = PgConnection::establish(&self.url("postgres")).unwrap();
        let found = diesel::sql_query(format!("SELECT 1 FROM pg_database WHERE datname = '{name}'"))
            .execute(&mut conn)
            .unwrap();
        if found == 0 {
            let making = format!("{name}_making");
            self.admin(&format!("DROP DATABASE IF EXISTS {making} WITH (FORCE)"));
            self.admin(&format!("CREATE DATABASE {making}"));
            let store = tether::store::Store::open(&tether::store::Options::new(self.url(&making))).unwrap();
            std::thread::spawn(move || {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap()
                    .block_on(store.migrate())
                    .unwrap()
            })
            .join()
            .unwrap();
            self.admin(&format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{making}'"
            ));
            self.admin(&format!("ALTER DATABASE {making} RENAME TO {name}"));
        }
        name
    }
}

fn running(folder: &str) -> Option<PathBuf> {
    if folder.is_empty() {
        return None;
    }
    let folder = PathBuf::from(folder);
    let url = format!("postgres:///postgres?host={}&user=postgres", folder.display());
    PgConnection::establish(&url).ok().map(|_| folder)
}

/// The newest installed version.
fn binaries() -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.parse().ok()?;
            path.join("bin/initdb")
                .exists()
                .then(|| (version, path.join("bin")))
        })
        .collect();
    found.sort();
    match found.pop() {
        Some((_, path)) => path,
        None => panic!(
            "no PostgreSQL found under /usr/lib/postgresql/*/bin: the tests need its server programs \
             (`apt-get install postgresql`)"
        ),
    }
}

/// A command that runs as a user that PostgreSQL accepts.
fn unprivileged(program: &Path) -> Command {
    let root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|o| o.stdout == b"0\n");
    let mut command = if root {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::null());
    command
}

fn run(mut command: Command, log: &Path) {
    let out = File::options().create(true).append(true).open(log).unwrap();
    let status = command
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .status()
        .unwrap();
    assert!(
        status.success(),
        "{command:?} failed: {}\n{}",
        status,
        fs::read_to_string(log).unwrap_or_default()
    );
}

fn start_cluster(state: &Path) -> PathBuf {
    let bin = binaries();
    // A short path: a socket's name has at most 107 characters.
    let out = unprivileged(Path::new("mktemp"))
        .args(["-d", "/tmp/tether-pg-XXXXXX"])
        .output()
        .unwrap();
    let folder = PathBuf::from(String::from_utf8(out.stdout).unwrap().trim());
    assert!(
        folder.is_dir(),
        "no folder for PostgreSQL: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    let log = state.join("cluster.log");
    let _ = fs::remove_file(&log);
    let data = folder.join("data");

    let mut initdb = unprivileged(&bin.join("initdb"));
    initdb.arg("-D").arg(&data).args([
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-sync",
        "--locale=C.UTF-8",
    ]);
    run(initdb, &log);

    let options = format!(
        "-k {} -c listen_addresses='' -c fsync=off -c full_page_writes=off -c synchronous_commit=off \
         -c max_connections=300 -c shared_buffers=128MB -c max_wal_size=4GB -c autovacuum_naptime=10s \
         -c log_line_prefix='%d: '",
        folder.display()
    );
    let mut start = unprivileged(&bin.join("pg_ctl"));
    start
        .arg("-D")
        .arg(&data)
        .arg("-l")
        .arg(folder.join("server.log"))
        .arg("-o")
        .arg(options)
        .args(["-w", "start"])
        // The code must not depend on the texts of errors: roles that may not choose their language get
        // German ones.
        .env("LANGUAGE", "de");
    run(start, &log);

    fs::write(state.join("folder"), folder.display().to_string()).unwrap();
    watch(state, &folder, &bin);
    folder
}

/// Starts the watcher: it stops the cluster when no process has used it for ten seconds.
#[expect(
    clippy::zombie_processes,
    reason = "the watcher outlives this process by design"
)]
fn watch(state: &Path, folder: &Path, bin: &Path) {
    const SCRIPT: &str = r#"
state=$1 folder=$2 pg_ctl=$3
as_owner() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }
idle=0
while [ $idle -lt 5 ]; do
    sleep 2
    if flock -n -x "$state/users.lock" true; then idle=$((idle + 1)); else idle=0; fi
done
exec 9>"$state/start.lock"
flock -x 9
# Someone may have come while we waited for the lock.
if ! flock -n -x "$state/users.lock" true; then exec 9>&-; exec sh -c "$WATCH" watch "$@"; fi
as_owner "$pg_ctl" -D "$folder/data" -m immediate -w stop
rm -rf "$folder"
rm -f "$state/folder"
"#;
    let mut file = File::create(state.join("watch.log")).unwrap();
    writeln!(file, "watching {}", folder.display()).unwrap();
    Command::new("setsid")
        .args(["sh", "-c", SCRIPT, "watch"])
        .arg(state)
        .arg(folder)
        .arg(bin.join("pg_ctl"))
        .env("WATCH", SCRIPT)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap();
}
