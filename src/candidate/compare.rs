//! What two judgements of one request come to, for the one who sent it.

use crate::model::Reason;
use crate::model::shadow::InShadow;
use crate::pep::Judgement;

/// How a candidate differs from what is live. `enforced` says whether the client would notice: it would not where what is
/// decided is only watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    Same,
    /// Both say no, for another reason.
    Reason,
    Denied {
        enforced: bool,
    },
    Allowed {
        enforced: bool,
    },
}

/// First comes what the client sees. Only where that is the same, it counts what is decided but not enforced.
pub(super) fn compare(live: &Judgement, candidate: &Judgement) -> Difference {
    match (live.passes, candidate.passes) {
        (true, false) => Difference::Denied { enforced: true },
        (false, true) => Difference::Allowed { enforced: true },
        (passes, _) => match (&live.no, &candidate.no) {
            (None, Some(_)) => Difference::Denied { enforced: !passes },
            (Some(_), None) => Difference::Allowed { enforced: !passes },
            (Some(live), Some(candidate)) if live != candidate => Difference::Reason,
            (Some(_), Some(_)) | (None, None) => Difference::Same,
        },
    }
}

/// Whether this is what the policy and the request alone decide, so that another policy may decide otherwise. Limits,
/// bodies that did not come to their ends, upstreams and faults of the gateway are nothing of it.
pub(super) const fn is_of_policy(reason: Reason) -> bool {
    match reason.in_shadow() {
        // A database that gives no answer.
        InShadow::Named if matches!(reason, Reason::ObjectUnavailable) => false,
        InShadow::Named | InShadow::Unnamed => true,
        InShadow::Refused => matches!(
            reason,
            Reason::BadTarget
                | Reason::BadHeader
                | Reason::ExpectationFailed
                | Reason::LoopDetected
                | Reason::BadHandshake
                | Reason::MethodForbidden
                | Reason::NoApplication
                | Reason::Misdirected
                | Reason::CorsRefused
                | Reason::MalformedCredentials
                | Reason::FormType
                | Reason::BadForm
                | Reason::FormOverridesQuery
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pep::No;

    fn judgement(passes: bool, code: Option<&str>) -> Judgement {
        let no = code.map(|code| No { reason: Reason::RightMissing, code: code.into() });
        Judgement { application: None, route: None, principal: None, token: None, passes, no }
    }

    #[test]
    fn what_the_client_sees_comes_first_and_then_what_is_only_watched() {
        let (allowed, denied, watched) = ((true, None), (false, Some("a")), (true, Some("a")));
        let cases = [
            (allowed, allowed, Difference::Same),
            (denied, denied, Difference::Same),
            (watched, watched, Difference::Same),
            (denied, (false, Some("b")), Difference::Reason),
            (watched, (true, Some("b")), Difference::Reason),
            (allowed, denied, Difference::Denied { enforced: true }),
            // A route whose watching ends: what was only logged will be refused.
            (watched, denied, Difference::Denied { enforced: true }),
            (allowed, watched, Difference::Denied { enforced: false }),
            (denied, allowed, Difference::Allowed { enforced: true }),
            (denied, watched, Difference::Allowed { enforced: true }),
            (watched, allowed, Difference::Allowed { enforced: false }),
        ];
        for (live, candidate, expected) in cases {
            let found = compare(&judgement(live.0, live.1), &judgement(candidate.0, candidate.1));
            assert_eq!(found, expected, "{live:?} {candidate:?}");
        }
    }

    #[test]
    fn what_no_policy_decides_is_not_compared() {
        let others: Vec<Reason> = Reason::ALL.iter().copied().filter(|reason| !is_of_policy(*reason)).collect();
        for reason in
            [Reason::RateLimited, Reason::FormTooLarge, Reason::BodyTimeout, Reason::Overloaded, Reason::Internal]
        {
            assert!(others.contains(&reason), "{reason:?}");
        }
        for reason in [Reason::RightMissing, Reason::NoToken, Reason::InvalidToken, Reason::NoApplication] {
            assert!(!others.contains(&reason), "{reason:?}");
        }
    }
}
