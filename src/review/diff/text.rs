//! A difference for reviewers: what opens first, many principals in one line.

use std::collections::BTreeSet;
use std::fmt::{Display, Write};
use std::sync::Arc;

use super::{
    AccessChange, ApplicationChange, Aspect, Difference, Direction, DomainDifference, LeftOut, Places, RouteChange,
    RouteChangeKind, Side, Spot, Standing, Through, Via, WorldChange,
};
use crate::diag::printable;
use crate::model::Status;

/// How many are listed of each without `--all`.
/// The mark of what only requests would show.
const MAY_OPEN: &str = " [may open]";
const NAMES: usize = 5;
const NODES: usize = 8;
const CHANGES: usize = 100;

/// The whole difference; all of it, or of long lists the beginning.
pub fn difference(found: &Difference, places: &Places<'_>, all: bool) -> String {
    if found.is_empty() {
        return "nothing changes".to_owned();
    }
    let mut page = Page { text: String::new(), places, all };
    for domain in &found.domains {
        page.domain(domain);
    }
    page.listed("applications", &found.applications, Page::application);
    page.listed("routes", &found.routes, Page::route);
    page.listed("tests", &found.tests, |page, test| {
        let what = match (&test.from, &test.to) {
            (None, Some(to)) => format!("added: {to}"),
            (Some(from), None) => format!("removed: {from}"),
            (from, to) => format!("{} -> {}", from.as_deref().unwrap_or(""), to.as_deref().unwrap_or("")),
        };
        page.line(1, format_args!("{}: {what}", test.id));
    });
    found.left_out.iter().for_each(|left| page.left_out(left));
    let of = if found.left_out.is_empty() { "in all" } else { "of those compared" };
    page.line(0, format_args!("{of}: {}", summary(found)));
    // Names come from files; none may move the cursor.
    printable(&page.text)
}

struct Page<'p> {
    text: String,
    places: &'p Places<'p>,
    all: bool,
}

impl Page<'_> {
    fn line(&mut self, indent: usize, text: impl Display) {
        // Writing to a text cannot fail.
        let _ = writeln!(self.text, "{:indent$}{text}", "", indent = indent * 2);
    }

    /// A heading and what stands under it, cut where it is long.
    fn listed<T>(&mut self, heading: &str, items: &[T], each: impl Fn(&mut Self, &T)) {
        if items.is_empty() {
            return;
        }
        self.line(0, heading);
        self.cut(items, each);
        self.line(0, "");
    }

    fn cut<T>(&mut self, items: &[T], each: impl Fn(&mut Self, &T)) {
        let most = if self.all { items.len() } else { CHANGES };
        items.iter().take(most).for_each(|item| each(self, item));
        if items.len() > most {
            self.line(1, format_args!("and {} more; --all lists them", items.len() - most));
        }
    }

    fn domain(&mut self, domain: &DomainDifference) {
        let only = match domain.only {
            None => "",
            Some(Side::New) => ", which is new",
            Some(Side::Old) => ", which is gone",
        };
        self.line(0, format_args!("domain {}{only}", domain.name));
        let people = &domain.people;
        for (names, what) in [(&people.added, "new"), (&people.removed, "gone")] {
            if !names.is_empty() {
                let verb = if names.len() == 1 { "is" } else { "are" };
                let open = if what == "new" && people.may_gain { MAY_OPEN } else { "" };
                let line = format!("{} {verb} {what}{open} ({})", principals(names.len()), self.names(names));
                self.line(1, line);
            }
        }
        for (from, to, who) in &people.status {
            let verb = if who.len() == 1 { "becomes" } else { "become" };
            let was = if *to == Status::Active || *from != Status::Active {
                format!(", {} before", from.name())
            } else {
                String::new()
            };
            let open = if *to == Status::Active { MAY_OPEN } else { "" };
            let line = format!("{} {verb} {}{was}{open} ({})", principals(who.len()), to.name(), self.names(who));
            self.line(1, line);
        }
        self.cut(&people.renamed, |page, (from, to)| page.line(1, format_args!("{from} is called {to} now{MAY_OPEN}")));
        for flag in &domain.flags {
            let verb = verb(flag.principals.len(), if flag.gained { "get" } else { "lose" });
            let who = principals(flag.principals.len());
            let line = format!(
                "{who} {verb} the flag {}{} ({})",
                flag.flag,
                sense(flag.direction),
                self.names(&flag.principals)
            );
            self.line(1, line);
        }
        self.cut(&domain.access, Self::access);
        self.cut(&domain.world, Self::world);
        self.line(0, "");
    }

    fn access(&mut self, change: &AccessChange) {
        let rights = |level: &str| {
            let mut texts: Vec<String> = change.rights.iter().map(|right| spot(right, level)).collect();
            if texts.len() > NODES && !self.all {
                let more = texts.len() - NODES;
                texts.truncate(NODES);
                texts.push(format!("and {more} more"));
            }
            texts.join(", ")
        };
        let level = |standing| match standing {
            Standing::Up(level) => format!(":{}", level.name()),
            Standing::Nothing | Standing::Denied => String::new(),
        };
        let (count, gain) = (change.principals, change.to > change.from);
        let what = match (gain, change.from, change.to) {
            (true, Standing::Up(had), to) => {
                format!("{} {} (had {})", verb(count, "gain"), rights(&level(to)), had.name())
            }
            (true, Standing::Denied, Standing::Nothing) => {
                format!("{} no longer denied {}", be(count), rights(""))
            }
            (true, Standing::Denied, to) => format!("{} {} (was denied)", verb(count, "gain"), rights(&level(to))),
            (true, _, to) => format!("{} {}", verb(count, "gain"), rights(&level(to))),
            (false, Standing::Nothing, _) => format!("{} denied {}", be(count), rights("")),
            (false, from, Standing::Up(keeps)) => {
                format!(
                    "{} {} (keep{} {})",
                    verb(count, "lose"),
                    rights(&level(from)),
                    plural_verb(count),
                    keeps.name()
                )
            }
            (false, from, _) => format!("{} {}", verb(count, "lose"), rights(&level(from))),
        };
        let through = through(&change.through);
        match change.at.as_slice() {
            [(at, who)] => {
                let line = format!("{} {what} at {}{through} ({})", principals(count), spot(at, ""), self.names(who));
                self.line(1, line);
            }
            places => {
                self.line(1, format_args!("{} {what} at {} places{through}", principals(count), places.len()));
                let most = if self.all { places.len() } else { NODES };
                for (at, who) in places.iter().take(most) {
                    let line = format!("{}: {} ({})", spot(at, ""), who.len(), self.names(who));
                    self.line(2, line);
                }
                if places.len() > most {
                    self.line(2, format_args!("and {} more places", places.len() - most));
                }
            }
        }
        let place = change.place.map(|place| self.places.place(place)).into_iter();
        let routes = (!change.routes.is_empty()).then(|| format!("routes: {}", self.short(&change.routes)));
        let notes: Vec<String> = place.chain(routes).collect();
        if !notes.is_empty() {
            self.line(3, notes.join("; "));
        }
    }

    fn world(&mut self, change: &WorldChange) {
        let (kind, subject, sense) = (change.kind, &change.subject, sense(change.direction));
        let line = match (&change.from, &change.to) {
            (None, Some(to)) => format!("{kind} {subject} is new: {to}{sense}"),
            (Some(from), None) => format!("{kind} {subject} is gone: {from}{sense}"),
            (None, None) => format!("{kind} {subject} may hold more or less than before{sense}"),
            (from, to) => {
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                format!("{kind} {subject}: {} -> {}{sense}", text(from), text(to))
            }
        };
        self.line(1, line);
    }

    fn application(&mut self, change: &ApplicationChange) {
        let what = match change.only {
            None => "changes",
            Some(Side::New) => "is new",
            Some(Side::Old) => "is gone",
        };
        let place = self.places.place(change.place);
        self.line(1, format_args!("{} {what}{} ({place})", change.name, sense(change.direction)));
        change.aspects.iter().for_each(|aspect| self.aspect(aspect));
    }

    fn route(&mut self, change: &RouteChange) {
        let what = match change.kind {
            RouteChangeKind::Opened => "is opened",
            RouteChangeKind::Added => "is new",
            RouteChangeKind::Changed => "changes",
            RouteChangeKind::Renamed => "has another id",
            RouteChangeKind::Closed => "is closed",
            RouteChangeKind::Removed => "is gone",
        };
        let place = self.places.place(change.place);
        let name = format!("{}/{}", change.application, change.route);
        self.line(1, format_args!("{name} {what}{} ({place})", sense(change.direction)));
        change.aspects.iter().for_each(|aspect| self.aspect(aspect));
        let can = |count: usize| format!("{} at most", principals(count));
        let users = match (change.before, change.now) {
            (None, None) => None,
            (Some(before), None) => Some(format!("could be used by {}", can(before))),
            (None, Some(now)) => Some(format!("can be used by {}", can(now))),
            (Some(before), Some(now)) => Some(format!("can be used by {}, before by {before}", can(now))),
        };
        users.into_iter().for_each(|line| self.line(2, line));
        if let Some(other) = &change.instead {
            let line = match change.kind {
                RouteChangeKind::Removed => format!("its requests are taken by {other} now"),
                _ => format!("its requests were taken by {other}"),
            };
            self.line(2, line);
        }
    }

    fn left_out(&mut self, left: &LeftOut) {
        let LeftOut { domain, principals: count, may_gain } = left;
        let open = if *may_gain { MAY_OPEN } else { "" };
        let line =
            format!("{} more of domain {domain} change, or may, and are not compared here{open}", principals(*count));
        self.line(0, line);
    }

    fn aspect(&mut self, aspect: &Aspect) {
        let Aspect { what, from, to, direction } = aspect;
        let text = if from.is_empty() { to.clone() } else { format!("{from} -> {to}") };
        self.line(2, format_args!("{what}: {text}{}", sense(*direction)));
    }

    fn names(&self, names: &[Arc<str>]) -> String {
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        self.cut_names(&names)
    }

    fn short(&self, names: &[String]) -> String {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.cut_names(&names)
    }

    fn cut_names(&self, names: &[&str]) -> String {
        let most = if self.all { names.len() } else { NAMES };
        let mut text = names.iter().take(most).copied().collect::<Vec<&str>>().join(", ");
        if names.len() > most {
            text.push_str(&format!(" and {} more", names.len() - most));
        }
        text
    }
}

fn principals(count: usize) -> String {
    format!("{count} principal{}", if count == 1 { "" } else { "s" })
}

fn verb(count: usize, verb: &str) -> String {
    format!("{verb}{}", plural_verb(count))
}

const fn plural_verb(count: usize) -> &'static str {
    if count == 1 { "s" } else { "" }
}

const fn be(count: usize) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

const fn sense(direction: Direction) -> &'static str {
    match direction {
        Direction::Gain => " [opens]",
        Direction::Unclear => MAY_OPEN,
        Direction::Loss => " [closes]",
        Direction::Neutral => "",
    }
}

fn spot(spot: &Spot, level: &str) -> String {
    let except = if spot.except.is_empty() { String::new() } else { format!(" (but not {})", spot.except.join(", ")) };
    format!("{}{level}{except}", spot.name)
}

fn through(through: &Through) -> String {
    let list = |vias: &[Via]| {
        let mut texts: Vec<String> = vias.iter().take(3).map(via).collect();
        if vias.len() > 3 {
            texts.push(format!("{} more", vias.len() - 3));
        }
        texts.join(" and ")
    };
    let mut text = String::new();
    if !through.held.is_empty() {
        text.push_str(&format!(", through {}", list(&through.held)));
    }
    if !through.denied.is_empty() {
        text.push_str(&format!(", denied through {}", list(&through.denied)));
    }
    if let Some(flag) = &through.cap {
        text.push_str(&format!(", capped by flag {flag}"));
    }
    text
}

fn via(via: &Via) -> String {
    let given = match (&via.role, &via.right) {
        (Some(role), _) => format!("role {role}"),
        (None, Some(right)) => format!("{right} granted"),
        (None, None) => "a grant".to_owned(),
    };
    match &via.group {
        Some(group) => format!("{given} to group {group}"),
        None => given,
    }
}

/// One line for everything.
fn summary(found: &Difference) -> String {
    let people = |gain: bool| {
        let domains = found.domains.iter().map(|domain| {
            let changes = domain.access.iter().filter(|change| (change.to > change.from) == gain);
            changes.flat_map(|change| &change.at).flat_map(|(_, who)| who).collect::<BTreeSet<_>>().len()
        });
        principals(domains.sum())
    };
    let routes = |test: fn(Direction) -> bool| found.routes.iter().filter(|route| test(route.direction)).count();
    let opening = routes(Direction::may_gain);
    let closing = routes(|direction| direction == Direction::Loss);
    format!(
        "{} with more rights, {} with less; {opening} routes open or may, {closing} close",
        people(true),
        people(false)
    )
}
