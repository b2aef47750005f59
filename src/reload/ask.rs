//! Questions about what is live, answered from the documents that it was made of. Their texts are not kept, as a million
//! principals have long ones: they are read again, and if the files have changed meanwhile, nobody can say from where what
//! is live came, and the question is refused.
//!
//! Only those principals are kept that the question is about. A policy of these is compiled beside requests and beside
//! reloads, one at a time.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::behind::{behind, give_way_for};
use super::feed::{Fed, alike};
use super::last_good::Kind;
use super::load::{Content, Decoded, PolicyFiles, decode, fetch, sha256};
use super::named::{Named, Seen};
use super::{Handle, certificates, trials};
use crate::diag::Report;
use crate::policy::Domains;
use crate::review::Policy;
use crate::review::report::Glob;
use crate::route::RouteMap;
use crate::snapshot::Snapshot;

/// The most principals that a report is about; each takes some kilobytes while it is made.
pub const MOST_PRINCIPALS: usize = 10_000;
/// How long anybody waits for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who a question is about.
#[derive(Clone, Debug)]
pub enum About {
    /// Those who make requests: ids, or `TENANT/OBJECT-ID` or `TENANT/SUBJECT`.
    Named(Vec<String>),
    /// The principals of a domain, or of the only one; if they are very many, those whose ids fit.
    Domain(Option<String>, Option<Glob>),
}

/// What is live, with its documents, for questions.
#[derive(Debug)]
pub struct Known {
    /// The policy, compiled anew from the documents.
    pub policy: Policy,
    /// What requests are judged by.
    pub tables: (Arc<RouteMap>, Arc<Domains>),
    /// Knows where everything is written.
    pub texts: Report,
}

/// Why a question is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Somebody else asks already.
    Busy,
    /// It takes too long.
    Late,
    /// The files are not those that the live policy was made of.
    FilesChanged,
    /// It is about more principals than [`MOST_PRINCIPALS`]: so many.
    TooMany(usize),
    /// It is about a domain that denies everything, because the rows of its database are too old.
    Withheld,
    /// A fault of the gateway.
    Broken,
}

/// What the live policy was made of.
#[derive(Clone)]
struct Origin {
    content: Content,
    fed: Vec<Fed>,
    /// The routes that were compiled from it, to know it for what is live.
    routes: Arc<RouteMap>,
}

/// Remembers what the live policy was made of.
pub(super) struct Shelf {
    files: Arc<PolicyFiles>,
    origin: Mutex<Option<Origin>>,
    turn: Arc<Semaphore>,
}

impl fmt::Debug for Shelf {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Shelf")
    }
}

impl Shelf {
    pub(super) fn new(files: &Arc<PolicyFiles>) -> Arc<Self> {
        Arc::new(Self { files: Arc::clone(files), origin: Mutex::default(), turn: Arc::new(Semaphore::new(1)) })
    }

    /// Takes over what was published.
    pub(super) fn put(&self, content: &Content, fed: &[Fed], live: &Snapshot) {
        let origin = Origin { content: content.clone(), fed: fed.to_vec(), routes: Arc::clone(&live.routes) };
        *self.origin.lock().unwrap_or_else(PoisonError::into_inner) = Some(origin);
    }

    /// Where the documents are, and which files those that are live name.
    pub(super) fn files(&self) -> (&PolicyFiles, Vec<(Kind, PathBuf)>) {
        let named =
            self.origin().map(|origin| origin.content.listed().map(|(kind, path)| (kind, path.clone())).collect());
        (&self.files, named.unwrap_or_default())
    }

    fn origin(&self) -> Option<Origin> {
        self.origin.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Handle {
    /// Answers a question about what is live: `answer` works on a thread of its own.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn question<T: Send + 'static>(
        &self,
        live: Arc<Snapshot>,
        about: About,
        answer: impl FnOnce(Known) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let shelf = Arc::clone(&self.shelf);
        let turn = Arc::clone(&shelf.turn).try_acquire_owned().map_err(|_taken| Unanswered::Busy)?;
        let work = behind(move || {
            let answered = shelf.known(&live, &about).map(answer);
            // Not before: whoever asked may have gone away long ago.
            drop(turn);
            answered
        });
        timeout(PATIENCE, work).await.map_err(|_elapsed| Unanswered::Late)?.ok_or(Unanswered::Broken)?
    }
}

impl Shelf {
    fn known(&self, live: &Snapshot, about: &About) -> Result<Known, Unanswered> {
        // What is about to be published, or was replaced a moment ago, is not what the shelf knows.
        let origin = self.origin().filter(|origin| Arc::ptr_eq(&origin.routes, &live.routes));
        let Some(Origin { content, mut fed, routes }) = origin else { return Err(Unanswered::FilesChanged) };
        let picked = Picked::of(about, &live.domains)?;
        let withheld = |domain: &str| {
            self.files.feeds.iter().map(|feed| feed.state()).any(|feed| feed.withheld && feed.domain == domain)
        };
        if matches!(&picked, Picked::Of(domain, _) if withheld(domain)) {
            return Err(Unanswered::Withheld);
        }
        let mut texts = Report::new();
        let fetched = fetch(&self.files, &mut texts);
        give_way_for(fetched.bytes());
        if !content.is_of(&fetched) {
            return Err(Unanswered::FilesChanged);
        }
        let decoded = decode(&self.files, fetched, &mut texts);
        let Decoded { routes: maps, mut grants, directories, complete: true, .. } = decoded else {
            return Err(Unanswered::FilesChanged);
        };
        let mut named = Named::new(directories);
        named.read_people(&mut grants, Seen::default(), &mut texts);
        alike(&mut fed, [&live.domains, &live.domains]);
        trials::keep(&mut grants, &fed, |domain, id, tenant, by| picked.has(domain, id, tenant, by), &mut texts);
        certificates::check(&maps, &named, &mut texts);
        let tenants = self.files.tenants.clone();
        let policy = Policy::compile(maps, grants, tenants, &|name| named.read(name), sha256, &mut texts);
        if !content.names(named) {
            return Err(Unanswered::FilesChanged);
        }
        let Some(policy) = policy.filter(|_| !texts.has_errors()) else {
            tracing::error!("what is live cannot be compiled again:\n{}", texts.render());
            return Err(Unanswered::Broken);
        };
        Ok(Known { policy, tables: (routes, Arc::clone(&live.domains)), texts })
    }
}

/// Who is read.
enum Picked {
    Named(HashSet<String>),
    Of(String, Option<Glob>),
}

impl Picked {
    fn of(about: &About, live: &Domains) -> Result<Self, Unanswered> {
        let (name, glob) = match about {
            About::Named(names) => return Ok(Self::Named(names.iter().map(|name| trials::spelled(name)).collect())),
            About::Domain(name, glob) => (name.as_deref(), glob),
        };
        // A name that nobody knows, or that is missing where there are several, is told by whoever makes the report.
        let domain = match name {
            Some(name) => live.find(name).map(|(_, domain)| domain),
            None => live.iter().next(),
        };
        let Some(domain) = domain else { return Ok(Self::Named(HashSet::new())) };
        let fit =
            |glob: &Option<Glob>| domain.ids().filter(|id| glob.as_ref().is_none_or(|glob| glob.fits(id))).count();
        // All, if there is room for them: rights and nodes that only others name are columns, too.
        let glob = if fit(&None) > MOST_PRINCIPALS { glob.clone() } else { None };
        let principals = fit(&glob);
        if principals > MOST_PRINCIPALS {
            return Err(Unanswered::TooMany(principals));
        }
        Ok(Self::Of(domain.name().to_string(), glob))
    }

    fn has(&self, domain: &str, id: &str, tenant: &str, known_by: &str) -> bool {
        match self {
            Self::Named(names) => trials::is_named(names, id, tenant, known_by),
            Self::Of(name, glob) => name == domain && glob.as_ref().is_none_or(|glob| glob.fits(id)),
        }
    }
}
