//! Which route a request takes, and what that route asks. Pure: `compile` makes the map from documents, `canonical`,
//! `segment`, `host`, `query`, `form` and `cookies` bring what a request says into its one form, `table` finds the route;
//! `gate`, `places` and `cors` are an application's entrance; `dialect` says how its backend reads paths, `upstream` where
//! that is; `fields`, `header_rules` and `trailers` say which fields pass.

pub mod canonical;
mod compile;
pub mod cookies;
pub mod cors;
mod dialect;
mod edges;
pub mod fields;
pub mod form;
mod gate;
mod header_rules;
pub mod host;
mod pattern;
mod places;
mod plain;
pub mod query;
mod reachable;
mod segment;
mod table;
mod trailers;
mod tree;
mod turns;
pub mod upstream;

use std::sync::Arc;

use http::Method;

use crate::model::Level;
use crate::policy::{DomainId, Map, Rules};
use canonical::CanonicalPath;
use host::Host;

pub use crate::model::Mode;
pub use compile::{Compiled, Inputs, ReadFile, compile, compile_keeping};
pub use cors::Cors;
pub use dialect::{Backend, Dialect, Readings};
pub use gate::{Gate, certificate_name};
pub use header_rules::HeaderRules;
pub use pattern::Pattern;
pub use places::TokenPlaces;
pub use trailers::Trailers;
pub use turns::{Taker, Turn, turns};
pub use upstream::{Server, Upstream};

/// Where clients find what an application says of itself (RFC 9728 section 3).
pub const METADATA_PATH: &str = "/.well-known/oauth-protected-resource";

type Suffixes = Map<Box<str>, Arc<Application>>;

/// Applications by host.
#[derive(Debug, Default)]
pub struct RouteMap {
    hosts: Map<Box<str>, Named>,
    /// `.suffix` of hosts written `*.suffix`, by their length, the longest first.
    wildcards: Vec<(usize, Suffixes)>,
    applications: Vec<Arc<Application>>,
}

/// What a name stands for: with each of these ports an application of its own, with all others one.
#[derive(Debug, Default)]
struct Named {
    ports: Vec<(u16, Arc<Application>)>,
    any: Option<Arc<Application>>,
}

impl RouteMap {
    /// The application of a host: an entry with the request's port, then one without, then the longest wildcard.
    pub fn application(&self, host: &Host<'_>) -> Option<&Arc<Application>> {
        if let Some(named) = self.hosts.get(&*host.name) {
            let own = named.ports.iter().find(|(port, _)| Some(*port) == host.port).map(|(_, application)| application);
            if let Some(found) = own.or(named.any.as_ref()) {
                return Some(found);
            }
        }
        self.wildcards.iter().find_map(|(length, suffixes)| {
            let at = host.name.len().checked_sub(*length).filter(|at| *at > 0)?;
            suffixes.get(host.name.get(at..).filter(|end| end.starts_with('.'))?)
        })
    }

    /// Whether a connection that was made for the host `name` may carry a request to `host` of this application: not if
    /// the name belongs to another one (RFC 9110 section 7.4). A name that no application has decides nothing.
    pub fn may_share(&self, name: &str, host: &Host<'_>, application: &Arc<Application>) -> bool {
        let own = |found: &Arc<Application>| Arc::ptr_eq(found, application);
        if name == host.name {
            return true;
        }
        if let Some(found) = self.application(&Host { name: name.into(), port: host.port }) {
            return own(found);
        }
        // Written with other ports only, whichever of them the connection was made to.
        let ports = self.hosts.get(name).map(|named| &*named.ports).unwrap_or_default();
        ports.is_empty() || ports.iter().any(|(_, found)| own(found))
    }

    /// Gives a host to an application; `name` may be `*.suffix`.
    fn name(&mut self, name: &str, port: Option<u16>, application: &Arc<Application>) {
        let application = Arc::clone(application);
        match (name.strip_prefix('*'), port) {
            (Some(suffix), _) => {
                let found = self.wildcards.binary_search_by(|(length, _)| suffix.len().cmp(length));
                let place = found.unwrap_or_else(|place| {
                    self.wildcards.insert(place, (suffix.len(), Map::default()));
                    place
                });
                if let Some((_, suffixes)) = self.wildcards.get_mut(place) {
                    suffixes.insert(suffix.into(), application);
                }
            }
            (None, Some(port)) => self.hosts.entry(name.into()).or_default().ports.push((port, application)),
            (None, None) => self.hosts.entry(name.into()).or_default().any = Some(application),
        }
    }

    /// Names and ports that stand for all that a request may ask for: those that files name, and one of each wildcard.
    fn names(&self) -> impl Iterator<Item = (String, Option<u16>)> {
        let ports = |named: &Named| named.ports.iter().map(|(port, _)| Some(*port)).chain([None]).collect::<Vec<_>>();
        let named = self
            .hosts
            .iter()
            .flat_map(move |(name, named)| ports(named).into_iter().map(move |port| (name.to_string(), port)));
        let suffixes = self.wildcards.iter().flat_map(|(_, suffixes)| suffixes.keys());
        named.chain(suffixes.map(|suffix| (format!("x-any-name{suffix}"), None)))
    }

    /// All applications, in the order of the files.
    pub fn applications(&self) -> &[Arc<Application>] {
        &self.applications
    }

    /// Applications and routes on which nothing is enforced, for status pages.
    pub fn shadowed(&self) -> (usize, usize) {
        let routes = self.applications.iter().flat_map(|application| &application.routes);
        let applications = self.applications.iter().filter(|application| application.mode == Mode::Shadow);
        (applications.count(), routes.filter(|route| route.mode == Mode::Shadow).count())
    }

    /// Applications and routes, for status pages.
    pub fn counts(&self) -> (usize, usize) {
        (self.applications.len(), self.applications.iter().map(|application| application.routes.len()).sum())
    }
}

/// What is protected: one backend under one gate.
#[derive(Debug)]
pub struct Application {
    /// Its name.
    pub name: Arc<str>,
    /// Where permitted requests go.
    pub upstream: Arc<Upstream>,
    /// Who may come in at all.
    pub gate: Gate,
    /// The domain that decides.
    pub domain: DomainId,
    /// Whether the caller's `Authorization` goes on to the backend.
    pub forward_authorization: bool,
    /// Which header fields go on to the backend, beside what holds for all applications.
    pub header_rules: HeaderRules,
    /// Whether clients read the subject of a reason.
    pub full_detail: bool,
    /// What the backend is told of the caller beside its name.
    pub identity_headers: IdentityHeaders,
    /// Where its callers' tokens stand.
    pub token: TokenPlaces,
    /// Which web pages of other origins may call it; `None` where that is the backend's matter.
    pub cors: Option<Cors>,
    /// What the gateway answers at [`METADATA_PATH`]; `None` where that is a path like any other.
    pub resource_metadata: Option<ResourceMetadata>,
    /// How its backend reads paths.
    pub backend: Backend,
    /// Whether a stream goes on after its token has expired.
    pub keeps_expired: bool,
    /// Whether a request that no route takes is refused, or only watched.
    pub mode: Mode,
    /// Whether `Authorization` of the schemes that authenticate a connection goes on to the backend.
    pub connection_auth: bool,
    routes: Vec<Route>,
    table: table::Table,
}

impl Application {
    /// The route of a request.
    #[inline]
    pub fn route(&self, path: &CanonicalPath<'_>, method: &Method) -> Option<&Route> {
        self.routes.get(self.table.find(path, method)?)
    }

    /// The methods that routes of this path have; empty if no route has it.
    pub fn methods(&self, path: &CanonicalPath<'_>) -> Vec<&str> {
        self.table.methods(path)
    }

    /// Its routes, in the order of the file.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }
}

/// What a backend is told of the caller beside its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdentityHeaders {
    /// The names of its groups, in `X-Auth-Request-Groups`.
    pub groups: bool,
    /// Where it holds the right that the route asks for, in `X-Portcullis-Scopes`.
    pub scopes: bool,
    /// A signed statement of who it is, in `X-Portcullis-Assertion`.
    pub assertion: bool,
    /// The certificate that the client showed, in `Client-Cert` (RFC 9440).
    pub client_certificate: bool,
}

/// What the gateway says of an application to clients without a token (RFC 9728).
#[derive(Debug)]
pub struct ResourceMetadata {
    /// `scopes_supported`; empty if none are named.
    pub scopes: Vec<Box<str>>,
}

/// One route.
#[derive(Debug)]
pub struct Route {
    /// Its id, for logs and metrics.
    pub id: Arc<str>,
    /// What it asks.
    pub access: Access,
    /// The paths that it takes, if more specific routes leave them.
    pub pattern: Pattern,
    /// The methods that it takes; HEAD goes with GET.
    pub methods: Box<[Method]>,
    /// What may come behind its bodies.
    pub trailers: Trailers,
    /// Whether WebSockets pass.
    pub websocket: bool,
    /// Whether what is decided is done.
    pub mode: Mode,
    levels: Vec<(Method, Level)>,
}

/// What a route asks.
#[derive(Debug)]
pub enum Access {
    /// Nothing, not even a token.
    Public,
    /// A token that passes the gate.
    GateOnly,
    /// A principal that meets these rules.
    Rules(Rules),
}

impl Route {
    /// Whether its requests go on whoever asks, because it is public or only watches.
    #[inline]
    pub const fn is_open(&self) -> bool {
        matches!(self.access, Access::Public) || matches!(self.mode, Mode::Shadow)
    }

    /// The levels that the route itself gives methods.
    pub fn levels(&self) -> &[(Method, Level)] {
        &self.levels
    }

    /// The level that a method means on this route where the requirement says `by_method`.
    #[inline]
    pub fn level(&self, method: &Method) -> Level {
        let named = self.levels.iter().find(|(known, _)| known == method).map(|(_, level)| *level);
        named.unwrap_or(match *method {
            Method::GET | Method::HEAD | Method::OPTIONS => Level::Read,
            Method::POST | Method::PUT | Method::PATCH => Level::Write,
            // DELETE, and whatever else a route lists: nothing less than the top will do.
            _ => Level::Delete,
        })
    }
}
