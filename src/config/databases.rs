//! `postgres` in `grants`: databases that feed domains.

use std::sync::Arc;

use super::{Base, Seen};
use crate::diag::Report;
use crate::document::Located;
use crate::document::database::{DatabaseDocument, ObjectsDocument};
use crate::document::gateway::GatewayDocument;
use crate::reload::feed::Feed;
use crate::source::postgres::{Address, Database, Kind, OnStale, Pace, Queries, schema};

/// Resolves all of them. Nothing is asked of a database yet.
pub(super) fn resolve(document: &GatewayDocument, base: &Base, report: &mut Report) -> Vec<Arc<Feed>> {
    let mut domains = Seen::new();
    let mut feeds = Vec::new();
    for written in &document.databases {
        let domain = &written.domain;
        if let Some(first) = domains.before(domain.value.clone(), domain.place) {
            report
                .error("duplicate_domain", domain.place, format!("two databases feed the domain `{}`", domain.value))
                .help("a domain has one database")
                .also(first, "the other one");
        }
        check_times(written, report);
        let address = address(written, base, report);
        feeds.extend(address.map(|address| Arc::new(Feed::new(database(written, address)))));
    }
    feeds
}

fn check_times(written: &DatabaseDocument, report: &mut Report) {
    let confirmed_by = match &written.queries {
        Some(queries) if queries.changes.is_none() => ("reconcile", written.reconcile),
        Some(_) | None => ("poll", written.poll),
    };
    if written.max_staleness <= confirmed_by.1 {
        let message = format!("`max_staleness` must be more than `{}`, by which rows are confirmed", confirmed_by.0);
        report
            .error("bad_value", written.place, message)
            .help("raise `max_staleness`, or read more often; some failures in a row should fit between the two");
    }
}

fn address(written: &DatabaseDocument, base: &Base, report: &mut Report) -> Option<Address> {
    let (place, url) = match (&written.url, &written.url_file) {
        (Some(url), _) => (url.place, from_environment(url, report)?),
        (None, Some(name)) => {
            let text = String::from_utf8(base.read(name, report)?).ok();
            if text.is_none() {
                report.error("bad_url", name.place, "the file is no text").help("write the connection URL into it");
            }
            (name.place, text?)
        }
        (None, None) => return None,
    };
    let ca = match &written.ca {
        Some(name) => Some(base.read(name, report)?),
        None => None,
    };
    let tls = (written.tls || ca.is_some(), ca.as_deref());
    Address::parse(&url, tls, written.insecure_plaintext)
        .map_err(|why| {
            report
                .error("bad_url", place, format!("the database cannot be connected to by this: {why}"))
                .help("write `postgres://USER:PASSWORD@HOST:PORT/DATABASE`");
        })
        .ok()
}

/// A value, or that of the variable that it names.
fn from_environment(written: &Located<String>, report: &mut Report) -> Option<String> {
    let Some(name) = written.value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
        return Some(written.value.clone());
    };
    let value = std::env::var(name).ok();
    if value.is_none() {
        report
            .error("environment", written.place, format!("the environment has no variable `{name}`"))
            .help("set it for the process, or use `url_file`");
    }
    value
}

fn database(written: &DatabaseDocument, address: Address) -> Database {
    let queries = written.queries.as_ref().map(|queries| Queries {
        principals: queries.principals.value.clone(),
        principals_by_id: text(&queries.principals_by_id),
        changes: text(&queries.changes),
        position: text(&queries.position).unwrap_or_else(|| schema::POSITION.to_owned()),
    });
    let channel = || queries.is_none().then(|| schema::CHANNEL.to_owned());
    Database {
        domain: written.domain.value.clone(),
        address,
        // A standby lets nobody listen, so that it can be said that nobody shall.
        notify: text(&written.notify).or_else(channel).filter(|channel| !channel.is_empty()),
        queries: queries.unwrap_or_else(schema::queries),
        kinds: written.objects.iter().map(kind).collect(),
        pace: Pace {
            poll: written.poll,
            reconcile: written.reconcile,
            max_staleness: written.max_staleness,
            connect: written.connect_timeout,
            statement: written.statement_timeout,
            load: written.load_timeout,
            start: written.start_timeout,
        },
        on_stale: if written.deny_when_stale { OnStale::Deny } else { OnStale::Serve },
    }
}

fn text(written: &Option<Located<String>>) -> Option<String> {
    written.as_ref().map(|written| written.value.clone())
}

fn kind(written: &ObjectsDocument) -> Kind {
    Kind {
        name: written.kind.value.as_str().into(),
        query: text(&written.query).unwrap_or_else(|| {
            schema::object(&written.kind.value, written.attributes.iter().map(|name| name.value.as_str()))
        }),
        attributes: written.attributes.iter().map(|attribute| attribute.value.as_str().into()).collect(),
        ttl: written.ttl,
        wait: written.wait,
        most: written.most,
    }
}
