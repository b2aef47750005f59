//! An explanation as a tree that a person can read.

use std::fmt::Write as _;

use crate::diag::{Place, Report, printable};
use crate::model::shadow::InShadow;
use crate::model::{Reason, Status};
use crate::policy::{Considered, Domain, ObjectSeen, OutlineKind, ScopeId, TermSeen};
use crate::review::json::{effect, held};
use crate::review::{Change, Explained, Remedy, Request};

/// The most places that are named where a right is held elsewhere.
const MOST_ELSEWHERE: usize = 5;

/// The whole explanation; `texts` are those of the policy. Writing to a `String` cannot fail, so results of `write!` are dropped here.
pub fn explanation(texts: &Report, request: &Request, explained: &Explained<'_>) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}  as {}", request.line(), request.by());
    let _ = writeln!(out, "{}", outcome(explained));
    out.push('\n');
    steps(&mut out, texts, explained);
    if let (Some(domain), Some(term)) =
        (explained.domain, explained.apart.as_ref().and_then(|apart| apart.requirement.as_ref()))
    {
        let tree = Tree { texts, domain, explained, decider: term.decider() };
        let _ = writeln!(out, "requirement  {}", place(texts, term.place));
        match term.kind {
            OutlineKind::All => tree.parts(&mut out, term, 1),
            _ => tree.term(&mut out, term, 1),
        }
    }
    remedies(&mut out, texts, explained);
    // Names come from files and values from requests, some of them decoded.
    printable(&out)
}

/// `FILE:LINE:COLUMN` of a place.
fn place(texts: &Report, place: Place) -> String {
    let location = texts.locate(place);
    format!("{}:{}:{}", location.file, location.line, location.column)
}

/// `allowed`, or `denied` with the code, in one line; and what becomes of the request where the gateway only watches.
fn outcome(explained: &Explained<'_>) -> String {
    match &explained.tried.refusal {
        None => match &explained.tried.answer {
            None => "allowed".to_owned(),
            Some(answer) => format!("allowed: the gateway itself answers ({})", answer.word()),
        },
        Some(refusal) => {
            let denied = format!("denied: {} ({})", refusal.full_code(), refusal.reason.status());
            match explained.tried.watched() {
                None => denied,
                Some(InShadow::Refused) => {
                    format!("{denied}; mode: shadow, which does not hold for this: it is refused")
                }
                Some(InShadow::Unnamed) => {
                    format!("{denied}; mode: shadow, so it is logged as would_deny and forwarded without a name")
                }
                Some(InShadow::Named) => format!("{denied}; mode: shadow, so it is logged as would_deny and forwarded"),
            }
        }
    }
}

fn steps(out: &mut String, texts: &Report, explained: &Explained<'_>) {
    let mut line = |what: &str, text: String| {
        let _ = writeln!(out, "{what:<13}{text}");
    };
    match explained.application {
        Some(application) => {
            line("application", format!("{}  {}", application.name.value, place(texts, application.name.place)));
        }
        None if explained.tried.refusal.as_ref().is_some_and(|refusal| refusal.reason == Reason::NoApplication) => {
            line("application", "none has this host".to_owned());
        }
        None => {}
    }
    if let Some(route) = explained.route {
        let path = &route.path.value;
        line("route", format!("{}  {}  {path}", route.id.value, place(texts, route.id.place)));
    }
    let gate: Vec<String> = explained
        .gate
        .iter()
        .map(|step| {
            let offered = if step.offered.is_empty() { "none".to_owned() } else { step.offered.join(", ") };
            let admitted =
                if step.passes { String::new() } else { format!(" (admitted: {})", step.admitted.join(", ")) };
            format!("{} {} {offered}{admitted}", mark(step.passes), step.what.word())
        })
        .collect();
    if !gate.is_empty() {
        line("gate", gate.join("   "));
    }
    if let Some(caller) = &explained.caller {
        let status = match caller.status {
            Status::Active => "active".to_owned(),
            Status::Inactive if caller.inactive_through.is_empty() => "inactive".to_owned(),
            Status::Inactive => format!("inactive through {}", caller.inactive_through.join(", ")),
            Status::Deleted => "deleted".to_owned(),
            Status::Reserved => "reserved".to_owned(),
        };
        line("principal", format!("{}, {status}  {}", caller.id, place(texts, caller.place)));
        if !caller.groups.is_empty() {
            line("  groups", caller.groups.join(", "));
        }
        if !caller.groups_by_token.is_empty() {
            line("  by token", caller.groups_by_token.join(", "));
        }
        if !caller.flags.is_empty() {
            line("  flags", caller.flags.join(", "));
        }
    }
    let Some((apart, domain)) = explained.apart.as_ref().zip(explained.domain) else { return };
    if let Some(ObjectSeen { name, known, looked_up, needs }) = &apart.object {
        let how = match (known, looked_up) {
            (true, _) => "known",
            (false, false) => "not in the index",
            (false, true) if needs.is_some() => "looked up in a database, which was not asked",
            (false, true) => "looked up in vain",
        };
        line("object", format!("{name}, {how}"));
    }
    for (scope, written) in apart.scopes.iter().zip(explained.route.iter().flat_map(|route| &route.scopes)) {
        let nodes = match &scope.nodes {
            None => "?".to_owned(),
            Some(nodes) if nodes.is_empty() => "nothing (skipped)".to_owned(),
            Some(nodes) => nodes.iter().map(|node| domain.scope_name(*node)).collect::<Vec<_>>().join(", "),
        };
        let places = match &written.origin {
            crate::document::routes::OriginDocument::Node(_) => vec!["always".to_owned()],
            crate::document::routes::OriginDocument::Request { from, .. } => {
                let said = |(place, said): (&crate::document::Located<String>, &Result<Vec<String>, _>)| match said {
                    Ok(values) if values.is_empty() => format!("{} says nothing", place.value),
                    Ok(values) => format!("{} says {}", place.value, values.join(", ")),
                    Err(_) => format!("{} cannot be read in one way", place.value),
                };
                from.iter().zip(&scope.places).map(said).collect()
            }
        };
        line("scope", format!("{} = {nodes}  ({})", scope.name, places.join("; ")));
    }
}

struct Tree<'t> {
    texts: &'t Report,
    domain: &'t Domain,
    explained: &'t Explained<'t>,
    decider: Option<&'t TermSeen>,
}

impl Tree<'_> {
    fn term(&self, out: &mut String, term: &TermSeen, depth: usize) {
        let indent = "  ".repeat(depth);
        let decides = self.decider.is_some_and(|decider| std::ptr::eq(decider, term));
        let note = match (term.reached, decides, term.kind) {
            (false, _, _) => "  (not reached)",
            (true, true, _) => "  <- decides",
            (true, false, OutlineKind::Settled(true)) => "  (so by the settings)",
            (true, false, OutlineKind::Settled(false)) => "  (not so by the settings)",
            (true, false, _) => "",
        };
        let place = place(self.texts, term.place);
        let _ = writeln!(out, "{indent}{} {}  {place}{note}", mark(term.holds), term.text);
        for considered in &term.rights {
            self.considered(out, considered, depth + 2);
        }
        self.parts(out, term, depth + 1);
    }

    /// The terms in a term. A list that is all there is in it needs no line of its own.
    fn parts(&self, out: &mut String, term: &TermSeen, depth: usize) {
        match term.children.as_slice() {
            [list] if list.kind == OutlineKind::All => self.parts(out, list, depth),
            children => children.iter().for_each(|child| self.term(out, child, depth)),
        }
    }

    fn considered(&self, out: &mut String, considered: &Considered, depth: usize) {
        let indent = "  ".repeat(depth);
        let (right, node) = (self.domain.right_name(considered.right), self.domain.scope_name(considered.scope));
        let _ = writeln!(out, "{indent}{right} at {node}: {}{}", held(considered.held), self.strategy(considered));
        if let Some((flag, level)) = considered.cap {
            let _ = writeln!(out, "{indent}  lowered to {} by the flag {}", level.name(), self.domain.flag_name(flag));
        }
        for source in &considered.sources {
            let name = source.group.as_ref().map_or_else(|| "own grants".to_owned(), |group| format!("group {group}"));
            let decides = if source.decides { "  <- decides" } else { "" };
            let _ = writeln!(out, "{indent}  {name}: {}{decides}", held(source.held));
            for grant in &source.grants {
                let role = grant.origin.role.as_ref().map_or_else(String::new, |role| format!(" of role {role}"));
                let via =
                    grant.via.map_or_else(String::new, |via| format!(", brought by {}", self.domain.right_name(via)));
                let boundary = if grant.counts { "" } else { ", outside the boundary" };
                let decides = if grant.decides && source.decides { "  <- decides" } else { "" };
                let (name, at) = (self.domain.right_name(grant.origin.right), self.domain.scope_name(grant.at));
                let _ = writeln!(
                    out,
                    "{indent}    {name}:{} @{at}{role}{via}{boundary}  {}{decides}",
                    effect(grant.effect),
                    place(self.texts, grant.origin.place),
                );
            }
        }
        if considered.sources.is_empty() {
            let _ = writeln!(out, "{indent}  no grant covers it{}", self.elsewhere(considered));
        }
    }

    /// The strategies that settled it, where there was anything to settle.
    fn strategy(&self, considered: &Considered) -> String {
        let within = considered.sources.iter().any(|source| source.grants.len() > 1);
        let within = within.then(|| format!("within a source: {}", self.domain.within().name()));
        let across = considered.sources.len() > 1;
        let across = across.then(|| format!("across sources: {}", self.domain.across().name()));
        let both: Vec<String> = within.into_iter().chain(across).collect();
        if both.is_empty() { String::new() } else { format!("  ({})", both.join(", ")) }
    }

    /// Where else the right is held, for whoever asked at the wrong place.
    fn elsewhere(&self, considered: &Considered) -> String {
        let Some(member) = self.explained.member else { return String::new() };
        let holds = |node: &ScopeId| self.domain.held(member, considered.right, *node).level().is_some();
        let nodes: Vec<ScopeId> = self.domain.nodes_of_grants(member).into_iter().filter(holds).collect();
        let names: Vec<&str> = nodes.iter().take(MOST_ELSEWHERE).map(|node| self.domain.scope_name(*node)).collect();
        match (names.is_empty(), nodes.len() > MOST_ELSEWHERE) {
            (true, _) => String::new(),
            (false, false) => format!("; held at {}", names.join(", ")),
            (false, true) => format!("; held at {} and {} more", names.join(", "), nodes.len() - MOST_ELSEWHERE),
        }
    }
}

fn remedies(out: &mut String, texts: &Report, explained: &Explained<'_>) {
    let object = explained.apart.as_ref().and_then(|apart| apart.object.as_ref());
    if let Some(ObjectSeen { name, needs: Some(needs), .. }) = object {
        let _ = writeln!(
            out,
            "\nthe decision depends on that object. Say what the database would (in tests with `objects`):"
        );
        if needs.is_empty() {
            let _ = writeln!(out, "  --object \"{name}\"");
        }
        for attribute in needs {
            let _ = writeln!(out, "  --object \"{name} {attribute}=VALUE\"");
        }
        return;
    }
    let remedies = &explained.remedies;
    let line = |remedy: &Remedy| match &remedy.change {
        Change::Withdraw { place: at, .. } => format!("{}  {}", remedy.change, place(texts, *at)),
        change => change.to_string(),
    };
    match remedies.first() {
        None if explained.apart.as_ref().is_some_and(|apart| apart.decision.is_err()) => {
            let _ = writeln!(out, "\nno single change that was tried would allow it.");
        }
        None => {}
        Some(Remedy { then: None, .. }) => {
            let _ = writeln!(out, "\nany one of these would allow it (each was tried on a copy):");
            for remedy in remedies {
                let _ = writeln!(out, "  - {}", line(remedy));
            }
        }
        Some(remedy @ Remedy { then: Some(then), .. }) => {
            let _ = writeln!(out, "\nno single change would allow it; after this one it would be denied with {then}:");
            let _ = writeln!(out, "  - {}", line(remedy));
        }
    }
}

const fn mark(holds: bool) -> &'static str {
    if holds { "✓" } else { "✗" }
}
