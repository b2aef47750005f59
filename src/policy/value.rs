//! What comparisons compare: values of the request, constants of the configuration, and numbers of elements.

use crate::document::Literal;
use crate::document::routes::Comparison;

/// A value in a comparison.
pub(super) enum Value<'r> {
    /// Out of the configuration, with its type.
    Known(&'r Literal),
    /// Out of the request: text, whatever it looks like.
    Text(&'r str),
    /// A number of elements.
    Count(i64),
}

impl Value<'_> {
    /// Whether a comparison with this on its left side holds.
    pub(super) fn compare(&self, comparison: Comparison, right: &Self) -> bool {
        match comparison {
            Comparison::Eq => self.same(right),
            Comparison::In => right.elements().is_some_and(|list| list.iter().any(|item| self.equals(item))),
            Comparison::NotIn => right
                .elements()
                .is_some_and(|list| self.elements().is_none() && !list.iter().any(|item| self.may_equal(item))),
            Comparison::Lt => matches!((self.number(), right.number()), (Some(a), Some(b)) if a < b),
        }
    }

    /// Whether both are the same thing, however each was typed: `5` equals `"5"`. Lists equal nothing.
    pub(super) fn equals(&self, literal: &Literal) -> bool {
        match (self, literal) {
            (Self::Text(text), _) => written_as(text, literal),
            (Self::Known(Literal::Text(text)), _) => written_as(text, literal),
            (Self::Known(known), Literal::Text(text)) => written_as(text, known),
            (Self::Known(Literal::List(_)), _) => false,
            (Self::Known(known), _) => *known == literal,
            (Self::Count(count), Literal::Int(other)) => count == other,
            (Self::Count(_), _) => false,
        }
    }

    /// Whether some reader could take both for the same: `007` and `+7` may be 7. For what must not be equal.
    fn may_equal(&self, literal: &Literal) -> bool {
        let number = match self {
            Self::Text(text) => text.trim().parse::<i64>().ok(),
            Self::Known(Literal::Text(text)) => text.trim().parse().ok(),
            Self::Known(Literal::Int(number)) | Self::Count(number) => Some(*number),
            Self::Known(Literal::Bool(_) | Literal::List(_)) => None,
        };
        let other = match literal {
            Literal::Int(other) => Some(*other),
            Literal::Text(other) => other.trim().parse().ok(),
            Literal::Bool(_) | Literal::List(_) => None,
        };
        self.equals(literal) || (number.is_some() && number == other)
    }

    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Known(literal)) => self.equals(literal),
            (Self::Known(literal), _) => other.equals(literal),
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Count(a), Self::Count(b)) => a == b,
            (Self::Text(_), Self::Count(_)) | (Self::Count(_), Self::Text(_)) => false,
        }
    }

    fn elements(&self) -> Option<&[Literal]> {
        match self {
            Self::Known(Literal::List(list)) => Some(list),
            Self::Known(Literal::Bool(_) | Literal::Int(_) | Literal::Text(_)) | Self::Text(_) | Self::Count(_) => None,
        }
    }

    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Self::Known(Literal::Int(number)) => Some(*number),
            Self::Count(count) => Some(*count),
            Self::Text(text) if canonical(text) => text.parse().ok(),
            Self::Text(_) | Self::Known(Literal::Bool(_) | Literal::Text(_) | Literal::List(_)) => None,
        }
    }
}

/// Whether a text is the one way to write a constant.
fn written_as(text: &str, literal: &Literal) -> bool {
    match literal {
        Literal::Text(other) => text == other,
        Literal::Int(other) => text.parse() == Ok(*other) && canonical(text),
        Literal::Bool(other) => text.parse() == Ok(*other),
        Literal::List(_) => false,
    }
}

/// Whether a number is written in the one way that has no second reading: no plus sign, no leading zeros, no `-0`.
pub(super) fn canonical(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    text == "0" || digits.starts_with(|first: char| matches!(first, '1'..='9'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_in_one_way() {
        let cases = [
            ("0", true),
            ("7", true),
            ("-7", true),
            ("-0", false),
            ("+7", false),
            ("07", false),
            (" 7", false),
            ("", false),
            ("-", false),
        ];
        for (text, one_way) in cases {
            let number: i64 = text.trim().parse().unwrap_or_default();
            assert_eq!(Value::Text(text).equals(&Literal::Int(number)), one_way, "{text:?}");
            assert_eq!(Value::Text(text).number().is_some(), one_way, "{text:?}");
        }
    }
}
