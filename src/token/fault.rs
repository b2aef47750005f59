//! Every way a token fails, with the word that the log and the metrics show and what it means to an operator.
//!
//! Clients never see these words: a client learns that its token is invalid, not why (RFC 6750 section 3.1 needs no
//! more, and the cause would help whoever is guessing).

use super::IssuerId;

/// Why a token is not believed, as far as the caller must tell the cases apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// Not one of ours. The word is one of [`Fault::word`] and goes to the log only.
    Invalid(&'static str),
    /// The issuer's keys do not have the `kid`: it may be new, so fetching the keys again may help.
    UnknownKey(IssuerId),
    /// There are no keys of the issuer: never fetched, or withdrawn because they are too old.
    KeysUnavailable(IssuerId),
}

impl From<Fault> for TokenFault {
    fn from(fault: Fault) -> Self {
        Self::Invalid(fault.word())
    }
}

/// What is wrong with an invalid token, in the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Larger than 32 KiB.
    TooLarge,
    /// Not three non-empty segments of canonical base64url.
    Malformed,
    /// The header is not a small, flat enough JSON object.
    MalformedHeader,
    /// A name stands twice in one object of the header or payload.
    DuplicateName,
    /// `alg` is missing or not accepted.
    AlgorithmNotAllowed,
    /// The header has a member that changes how a token is read.
    HeaderNotAllowed,
    /// `typ` is something other than a JWT or an access token.
    WrongType,
    /// `kid` is missing or not a string of 1 to 128 bytes.
    BadKeyId,
    /// The payload is not a JSON object.
    MalformedPayload,
    /// `iss` is not an issuer of `gateway.yaml`.
    UnknownIssuer,
    /// The key is of another type than `alg`, or for another algorithm.
    KeyMismatch,
    /// The key belongs to another issuer.
    KeyIssuer,
    /// The signature does not fit.
    BadSignature,
    /// The signature does not fit and the token is meant for Microsoft Graph.
    GraphToken,
    /// `ver` is not the version that the issuer writes.
    WrongVersion,
    /// `tid` is not the tenant of the issuer.
    WrongTenant,
    /// `aud` is missing, empty or not text.
    BadAudience,
    /// `exp`, `nbf` or `iat` is missing or not a whole number of seconds, or they contradict each other.
    BadTimes,
    /// `exp` has passed.
    Expired,
    /// `nbf` or `iat` lies in the future.
    NotYetValid,
    /// The time between `nbf` and `exp` is longer than `tokens.max_lifetime`.
    LifetimeTooLong,
    /// `oid` is missing or not a GUID.
    BadObjectId,
    /// Neither the access token of a user nor that of an application.
    NotAnAccessToken,
    /// `azp` (v2) or `appid` (v1) is missing.
    NoClient,
    /// `cnf` is present.
    ProofOfPossession,
    /// `roles` is not a list of strings.
    BadRoles,
}

impl Fault {
    /// All faults, in the order of the checks: the source of the table in `docs/reasons.md`.
    pub const ALL: &'static [Self] = &[
        Self::TooLarge,
        Self::Malformed,
        Self::MalformedHeader,
        Self::DuplicateName,
        Self::AlgorithmNotAllowed,
        Self::HeaderNotAllowed,
        Self::WrongType,
        Self::BadKeyId,
        Self::MalformedPayload,
        Self::UnknownIssuer,
        Self::KeyMismatch,
        Self::KeyIssuer,
        Self::BadSignature,
        Self::GraphToken,
        Self::WrongVersion,
        Self::WrongTenant,
        Self::BadAudience,
        Self::BadTimes,
        Self::Expired,
        Self::NotYetValid,
        Self::LifetimeTooLong,
        Self::BadObjectId,
        Self::NotAnAccessToken,
        Self::NoClient,
        Self::ProofOfPossession,
        Self::BadRoles,
    ];

    /// The stable word of the fault in logs and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::MalformedHeader => "malformed_header",
            Self::DuplicateName => "duplicate_name",
            Self::AlgorithmNotAllowed => "algorithm_not_allowed",
            Self::HeaderNotAllowed => "header_not_allowed",
            Self::WrongType => "wrong_type",
            Self::BadKeyId => "bad_key_id",
            Self::MalformedPayload => "malformed_payload",
            Self::UnknownIssuer => "unknown_issuer",
            Self::KeyMismatch => "key_mismatch",
            Self::KeyIssuer => "key_issuer",
            Self::BadSignature => "bad_signature",
            Self::GraphToken => "graph_token",
            Self::WrongVersion => "wrong_version",
            Self::WrongTenant => "wrong_tenant",
            Self::BadAudience => "bad_audience",
            Self::BadTimes => "bad_times",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::LifetimeTooLong => "lifetime_too_long",
            Self::BadObjectId => "bad_object_id",
            Self::NotAnAccessToken => "not_an_access_token",
            Self::NoClient => "no_client",
            Self::ProofOfPossession => "proof_of_possession",
            Self::BadRoles => "bad_roles",
        }
    }

    /// Cause and remedy in one sentence, for the documentation.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::TooLarge => "The token is larger than 32 KiB; Entra's own stay below 12 KB.",
            Self::Malformed => {
                "The token is not three non-empty parts of canonical base64url: truncated, encrypted or not a JWT at all."
            }
            Self::MalformedHeader => "The token's header is not a JSON object of at most 2 KiB.",
            Self::DuplicateName => "A name stands twice in the header or payload, so that two readers could differ.",
            Self::AlgorithmNotAllowed => "`alg` is not one of `tokens.algorithms`.",
            Self::HeaderNotAllowed => "The header has `crit`, `b64`, `zip`, `enc` or `cty`; Entra never sends these.",
            Self::WrongType => "`typ` is neither `JWT` nor `at+jwt`.",
            Self::BadKeyId => "`kid` is missing, empty, longer than 128 bytes or not a string.",
            Self::MalformedPayload => "The token's payload is not a JSON object.",
            Self::UnknownIssuer => {
                "`iss` is not exactly an issuer of a tenant in `gateway.yaml`: add the tenant, or ask for the token there."
            }
            Self::KeyMismatch => "The key named by `kid` is not for the algorithm named by `alg`.",
            Self::KeyIssuer => "The key named by `kid` is published for another issuer.",
            Self::BadSignature => "The signature does not fit the token: it was changed, or signed with another key.",
            Self::GraphToken => {
                "The token is for Microsoft Graph and cannot be verified by anyone else: ask for one for your own API."
            }
            Self::WrongVersion => "`ver` is not the version that the issuer writes (v1 issuer `1.0`, v2 issuer `2.0`).",
            Self::WrongTenant => "`tid` is not the tenant that the issuer belongs to.",
            Self::BadAudience => "`aud` is missing, empty, or neither a string nor a list of strings.",
            Self::BadTimes => {
                "`exp` or `nbf` is missing, a time is not a whole number of seconds, or `exp` lies before `nbf`."
            }
            Self::Expired => "`exp` has passed by more than `tokens.leeway`: ask for a new token.",
            Self::NotYetValid => {
                "`nbf` or `iat` lies ahead by more than `tokens.leeway`: compare the clocks of gateway and issuer."
            }
            Self::LifetimeTooLong => "The token is valid for longer than `tokens.max_lifetime`.",
            Self::BadObjectId => "`oid` is missing or not a GUID; an application must ask for it to be included.",
            Self::NotAnAccessToken => {
                "Neither a user's access token (`scp`) nor an application's (`idtyp` is `app`, or `sub` equals `oid`): \
                 often an ID token, which must not be used to call an API."
            }
            Self::NoClient => "`azp` (v2) or `appid` (v1), the client that asked for the token, is missing.",
            Self::ProofOfPossession => "The token is bound to a key (`cnf`), which the gateway cannot check.",
            Self::BadRoles => "`roles` is not a list of strings.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_stable_snake_case_and_unique() {
        let mut words: Vec<_> = Fault::ALL.iter().map(|fault| fault.word()).collect();
        assert!(words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Fault::ALL.len());
    }

    #[test]
    fn every_fault_is_listed_in_the_order_of_its_declaration() {
        for (position, fault) in Fault::ALL.iter().enumerate() {
            assert_eq!(*fault as usize, position, "{fault:?}");
        }
        assert_eq!(Fault::BadRoles as usize + 1, Fault::ALL.len(), "the last variant is the last of the list");
    }
}
