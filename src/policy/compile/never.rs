//! Requirements that can never hold, whatever is granted: found by following every way through the steps with what the
//! checks on the way say of flags and values. Where in doubt a requirement is taken for one that can be met.

use super::requirement::Writer;
use crate::document::Literal;
use crate::document::routes::Comparison;
use crate::model::Level;
use crate::policy::domain::{AttributeId, FlagId, Frame};
use crate::policy::rules::{Asked, Check, Operand, RightRef, Rules, Step, Variable};
use crate::policy::value::{Value, canonical};

/// Ways that are followed apart; where more of them meet, what was learned on them is forgotten.
const MAX_WAYS: usize = 64;
/// The longest list of values that is kept in mind.
const MAX_VALUES: usize = 64;

impl Writer<'_, '_> {
    /// Reports a requirement that can never hold. What settings have switched off may be switched on again.
    pub(super) fn refuse_impossible(&mut self) {
        let (rules, domain, place) = (&*self.rules, &self.builder.domain, self.asking.requirement.place);
        let Some(check) = dead_end(rules, domain, &self.foregone, false) else { return };
        let help = match check {
            Check::Flag(flag) | Check::NotFlag(flag) => {
                format!("the flag `{}` is both asked for and forbidden", domain.flag_name(*flag))
            }
            Check::Right { right: RightRef::Fixed(right), .. } => {
                let right = domain.right_name(*right);
                format!("`{right}` is asked for at a level that a flag asked for before it takes from everybody")
            }
            Check::Right { .. } | Check::UnlessDenied { .. } => {
                "no value of the path that gets so far names a right of the list".to_owned()
            }
            Check::Compare { code, .. } | Check::Bit { code, .. } | Check::Never { code } => {
                format!("`{}` fails in any case, alone or together with what stands before it", rules.code(*code))
            }
        };
        if dead_end(rules, domain, &self.foregone, true).is_some() {
            let message = "this requirement can never hold, whatever is granted";
            self.report.error("never", place, message).help(help);
        } else {
            let message = "with the present settings this requirement never holds";
            self.report.warning("never_with_settings", place, message).help(help);
        }
    }
}

/// The last check on the way that gets furthest, if no way leads to the end. `foregone` are the steps that settings
/// have decided; with `any_settings` these are taken to hold or to fail.
fn dead_end<'r>(rules: &'r Rules, domain: &Frame, foregone: &[usize], any_settings: bool) -> Option<&'r Check> {
    let mut arrived: Vec<Vec<Way<'_>>> = vec![Vec::new(); rules.steps.len()];
    arrive(&mut arrived, 0, Way::default());
    let mut last = None;
    // Jumps lead forward only, so all ways to a step are known when it is looked at.
    for (index, step) in rules.steps.iter().enumerate() {
        for way in arrived.get_mut(index).map(std::mem::take).unwrap_or_default() {
            match step {
                Step::Permit => return None,
                Step::Jump(to) => arrive(&mut arrived, usize::from(*to), way),
                Step::Check { check, otherwise } => {
                    let beyond = if any_settings && foregone.contains(&index) {
                        Some(way.clone())
                    } else {
                        way.clone().passes(check, &domain.strategy.caps)
                    };
                    match beyond {
                        Some(beyond) => arrive(&mut arrived, index + 1, beyond),
                        None => last = Some(check),
                    }
                    if let Some(to) = otherwise {
                        arrive(&mut arrived, usize::from(*to), way);
                    }
                }
            }
        }
    }
    last
}

fn arrive<'r>(arrived: &mut [Vec<Way<'r>>], at: usize, way: Way<'r>) {
    let Some(ways) = arrived.get_mut(at) else { return };
    if ways.contains(&way) {
        return;
    }
    if ways.len() < MAX_WAYS {
        ways.push(way);
    } else {
        *ways = vec![Way::default()];
    }
}

/// A value that a requirement looks at; the same one throughout a decision.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Looked<'r> {
    Path(Variable),
    Query(&'r str),
    Form(&'r str),
    Header(&'r str),
    Object(AttributeId),
    Count(AttributeId),
    Principal,
}

impl<'r> Looked<'r> {
    /// What an operand looks at, or the constant that it is.
    fn at(operand: &'r Operand) -> Result<Self, &'r Literal> {
        match operand {
            Operand::Constant(literal) => Err(literal),
            Operand::Path(variable) => Ok(Self::Path(*variable)),
            Operand::Query(name) => Ok(Self::Query(name)),
            Operand::Form(name) => Ok(Self::Form(name)),
            Operand::Header(name) => Ok(Self::Header(name)),
            Operand::Object(attribute) => Ok(Self::Object(*attribute)),
            Operand::Count(attribute) => Ok(Self::Count(*attribute)),
            Operand::PrincipalId => Ok(Self::Principal),
        }
    }

    /// Whether this may ever have such a value.
    fn may_be(self, literal: &Literal) -> bool {
        let text = match literal {
            Literal::Text(text) => text.as_str(),
            Literal::Int(number) => return !matches!(self, Self::Count(_)) || *number >= 0,
            Literal::Bool(_) => return !matches!(self, Self::Count(_)),
            Literal::List(_) => return false,
        };
        match self {
            Self::Count(_) => false,
            Self::Path(Variable::Segment(_)) => !text.is_empty() && !text.contains('/'),
            Self::Path(Variable::Rest(_)) => !text.is_empty(),
            Self::Query(_) | Self::Form(_) => !text.is_empty() && !text.contains(',') && text.trim() == text,
            Self::Header(_) | Self::Object(_) | Self::Principal => true,
        }
    }
}

/// What is known of a value.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    /// It is one of these.
    one_of: Option<Vec<Literal>>,
    /// It is none of these.
    none_of: Vec<Literal>,
    /// As a number, it is at least this.
    low: i64,
    /// As a number, it is at most this.
    high: i64,
}

impl Known {
    fn nothing(of: Looked<'_>) -> Self {
        let low = if matches!(of, Looked::Count(_)) { 0 } else { i64::MIN };
        Self { one_of: None, none_of: Vec::new(), low, high: i64::MAX }
    }

    /// Drops what cannot be any more. Whether anything is left.
    fn settle(&mut self) -> bool {
        let (low, high, none_of) = (self.low, self.high, &self.none_of);
        let bounded = low > i64::MIN || high < i64::MAX;
        if let Some(list) = &mut self.one_of {
            list.retain(|item| {
                let inside = number(item).is_some_and(|number| (low..=high).contains(&number));
                (inside || !bounded) && !none_of.iter().any(|other| Value::Known(other).equals(item))
            });
        }
        low <= high && self.one_of.as_ref().is_none_or(|list| !list.is_empty())
    }

    /// It is one of these, too.
    fn meet(&mut self, of: Looked<'_>, items: &[Literal]) -> bool {
        let among = |item: &Literal| items.iter().any(|other| Value::Known(other).equals(item));
        match &mut self.one_of {
            Some(list) => list.retain(among),
            None => {
                let possible = items.iter().filter(|item| of.may_be(item));
                let list: Vec<Literal> = possible.take(MAX_VALUES + 1).cloned().collect();
                if list.len() <= MAX_VALUES {
                    self.one_of = Some(list);
                }
            }
        }
        self.settle()
    }
}

/// The number that a constant is in some reading.
fn number(literal: &Literal) -> Option<i64> {
    match literal {
        Literal::Int(number) => Some(*number),
        Literal::Text(text) if canonical(text) => text.parse().ok(),
        Literal::Text(_) | Literal::Bool(_) | Literal::List(_) => None,
    }
}

/// What holds on one way through the steps.
#[derive(Clone, Debug, Default, PartialEq)]
struct Way<'r> {
    flags: u128,
    no_flags: u128,
    values: Vec<(Looked<'r>, Known)>,
}

impl<'r> Way<'r> {
    /// The way beyond a check, if the check may hold on it.
    fn passes(mut self, check: &'r Check, caps: &[(FlagId, Level)]) -> Option<Self> {
        let open = match check {
            Check::Never { .. } => false,
            Check::Flag(flag) => {
                self.flags |= flag.mask();
                self.flags & self.no_flags == 0
            }
            Check::NotFlag(flag) => {
                self.no_flags |= flag.mask();
                self.flags & self.no_flags == 0
            }
            Check::Right { right, level, .. } => {
                let asked = match level {
                    Asked::Level(level) => *level,
                    Asked::ByMethod => Level::Read,
                };
                let capped = caps.iter().any(|(flag, cap)| self.flags & flag.mask() != 0 && *cap < asked);
                !capped && self.names(right)
            }
            Check::UnlessDenied { right, .. } => self.names(right),
            Check::Compare { comparison, left, right, .. } => self.compares(*comparison, left, right),
            Check::Bit { of, bits, mask, .. } => {
                let named = bits.iter().filter(|(_, bit)| mask & bit != 0).map(|(name, _)| name.clone());
                self.is_among(of, &named.collect::<Vec<_>>())
            }
        };
        open.then_some(self)
    }

    fn names(&mut self, right: &'r RightRef) -> bool {
        match right {
            RightRef::Fixed(_) => true,
            RightRef::Named { variable, rights, .. } => {
                let names: Vec<Literal> = rights.iter().map(|(name, _)| Literal::Text(name.to_string())).collect();
                self.value(Looked::Path(*variable), |known, of| known.meet(of, &names))
            }
        }
    }

    fn is_among(&mut self, operand: &'r Operand, items: &[Literal]) -> bool {
        match Looked::at(operand) {
            Ok(of) => self.value(of, |known, of| known.meet(of, items)),
            Err(constant) => items.iter().any(|item| Value::Known(constant).equals(item)),
        }
    }

    fn compares(&mut self, comparison: Comparison, left: &'r Operand, right: &'r Operand) -> bool {
        match (Looked::at(left), Looked::at(right)) {
            (Err(left), Err(right)) => Value::Known(left).compare(comparison, &Value::Known(right)),
            (Ok(left), Err(right)) => self.value(left, |known, of| against(known, of, comparison, right)),
            (Err(left), Ok(right)) => match comparison {
                Comparison::Eq => self.value(right, |known, of| against(known, of, comparison, left)),
                Comparison::In | Comparison::NotIn => !matches!(left, Literal::List(_)),
                Comparison::Lt => {
                    let least = Value::Known(left).number().and_then(|number| number.checked_add(1));
                    least.is_some_and(|least| {
                        self.value(right, |known, _| {
                            known.low = known.low.max(least);
                            known.settle()
                        })
                    })
                }
            },
            (Ok(left), Ok(right)) => {
                let counts = |looked| matches!(looked, Looked::Count(_));
                let texts = |looked| !matches!(looked, Looked::Count(_) | Looked::Object(_));
                match comparison {
                    Comparison::Eq => !(counts(left) && texts(right) || texts(left) && counts(right)),
                    Comparison::In | Comparison::NotIn | Comparison::Lt => left != right,
                }
            }
        }
    }

    /// Learns something of a value; whether it can still be.
    fn value(&mut self, of: Looked<'r>, learn: impl FnOnce(&mut Known, Looked<'r>) -> bool) -> bool {
        if let Some((_, known)) = self.values.iter_mut().find(|(known, _)| *known == of) {
            return learn(known, of);
        }
        let mut known = Known::nothing(of);
        let open = learn(&mut known, of);
        self.values.push((of, known));
        open
    }
}

/// Compares what is known of a value with a constant.
fn against(known: &mut Known, of: Looked<'_>, comparison: Comparison, constant: &Literal) -> bool {
    match (comparison, constant) {
        (Comparison::Eq, constant) => known.meet(of, std::slice::from_ref(constant)),
        (Comparison::In, Literal::List(items)) => known.meet(of, items),
        (Comparison::NotIn, Literal::List(items)) => {
            let free = MAX_VALUES.saturating_sub(known.none_of.len());
            known.none_of.extend(items.iter().take(free).cloned());
            known.settle()
        }
        (Comparison::In | Comparison::NotIn, _) => false,
        (Comparison::Lt, constant) => {
            let most = Value::Known(constant).number().and_then(|number| number.checked_sub(1));
            known.high = known.high.min(most.unwrap_or(i64::MIN));
            most.is_some() && known.settle()
        }
    }
}
