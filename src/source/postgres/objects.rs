//! Objects by their keys: one row each, read when somebody asks, over a connection that only reads. What comes back is
//! an object only if there is one row, its id is the key that was asked for, and every value is of a kind that rules
//! compare; anything else is none.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Client, Error, Row, Statement};

use super::{Database, Fault, connect};
use crate::document::Literal;

/// How much longer than the server is waited for, which is to give up first. Past that the connection is given up.
const GRACE: Duration = Duration::from_millis(250);
/// More bytes of names and texts are no object.
const MOST_BYTES: usize = 4096;

/// A kind of objects that are looked up.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Its name.
    pub name: Box<str>,
    /// The row whose key is `$1` (text): its `id`, and one column for each attribute.
    pub query: String,
    /// The attributes.
    pub attributes: Vec<Box<str>>,
    /// How long an answer is believed, be it that there is no such object.
    pub ttl: Duration,
    /// How long a request waits for an answer, and how long the server may take.
    pub wait: Duration,
    /// How many answers are remembered.
    pub most: u64,
}

/// What a database says of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Attributes, by name; without those that are null.
    Found(Vec<(Box<str>, Literal)>),
    /// There is no such object: `row`, if there is no row; `id`, if it has another id; `value`, if the key can be none.
    None(&'static str),
    /// The server took too long.
    Late,
    /// Something that counts for nothing.
    Bad(Fault),
}

/// A connection on which one object at a time is asked for. Closed when dropped.
#[derive(Debug)]
pub struct Finder {
    client: Client,
    driver: JoinHandle<()>,
    /// By kind.
    statements: HashMap<usize, Statement>,
    /// How long the server may take for a question.
    limit: Duration,
    database: Arc<Database>,
}

impl Drop for Finder {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Finder {
    /// Connects. Statements are prepared when they are needed first, so that a fault of one kind is none of another's.
    ///
    /// # Errors
    /// What was refused, or took too long.
    pub async fn open(database: Arc<Database>) -> Result<Self, Fault> {
        let (client, mut connection) = connect::connect(&database.address, database.pace.connect).await?;
        let driver =
            tokio::spawn(async move { while let Some(Ok(_)) = poll_fn(|cx| connection.poll_message(cx)).await {} });
        let longest = database.kinds.iter().map(|kind| kind.wait).max().unwrap_or_default();
        let settings = format!(
            "SET default_transaction_read_only = on; SET idle_in_transaction_session_timeout = {}; {}",
            longest.as_millis(),
            limited(longest),
        );
        let finder = Self { client, driver, statements: HashMap::new(), limit: longest, database };
        let limit = finder.database.pace.statement;
        match timeout(limit, finder.client.batch_execute(&settings)).await {
            Ok(done) => done?,
            Err(_) => return Err(Fault::late("an answer", limit)),
        }
        Ok(finder)
    }

    /// Waits until the connection has broken.
    pub async fn broken(&mut self) {
        // However it ended.
        let _ended = (&mut self.driver).await;
    }

    /// Asks for one object, of the kind with this number among those of the database.
    ///
    /// # Errors
    /// Why the connection cannot be used any more.
    pub async fn find(&mut self, number: usize, key: &str) -> Result<Answer, Fault> {
        let database = Arc::clone(&self.database);
        let Some(kind) = database.kinds.get(number) else {
            return Ok(Answer::Bad(Fault::new("there is no such kind")));
        };
        let patience = kind.wait.saturating_add(GRACE);
        match timeout(patience, self.ask((number, kind), key)).await {
            Err(_) => Err(Fault::late("an answer", patience)),
            Ok(Ok(rows)) => Ok(answer(kind, key, &rows)),
            Ok(Err(error)) => {
                // Whatever has become of tables meanwhile, the next one prepares it anew.
                self.statements.remove(&number);
                self.failed(error)
            }
        }
    }

    async fn ask(&mut self, (number, kind): (usize, &Kind), key: &str) -> Result<Vec<Row>, Error> {
        // The server is to end what nobody waits for any more, or a kind that hangs would leave it more and more to do.
        if self.limit != kind.wait {
            self.client.batch_execute(&limited(kind.wait)).await?;
            self.limit = kind.wait;
        }
        let statement = match self.statements.get(&number) {
            Some(statement) => statement.clone(),
            None => {
                let made = self.client.prepare_typed(&text(kind), &[Type::TEXT]).await?;
                self.statements.insert(number, made.clone());
                made
            }
        };
        self.client.query(&statement, &[&key]).await
    }

    fn failed(&self, error: Error) -> Result<Answer, Fault> {
        match error.code() {
            Some(&SqlState::INVALID_TEXT_REPRESENTATION | &SqlState::NUMERIC_VALUE_OUT_OF_RANGE) => {
                Ok(Answer::None("value"))
            }
            Some(&SqlState::QUERY_CANCELED | &SqlState::LOCK_NOT_AVAILABLE) => Ok(Answer::Late),
            Some(_) if !self.client.is_closed() => Ok(Answer::Bad(error.into())),
            Some(_) | None => Err(error.into()),
        }
    }
}

/// What tells the server how long it may take.
fn limited(wait: Duration) -> String {
    format!("SET statement_timeout = {0}; SET lock_timeout = {0}", wait.as_millis().max(1))
}

/// The query with its columns in the order of the attributes behind the id, as text; two rows tell that there is not one.
fn text(kind: &Kind) -> String {
    let column = |name: &str| format!(", o.\"{}\"", name.replace('"', "\"\""));
    let columns: String = kind.attributes.iter().map(|name| column(name)).collect();
    format!("SELECT o.\"id\"::text{columns} FROM ({}\n) AS o LIMIT 2", kind.query)
}

fn answer(kind: &Kind, key: &str, rows: &[Row]) -> Answer {
    let [row] = rows else {
        return if rows.is_empty() { Answer::None("row") } else { Answer::Bad(Fault::new("there are several rows")) };
    };
    match row.try_get::<_, Option<&str>>(0) {
        Ok(Some(id)) if id == key => {}
        // Letters of another case, say: who forwards this key cannot know what the backend makes of it.
        Ok(_) => return Answer::None("id"),
        Err(error) => return Answer::Bad(error.into()),
    }
    let mut attributes = Vec::with_capacity(kind.attributes.len());
    let mut bytes = 0;
    for (number, name) in (1..).zip(&kind.attributes) {
        match value(row, number) {
            Ok(Some(value)) => {
                bytes += name.len() + size(&value);
                attributes.push((name.clone(), value));
            }
            Ok(None) => {}
            Err(fault) => return Answer::Bad(Fault::new(format!("column `{name}`: {fault}"))),
        }
    }
    if bytes > MOST_BYTES {
        return Answer::Bad(Fault::new(format!("the attributes have more than {MOST_BYTES} bytes")));
    }
    Answer::Found(attributes)
}

/// The value of a column; nothing if it is null.
fn value(row: &Row, number: usize) -> Result<Option<Literal>, Fault> {
    let Some(column) = row.columns().get(number) else { return Err(Fault::new("it is not there")) };
    let int = |value: Option<i64>| value.map(Literal::Int);
    Ok(match *column.type_() {
        Type::TEXT | Type::VARCHAR | Type::NAME => row.try_get::<_, Option<String>>(number)?.map(Literal::Text),
        Type::BOOL => row.try_get::<_, Option<bool>>(number)?.map(Literal::Bool),
        Type::INT2 => int(row.try_get::<_, Option<i16>>(number)?.map(i64::from)),
        Type::INT4 => int(row.try_get::<_, Option<i32>>(number)?.map(i64::from)),
        Type::INT8 => int(row.try_get::<_, Option<i64>>(number)?),
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY => match row.try_get::<_, Option<Vec<Option<String>>>>(number)? {
            None => None,
            Some(list) => {
                let list: Option<Vec<String>> = list.into_iter().collect();
                let list = list.ok_or_else(|| Fault::new("an element of it is null"))?;
                Some(Literal::List(list.into_iter().map(Literal::Text).collect()))
            }
        },
        Type::JSONB => match row.try_get::<_, Option<Json>>(number)? {
            None => None,
            Some(Json(value)) => json(value)?,
        },
        ref other => {
            return Err(Fault::new(format!(
                "it is of type `{other}`; cast it to text, text[], bigint, boolean or jsonb"
            )));
        }
    })
}

/// A value of `jsonb`, which its wire format begins with a version.
struct Json(Value);

impl FromSql<'_> for Json {
    fn from_sql(_: &Type, bytes: &[u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        let [1, text @ ..] = bytes else { return Err("an unknown version of jsonb".into()) };
        Ok(Self(serde_json::from_slice(text)?))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::JSONB
    }
}

fn json(value: Value) -> Result<Option<Literal>, Fault> {
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::Array(list) => {
            let list = list.into_iter().map(scalar).collect::<Result<_, _>>()?;
            Literal::List(list)
        }
        one => scalar(one)?,
    }))
}

fn scalar(value: Value) -> Result<Literal, Fault> {
    match value {
        Value::String(text) => Ok(Literal::Text(text)),
        Value::Bool(truth) => Ok(Literal::Bool(truth)),
        Value::Number(number) => {
            number.as_i64().map(Literal::Int).ok_or_else(|| Fault::new("a number in it is no whole one of 64 bits"))
        }
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(Fault::new("it has more in it than a text, a whole number, a truth or a list of these"))
        }
    }
}

fn size(value: &Literal) -> usize {
    match value {
        Literal::Bool(_) | Literal::Int(_) => size_of::<i64>(),
        Literal::Text(text) => text.len(),
        Literal::List(list) => list.iter().map(|value| size_of::<Literal>() + size(value)).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_attributes_are_columns_whatever_is_in_them() {
        let kind = Kind {
            name: "officer".into(),
            query: "SELECT * FROM officers WHERE id = $1 -- the end".into(),
            attributes: vec!["territory".into(), "a\"; DROP TABLE officers; --".into()],
            ttl: Duration::from_secs(1),
            wait: Duration::from_secs(1),
            most: 1,
        };
        assert_eq!(
            text(&kind),
            "SELECT o.\"id\"::text, o.\"territory\", o.\"a\"\"; DROP TABLE officers; --\" FROM \
             (SELECT * FROM officers WHERE id = $1 -- the end\n) AS o LIMIT 2"
        );
    }
}
