//! Every way to settle conflicts otherwise.

use portcullis::document::grants::{Across, GrantsDocument, StrategyDocument, Within};

/// All grants documents that differ in how conflicts are settled, or in what a right brings.
pub fn of_strategy(grants: &GrantsDocument) -> Vec<(String, GrantsDocument)> {
    let mut found = Vec::new();
    let mut add = |what: String, change: &dyn Fn(&mut StrategyDocument)| {
        let mut grants = grants.clone();
        change(&mut grants.strategy);
        found.push((what, grants));
    };
    for across in [
        Across::DenyOverrides,
        Across::DenyIndividualFirst,
        Across::IndividualFirst,
        Across::MostRestrictive,
        Across::MostPermissive,
    ] {
        if across != grants.strategy.across {
            add(format!("across {across:?}"), &|strategy| strategy.across = across);
        }
    }
    for within in [Within::Union, Within::Nearest] {
        if within != grants.strategy.within {
            add(format!("within {within:?}"), &|strategy| strategy.within = within);
        }
    }
    if grants.strategy.boundary {
        add("no boundary".into(), &|strategy| strategy.boundary = false);
    }
    for (index, (flag, _)) in grants.strategy.caps.iter().enumerate() {
        add(format!("no cap for {}", flag.value), &|strategy| drop(strategy.caps.remove(index)));
    }
    for (index, (right, _)) in grants.implies.iter().enumerate() {
        let mut changed = grants.clone();
        changed.implies.remove(index);
        found.push((format!("{} brings nothing", right.value), changed));
    }
    found
}
