//! Rows in freshly compiled documents, and their publication.

use std::collections::HashSet;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use super::{Feed, State, Worlds};
use crate::diag::Report;
use crate::document::grants::PrincipalDocument;
use crate::document::people::{PeopleFormat, read_people, read_some};
use crate::policy::{Domain, Domains};
use crate::reload::behind::behind;
use crate::route::RouteMap;
use crate::snapshot::Live;
use crate::source::postgres::id_of;

/// A compiled domain with the rows that a database had.
#[derive(Clone, Debug)]
pub struct Fed {
    feed: Arc<Feed>,
    own: Domain,
    whole: Domain,
    torn: bool,
    mend: bool,
    version: u64,
    refused: usize,
}

impl Fed {
    /// Puts all rows into a domain. Rows that are left out are warnings.
    fn new(feed: &Arc<Feed>, own: Domain, report: &mut Report) -> Option<Self> {
        let rows = match feed.rows(Duration::ZERO) {
            Ok(rows) => rows,
            Err(fault) => {
                let message = format!("no rows for the domain `{}` from {}: {fault}", feed.domain(), feed.label());
                report
                    .error("no_rows", None, message)
                    .help("check `postgres` in gateway.yaml, and that the database runs and lets this user read");
                return None;
            }
        };
        let source = feed.source(rows.text(), report);
        let applied = own.with_rows(source, report);
        let (torn, refused) = (applied.torn, applied.refused);
        Some(Self {
            feed: Arc::clone(feed),
            own,
            whole: applied.domain,
            torn,
            mend: false,
            version: rows.version,
            refused,
        })
    }

    /// A domain that is the very same as in what is live, with the rows that it has there: none of them has to be put in
    /// again, nor told of if it was left out. `None` where it is another one, or rows wait for being put in anew.
    fn again_of(feed: &Arc<Feed>, own: &Domain) -> Option<Self> {
        let state = feed.lock();
        let worlds = state.worlds.as_ref().filter(|worlds| worlds.own.is_same(own) && !worlds.mend)?;
        let (own, whole) = (own.clone(), worlds.whole.clone());
        let (torn, version, refused) = (worlds.torn, worlds.version, state.refused);
        Some(Self { feed: Arc::clone(feed), own, whole, torn, mend: false, version, refused })
    }

    /// The domain.
    pub(in crate::reload) fn domain(&self) -> &str {
        self.feed.domain()
    }

    /// The rows that count, as entries of a document, for tools that look at each.
    pub(in crate::reload) fn documents(&self, report: &mut Report) -> Vec<PrincipalDocument> {
        let Ok(rows) = self.feed.rows(Duration::ZERO) else { return Vec::new() };
        let text = rows.text();
        let own: HashSet<&str> = self.own.ids().collect();
        let counted: HashSet<&str> = self.whole.ids().filter(|id| !own.contains(id)).collect();
        let counts = |line: &&str| id_of(line).is_some_and(|id| counted.contains(&*id));
        let text: String = text.split_inclusive('\n').filter(counts).collect();
        let source = self.feed.source(Arc::new(text), report);
        source.map(|source| read_people(source, PeopleFormat::JsonLines, report)).unwrap_or_default()
    }

    /// Those rows that `wanted` picks by id, tenant, and object id or subject, for tests that name them.
    pub(in crate::reload) fn some(
        &self,
        wanted: impl Fn(&str, &str, &str) -> bool,
        report: &mut Report,
    ) -> Vec<PrincipalDocument> {
        let Ok(rows) = self.feed.rows(Duration::ZERO) else { return Vec::new() };
        let Some(source) = self.feed.source(rows.text(), report) else { return Vec::new() };
        let mut found = read_some(source, PeopleFormat::JsonLines, wanted, report);
        // What is wrong with rows was told when all were put in; here it is nobody's fault.
        report.retain(|found| found.place.is_none_or(|place| place.source != source));
        let named: HashSet<&str> = found.iter().map(|row| &*row.id.value).collect();
        let known = |domain: &Domain| -> HashSet<String> {
            domain.ids().filter(|id| named.contains(id)).map(str::to_owned).collect()
        };
        let (own, whole) = (known(&self.own), known(&self.whole));
        found.retain(|row| whole.contains(&row.id.value) && !own.contains(&row.id.value));
        found
    }

    /// Puts in what has changed since; false if that is not known one by one.
    fn catch_up(&mut self, state: &State) -> bool {
        let Some(store) = &state.store else { return false };
        let Some(few) = store.since(self.version) else { return false };
        if !few.ids.is_empty() {
            let applied = self.feed.with_changed(&self.whole, (&self.own, self.torn), &few, &mut Report::new());
            self.whole = applied.domain;
            self.torn = applied.torn;
            self.mend |= applied.torn || applied.refused > 0;
        }
        self.version = store.version();
        true
    }

    fn worlds(&self) -> Worlds {
        let (own, whole) = (self.own.clone(), self.whole.clone());
        Worlds { own, whole, torn: self.torn, mend: self.mend, version: self.version }
    }
}

/// Puts the rows of all feeds into the domains that documents made. A domain that no document has is an error.
pub(in crate::reload) fn fill(feeds: &[Arc<Feed>], domains: &mut Domains, report: &mut Report) -> Vec<Fed> {
    let mut fed = Vec::with_capacity(feeds.len());
    for feed in feeds {
        let Some((id, own)) = domains.find(feed.domain()) else {
            let message = format!("no grants document has the domain `{}`, which a database feeds", feed.domain());
            report.error("unknown_domain", None, message).help(
                "write a grants document with `domain`, `strategy`, `scopes` and so on; principals may be left out",
            );
            continue;
        };
        if let Some(one) = Fed::again_of(feed, own).or_else(|| Fed::new(feed, own.clone(), report)) {
            *domains = domains.with(id, one.whole.clone());
            fed.push(one);
        }
    }
    fed
}

/// Takes over what a start was made with: nothing can have changed since.
pub(in crate::reload) fn begin(fed: &[Fed]) {
    for one in fed {
        let mut state = one.feed.lock();
        state.worlds = Some(one.worlds());
        state.refused = one.refused;
    }
}

/// What is live and what may follow it, both with the rows of now, however these are shown: what differs is what documents
/// say. A change of rows is a matter of the database, which nobody holds up.
pub(in crate::reload) fn alike(fed: &mut [Fed], [live, next]: [&Domains; 2]) -> [Domains; 2] {
    let [mut live, mut next] = [live.clone(), next.clone()];
    for one in fed {
        loop {
            let feed = Arc::clone(&one.feed);
            let state = feed.lock();
            if one.catch_up(&state) {
                let shown = |domains: &Domains, whole: &Domain| {
                    domains.find(feed.domain()).map(|(id, _)| domains.with(id, whole.clone()))
                };
                let before = state.worlds.as_ref().and_then(|worlds| shown(&live, &worlds.whole));
                live = before.unwrap_or(live);
                next = shown(&next, &one.whole).unwrap_or(next);
                break;
            }
            drop(state);
            let Some(again) = Fed::new(&feed, one.own.clone(), &mut Report::new()) else { break };
            *one = again;
        }
    }
    [live, next]
}

/// Compiled documents with the rows of now, as these are shown: none where they are too old. `None` if the rows are not to be
/// had.
pub(in crate::reload) fn with_rows(fed: &mut [Fed], domains: &Domains) -> Option<Domains> {
    put_in(fed, domains, |state, whole| if state.withheld { whole.withhold() } else { whole.clone() })
}

/// The same however rows are shown, and whatever is live: for comparisons beside reloads.
pub(in crate::reload) fn with_all_rows(fed: &mut [Fed], domains: &Domains) -> Option<Domains> {
    put_in(fed, domains, |_, whole| whole.clone())
}

fn put_in(fed: &mut [Fed], domains: &Domains, shown: impl Fn(&State, &Domain) -> Domain) -> Option<Domains> {
    let mut domains = domains.clone();
    for one in fed {
        loop {
            let feed = Arc::clone(&one.feed);
            let state = feed.lock();
            // What was left out because of other rows is known only by putting all of them in.
            if one.catch_up(&state) && !one.mend {
                let (id, _) = domains.find(feed.domain())?;
                domains = domains.with(id, shown(&state, &one.whole));
                break;
            }
            drop(state);
            *one = Fed::new(&feed, one.own.clone(), &mut Report::new())?;
        }
    }
    Some(domains)
}

/// Publishes compiled documents with the rows of now, and returns their serial. If rows have changed since these were
/// put in, the changes come first, so that nothing that was taken away is back even for a moment.
pub(in crate::reload) async fn publish(
    live: &Live,
    fed: &mut [Fed],
    (routes, domains): (Arc<RouteMap>, Arc<Domains>),
    now: u64,
) -> u64 {
    loop {
        if let Some(serial) = try_publish(live, fed, (&routes, &domains), now) {
            return serial;
        }
        for one in fed.iter_mut() {
            if let Some(again) = one.again().await {
                *one = again;
            }
        }
    }
}

impl Fed {
    /// The same documents with all rows of now, put in on a thread of its own.
    pub(super) async fn again(&self) -> Option<Self> {
        let (feed, own) = (Arc::clone(&self.feed), self.own.clone());
        behind(move || Self::new(&feed, own, &mut Report::new())).await.flatten()
    }
}

fn try_publish(
    live: &Live,
    fed: &mut [Fed],
    (routes, domains): (&Arc<RouteMap>, &Arc<Domains>),
    now: u64,
) -> Option<u64> {
    let feeds: Vec<Arc<Feed>> = fed.iter().map(|one| Arc::clone(&one.feed)).collect();
    // In their order, as everywhere: two who wait for each other there are not.
    let mut states: Vec<MutexGuard<'_, State>> = feeds.iter().map(|feed| feed.lock()).collect();
    let mut domains = Arc::clone(domains);
    for (one, state) in fed.iter_mut().zip(&mut states) {
        if !one.catch_up(state) {
            return None;
        }
        let (id, _) = domains.find(one.feed.domain())?;
        let shown = if state.withheld { one.whole.withhold() } else { one.whole.clone() };
        domains = Arc::new(domains.with(id, shown));
    }
    for (one, state) in fed.iter().zip(&mut states) {
        state.worlds = Some(one.worlds());
        state.refused = one.refused;
    }
    Some(live.publish_policy(Arc::clone(routes), domains, now))
}

impl Feed {
    /// Puts all rows into the domain anew, on a thread of its own, and shows it. Nothing happens if a reload was faster.
    pub(super) async fn rebuild(self: &Arc<Self>, live: &Live) {
        let Some(own) = self.lock().worlds.as_ref().map(|worlds| worlds.own.clone()) else { return };
        loop {
            let (feed, base) = (Arc::clone(self), own.clone());
            let work = behind(move || {
                let mut report = Report::new();
                Fed::new(&feed, base, &mut report).map(|fed| (fed, report))
            });
            let Some(Some((mut fed, report))) = work.await else {
                tracing::error!(domain = self.domain(), "putting rows into the domain broke");
                return;
            };
            let mut state = self.lock();
            let same = state.worlds.as_ref().is_some_and(|worlds| worlds.own.shares_frame(&own));
            if !same {
                return;
            }
            if fed.catch_up(&state) {
                state.worlds = Some(fed.worlds());
                state.tell(fed.refused, &report);
                self.show(&state, live);
                return;
            }
        }
    }
}
