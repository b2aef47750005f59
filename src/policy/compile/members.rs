//! Groups and roles of tokens that stand for groups of the domain: `token_groups` and `token_roles`.

use std::collections::HashMap;

use super::entries::{Group, Lists, Vocabulary};
use super::{Builder, unknown};
use crate::diag::{Place, Report};
use crate::document::grants::GrantsDocument;
use crate::document::{Entries, Located};
use crate::model::Guid;
use crate::policy::member::{MAX_MAPPED, MappedGroup, Mapping, Values};

impl Builder {
    /// Compiles both keys.
    pub(super) fn members(
        &mut self,
        document: &GrantsDocument,
        vocabulary: &Vocabulary,
        lists: &mut Lists,
        report: &mut Report,
    ) {
        let first = document.token_groups.first().or(document.token_roles.first());
        if let Some((value, _)) = first.filter(|_| document.strategy.boundary) {
            let message = "a domain with boundaries cannot take groups from tokens";
            report
                .error("boundary_with_token_groups", value.place, message)
                .help("list the groups at the principals, or remove `boundary: true` from `strategy`");
            return;
        }
        let mut mapped = Mapped { vocabulary, lists, numbers: HashMap::new(), compiled: Vec::new() };
        let by_group = self.token_values("token_groups", &document.token_groups, &mut mapped, report);
        let by_role = self.token_values("token_roles", &document.token_roles, &mut mapped, report);
        self.domain.mapping = Mapping { groups: mapped.compiled, by_group, by_role, may_take_away: false };
    }

    /// The values of one key.
    fn token_values<'c>(
        &mut self,
        key: &str,
        entries: &'c Entries<Located<String>>,
        mapped: &mut Mapped<'c>,
        report: &mut Report,
    ) -> Values {
        let mut values = Values::default();
        let mut guids: HashMap<Guid, Place> = HashMap::new();
        for (value, name) in entries {
            // The reader of the file knows no GUIDs: to it, one in other letters is another text.
            let first = value.value.parse().ok().and_then(|guid| guids.insert(guid, value.place));
            if let Some(first) = first {
                let message = format!("the GUID `{}` stands here for the second time", value.value);
                report
                    .error("duplicate_key", value.place, message)
                    .help(format!("map it once in `{key}`; letter case does not count"))
                    .also(first, "the other one");
            }
            let known = &mapped.vocabulary.groups;
            let Some(group) = known.get(&name.value) else {
                let message = format!("there is no group `{}`", name.value);
                unknown(report, name.place, message, &name.value, known.keys().map(String::as_str));
                continue;
            };
            let next = mapped.numbers.len();
            let number = *mapped.numbers.entry(&name.value).or_insert(next);
            if number == next {
                if next == MAX_MAPPED {
                    let message = format!("tokens are mapped to more than {MAX_MAPPED} groups of this domain");
                    report
                        .error("too_many_token_groups", name.place, message)
                        .help("map to fewer groups: several values may name the same one");
                }
                let compiled = self.mapped(group, mapped);
                mapped.compiled.push(compiled);
            }
            values.insert(&value.value, u8::try_from(number).unwrap_or(u8::MAX));
        }
        values
    }

    /// A group with all that it inherits.
    fn mapped(&mut self, group: &Group, mapped: &mut Mapped<'_>) -> MappedGroup {
        let mut sources = group.sources.clone();
        sources.sort_unstable();
        if let Some(origins) = &mut self.origins {
            origins.mapped.push(sources.clone());
        }
        let grants = sources.iter().filter_map(|number| mapped.vocabulary.group_grants.get(*number));
        let grants = grants.filter(|grants| !grants.is_empty());
        MappedGroup {
            flags: group.flags,
            inactive: group.inactive,
            sources: grants.map(|grants| mapped.lists.grants(grants.clone())).collect(),
            names: mapped.lists.names(&sources, mapped.vocabulary),
        }
    }
}

/// The groups that were mapped to so far.
struct Mapped<'c> {
    vocabulary: &'c Vocabulary,
    lists: &'c mut Lists,
    /// By name: the place in `compiled`.
    numbers: HashMap<&'c str, usize>,
    compiled: Vec<MappedGroup>,
}
