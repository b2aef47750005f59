//! A single change to a policy, or to what is asked of it.

use std::fmt;

use super::request::Request;
use crate::diag::Place;
use crate::document::grants::{GrantDocument, GrantsDocument, PrincipalDocument};
use crate::document::routes::RoutesDocument;
use crate::document::{Literal, Located};
use crate::model::Status;

/// A single change. Whom it is for is known: the principal that asks.
#[derive(Clone, Debug)]
pub enum Change {
    /// One more grant, as it would be written.
    Grant {
        /// `RIGHT[:LEVEL] [@NODE]`.
        grant: String,
    },
    /// One more role.
    Role {
        /// The role.
        role: String,
        /// Where.
        at: String,
    },
    /// One more group.
    Join {
        /// The group.
        group: String,
    },
    /// One group less.
    Leave {
        /// The group.
        group: String,
    },
    /// One more flag.
    Flag {
        /// The flag.
        flag: String,
    },
    /// One flag less.
    NoFlag {
        /// The flag.
        flag: String,
    },
    /// An account or a group made active.
    Activate {
        /// The group; `None` for the account.
        group: Option<String>,
    },
    /// A denial taken back: the whole entry that it stands in.
    Withdraw {
        /// Where the entry stands.
        place: Place,
        /// The right that it denies.
        right: String,
        /// The group that has it; `None` for the principal itself.
        group: Option<String>,
    },
    /// One more subtree in which the principal exists.
    Boundary {
        /// Its node.
        node: String,
    },
    /// A setting turned over, for everybody.
    Setting {
        /// Its name.
        name: String,
        /// Its new value.
        value: bool,
    },
    /// Another request in place of this one.
    Ask {
        /// The request.
        request: Box<Request>,
    },
}

impl PartialEq for Change {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string() && self.kind() == other.kind()
    }
}

impl Eq for Change {}

impl Change {
    /// A word for the kind of change, for programs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Grant { .. } => "grant",
            Self::Role { .. } => "role",
            Self::Join { .. } => "join_group",
            Self::Leave { .. } => "leave_group",
            Self::Flag { .. } => "flag",
            Self::NoFlag { .. } => "remove_flag",
            Self::Activate { .. } => "activate",
            Self::Withdraw { .. } => "withdraw_denial",
            Self::Boundary { .. } => "boundary",
            Self::Setting { .. } => "setting",
            Self::Ask { .. } => "other_request",
        }
    }

    /// Makes the change for a principal. What does not apply changes nothing.
    pub(super) fn apply(&self, principal: &str, routes: &mut [RoutesDocument], grants: &mut [GrantsDocument]) {
        if let Self::Setting { name, value } = self {
            for (known, setting) in routes.iter_mut().flat_map(|file| &mut file.settings) {
                if known.value == *name {
                    *setting = Literal::Bool(*value);
                }
            }
        }
        for document in grants {
            let mut own = document.principals.iter_mut().filter(|known| known.id.value == principal);
            let groups = document.groups.iter_mut();
            match self {
                Self::Activate { group: Some(name) } => {
                    groups.filter(|group| group.name.value == *name).for_each(|group| group.status = Status::Active);
                }
                Self::Withdraw { place, group: Some(name), .. } => groups
                    .filter(|group| group.name.value == *name)
                    .for_each(|group| group.grants.retain(|grant| grant.place() != *place)),
                _ => own.by_ref().for_each(|principal| self.apply_to(principal)),
            }
        }
    }

    fn apply_to(&self, principal: &mut PrincipalDocument) {
        let place = principal.id.place;
        let text = |text: &String| Located::new(place, text.clone());
        match self {
            Self::Grant { grant } => principal.grants.push(GrantDocument::Right(text(grant))),
            Self::Role { role, at } => {
                principal.grants.push(GrantDocument::Role { place, role: text(role), at: vec![text(at)] });
            }
            Self::Join { group } => principal.groups.push(text(group)),
            Self::Leave { group } => principal.groups.retain(|known| known.value != *group),
            Self::Flag { flag } => principal.flags.push(text(flag)),
            Self::NoFlag { flag } => principal.flags.retain(|known| known.value != *flag),
            Self::Activate { .. } => principal.status = Status::Active,
            Self::Withdraw { place, .. } => principal.grants.retain(|grant| grant.place() != *place),
            Self::Boundary { node } => principal.boundary.get_or_insert_default().push(text(node)),
            Self::Setting { .. } | Self::Ask { .. } => {}
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grant { grant } => write!(out, "grant it `{grant}`"),
            Self::Role { role, at } => write!(out, "grant it the role `{role}` at `{at}`"),
            Self::Join { group } => write!(out, "add it to the group `{group}`"),
            Self::Leave { group } => write!(out, "take it out of the group `{group}`"),
            Self::Flag { flag } => write!(out, "give it the flag `{flag}`"),
            Self::NoFlag { flag } => write!(out, "take the flag `{flag}` from it"),
            Self::Activate { group: None } => write!(out, "set its status to `active`"),
            Self::Activate { group: Some(group) } => {
                write!(out, "set the status of the group `{group}` to `active`, for all its members")
            }
            Self::Withdraw { right, group: None, .. } => {
                write!(out, "remove the whole entry that denies it `{right}`")
            }
            Self::Withdraw { right, group: Some(group), .. } => {
                write!(out, "remove the whole entry of the group `{group}` that denies `{right}`, for all its members")
            }
            Self::Boundary { node } => write!(out, "add `{node}` to its boundary"),
            Self::Setting { name, value } => write!(out, "set `{name}` to `{value}`, for everybody"),
            Self::Ask { request } => {
                write!(out, "ask for `{}` instead", request.line())?;
                request.headers.iter().try_for_each(|(name, value)| write!(out, " with `{name}: {value}`"))?;
                request.form.iter().try_for_each(|(name, value)| write!(out, " with `{name}={value}` in its form"))
            }
        }
    }
}
