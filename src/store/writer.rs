//! The only thread that writes to SQLite. It commits queued jobs together, and no caller waits longer than
//! its limit.
//!
//! A write waits for its turn at most as long as for a lock, however many jobs are queued. Its caller and the
//! writer thread agree by one flag on which of them was first: a job whose caller got a refusal never
//! runs.
//!
//! Jobs that are committed together have a savepoint each, so that one that fails takes no other with it. For a savepoint SQLite
//! copies each page before its first change, and keeps the copies in memory until the savepoint ends. Jobs that change thousands
//! of pages are therefore committed alone, without a savepoint: the rows of a sync, and what is made of them.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use diesel::{
    Connection as _,
    connection::{AnsiTransactionManager, TransactionManager as _},
};
use tokio::sync::{mpsc, oneshot};

use super::{Error, conn::Conn, rollback::Rollback, session::Session};
use crate::fair::{self, FairSemaphore};

/// How many jobs one commit takes at most.
const GROUP_JOBS: usize = 64;
/// How long a commit is held open for more jobs that are queued already.
const GROUP_TIME: Duration = Duration::from_millis(10);
/// How many jobs may wait.
const QUEUE: usize = 256;

/// Why jobs of a group, or all of them, were not done.
#[derive(Debug, Clone)]
enum Failure {
    Busy(String),
    Full(String),
    Unavailable(String),
}

impl Failure {
    /// What went wrong with more than one job: its error says that nothing can be written.
    fn of_all(error: &Error) -> Option<Self> {
        match error {
            Error::Busy(why) => Some(Self::Busy(why.clone())),
            Error::Full(why) => Some(Self::Full(why.clone())),
            Error::Unavailable(why) => Some(Self::Unavailable(why.clone())),
            _ => None,
        }
    }

    fn of_rollback<E>(rollback: &Rollback<E>) -> Option<Self> {
        rollback.store().and_then(Self::of_all)
    }

    fn of(error: impl Into<Error>) -> Self {
        let error = error.into();
        Self::of_all(&error).unwrap_or_else(|| Self::Unavailable(format!("{error:?}")))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Busy(why) => Self::Busy(why),
            Failure::Full(why) => Self::Full(why),
            Failure::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

/// A job that was run and waits for the outcome of the commit.
struct Done {
    /// What it met that nothing of its group can be committed with.
    failure: Option<Failure>,
    /// It was alone and failed: its changes are to be rolled back with the transaction.
    has_to_go: bool,
    finish: Box<dyn FnOnce(Result<(), Failure>) + Send>,
}

/// Work: called with the connection, or with why there is none.
type Run = Box<dyn FnOnce(Result<&mut Conn, Failure>) -> Option<Done> + Send>;

/// How much a job changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// Little: it is committed together with others.
    Small,
    /// Many pages: it is committed alone.
    Large,
}

/// Work for the writer.
struct Job {
    /// Until when its caller waits for it to begin.
    deadline: Instant,
    /// Set by the first of two: the writer that starts it, or the caller that stops waiting.
    taken: Arc<AtomicBool>,
    size: Size,
    run: Run,
}

impl Job {
    /// Begins it, unless its caller has gone.
    fn begin(self, turn: Result<&mut Conn, Failure>) -> Option<Done> {
        match self.taken.swap(true, Ordering::AcqRel) {
            true => None,
            false => (self.run)(turn),
        }
    }
}

/// Hands jobs to the thread.
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    /// As many as one commit takes may be queued: what waits beyond, waits for its turn.
    permits: FairSemaphore,
    /// How long a job waits for its turn.
    patience: Duration,
}

impl Writer {
    /// Starts the thread. It ends when this is dropped.
    pub(super) fn start(conn: Conn, session: Session, patience: Duration) -> Result<Self, Error> {
        let (jobs, queue) = mpsc::channel::<Job>(QUEUE);
        thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || write_all(conn, &session, queue))
            .map_err(|e| Error::Unavailable(format!("the writer's thread could not be started: {e}")))?;
        Ok(Self {
            jobs,
            permits: FairSemaphore::with_internal(GROUP_JOBS),
            patience,
        })
    }

    /// Runs work in a transaction and waits until it is committed. Work that could not begin in time is not done.
    pub(super) async fn write<T, E, F>(&self, size: Size, work: F) -> Result<T, Rollback<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Rollback<E>> + Send + 'static,
    {
        let deadline = Instant::now() + self.patience;
        let late = || Error::Busy(format!("nothing could be written for {:?}", self.patience));
        let turn = self.permits.acquire(fair::current());
        let _permit = tokio::time::timeout_at(deadline.into(), turn)
            .await
            .map_err(|_| late())?;
        let (done, mut result) = oneshot::channel();
        let taken = Arc::new(AtomicBool::new(false));
        let run = move |turn: Result<&mut Conn, Failure>| {
            let conn = match turn {
                Ok(conn) => conn,
                Err(failure) => {
                    let _ = done.send(Err(Error::from(failure).into()));
                    return None;
                }
            };
            if done.is_closed() {
                return None;
            }
            // A full disk rolls back all of the transaction, so that the job's savepoint cannot be rolled back: diesel then
            // hands on that error, and not the work's own.
            let mut met = None;
            let work = |conn: &mut Conn| work(conn).inspect_err(|error| met = Failure::of_rollback(error));
            let result = match size {
                Size::Small => conn.transaction(work),
                Size::Large => work(conn),
            };
            Some(Done {
                failure: met.or_else(|| result.as_ref().err().and_then(Failure::of_rollback)),
                has_to_go: size == Size::Large && result.is_err(),
                finish: Box::new(move |committed| {
                    // Whoever asked may have gone; the work is done all the same.
                    let _ = done.send(match committed {
                        Ok(()) => result,
                        Err(failure) => Err(Error::from(failure).into()),
                    });
                }),
            })
        };
        let job = Job {
            deadline,
            taken: Arc::clone(&taken),
            size,
            run: Box::new(run),
        };
        let place = tokio::time::timeout_at(deadline.into(), self.jobs.reserve())
            .await
            .map_err(|_| late())?
            .map_err(|_| Error::Unavailable("the writer stopped".to_owned()))?;
        place.send(job);
        let gave_up = |_| Error::Unavailable("the writer gave the work up".to_owned());
        match tokio::time::timeout_at(deadline.into(), &mut result).await {
            Ok(result) => result.map_err(gave_up)?,
            // It has not begun, and now it never will.
            Err(_) if !taken.swap(true, Ordering::AcqRel) => Err(late().into()),
            Err(_) => result.await.map_err(gave_up)?,
        }
    }
}

fn write_all(conn: Conn, session: &Session, mut jobs: mpsc::Receiver<Job>) {
    let mut conn = Some(conn);
    // The job that came while others were committed, and could not join them.
    let mut next = None;
    while let Some(first) = next.take().or_else(|| jobs.blocking_recv()) {
        if conn.is_none() {
            match session.establish() {
                Ok(open) => conn = Some(open),
                Err(error) => {
                    tracing::error!(%error, "the writer cannot open the database");
                    first.begin(Err(Failure::Unavailable(error.to_string())));
                    continue;
                }
            }
        }
        let Some(open) = conn.as_mut() else { continue };
        // Dropping the connection rolls back whatever is open.
        let group = || write_group(open, first, &mut jobs, &mut next);
        match catch_unwind(AssertUnwindSafe(group)) {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => {
                tracing::warn!(
                    ?failure,
                    "the writer could not commit; it opens the database again"
                );
                conn = None;
            }
            Err(_) => {
                tracing::error!("a job panicked in the writer; its group was rolled back");
                conn = None;
            }
        }
    }
}

/// One commit: the job that came, and those that are queued behind it, each in its savepoint. Fails where the connection
/// is of no use any more.
fn write_group(
    conn: &mut Conn,
    first: Job,
    jobs: &mut mpsc::Receiver<Job>,
    after: &mut Option<Job>,
) -> Result<(), Failure> {
    let Conn::Sqlite(c) = &mut *conn else {
        return Err(Failure::Unavailable("the writer is for SQLite".to_owned()));
    };
    // Another process may hold the file's lock: waited for as long as this job's caller does, and no longer. Those behind
    // it came later, and have the rest of their own time.
    let left = first.deadline.saturating_duration_since(Instant::now());
    let begin = format!("PRAGMA busy_timeout = {}; BEGIN IMMEDIATE", left.as_millis());
    if let Err(error) = AnsiTransactionManager::begin_transaction_sql(c, &begin) {
        let failure = Failure::of(error);
        let busy = matches!(failure, Failure::Busy(_));
        first.begin(Err(failure.clone()));
        return if busy { Ok(()) } else { Err(failure) };
    }
    let start = Instant::now();
    let mut done: Vec<Done> = Vec::new();
    let is_alone = first.size == Size::Large;
    let mut next = Some(first);
    while let Some(job) = next {
        done.extend(job.begin(Ok(conn)));
        let failed = done.last().is_some_and(|done| done.failure.is_some());
        next = match !is_alone && !failed && done.len() < GROUP_JOBS && start.elapsed() < GROUP_TIME {
            true => jobs.try_recv().ok(),
            false => None,
        };
        if next.as_ref().is_some_and(|job| job.size == Size::Large) {
            *after = next.take();
        }
    }
    // A full disk may have rolled back all of the transaction, not the job's part alone: none of it is committed.
    let failure = done.last().and_then(|done| done.failure.clone());
    let has_to_go = failure.is_some() || done.iter().any(|done| done.has_to_go);
    let ended = match (conn, has_to_go) {
        (Conn::Sqlite(c), false) => AnsiTransactionManager::commit_transaction(c),
        (Conn::Sqlite(c), true) => AnsiTransactionManager::rollback_transaction(c),
        (Conn::Postgres(_), _) => Ok(()),
    };
    let (result, usable) = match (failure, ended) {
        (None, Ok(())) => (Ok(()), Ok(())),
        (None, Err(error)) => {
            let failure = Failure::of(error);
            (Err(failure.clone()), Err(failure))
        }
        (Some(failure), Ok(())) => (Err(failure), Ok(())),
        (Some(failure), Err(_)) => (Err(failure.clone()), Err(failure)),
    };
    for job in done {
        (job.finish)(result.clone());
    }
    usable
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use diesel::{RunQueryDsl as _, connection::SimpleConnection as _, sql_query, sql_types};

    use super::*;
    use crate::store::{Options, rollback::Never};

    #[derive(diesel::QueryableByName)]
    struct Length {
        #[diesel(sql_type = sql_types::BigInt)]
        n: i64,
    }

    fn add(length: usize) -> impl FnOnce(&mut Conn) -> Result<usize, Rollback<Never>> + Send + 'static {
        move |conn| {
            let done = sql_query("INSERT INTO t (text) VALUES ($1)")
                .bind::<sql_types::Text, _>("x".repeat(length))
                .execute(conn)?;
            Ok(done)
        }
    }

    #[tokio::test]
    async fn a_full_disk_says_so_and_what_was_committed_stays() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("t.db").display());
        let session = Session::new(&Options::new(url)).unwrap();
        let mut conn = session.establish().unwrap();
        // SQLite's own way to be without room: the file may have so many pages.
        conn.batch_execute("CREATE TABLE t (text TEXT); PRAGMA max_page_count = 20")
            .unwrap();
        let writer = Writer::start(conn, session.clone(), Duration::from_secs(60)).unwrap();
        writer.write(Size::Small, add(10)).await.unwrap();
        let full = Error::from(writer.write(Size::Small, add(1 << 20)).await.unwrap_err());
        assert!(matches!(full, Error::Full(_)) && full.is_retryable(), "{full:?}");
        writer.write(Size::Small, add(20)).await.unwrap();

        let lengths: Vec<Length> = sql_query("SELECT length(text) AS n FROM t ORDER BY 1")
            .load(&mut session.establish().unwrap())
            .unwrap();
        assert_eq!(
            lengths.iter().map(|length| length.n).collect::<Vec<_>>(),
            [10, 20]
        );
    }

    #[tokio::test]
    async fn a_large_job_that_fails_leaves_nothing_and_takes_no_other_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("t.db").display());
        let session = Session::new(&Options::new(url)).unwrap();
        let mut conn = session.establish().unwrap();
        conn.batch_execute("CREATE TABLE t (text TEXT)").unwrap();
        let mut other = session.establish().unwrap();
        other.batch_execute("BEGIN IMMEDIATE").unwrap();
        let writer = Writer::start(conn, session, Duration::from_secs(60)).unwrap();
        let failing = |conn: &mut Conn| {
            add(3)(conn)?;
            Err::<usize, Rollback<Never>>(Error::Corrupt("the work's own error".to_owned()).into())
        };
        // They are queued in this order, while the first waits for the file.
        let mut small = Box::pin(writer.write(Size::Small, add(1)));
        let mut second = Box::pin(writer.write(Size::Small, add(2)));
        let mut large = Box::pin(writer.write(Size::Large, failing));
        let mut fine = Box::pin(writer.write(Size::Large, add(4)));
        let mut last = Box::pin(writer.write(Size::Small, add(5)));
        for job in [&mut small, &mut second] {
            assert!(tokio::time::timeout(Duration::ZERO, job).await.is_err());
        }
        assert!(tokio::time::timeout(Duration::ZERO, &mut large).await.is_err());
        assert!(tokio::time::timeout(Duration::ZERO, &mut fine).await.is_err());
        assert!(tokio::time::timeout(Duration::ZERO, &mut last).await.is_err());
        other.batch_execute("ROLLBACK").unwrap();
        let (small, second, large, fine, last) = tokio::join!(small, second, large, fine, last);
        assert!(matches!(Error::from(large.unwrap_err()), Error::Corrupt(_)));
        assert_eq!(
            [small.unwrap(), second.unwrap(), fine.unwrap(), last.unwrap()],
            [1; 4]
        );
        let lengths: Vec<Length> = sql_query("SELECT length(text) AS n FROM t ORDER BY 1")
            .load(&mut other)
            .unwrap();
        let lengths: Vec<i64> = lengths.iter().map(|length| length.n).collect();
        assert_eq!(lengths, [1, 2, 4, 5]);
    }

    #[tokio::test]
    async fn work_whose_caller_has_gone_is_not_begun() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("t.db").display());
        let session = Session::new(&Options::new(url)).unwrap();
        let mut conn = session.establish().unwrap();
        conn.batch_execute("CREATE TABLE t (text TEXT)").unwrap();
        let mut other = session.establish().unwrap();
        other.batch_execute("BEGIN IMMEDIATE").unwrap();
        let writer = Writer::start(conn, session, Duration::from_secs(60)).unwrap();
        // The first waits for the file; the second, behind it, is given up. Each is in the queue once it was polled.
        let mut first = Box::pin(writer.write(Size::Small, add(1)));
        let mut second = Box::pin(writer.write(Size::Small, add(2)));
        assert!(tokio::time::timeout(Duration::ZERO, &mut first).await.is_err());
        assert!(tokio::time::timeout(Duration::ZERO, &mut second).await.is_err());
        drop(second);
        other.batch_execute("ROLLBACK").unwrap();
        first.await.unwrap();
        let count = writer
            .write(Size::Small, |conn| {
                Ok::<_, Rollback<Never>>(sql_query("DELETE FROM t").execute(conn)?)
            })
            .await
            .unwrap();
        assert_eq!(count, 1);
    }
}
