//! A difference for programs: everything, in an order that does not depend on how files are written.

use serde_json::{Value, json};

use crate::review::diff::{
    AccessChange, ApplicationChange, Aspect, Difference, Direction, DomainDifference, LeftOut, Places, RouteChange,
    RouteChangeKind, Side, Spot, Standing, Via,
};

/// The whole difference. `left_out` is there only where somebody is.
pub fn difference(found: &Difference, places: &Places<'_>) -> Value {
    let tests = found.tests.iter().map(|test| json!({"id": test.id, "from": test.from, "to": test.to}));
    let mut all = json!({
        "changes": !found.is_empty(),
        "gains": found.gains(),
        "domains": found.domains.iter().map(|found| domain(found, places)).collect::<Vec<_>>(),
        "applications": found.applications.iter().map(|found| application(found, places)).collect::<Vec<_>>(),
        "routes": found.routes.iter().map(|found| route(found, places)).collect::<Vec<_>>(),
        "tests": tests.collect::<Vec<_>>(),
    });
    if let (Value::Object(members), false) = (&mut all, found.left_out.is_empty()) {
        members.insert("left_out".to_owned(), found.left_out.iter().map(left_out).collect());
    }
    all
}

fn left_out(left: &LeftOut) -> Value {
    json!({ "domain": &*left.domain, "principals": left.principals, "may_gain": left.may_gain })
}

fn domain(found: &DomainDifference, places: &Places<'_>) -> Value {
    let people = &found.people;
    let renamed = people.renamed.iter().map(|(from, to)| json!({"from": &**from, "to": &**to}));
    let status = people
        .status
        .iter()
        .map(|(from, to, who)| json!({"from": from.name(), "to": to.name(), "principals": names(who)}));
    let flags = found.flags.iter().map(|change| {
        let principals = &change.principals;
        json!({
            "flag": &*change.flag, "gained": change.gained, "direction": direction(change.direction),
            "principals": names(principals),
        })
    });
    let world = found.world.iter().map(|change| {
        json!({
            "kind": change.kind, "subject": change.subject, "from": change.from, "to": change.to,
            "direction": direction(change.direction),
        })
    });
    json!({
        "domain": &*found.name,
        "only": found.only.map(side),
        "principals": {
            "added": names(&people.added),
            "removed": names(&people.removed),
            "renamed": renamed.collect::<Vec<_>>(),
            "status": status.collect::<Vec<_>>(),
        },
        "flags": flags.collect::<Vec<_>>(),
        "access": found.access.iter().map(|change| access(change, places)).collect::<Vec<_>>(),
        "world": world.collect::<Vec<_>>(),
    })
}

fn access(change: &AccessChange, places: &Places<'_>) -> Value {
    let at = change
        .at
        .iter()
        .map(|(at, who)| json!({"node": &*at.name, "except": names(&at.except), "principals": names(who)}));
    json!({
        "direction": direction(change.direction()),
        "rights": change.rights.iter().map(right).collect::<Vec<_>>(),
        "from": standing(change.from),
        "to": standing(change.to),
        "through": change.through.held.iter().map(via).collect::<Vec<_>>(),
        "denied_through": change.through.denied.iter().map(via).collect::<Vec<_>>(),
        "capped_by": change.through.cap.as_deref(),
        "place": change.place.map(|place| places.place(place)),
        "principals": change.principals,
        "at": at.collect::<Vec<_>>(),
        "routes": change.routes,
    })
}

fn application(change: &ApplicationChange, places: &Places<'_>) -> Value {
    json!({
        "application": change.name,
        "only": change.only.map(side),
        "direction": direction(change.direction),
        "place": places.place(change.place),
        "changes": change.aspects.iter().map(aspect).collect::<Vec<_>>(),
    })
}

fn route(change: &RouteChange, places: &Places<'_>) -> Value {
    let kind = match change.kind {
        RouteChangeKind::Opened => "opened",
        RouteChangeKind::Added => "added",
        RouteChangeKind::Changed => "changed",
        RouteChangeKind::Renamed => "renamed",
        RouteChangeKind::Closed => "closed",
        RouteChangeKind::Removed => "removed",
    };
    json!({
        "application": change.application,
        "route": change.route,
        "kind": kind,
        "direction": direction(change.direction),
        "place": places.place(change.place),
        "changes": change.aspects.iter().map(aspect).collect::<Vec<_>>(),
        "principals_before": change.before,
        "principals_now": change.now,
        "instead": change.instead,
    })
}

fn aspect(aspect: &Aspect) -> Value {
    json!({"what": aspect.what, "from": aspect.from, "to": aspect.to, "direction": direction(aspect.direction)})
}

fn right(right: &Spot) -> Value {
    json!({"right": &*right.name, "except": names(&right.except)})
}

fn via(via: &Via) -> Value {
    json!({"group": via.group.as_deref(), "role": via.role.as_deref(), "right": via.right.as_deref()})
}

fn names(names: &[std::sync::Arc<str>]) -> Vec<&str> {
    names.iter().map(|name| &**name).collect()
}

const fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Denied => "denied",
        Standing::Nothing => "nothing",
        Standing::Up(level) => level.name(),
    }
}

const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Gain => "gain",
        Direction::Unclear => "unclear",
        Direction::Loss => "loss",
        Direction::Neutral => "neutral",
    }
}

const fn side(side: Side) -> &'static str {
    match side {
        Side::Old => "old",
        Side::New => "new",
    }
}
