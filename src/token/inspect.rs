//! A token taken apart for people: every check of the verifier with what comes of it, going on after a failure wherever
//! a later check still has something to say. Each check is the very function that verification calls, and the verdict is
//! verification's own.

use super::claims::{self, Parts};
use super::fault::{Fault, TokenFault};
use super::jose;
use super::keys::KeyRing;
use super::redact::{self, Claim};
use super::verified::Verified;
use super::verify::{self, Verifier};

/// Declares the checks in their order, each with its word and what it asks.
macro_rules! checks {
    ($($check:ident $word:literal $asks:literal)*) => {
        /// One check of a token.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Check {
            $(#[doc = $asks] $check,)*
        }

        impl Check {
            /// All checks, in their order.
            pub const ALL: &'static [Self] = &[$(Self::$check,)*];

            /// The stable word, for programs.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$check => $word,)*
                }
            }

            /// What is asked, for people.
            pub const fn asks(self) -> &'static str {
                match self {
                    $(Self::$check => $asks,)*
                }
            }
        }
    };
}

checks! {
    Form "form" "three parts in canonical base64url, 32 KiB at most"
    Header "header" "the header is one JSON object without doubles"
    Algorithm "algorithm" "`alg` is allowed"
    Extensions "extensions" "the header changes nothing about how the token is read"
    Type "type" "`typ` is that of an access token"
    KeyId "key_id" "`kid` names a key"
    Payload "payload" "the payload is one JSON object without doubles"
    Issuer "issuer" "`iss` is an issuer of gateway.yaml"
    Key "key" "`kid` is one of the issuer's keys"
    KeyUse "key_use" "the key is for this algorithm and this issuer"
    Signature "signature" "the signature is the key's"
    ClaimNames "claim_names" "no claim looks like one that is checked"
    Version "version" "`ver` is what the issuer writes"
    Tenant "tenant" "`tid` is the issuer's tenant"
    Audience "audience" "`aud` names audiences"
    AudienceOfKey "audience_of_key" "the key and the issuer may speak for this `aud`"
    Times "times" "`exp`, `nbf` and `iat` make sense"
    Now "now" "the token is valid now"
    Caller "caller" "it is an access token that names a caller and a client"
    Binding "binding" "it is bound to no key (`cnf`)"
    Roles "roles" "`roles` is a list"
    Groups "groups" "`groups` is a list, or says that there are too many"
    TokenId "token_id" "the token's own id can be revoked by"
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not.
    Failed(Fault),
    /// It needs keys, and of this issuer there are none.
    NoKeys,
    /// It rests on something that an earlier check did not find.
    NotReached,
}

/// One check and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The check.
    pub check: Check,
    /// What came of it.
    pub outcome: Outcome,
}

/// A token taken apart.
#[derive(Debug)]
pub struct Inspection {
    /// What the verifier says.
    pub verdict: Result<Verified, TokenFault>,
    /// All checks in their order.
    pub steps: Vec<Step>,
    /// The header, fit to be shown; empty if it cannot be read.
    pub header: Vec<Claim>,
    /// The payload, fit to be shown; empty if it cannot be read.
    pub claims: Vec<Claim>,
    /// What the token says, whether it is to be believed or not, where all of it can be read: to show people what would
    /// come next. Only [`verdict`](Self::verdict) lets anybody in.
    pub said: Option<Verified>,
    /// Whether `aud` is Microsoft Graph's, so that nobody else can verify the token.
    pub for_graph: bool,
}

impl Inspection {
    /// What came of a check.
    pub fn outcome(&self, check: Check) -> Outcome {
        self.steps.iter().find(|step| step.check == check).map_or(Outcome::NotReached, |step| step.outcome)
    }

    /// The text of a claim that may be read, as it is shown.
    pub fn text(&self, name: &str) -> Option<&str> {
        match &self.claims.iter().find(|claim| claim.name == name)?.shown {
            redact::Shown::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// The steps so far.
#[derive(Default)]
struct Steps(Vec<Step>);

impl Steps {
    fn note(&mut self, check: Check, outcome: Outcome) {
        self.0.push(Step { check, outcome });
    }

    /// Notes a result; `None` is a check whose grounds are missing.
    fn take<T>(&mut self, check: Check, result: Option<Result<T, Fault>>) -> Option<T> {
        let (outcome, value) = match result {
            Some(Ok(value)) => (Outcome::Passed, Some(value)),
            Some(Err(fault)) => (Outcome::Failed(fault), None),
            None => (Outcome::NotReached, None),
        };
        self.note(check, outcome);
        value
    }

    /// The same for a check that rests on a key: without any, that is the cause.
    fn keyed<T>(&mut self, check: Check, no_keys: bool, result: Option<Result<T, Fault>>) -> Option<T> {
        if no_keys {
            self.note(check, Outcome::NoKeys);
            return None;
        }
        self.take(check, result)
    }
}

impl Verifier {
    /// Takes a token apart at `now` (Unix seconds) and says what [`verify`](Self::verify) would say of it. Remembers
    /// nothing. For people: it goes on where verification has long ended, so it has no place in front of a backend.
    pub fn inspect(&self, token: &str, keys: &KeyRing, now: u64) -> Inspection {
        let mut steps = Steps::default();
        let segments = steps.take(Check::Form, Some(jose::segments(token)));
        let [header, payload] = match &segments {
            Some(segments) => [Some(segments.header.clone()), Some(segments.payload.clone())],
            None => jose::readable(token),
        };

        let header = steps.take(Check::Header, header.map(|json| jose::header(&json)));
        let header = header.as_ref();
        let algorithm = header.map(|header| jose::algorithm(header, self.rules.algorithms));
        let algorithm = steps.take(Check::Algorithm, algorithm);
        steps.take(Check::Extensions, header.map(jose::extensions));
        steps.take(Check::Type, header.map(jose::typ));
        let kid = steps.take(Check::KeyId, header.map(jose::kid));

        let payload = steps.take(Check::Payload, payload.map(|json| jose::payload(&json)));
        let payload = payload.as_ref();
        let named = steps.take(Check::Issuer, payload.map(|payload| self.issuer(payload)));
        let issuer = named.map(|(_, issuer)| issuer);

        let (key, no_keys) =
            match named.zip(kid).zip(payload).map(|((issuer, kid), payload)| verify::key(keys, issuer, kid, payload)) {
                Some(Err(TokenFault::KeysUnavailable(_))) => (None, true),
                Some(Err(TokenFault::UnknownKey(_))) => (Some(Err(Fault::UnknownKey)), false),
                Some(Err(TokenFault::Invalid(fault))) => (Some(Err(fault)), false),
                Some(Ok(found)) => (Some(Ok(found)), false),
                None => (None, false),
            };
        let key = steps.keyed(Check::Key, no_keys, key);
        let fits = key.zip(algorithm).zip(issuer);
        let fits = fits.map(|(((_, key), algorithm), issuer)| self.key_fits(key, algorithm, issuer));
        steps.keyed(Check::KeyUse, no_keys, fits);
        let signature = key.zip(algorithm).filter(|((_, key), algorithm)| key.is_for(*algorithm));
        let signature = signature
            .zip(segments.as_ref())
            .zip(payload)
            .map(|((((_, key), algorithm), segments), payload)| verify::signature(segments, key, algorithm, payload));
        steps.keyed(Check::Signature, no_keys, signature);

        let both = payload.zip(issuer);
        steps.take(Check::ClaimNames, both.map(|(payload, issuer)| claims::exact_names(payload, issuer)));
        steps.take(Check::Version, both.map(|(payload, issuer)| claims::version(payload, issuer)));
        steps.take(Check::Tenant, both.map(|(payload, issuer)| claims::tenant(payload, issuer)));
        let audiences = steps.take(Check::Audience, payload.map(claims::audiences));
        let of_key = key.zip(issuer).zip(audiences.as_ref());
        let of_key = of_key.map(|(((source, _), issuer), audiences)| claims::audience_of(issuer, source, audiences));
        steps.keyed(Check::AudienceOfKey, no_keys, of_key);
        let times =
            steps.take(Check::Times, both.map(|(payload, issuer)| claims::window(payload, issuer, &self.rules)));
        steps.take(Check::Now, times.map(|(window, _)| window.check(now, self.rules.leeway)));
        let caller = steps.take(Check::Caller, both.map(|(payload, issuer)| claims::caller(payload, issuer)));
        steps.take(Check::Binding, payload.map(claims::unbound));
        let roles = steps.take(Check::Roles, both.map(|(payload, issuer)| claims::roles(payload, issuer)));
        let groups = steps.take(Check::Groups, both.map(|(payload, issuer)| claims::groups(payload, issuer)));
        let token_id = steps.take(Check::TokenId, both.map(|(payload, issuer)| claims::token_id(payload, issuer)));

        let said = || {
            let (window, issued_at) = times?;
            let (audiences, caller, roles) = (audiences?, caller?, roles?);
            let parts = Parts { audiences, window, issued_at, caller, roles, groups: groups?, token_id: token_id? };
            Some(parts.together(payload?, named?))
        };
        let verdict = self.verify_afresh(token, keys, now);
        Inspection {
            said: said(),
            verdict: verdict.and_then(|(verified, timely)| timely.map(|()| verified).map_err(TokenFault::from)),
            steps: steps.0,
            header: header.map(redact::members).unwrap_or_default(),
            claims: payload.map(redact::members).unwrap_or_default(),
            for_graph: payload.is_some_and(claims::is_for_graph),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_the_questions_are_clauses() {
        let mut words: Vec<_> = Check::ALL.iter().map(|check| check.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Check::ALL.len());
        assert!(Check::ALL.iter().all(|check| !check.asks().ends_with('.')));
    }
}
