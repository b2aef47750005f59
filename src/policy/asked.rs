//! What a route asks, read off its rules without a request: the rights, and the nodes that known objects lead it to.

use std::collections::BTreeSet;

use super::domain::{AttributeId, Domain, FlagId, RightId, ScopeId};
use super::outline::{Outline, OutlineKind};
use super::rules::{Asked, At, Check, Operand, Origin, RightRef, Rules, ScopeRule, Spot, Step};
use crate::diag::Place;
use crate::model::Level;

/// A right that a term of a route asks for. A term whose right the path names asks for one of several.
#[derive(Clone, Debug)]
pub struct AskedRight<'r> {
    /// The right.
    pub right: RightId,
    /// How much of it.
    pub wants: Wants,
    /// The scope of the route that it is asked at; `None` for the root.
    pub scope: Option<&'r str>,
    /// Whether it may be held anywhere below as well.
    pub below: bool,
    /// Where the term stands.
    pub place: Place,
    /// The term, in short.
    pub text: &'r str,
}

/// How much of a right a term wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// At least this level.
    Level(Level),
    /// The level that the request's method means.
    ByMethod,
    /// That it is not denied.
    NoDenial,
}

/// A known object, and a node that a route is led to by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectNode<'d> {
    /// The object's kind.
    pub kind: &'d str,
    /// Its key.
    pub key: &'d str,
    /// The scope of the route.
    pub scope: &'d str,
    /// The node.
    pub node: ScopeId,
}

impl Rules {
    /// Every right that the requirement asks for, in the order of the file. Needs the outline.
    pub fn asks(&self) -> Vec<AskedRight<'_>> {
        let mut asked = Vec::new();
        if let Some(outline) = self.outline() {
            self.asks_within(outline, &mut asked);
        }
        asked
    }

    fn asks_within<'r>(&'r self, outline: &'r Outline, asked: &mut Vec<AskedRight<'r>>) {
        outline.children.iter().for_each(|child| self.asks_within(child, asked));
        let step = outline.step.filter(|_| outline.kind == OutlineKind::Check);
        let Some(Step::Check { check, .. }) = step.and_then(|step| self.steps.get(usize::from(step))) else { return };
        let (right, wants, at, below) = match check {
            Check::Right { right, level: Asked::Level(level), at, below } => (right, Wants::Level(*level), *at, *below),
            Check::Right { right, level: Asked::ByMethod, at, below } => (right, Wants::ByMethod, *at, *below),
            Check::UnlessDenied { right, at } => (right, Wants::NoDenial, *at, false),
            Check::Flag(_) | Check::NotFlag(_) | Check::Compare { .. } | Check::Bit { .. } | Check::Never { .. } => {
                return;
            }
        };
        let scope = match at {
            At::Root => None,
            At::Scope(scope) => Some(self.scope_name(scope)),
        };
        let (place, text) = (outline.place, outline.text.as_str());
        let term = |right: RightId| AskedRight { right, wants, scope, below, place, text };
        match right {
            RightRef::Fixed(right) => asked.push(term(*right)),
            RightRef::Named { rights, .. } => asked.extend(rights.iter().map(|(_, right)| term(*right))),
        }
    }

    /// The term that a step belongs to.
    pub(super) fn term_of(&self, step: usize) -> Option<&Outline> {
        fn within(outline: &Outline, step: usize) -> Option<&Outline> {
            if outline.step.map(usize::from) == Some(step) {
                return Some(outline);
            }
            outline.children.iter().find_map(|child| within(child, step))
        }
        within(self.outline()?, step)
    }
}

impl Rules {
    /// The attributes of the object that decisions by these rules may read.
    pub(super) fn attributes_read(&self) -> impl Iterator<Item = AttributeId> {
        const fn of(operand: &Operand) -> Option<AttributeId> {
            match operand {
                Operand::Object(attribute) | Operand::Count(attribute) => Some(*attribute),
                _ => None,
            }
        }
        let compared = self.steps.iter().flat_map(|step| match step {
            Step::Check { check: Check::Compare { left, right, .. }, .. } => [of(left), of(right)],
            Step::Check { check: Check::Bit { of: operand, .. }, .. } => [of(operand), None],
            _ => [None, None],
        });
        self.scopes.iter().flat_map(attributes).chain(compared.flatten())
    }
}

impl Domain {
    /// The nodes that the domain's objects lead a route to: by an attribute, or by a key that is itself a scope's value.
    pub fn nodes_of_objects<'d>(&'d self, rules: &'d Rules) -> Vec<ObjectNode<'d>> {
        let Some(rule) = &rules.object else { return Vec::new() };
        let kind = self.kind_name(rule.kind);
        let mut found = Vec::new();
        for scope in &rules.scopes {
            let Origin::Request { places, kind: values } = &scope.origin else { continue };
            for (key, object) in self.objects.get(&rule.kind.0).into_iter().flatten() {
                let texts = attributes(scope).filter_map(|attribute| object.attribute(attribute));
                let texts = texts.flat_map(|attribute| attribute.texts.iter());
                let by_key = places.iter().any(|place| matches!(place, Spot::Path(variable) if *variable == rule.key));
                let texts = texts.chain(by_key.then_some(key));
                let nodes = texts.filter_map(|text| self.scope(*values, text));
                found.extend(nodes.map(|node| ObjectNode { kind, key, scope: &scope.name, node }));
            }
        }
        found.sort_by_key(|object| (object.node, object.key, object.scope));
        found.dedup();
        found
    }

    /// The nodes that attributes of known objects give a scope.
    pub(super) fn nodes_by_attribute(&self, rules: &Rules, scope: &ScopeRule) -> Vec<ScopeId> {
        let (Some(object), Origin::Request { kind, .. }) = (&rules.object, &scope.origin) else { return Vec::new() };
        let objects = self.objects.get(&object.kind.0).into_iter().flatten().map(|(_, object)| object);
        let texts = objects.flat_map(|object| attributes(scope).filter_map(|attribute| object.attribute(attribute)));
        texts.flat_map(|attribute| attribute.texts.iter()).filter_map(|text| self.scope(*kind, text)).collect()
    }
}

/// The attributes that a scope may take its value from.
fn attributes(scope: &ScopeRule) -> impl Iterator<Item = AttributeId> {
    let places = match &scope.origin {
        Origin::Request { places, .. } => places.as_slice(),
        Origin::Node(_) => &[],
    };
    places.iter().filter_map(|place| match place {
        Spot::Object(attribute) => Some(*attribute),
        Spot::Path(_) | Spot::Query(_) | Spot::Form(_) | Spot::Header(_) => None,
    })
}

/// All that one route may ask for, whatever the request.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    /// Rights that must be held, at the level asked for; `None` where the method says which.
    pub rights: Vec<(RightId, Option<Level>)>,
    /// Rights that must not be denied.
    pub undenied: BTreeSet<RightId>,
    /// Flags that one must have.
    pub flags: Vec<FlagId>,
    /// Flags that one must not have.
    pub not_flags: Vec<FlagId>,
}

impl Rules {
    /// The kind of the object that requests are about.
    pub fn object_kind<'d>(&self, domain: &'d Domain) -> Option<&'d str> {
        self.object.as_ref().map(|object| domain.kind_name(object.kind))
    }

    /// See [`Demands`].
    pub fn demands(&self) -> Demands {
        let mut asked = Demands::default();
        for step in &self.steps {
            let Step::Check { check, .. } = step else { continue };
            match check {
                Check::Flag(flag) => asked.flags.push(*flag),
                Check::NotFlag(flag) => asked.not_flags.push(*flag),
                Check::Right { right, level, .. } => {
                    let level = match level {
                        Asked::Level(level) => Some(*level),
                        Asked::ByMethod => None,
                    };
                    asked.rights.extend(named(right).map(|right| (right, level)));
                }
                Check::UnlessDenied { right, .. } => asked.undenied.extend(named(right)),
                Check::Compare { .. } | Check::Bit { .. } | Check::Never { .. } => {}
            }
        }
        asked
    }
}

fn named(right: &RightRef) -> impl Iterator<Item = RightId> {
    let (fixed, named) = match right {
        RightRef::Fixed(right) => (Some(*right), &[][..]),
        RightRef::Named { rights, .. } => (None, &rights[..]),
    };
    fixed.into_iter().chain(named.iter().map(|(_, right)| *right))
}
