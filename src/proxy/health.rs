//! Asks the servers of upstreams how they are, as the route map in force says, from one thread of the process.
//!
//! Every server counts as well until its checks have failed often enough: serving never waits for a first answer. No
//! server is asked a second time before the first question is over.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

use super::Gateway;
use super::numbers::Numbers;
use super::upload::RequestBody;
use super::upstream::{Connector, Fleet, ServerPool};
use crate::route::upstream::HealthCheck;
use crate::route::{RouteMap, Server, Upstream};

/// How soon a new route map is noticed.
const LOOK: Duration = Duration::from_millis(200);
/// The first question comes within this time, or within the interval if that is shorter.
const FIRST_WITHIN: Duration = Duration::from_secs(1);
/// By what part of it an interval is longer or shorter by chance, so that gateways do not ask in step.
const JITTER: u32 = 10;

/// Keeps the fleet in step with the route map and asks its servers. Runs among a thread's local tasks and never ends.
pub async fn keep(gateway: Arc<Gateway>) {
    let connector = Connector::new(Arc::clone(&gateway.telemetry), &gateway.settings.timeouts);
    let tools = Rc::new(Tools { connector, fleet: Arc::clone(&gateway.fleet), numbers: Numbers::seeded() });
    let mut asked = HashMap::new();
    let mut followed: Option<Arc<RouteMap>> = None;
    loop {
        // Each time, because a thread that still has the old map may have entered what the new one does not name.
        let routes = gateway.fleet.follow(|| Arc::clone(&gateway.live.load().routes));
        if !followed.as_ref().is_some_and(|followed| Arc::ptr_eq(followed, &routes)) {
            ask_those_of(&routes, &tools, &mut asked);
            followed = Some(routes);
        }
        sleep(LOOK).await;
    }
}

/// What every question needs.
struct Tools {
    connector: Connector,
    fleet: Arc<Fleet>,
    numbers: Numbers,
}

/// A server that is asked again and again until this is dropped.
struct Asked {
    upstream: Arc<Upstream>,
    task: JoinHandle<()>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Begins and ends questions as a new route map says; a server that is to be asked as before goes on being asked.
fn ask_those_of(routes: &RouteMap, tools: &Rc<Tools>, asked: &mut HashMap<(Arc<str>, Server), Asked>) {
    let mut before = std::mem::take(asked);
    for application in routes.applications() {
        let upstream = &application.upstream;
        for server in &upstream.servers {
            let key = (Arc::clone(&upstream.id), server.clone());
            let old = before.remove(&key);
            if upstream.health.is_none() {
                if old.is_some() {
                    // Nobody asks any more, so nobody would notice that it is well.
                    tools.fleet.checked(upstream, server, true);
                }
                continue;
            }
            if asked.contains_key(&key) {
                continue;
            }
            let goes_on = old
                .filter(|old| old.upstream.health == upstream.health && old.upstream.transport == upstream.transport);
            let begin = || {
                let task = ask(Rc::clone(tools), Arc::clone(upstream), server.clone());
                Asked { upstream: Arc::clone(upstream), task: spawn_local(task) }
            };
            asked.insert(key, goes_on.unwrap_or_else(begin));
        }
    }
}

/// Asks one server as long as it is let.
async fn ask(tools: Rc<Tools>, upstream: Arc<Upstream>, server: Server) {
    let Some(check) = &upstream.health else { return };
    sleep(part(check.interval.min(FIRST_WITHIN), &tools.numbers)).await;
    let (mut good, mut bad) = (0, 0);
    loop {
        let found = match timeout(check.timeout, question(&tools.connector, &upstream, &server, check)).await {
            Ok(found) => found,
            Err(_) => Err(format!("no answer within {:?}", check.timeout)),
        };
        (good, bad) = if found.is_ok() { (good + 1, 0) } else { (0, bad + 1) };
        let name = &upstream.id;
        match found {
            Ok(()) if good >= check.healthy => {
                if tools.fleet.checked(&upstream, &server, true) {
                    tracing::info!("upstream {name}: server {} is well again", server.name);
                }
            }
            Err(why) if bad >= check.unhealthy => {
                if tools.fleet.checked(&upstream, &server, false) {
                    tracing::warn!("upstream {name}: server {} is unwell: {why}", server.name);
                }
            }
            Ok(()) | Err(_) => {}
        }
        let shift = check.interval / JITTER;
        sleep(check.interval - shift + part(shift * 2, &tools.numbers)).await;
    }
}

/// A random part of a time.
fn part(time: Duration, numbers: &Numbers) -> Duration {
    time.mul_f64((numbers.next() >> 11) as f64 / (1_u64 << 53) as f64)
}

/// Asks once, on a connection of its own; why not, as a clause.
async fn question(
    connector: &Connector,
    upstream: &Upstream,
    server: &Server,
    check: &HealthCheck,
) -> Result<(), String> {
    let pool = Rc::new(ServerPool::new(Arc::clone(&upstream.transport), 0, Duration::ZERO));
    let mut lease = connector.open(server, upstream, &pool).await.map_err(|fault| fault.to_string())?;
    let mut request = Request::new(RequestBody::none());
    request.uri_mut().clone_from(&check.target);
    let fields = request.headers_mut();
    let own = || HeaderValue::from_str(server.authority());
    let host = check.host.clone().map_or_else(own, Ok).map_err(|fault| fault.to_string())?;
    fields.insert(HOST, host);
    fields.insert(USER_AGENT, HeaderValue::from_static("portcullis"));
    let status = lease.send(request).await.map_err(|fault| fault.to_string())?.status();
    if is_well(status, &check.statuses) { Ok(()) } else { Err(format!("it answered {}", status.as_u16())) }
}

fn is_well(status: StatusCode, well: &[u16]) -> bool {
    if well.is_empty() { status.is_success() } else { well.contains(&status.as_u16()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_a_success_or_what_is_named() {
        for (status, well, is) in [
            (200, vec![], true),
            (299, vec![], true),
            (302, vec![], false),
            (302, vec![302], true),
            (200, vec![302], false),
        ] {
            assert_eq!(is_well(StatusCode::from_u16(status).unwrap(), &well), is, "{status} {well:?}");
        }
    }

    #[test]
    fn a_part_is_less_than_the_whole() {
        let numbers = Numbers::seeded();
        assert!((0..1000).all(|_| part(Duration::from_secs(1), &numbers) < Duration::from_secs(1)));
    }
}
