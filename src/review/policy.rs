//! A policy with everything that can be asked about it: the documents as written, the compiled tables, and where each
//! grant and term of the tables was written.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::diag::Report;
use crate::document::grants::GrantsDocument;
use crate::document::routes::{ApplicationDocument, RouteDocument, RoutesDocument};
use crate::document::upstream::UpstreamTlsDocument;
use crate::model::Tenant;
use crate::policy::{Domain, DomainId, Domains, Keep, Origins, Sha256};
use crate::route::{self, Application, Inputs, RouteMap};
use crate::snapshot::Snapshot;
use crate::token::KeyRing;

/// See the module's head.
#[derive(Debug)]
pub struct Policy {
    /// All route maps.
    pub routes: Vec<RoutesDocument>,
    /// All grants documents; the domain with the same number is made of each.
    pub grants: Vec<GrantsDocument>,
    /// The tenants and issuers of `gateway.yaml`.
    pub tenants: Vec<Tenant>,
    /// The compiled tables, without keys.
    pub snapshot: Arc<Snapshot>,
    /// Where grants were written, domain by domain.
    pub origins: Vec<Origins>,
    /// What digests of reserved roles are made with.
    sha256: Sha256,
    everybody: Option<Everybody>,
}

/// The tables of all principals, for a policy whose documents have some of them only.
#[derive(Debug)]
pub struct Everybody {
    pub(super) routes: Arc<RouteMap>,
    pub(super) domains: Arc<Domains>,
    left: AtomicUsize,
}

impl Everybody {
    /// How many looks at principals are taken in all: for a million of them, some seconds.
    const LOOKS: usize = 40_000_000;

    /// These tables.
    pub const fn new(routes: Arc<RouteMap>, domains: Arc<Domains>) -> Self {
        Self { routes, domains, left: AtomicUsize::new(Self::LOOKS) }
    }

    /// Takes so many looks, if they are left.
    pub(super) fn may_take(&self, looks: usize) -> bool {
        let take = |left: usize| left.checked_sub(looks);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Takes so many looks that were taken already.
    pub(super) fn took(&self, looks: usize) {
        let take = |left: usize| Some(left.saturating_sub(looks));
        let _always = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
    }
}

/// One domain of a policy.
#[derive(Clone, Copy, Debug)]
pub struct World<'p> {
    /// As it is written.
    pub document: &'p GrantsDocument,
    /// As it decides.
    pub domain: &'p Domain,
    /// Where its grants were written.
    pub origins: &'p Origins,
}

impl Policy {
    /// Compiles documents. All faults are reported; `None` if the report has errors. `files` reads what route maps name,
    /// `sha256` makes the digests that reserved roles are pinned with.
    pub fn compile(
        routes: Vec<RoutesDocument>,
        grants: Vec<GrantsDocument>,
        tenants: Vec<Tenant>,
        files: route::ReadFile<'_>,
        sha256: Sha256,
        report: &mut Report,
    ) -> Option<Self> {
        let inputs = Inputs { routes: &routes, grants: &grants, tenants: &tenants, files, taken: &[], sha256 };
        let compiled = route::compile_keeping(Keep::Origins, inputs, report)?;
        let snapshot = Snapshot {
            serial: 0,
            loaded_at: 0,
            routes: Arc::new(compiled.routes),
            domains: Arc::new(compiled.domains),
            keys: Arc::new(KeyRing::empty(0)),
            revoked: Arc::default(),
        };
        let (snapshot, origins) = (Arc::new(snapshot), compiled.origins);
        Some(Self { routes, grants, tenants, snapshot, origins, sha256, everybody: None })
    }

    /// What was compiled already, for requests to be tried on. The documents need no more principals than those who make
    /// the requests; nothing else can be asked of it.
    pub fn for_trials(
        (routes, grants): (Vec<RoutesDocument>, Vec<GrantsDocument>),
        tenants: Vec<Tenant>,
        (map, domains): (Arc<RouteMap>, Arc<Domains>),
        sha256: Sha256,
    ) -> Self {
        let snapshot = Snapshot {
            serial: 0,
            loaded_at: 0,
            routes: map,
            domains,
            keys: Arc::new(KeyRing::empty(0)),
            revoked: Arc::default(),
        };
        let (snapshot, origins) = (Arc::new(snapshot), Vec::new());
        Self { routes, grants, tenants, snapshot, origins, sha256, everybody: None }
    }

    /// The same documents with tables that were compiled elsewhere; what [`for_trials`](Self::for_trials) says of it
    /// holds.
    pub fn judged_by(self, tables: (Arc<RouteMap>, Arc<Domains>)) -> Self {
        Self::for_trials((self.routes, self.grants), self.tenants, tables, self.sha256)
    }

    /// The same policy, of which it is known who there is besides the principals of its documents: those who may use a route
    /// are counted among all.
    pub fn among(self, everybody: Everybody) -> Self {
        Self { everybody: Some(everybody), ..self }
    }

    pub(super) const fn everybody(&self) -> Option<&Everybody> {
        self.everybody.as_ref()
    }

    /// A copy with changed documents, compiled anew.
    ///
    /// # Errors
    /// The faults of the changed documents; places in them are those of the original.
    pub fn changed(
        &self,
        change: impl FnOnce(&mut Vec<RoutesDocument>, &mut Vec<GrantsDocument>),
    ) -> Result<Self, Box<Report>> {
        let (mut routes, mut grants) = (self.routes.clone(), self.grants.clone());
        // A copy connects to nothing, so it needs no certificates and no credentials, and nothing has to be read.
        for upstream in routes.iter_mut().flat_map(|file| &mut file.upstreams) {
            upstream.tls = UpstreamTlsDocument::default();
            upstream.credentials = None;
        }
        change(&mut routes, &mut grants);
        let mut report = Report::new();
        let nothing = &|_: &_| Err("copies of a policy read no files".to_owned());
        Self::compile(routes, grants, self.tenants.clone(), nothing, self.sha256, &mut report)
            .ok_or_else(|| Box::new(report))
    }

    /// All domains.
    pub fn worlds(&self) -> impl Iterator<Item = World<'_>> {
        let compiled = self.snapshot.domains.iter().zip(&self.origins);
        self.grants.iter().zip(compiled).map(|(document, (domain, origins))| World { document, domain, origins })
    }

    /// The domain of an application.
    pub fn world(&self, id: DomainId) -> Option<World<'_>> {
        let (document, origins) = (id.of(&self.grants)?, id.of(&self.origins)?);
        Some(World { document, domain: self.snapshot.domains.get(id)?, origins })
    }

    /// An application as it is written, and the file that it stands in.
    pub fn application(&self, application: &Application) -> Option<(&RoutesDocument, &ApplicationDocument)> {
        let mut all = self.routes.iter().flat_map(|file| file.applications.iter().map(move |known| (file, known)));
        all.find(|(_, known)| known.name.value == *application.name)
    }

    /// A route as it is written.
    pub fn route(&self, application: &Application, id: &str) -> Option<&RouteDocument> {
        let (_, document) = self.application(application)?;
        document.routes.iter().find(|route| route.id.value == id)
    }
}
