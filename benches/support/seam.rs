//! Kills that fall between a commit of control and one of the data set: a row lock holds one side back until the other is
//! committed.

use std::time::{Duration, Instant};

use diesel::{
    Connection as _, PgConnection, QueryableByName, RunQueryDsl as _, connection::SimpleConnection as _,
    sql_types,
};

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = sql_types::BigInt)]
    n: i64,
}

/// Which of the two is committed when the process is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Between {
    /// The lease is in control, the data set is not claimed.
    LeaseAndClaim,
    /// The rows are in the data set, control was not told.
    CommitAndReport,
}

/// The databases of one integration.
pub(crate) struct Seam {
    control: String,
    data: Vec<String>,
}

fn number(conn: &mut PgConnection, sql: &str) -> Option<i64> {
    let rows: Vec<Number> = diesel::sql_query(sql).load(conn).unwrap();
    rows.first().map(|row| row.n)
}

impl Seam {
    /// `data`: the databases in which the data set may be.
    pub(crate) fn new(control: &str, data: &[String]) -> Self {
        Self {
            control: control.to_owned(),
            data: data.to_vec(),
        }
    }

    /// The database with the data set, once it is claimed.
    fn place(&self) -> Option<PgConnection> {
        let conns = self.data.iter().map(|url| PgConnection::establish(url).unwrap());
        conns.into_iter().find_map(|mut conn| {
            number(&mut conn, "SELECT count(*) AS n FROM data_set")
                .filter(|n| *n > 0)
                .map(|_| conn)
        })
    }

    /// Holds one side back; calls `start`, then waits until the other side is committed, and calls `kill`. False if the sync
    /// ended or nothing happened in time.
    pub(crate) fn kill(&self, between: Between, start: impl FnOnce(), kill: impl FnOnce()) -> bool {
        let mut control = PgConnection::establish(&self.control).unwrap();
        let Some(mut data) = self.place() else {
            return false;
        };
        let mut look = self.place().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let wait = || std::thread::sleep(Duration::from_millis(1));
        let mut reached = false;
        match between {
            Between::LeaseAndClaim => {
                data.batch_execute("BEGIN; SELECT fence FROM data_set FOR UPDATE")
                    .unwrap();
                let claimed = number(&mut look, "SELECT fence AS n FROM data_set").unwrap();
                start();
                while !reached && Instant::now() < deadline {
                    wait();
                    let leased = number(
                        &mut control,
                        "SELECT fence AS n FROM sync WHERE state = 'RUNNING'",
                    );
                    reached = leased.is_some_and(|leased| leased > claimed);
                }
            }
            Between::CommitAndReport => {
                let before = number(&mut look, "SELECT fence AS n FROM data_set").unwrap();
                start();
                // The row of the killed worker still says RUNNING: the next one has to have claimed.
                let claimed = |look: &mut PgConnection| {
                    number(look, "SELECT fence AS n FROM data_set").is_some_and(|fence| fence > before)
                };
                while !claimed(&mut look) && Instant::now() < deadline {
                    wait();
                }
                control.batch_execute("BEGIN").unwrap();
                let held = number(
                    &mut control,
                    "SELECT checkpoint_seq AS n FROM sync WHERE state = 'RUNNING' FOR UPDATE",
                );
                let patience = Instant::now() + Duration::from_secs(4);
                while !reached && held.is_some() && Instant::now() < patience {
                    wait();
                    let stored = number(&mut look, "SELECT checkpoint_seq AS n FROM data_set").unwrap();
                    reached = held.is_some_and(|reported| stored > reported);
                }
            }
        }
        kill();
        // The locks go with these connections.
        reached
    }
}
