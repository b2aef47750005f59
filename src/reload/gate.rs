//! How much a reload may change unasked. What is over it waits for a person who says why.

use std::fmt;
use std::sync::Arc;

use crate::review::Impact;

/// A share of all principals of a domain, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u8);

impl Share {
    /// So many percent; `None` above a hundred.
    pub const fn percent(percent: u8) -> Option<Self> {
        if percent <= 100 { Some(Self(percent)) } else { None }
    }

    /// Whether `count` of `all` is more than this.
    fn is_exceeded(self, count: usize, all: usize) -> bool {
        count.saturating_mul(100) > all.saturating_mul(usize::from(self.0))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}%", self.0)
    }
}

/// What holds a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// More principals of a domain than this gain access, or may; `None`: any number may. A domain that had none before may
    /// have any.
    pub gain: Option<Share>,
    /// More principals of a domain than this lose access, or may; `None`: any number may.
    pub lose: Option<Share>,
    /// So many principals of a domain are never too many.
    pub few: usize,
    /// Whether requests that become public, or open to whoever passes the gate of their application, hold it.
    pub public_routes: bool,
    /// Whether an application that is gone holds it.
    pub applications_gone: bool,
}

impl Default for Gate {
    fn default() -> Self {
        Self { gain: Some(Share(20)), lose: Some(Share(20)), few: 10, public_routes: true, applications_gone: true }
    }
}

impl Gate {
    /// A gate that holds nothing.
    pub const OFF: Self = Self { gain: None, lose: None, few: 0, public_routes: false, applications_gone: false };

    /// Weighs what a candidate changes.
    pub fn weigh(self, impact: Impact) -> Weighed {
        let mut held = Vec::new();
        for (name, domain) in &impact.domains {
            // Who first fills a domain takes nothing from anybody, and can be compared with nothing.
            let gain = self.gain.filter(|_| domain.before > 0);
            let sides =
                [(gain, domain.gain, &domain.gaining, "gain"), (self.lose, domain.lose, &domain.losing, "lose")];
            for (share, count, who, word) in sides {
                let share = share.filter(|share| count > self.few && share.is_exceeded(count, domain.principals));
                held.extend(share.map(|share| {
                    let (all, who) = (domain.principals, names(who, count));
                    format!("{count} of {all} principals of `{name}` {word} access, more than {share}: {who}")
                }));
            }
        }
        if self.public_routes {
            held.extend(impact.opened.iter().map(|opened| {
                if opened.route.is_empty() {
                    return format!("requests that no route of `{}` takes are let pass", opened.application);
                }
                let what = if opened.public { "public" } else { "open to whoever passes the gate" };
                let by = format!("by the route `{}` of `{}`", opened.route, opened.application);
                let before = opened.before.as_ref().map(|before| format!("; before, `{before}` took them"));
                format!("requests like {} become {what} {by}{}", opened.sample, before.unwrap_or_default())
            }));
            if impact.more_opened > 0 {
                held.push(format!("{} more routes become public or open to a gate", impact.more_opened));
            }
        }
        if self.applications_gone {
            held.extend(impact.gone.iter().map(|name| format!("the application `{name}` is gone")));
        }
        Weighed { impact, held }
    }
}

/// Some names of many.
fn names(who: &[Arc<str>], count: usize) -> String {
    let named: Vec<&str> = who.iter().map(|id| &**id).collect();
    let more = count.saturating_sub(named.len());
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", named.join(", "))
}

/// What a candidate changes, and what of it the gate holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weighed {
    /// What changes.
    pub impact: Impact,
    /// Why it is held, one sentence for each cause; empty if it is not.
    pub held: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy;
    use crate::review::Opened;

    fn of(principals: usize, gain: usize, lose: usize) -> Impact {
        let domain = policy::Impact { principals, before: principals, gain, lose, ..policy::Impact::default() };
        Impact { domains: [(Arc::from("d"), domain)].into(), ..Impact::default() }
    }

    #[test]
    fn shares_are_exceeded_by_one_more_and_few_principals_never_hold() {
        let gate = Gate::default();
        let cases = [
            (of(100, 20, 20), 0),
            (of(100, 21, 20), 1),
            (of(100, 20, 21), 1),
            (of(100, 100, 100), 2),
            (of(10, 10, 10), 0),
            (of(11, 11, 0), 1),
            (of(0, 0, 0), 0),
        ];
        for (impact, expected) in cases {
            assert_eq!(gate.weigh(impact.clone()).held.len(), expected, "{impact:?}");
            assert!(Gate::OFF.weigh(impact).held.is_empty());
        }
        let none = Gate { gain: Share::percent(0), lose: None, few: 0, ..gate };
        assert_eq!(none.weigh(of(1_000_000, 1, 900_000)).held.len(), 1);
        assert_eq!(Share::percent(101), None);
    }

    #[test]
    fn a_domain_that_is_filled_for_the_first_time_is_not_held_and_one_that_is_emptied_is() {
        let mut impact = of(100, 100, 0);
        impact.domains.values_mut().for_each(|domain| domain.before = 0);
        assert!(Gate::default().weigh(impact).held.is_empty());
        assert_eq!(Gate::default().weigh(of(100, 0, 100)).held.len(), 1);
    }

    #[test]
    fn what_opens_and_what_is_gone_hold_unless_that_is_off() {
        let opened = Opened {
            application: "a".into(),
            route: "r".into(),
            sample: "GET a.test/".to_owned(),
            public: true,
            before: Some("q".into()),
        };
        let impact = Impact { opened: vec![opened], gone: vec!["b".into()], more_opened: 3, ..Impact::default() };
        let held = Gate::default().weigh(impact.clone()).held;
        assert_eq!(held.len(), 3);
        assert!(held[0].contains("GET a.test/ become public by the route `r` of `a`; before, `q`"), "{held:?}");
        let half = Gate { public_routes: false, ..Gate::default() };
        assert_eq!(half.weigh(impact.clone()).held, ["the application `b` is gone"]);
        assert!(Gate::OFF.weigh(impact).held.is_empty());
    }
}
