//! What would have to change for a denied request to be allowed: single changes, each tried on a copy of the policy
//! before anybody is told of it.

use super::change::Change;
use super::explain::{Caller, Explained};
use super::policy::Policy;
use super::request::Request;
use super::substitute;
use crate::document::Literal;
use crate::document::grants::GrantsDocument;
use crate::model::{Effect, Level, Reason, Status};
use crate::policy::{Considered, Denial, Domain, FlagId, RightId, ScopeId, Subject, TermSeen};

/// The most changes that are tried, and the fewest, however large the policy is.
const MOST_TRIED: usize = 200;
const LEAST_TRIED: usize = 10;
/// Nodes, objects, rights of roles and grants of groups that are compiled for all changes together.
const WORK: usize = 500_000;
/// The most that are told of one kind.
const MOST_OF_A_KIND: usize = 3;
/// The most values of a setting, kind or list that are tried.
const MOST_VALUES: usize = 20;

/// A single change and what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// The change.
    pub change: Change,
    /// The refusal that the request meets then; `None` if it is allowed.
    pub then: Option<String>,
}

/// Finds changes that would allow a denied request, the nearest first. If no single one does, the first that brings the
/// request further.
pub(super) fn find(policy: &Policy, request: &Request, explained: &Explained<'_>) -> Vec<Remedy> {
    let Some(code) = explained.tried.code() else { return Vec::new() };
    let Some(seeker) = Seeker::new(policy, request, explained) else { return Vec::new() };
    let mut allowing: Vec<Remedy> = Vec::new();
    let mut further = None;
    for change in seeker.candidates().into_iter().take(seeker.most_tried()) {
        let alike = allowing.iter().filter(|known| known.change.kind() == change.kind()).count();
        if alike >= MOST_OF_A_KIND || allowing.iter().any(|known| known.change == change) {
            continue;
        }
        match seeker.outcome(&change) {
            Some(None) => allowing.push(Remedy { change, then: None }),
            Some(Some(then)) if then != code && further.is_none() => {
                further = Some(Remedy { change, then: Some(then) });
            }
            Some(Some(_)) | None => {}
        }
    }
    if allowing.is_empty() { further.into_iter().collect() } else { allowing }
}

/// Everything that it takes to try changes.
struct Seeker<'s> {
    /// The policy with nothing in it but the domain, its applications and the principal, so that a change is quickly tried.
    slim: Policy,
    request: &'s Request,
    explained: &'s Explained<'s>,
    domain: &'s Domain,
    document: &'s GrantsDocument,
    caller: &'s Caller,
    denial: Denial,
}

impl<'s> Seeker<'s> {
    fn new(policy: &'s Policy, request: &'s Request, explained: &'s Explained<'s>) -> Option<Self> {
        let caller = explained.caller.as_ref()?;
        let denial = explained.apart.as_ref()?.decision.err()?;
        let application = explained.tried.grounds.application.as_deref()?;
        let world = policy.world(application.domain)?;
        let domain = world.domain.name();
        let slim = policy.changed(|routes, grants| {
            for file in routes.iter_mut() {
                file.applications.retain(|known| *known.domain.value == **domain);
            }
            routes.retain(|file| !file.applications.is_empty());
            grants.retain(|document| *document.domain.value == **domain);
            for document in grants {
                document.principals.retain(|principal| *principal.id.value == *caller.id);
            }
        });
        let slim = slim.ok()?;
        Some(Self { slim, request, explained, domain: world.domain, document: world.document, caller, denial })
    }

    /// How many changes can be tried in about a second: each costs as much as a load of the slim policy.
    fn most_tried(&self) -> usize {
        let rights: usize = self.document.roles.iter().map(|role| role.rights.len()).sum();
        let grants: usize = self.document.groups.iter().map(|group| group.grants.len()).sum();
        let size = self.document.forest.len() + self.document.objects.len() + rights + grants;
        (WORK / (1 + size)).clamp(LEAST_TRIED, MOST_TRIED)
    }

    /// What the request comes to after a change; `None` where the change cannot be made.
    fn outcome(&self, change: &Change) -> Option<Option<String>> {
        let tried = match change {
            Change::Ask { request } => request.try_on(&self.slim),
            other => {
                let changed = self.slim.changed(|routes, grants| other.apply(&self.caller.id, routes, grants)).ok()?;
                self.request.try_on(&changed)
            }
        };
        tried.ok().map(|tried| tried.code().map(str::to_owned))
    }

    fn candidates(&self) -> Vec<Change> {
        let mut candidates = match self.denial.subject {
            Subject::Principal => self.account(),
            Subject::Flag(flag) => self.flag(flag),
            Subject::Right { right, at, asked, .. } => self.right(right, at, asked),
            Subject::Scope(_) | Subject::Object(_) | Subject::Code(_) => Vec::new(),
        };
        candidates.extend(self.other_requests());
        candidates.extend(self.settings());
        candidates
    }

    fn account(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.caller.status == Status::Inactive {
            if self.caller.inactive_through.is_empty() {
                changes.push(Change::Activate { group: None });
            }
            changes.extend(self.memberships().map(|group| Change::Leave { group }));
            let groups = self.caller.inactive_through.iter();
            changes.extend(groups.map(|group| Change::Activate { group: Some(group.to_string()) }));
        }
        changes
    }

    fn flag(&self, flag: FlagId) -> Vec<Change> {
        let name = self.domain.flag_name(flag).to_owned();
        if self.denial.reason == Reason::FlagMissing {
            let join = self.document.groups.iter().filter(|group| group.flags.iter().any(|has| has.value == name));
            let join = join.map(|group| Change::Join { group: group.name.value.clone() }).collect::<Vec<_>>();
            std::iter::once(Change::Flag { flag: name }).chain(join).collect()
        } else {
            let leave = self.memberships().map(|group| Change::Leave { group });
            std::iter::once(Change::NoFlag { flag: name }).chain(leave).collect()
        }
    }

    fn right(&self, right: RightId, at: ScopeId, asked: Level) -> Vec<Change> {
        let (name, node) = (self.domain.right_name(right), self.domain.scope_name(at));
        let considered = self.considered();
        let grants = || considered.iter().flat_map(|seen| &seen.sources).flat_map(|source| &source.grants);
        let mut changes = Vec::new();
        for grant in grants().filter(|grant| grant.effect == Effect::Deny && grant.decides) {
            let group = considered.iter().flat_map(|seen| &seen.sources).find_map(|source| {
                let holds = source.grants.iter().any(|seen| seen.origin.place == grant.origin.place);
                holds.then(|| source.group.as_deref().map(str::to_owned))
            });
            let right = self.domain.right_name(grant.origin.right).to_owned();
            changes.push(Change::Withdraw { place: grant.origin.place, right, group: group.flatten() });
        }
        for grant in grants().filter(|grant| !grant.counts) {
            changes.push(Change::Boundary { node: self.domain.scope_name(grant.at).to_owned() });
        }
        let level = if asked == Level::TOP { String::new() } else { format!(":{}", asked.name()) };
        let at_node = if at == ScopeId::ROOT { String::new() } else { format!(" @{node}") };
        changes.push(Change::Grant { grant: format!("{name}{level}{at_node}") });
        if self.denial.reason == Reason::RightDenied {
            changes.extend(self.memberships().map(|group| Change::Leave { group }));
        }
        for role in &self.document.roles {
            changes.push(Change::Role { role: role.name.value.clone(), at: node.to_owned() });
        }
        let groups = self.document.groups.iter().map(|group| &group.name.value);
        let others = groups.filter(|group| !self.caller.groups.iter().any(|known| **known == ***group));
        changes.extend(others.map(|group| Change::Join { group: group.clone() }));
        changes
    }

    /// What was considered for the right that was denied.
    fn considered(&self) -> &[Considered] {
        let requirement = self.explained.apart.as_ref().and_then(|apart| apart.requirement.as_ref());
        requirement.and_then(TermSeen::decider).map_or(&[], |term| &term.rights)
    }

    /// The groups that the principal itself is in.
    fn memberships(&self) -> impl Iterator<Item = String> {
        let own = self.document.principals.iter().find(|principal| *principal.id.value == *self.caller.id);
        own.into_iter().flat_map(|principal| &principal.groups).map(|group| group.value.clone())
    }

    /// The same request about something else: another node, or another value of a closed list.
    fn other_requests(&self) -> Vec<Change> {
        let Some(route) = self.explained.route else { return Vec::new() };
        let settings = self.slim.routes.iter().flat_map(|file| &file.settings);
        let settings: Vec<(&str, &Literal)> = settings.map(|(name, value)| (name.value.as_str(), value)).collect();
        let requests = substitute::requests(self.request, route, self.domain, &settings, MOST_VALUES);
        requests.into_iter().map(|request| Change::Ask { request: Box::new(request) }).collect()
    }

    /// Switches of the deployment, turned over.
    fn settings(&self) -> Vec<Change> {
        let all = self.slim.routes.iter().flat_map(|file| &file.settings);
        let switches = all.filter_map(|(name, value)| match value {
            Literal::Bool(value) => Some(Change::Setting { name: name.value.clone(), value: !value }),
            Literal::Int(_) | Literal::Text(_) | Literal::List(_) => None,
        });
        switches.take(MOST_VALUES).collect()
    }
}
