//! A connection that is in use: every question has a bound on its time, so that a network which swallows everything is
//! noticed.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Row};

use super::rows::{Lines, Shape};
use super::{Database, Fault, Pace, connect};

/// How many rows are taken at a time when all are read.
const FETCH: usize = 5_000;
/// How many principals are asked for at a time.
const ASKED: usize = 1_000;
/// More bytes of rows are not read: 1 GiB, as of a file.
const MOST: usize = 1 << 30;
/// More changes are not read one by one.
const MOST_CHANGED: usize = 20_000;

/// How much longer than the server is waited for.
const GRACE: Duration = Duration::from_secs(1);
/// Between two attempts to read the first rows.
const AGAIN: Duration = Duration::from_millis(500);

/// All rows, and the position that marks the state of the database in which they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct All {
    /// The rows.
    pub lines: Lines,
    /// The position.
    pub position: String,
}

/// What has changed since a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// These principals: their ids, and their rows by now.
    Some {
        /// The ids.
        ids: Vec<String>,
        /// The rows of those that are there.
        lines: Lines,
        /// The position by now.
        position: String,
    },
    /// So much that everything is to be read again.
    All,
}

/// A connection. Closed when dropped.
#[derive(Debug)]
pub struct Session {
    client: Client,
    driver: JoinHandle<()>,
    told: Arc<Notify>,
    database: Arc<Database>,
    by_id: String,
    shape: Shape,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    /// Connects, listens for changes, and checks the columns of the rows.
    ///
    /// # Errors
    /// What was refused, or took too long.
    pub async fn open(database: Arc<Database>) -> Result<Self, Fault> {
        let Pace { connect, statement, load, .. } = database.pace;
        let (client, mut connection) = connect::connect(&database.address, connect).await?;
        let told = Arc::new(Notify::new());
        let tell = Arc::clone(&told);
        let driver = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                // Several that come before anybody looks are one.
                if let AsyncMessage::Notification(_) = message {
                    tell.notify_one();
                }
            }
            tell.notify_one();
        });
        let mut session = Self {
            client,
            driver,
            told,
            database: Arc::clone(&database),
            by_id: String::new(),
            shape: Shape::default(),
        };
        let settings = format!(
            "SET default_transaction_read_only = on; SET lock_timeout = {}; \
             SET idle_in_transaction_session_timeout = {}",
            statement.as_millis(),
            load.as_millis(),
        );
        session.run(statement, &settings).await?;
        let queries = &database.queries;
        let described = session.within(statement, session.client.prepare(&named(&queries.principals))).await?;
        session.shape = Shape::of(described.columns())?;
        let selected = session.shape.selected();
        session.by_id = match &queries.principals_by_id {
            Some(query) => {
                let query = named(query);
                let described = session.client.prepare_typed(&query, &[Type::TEXT_ARRAY]);
                if Shape::of(session.within(statement, described).await?.columns())? != session.shape {
                    return Err(Fault::new("`principals` and `principals_by_id` have different columns"));
                }
                query.replacen('*', &selected, 1)
            }
            None => {
                format!("{} WHERE p.\"id\"::text = ANY($1)", named(&queries.principals).replacen('*', &selected, 1))
            }
        };
        if let Some(channel) = &database.notify {
            session.run(statement, &format!("LISTEN \"{}\"", channel.replace('"', "\"\""))).await?;
        }
        Ok(session)
    }

    /// Waits until the database tells that something has changed, or the connection has broken.
    pub async fn told(&self) {
        self.told.notified().await;
    }

    /// Reads what has changed since a position, all in one state of the database. Without a query for it, only whether
    /// the database is there.
    ///
    /// # Errors
    /// What was refused, or took too long.
    pub async fn changes(&self, since: &str) -> Result<Changes, Fault> {
        let limit = self.database.pace.statement;
        let Some(query) = &self.database.queries.changes else {
            self.run(limit, "SELECT 1").await?;
            return Ok(Changes::Some { ids: Vec::new(), lines: Lines::default(), position: since.to_owned() });
        };
        self.begin(limit).await?;
        let position = self.position(limit).await?;
        let query = format!("SELECT c.id::text FROM ({query}\n) AS c(id) LIMIT {}", MOST_CHANGED + 1);
        let rows = self.ask(limit, &query, &[(&since, Type::TEXT)]).await?;
        let ids: Result<Vec<Option<&str>>, Fault> = rows.iter().map(|row| cell(row, 0)).collect();
        let ids: Option<Vec<&str>> = ids?.into_iter().collect();
        let Some(mut ids) = ids.filter(|ids| ids.len() <= MOST_CHANGED) else {
            self.run(limit, "COMMIT").await?;
            return Ok(Changes::All);
        };
        ids.sort_unstable();
        ids.dedup();
        let mut lines = Lines::default();
        for asked in ids.chunks(ASKED) {
            for row in &self.ask(limit, &self.by_id, &[(&asked, Type::TEXT_ARRAY)]).await? {
                self.shape.add(&mut lines, |number| cell(row, number))?;
            }
        }
        self.run(limit, "COMMIT").await?;
        Ok(Changes::Some { ids: ids.into_iter().map(str::to_owned).collect(), lines, position })
    }

    /// Reads all rows.
    async fn all(&self) -> Result<All, Fault> {
        let limit = self.database.pace.load;
        self.begin(limit).await?;
        let position = self.position(limit).await?;
        let query = named(&self.database.queries.principals).replacen('*', &self.shape.selected(), 1);
        self.run(limit, &format!("DECLARE principals NO SCROLL CURSOR FOR {query}")).await?;
        let (mut lines, fetch) = (Lines::default(), format!("FETCH {FETCH} FROM principals"));
        loop {
            let rows = self.ask(limit, &fetch, &[]).await?;
            for row in &rows {
                self.shape.add(&mut lines, |number| cell(row, number))?;
            }
            if lines.text.len() > MOST {
                return Err(Fault::new(format!("the rows have more than {} MiB, which are read at most", MOST >> 20)));
            }
            if rows.len() < FETCH {
                break;
            }
        }
        self.run(limit, "COMMIT").await?;
        Ok(All { lines, position })
    }

    /// Begins a transaction that sees one state of the database and changes nothing.
    async fn begin(&self, limit: Duration) -> Result<(), Fault> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout =";
        self.run(limit, &format!("{begin} {}", limit.as_millis())).await
    }

    async fn position(&self, limit: Duration) -> Result<String, Fault> {
        let query = format!("SELECT q.at::text FROM ({}\n) AS q(at)", self.database.queries.position);
        let rows = self.ask(limit, &query, &[]).await?;
        let position = rows.first().map(|row| cell(row, 0)).transpose()?.flatten();
        Ok(position.unwrap_or_default().to_owned())
    }

    async fn run(&self, limit: Duration, commands: &str) -> Result<(), Fault> {
        self.within(limit, self.client.batch_execute(commands)).await
    }

    async fn ask(
        &self,
        limit: Duration,
        query: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, Fault> {
        self.within(limit, self.client.query_typed(query, parameters)).await
    }

    async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Fault> {
        // The server is to give up first, since it can say why.
        let patience = limit.saturating_add(GRACE);
        match timeout(patience, work).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(Fault::late("an answer", patience)),
        }
    }
}

/// A query as a table of the name `p`, of which everything is selected.
fn named(query: &str) -> String {
    format!("SELECT * FROM ({query}\n) AS p")
}

fn cell(row: &Row, number: usize) -> Result<Option<&str>, Fault> {
    Ok(row.try_get(number)?)
}

/// Reads all rows over a connection of its own, on this thread, and tries again for so long.
///
/// # Errors
/// Why it failed the last time.
pub fn read_all(database: &Arc<Database>, patience: Duration) -> Result<All, Fault> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Fault::new(format!("no runtime: {error}")))?;
    runtime.block_on(async {
        let begun = tokio::time::Instant::now();
        loop {
            let read = async { Session::open(Arc::clone(database)).await?.all().await };
            match read.await {
                Ok(all) => return Ok(all),
                Err(fault) if begun.elapsed() >= patience => return Err(fault),
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    })
}
