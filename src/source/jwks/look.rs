//! One look at where the keys of an issuer come from, for people who want to know what is wrong there. Asks and checks
//! what a fetch asks and checks, and publishes nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{From, KeySource, fetch};
use crate::source::http::{Client, FetchFault, Fetched, Url};
use crate::source::now;
use crate::telemetry::unix_seconds;
use crate::token::KeySet;

/// What was seen.
#[derive(Debug)]
pub struct Look {
    /// The requests that were made, in their order; none for a file.
    pub legs: Vec<Leg>,
    /// The usable keys, or why there are none.
    pub keys: Result<KeySet, Unusable>,
}

/// One request.
#[derive(Debug)]
pub struct Leg {
    /// Where to.
    pub url: String,
    /// How long it took.
    pub took: Duration,
    /// How many seconds the clock there is ahead of this machine's, negative when behind, as far as the header `Date`
    /// tells; `None` if there is none, or no answer.
    pub ahead: Option<i64>,
}

/// Why there are no keys.
#[derive(Debug)]
pub enum Unusable {
    /// The request to this URL failed.
    Unreached(String, FetchFault),
    /// Something came, but not what is needed; a clause.
    Refused(String),
}

/// Looks once, for so long at most.
pub async fn look(source: Arc<KeySource>, within: Duration) -> Look {
    let mut legs = Vec::new();
    let ends = Instant::now() + within;
    let keys = match &source.from {
        From::Discovery { document, ca } => {
            discover(&source.url, document, client(ca.as_deref(), within), ends, &mut legs).await
        }
        From::Jwks { document, ca } => download(document, client(ca.as_deref(), within), ends, &mut legs).await,
        From::File(_) => {
            fetch::fetch(Arc::clone(&source), within).await.map_err(|failure| Unusable::Refused(failure.cause))
        }
    };
    let keys = keys.and_then(|keys| fetch::believable(keys, &source).map_err(Unusable::Refused));
    Look { legs, keys }
}

async fn discover(
    issuer: &str,
    document: &str,
    client: Result<Client, Unusable>,
    ends: Instant,
    legs: &mut Vec<Leg>,
) -> Result<KeySet, Unusable> {
    let client = client?;
    let url = Url::parse(document).map_err(Unusable::Refused)?;
    let body = ask(&client, &url, ends, legs).await?;
    let keys = fetch::keys_url(&url, &body, issuer).map_err(Unusable::Refused)?;
    keys_at(&client, &keys, ends, legs).await
}

async fn download(
    document: &str,
    client: Result<Client, Unusable>,
    ends: Instant,
    legs: &mut Vec<Leg>,
) -> Result<KeySet, Unusable> {
    keys_at(&client?, &Url::parse(document).map_err(Unusable::Refused)?, ends, legs).await
}

async fn keys_at(client: &Client, url: &Url, ends: Instant, legs: &mut Vec<Leg>) -> Result<KeySet, Unusable> {
    let body = ask(client, url, ends, legs).await?;
    KeySet::parse(&body).map_err(|fault| Unusable::Refused(format!("`{url}`: {fault}")))
}

fn client(ca: Option<&[u8]>, within: Duration) -> Result<Client, Unusable> {
    Client::new(ca, within).map_err(Unusable::Refused)
}

async fn ask(client: &Client, url: &Url, ends: Instant, legs: &mut Vec<Leg>) -> Result<Vec<u8>, Unusable> {
    let (began, began_at) = (Instant::now(), now());
    let answer = client.fetch(url, ends.saturating_duration_since(began)).await;
    let date = answer.as_ref().ok().and_then(|Fetched { date, .. }| http_date(date.as_deref()?));
    let ahead = date.map(|date| ahead(date, began_at, now()));
    legs.push(Leg { url: url.to_string(), took: began.elapsed(), ahead });
    answer.map(|fetched| fetched.body).map_err(|fault| Unusable::Unreached(url.to_string(), fault))
}

/// How far a clock that said `date` between two moments here is ahead at least. A `Date` has whole seconds, cut off.
fn ahead(date: u64, began: u64, ended: u64) -> i64 {
    let apart = |one: u64, other: u64| i64::try_from(one.saturating_sub(other)).unwrap_or(i64::MAX);
    apart(date, ended) - apart(began.saturating_sub(1), date)
}

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT`, the form in which servers must write it (RFC 9110 section 5.6.7).
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.strip_suffix(" GMT")?.split_once(", ")?;
    let mut words = rest.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|known| *known == month)? as u64 + 1;
    let time: Option<Vec<u64>> = time.split(':').map(|part| part.parse().ok()).collect();
    unix_seconds([year.parse().ok()?, month, day.parse().ok()?], time?.try_into().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_of_an_answer_is_read() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        for text in [
            "",
            "now",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Foo 1994 08:49:37 GMT",
        ] {
            assert_eq!(http_date(text), None, "{text}");
        }
    }

    #[test]
    fn a_clock_is_ahead_only_by_what_the_answer_did_not_take() {
        for (date, began, ended, expected) in
            [(100, 100, 100, 0), (99, 100, 100, 0), (98, 100, 100, -1), (105, 100, 110, 0), (200, 100, 110, 90)]
        {
            assert_eq!(ahead(date, began, ended), expected, "{date}");
        }
    }
}
