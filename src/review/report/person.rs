//! One principal: the account and what it comes from, what is held where, and the routes that are open to it.

use std::collections::BTreeSet;

use http::Method;

use super::matrix::account;
use super::right::access_column;
use super::select::UnknownName;
use super::survey::{Questions, Surveyor};
use super::{Asker, Fact, MadeRow, Report, Rows, Table, Value};
use crate::document::grants::PrincipalName;
use crate::model::Status;
use crate::policy::{Obstacle, Principal, PrincipalOrigin, Reach, reach};
use crate::review::policy::World;
use crate::route::{Access, Application, Route};

/// One principal, as it is compiled and as it is written.
#[derive(Clone, Copy)]
struct Person<'p> {
    number: usize,
    principal: Principal<'p>,
    written: &'p PrincipalOrigin,
}

impl<'p> Asker<'p> {
    /// Everything about one principal.
    ///
    /// # Errors
    /// When the domain has none of this id.
    pub fn principal(&self, id: &str) -> Result<Report<'p>, UnknownName> {
        let World { domain, origins, .. } = self.world;
        let found = domain.principals().iter().enumerate().find(|(_, principal)| principal.id() == id);
        let found = found
            .and_then(|(number, principal)| Some(Person { number, principal, written: origins.principal(number)? }));
        let ids = || domain.principals().iter().map(Principal::id);
        let person = found.ok_or_else(|| UnknownName::new("principal", id, ids()))?;
        let tables = vec![self.groups(person), self.flags(person), self.rights_held(person), self.routes(person)];
        Ok(Report {
            name: "principal",
            title: format!("What {id} may do"),
            facts: self.account_facts(person),
            tables,
            world: self.world,
        })
    }

    fn account_facts(&self, Person { number, principal, written }: Person<'p>) -> Vec<Fact> {
        let domain = self.world.domain;
        let text = |label, text: String| Fact { label, value: Value::Text(text) };
        let mut facts = self.facts();
        facts.push(text("principal", principal.id().to_owned()));
        facts.push(Fact { label: "status", value: account(&self.world, number, principal.status()) });
        facts.push(text("tenant", written.tenant.to_string()));
        let own = self.world.document.principals.iter().find(|known| known.id.value == *principal.id());
        facts.push(match own.map(|own| &own.known_by) {
            Some(PrincipalName::Subject(subject)) => text("subject", subject.value.clone()),
            Some(PrincipalName::ObjectId(_)) | None => text("object id", written.key.object.to_string()),
        });
        if let Some(nodes) = written.boundary() {
            let nodes = nodes.map(|node| domain.scope_name(node).to_owned()).collect();
            facts.push(Fact { label: "boundary", value: Value::List(nodes) });
        }
        facts.push(Fact { label: "written at", value: Value::Place(Some(written.place)) });
        facts
    }

    /// Every group that it is in, and how it comes to be in it.
    fn groups(&self, Person { principal, written, .. }: Person<'p>) -> Table<'p> {
        let document = self.world.document;
        let own = document.principals.iter().find(|known| known.id.value == *principal.id());
        let own: BTreeSet<&str> =
            own.into_iter().flat_map(|own| &own.groups).map(|group| group.value.as_str()).collect();
        let all: BTreeSet<&str> = principal.groups().iter().map(|name| &**name).collect();
        let rows = self.world.origins.groups_of(written).map(|group| {
            let name = &*group.name;
            let children = document.groups.iter().filter(|child| {
                all.contains(child.name.value.as_str()) && child.parents.iter().any(|parent| parent.value == name)
            });
            let direct = own.contains(name).then(|| "itself".to_owned());
            let through = direct.into_iter().chain(children.map(|child| child.name.value.clone())).collect();
            let state = if group.inactive { "makes its members inactive" } else { "" };
            MadeRow::of(vec![
                Value::Text(name.to_owned()),
                Value::List(through),
                Value::Text(state.to_owned()),
                Value::Place(Some(group.place)),
            ])
        });
        made("groups", "Groups", vec!["group", "member through", "effect", "written at"], rows.collect())
    }

    /// Every flag that it bears, and where it has it from.
    fn flags(&self, Person { principal, written, .. }: Person<'p>) -> Table<'p> {
        let World { domain, origins, .. } = self.world;
        let borne = domain.flags().filter(|(flag, _)| domain.bears(principal, *flag));
        let rows = borne.map(|(flag, name)| {
            let own = written.has_flag(flag).then(|| "itself".to_owned());
            let groups = origins.groups_of(written).filter(|group| group.has_flag(flag));
            let from = own.into_iter().chain(groups.map(|group| group.name.to_string())).collect();
            MadeRow::of(vec![Value::Text(name.to_owned()), Value::List(from)])
        });
        made("flags", "Flags", vec!["flag", "from"], rows.collect())
    }

    fn rights_held(&self, Person { number, principal, .. }: Person<'p>) -> Table<'p> {
        let rights = self.world.domain.rights_in_order().into_iter().map(|(right, _)| right).collect();
        let surveyor = Surveyor::new(self.world, Questions::Changes(rights));
        let lines = surveyor.ask(number);
        let rows = lines.iter().map(|line| MadeRow {
            principal: Some(number),
            status: principal.status(),
            values: vec![Value::Right(line.right), Value::Scope(line.scope)],
            cells: vec![line.clone()],
        });
        let mut note =
            "A line counts for all that lies below its right and its scope, until a line of a nearer scope, or of \
                        the same scope and a nearer right, says otherwise."
                .to_owned();
        if principal.status() != Status::Active {
            note.push_str(" The account is not active, so nothing of this counts.");
        }
        Table {
            key: "rights",
            title: "Rights".to_owned(),
            note: Some(note),
            heads: vec!["right", "scope"],
            columns: access_column(),
            places: true,
            rows: Rows::Made(rows.collect()),
        }
    }

    /// Every route of every application of the domain, and where it is open.
    fn routes(&self, person: Person<'p>) -> Table<'p> {
        let name = self.world.domain.name();
        let mut rows = Vec::new();
        for application in self.policy.snapshot.routes.applications() {
            let domain = self.policy.snapshot.domains.get(application.domain);
            if domain.is_none_or(|domain| domain.name() != name) {
                continue;
            }
            for route in application.routes() {
                rows.extend(self.open(person, application, route));
            }
        }
        let mut table =
            made("routes", "Routes", vec!["application", "route", "methods", "mode", "open", "written at"], rows);
        let certain = if self.world.domain.maps_tokens() {
            "`never` is certain as long as its token brings it into no group: further rights may come with the token."
        } else {
            "`never` is certain: no request of this principal passes."
        };
        table.note = Some(format!(
            "{certain} Elsewhere a request may still be refused for what only the request can tell: its token, a \
             comparison, or scopes that do not belong together. Where the mode is `shadow`, what is refused is logged and \
             forwarded all the same."
        ));
        table
    }

    /// A row for each group of methods of a route that are open alike.
    fn open(&self, person: Person<'p>, application: &Application, route: &Route) -> Vec<MadeRow> {
        let mut alike: Vec<(Vec<String>, Reach)> = Vec::new();
        for name in self.methods(application, route) {
            let Ok(method) = name.parse::<Method>() else { continue };
            let reach = self.reach(person, application, route, &method);
            match alike.iter_mut().find(|(_, known)| *known == reach) {
                Some((methods, _)) => methods.push(name),
                None => alike.push((vec![name], reach)),
            }
        }
        let place = self.policy.route(application, &route.id).map(|route| route.id.place);
        let row = |(methods, reach): (Vec<String>, Reach)| {
            MadeRow::of(vec![
                Value::Text(application.name.to_string()),
                Value::Text(route.id.to_string()),
                Value::List(methods),
                Value::Text(route.mode.word().to_owned()),
                Value::Reach(reach),
                Value::Place(place),
            ])
        };
        alike.into_iter().map(row).collect()
    }

    fn reach(&self, person: Person<'p>, application: &Application, route: &Route, method: &Method) -> Reach {
        let admitted = application.gate.tenants.contains(&person.written.key.tenant);
        let gate = || {
            let (_, document) = self.policy.application(application)?;
            Some(document.gate.place)
        };
        match &route.access {
            Access::Public => Reach::Anywhere,
            Access::GateOnly | Access::Rules(_) if !admitted => {
                Reach::Never(Obstacle::Term("tenant of the gate".to_owned(), gate()))
            }
            Access::GateOnly => Reach::Anywhere,
            Access::Rules(rules) => reach(self.world.domain, rules, person.principal, route.level(method)),
        }
    }
}

fn made<'p>(key: &'static str, title: &str, heads: Vec<&'static str>, rows: Vec<MadeRow>) -> Table<'p> {
    let (title, rows) = (title.to_owned(), Rows::Made(rows));
    Table { key, title, note: None, heads, columns: Vec::new(), places: false, rows }
}
