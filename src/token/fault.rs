//! Every way a token fails, with the word that the log and the metrics show and what it means to an operator.
//!
//! Clients never see these words: a client learns that its token is invalid, not why (RFC 6750 section 3.1 needs no
//! more, and the cause would help whoever is guessing).

use super::IssuerId;

/// Why a token is not believed, as far as the caller must tell the cases apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// Not one of ours. The cause goes to the log only.
    Invalid(Fault),
    /// The issuer's keys do not have the `kid`: it may be new, so fetching the keys again may help.
    UnknownKey(WantedKey),
    /// There are no keys of the issuer: never fetched, or withdrawn because they are too old.
    KeysUnavailable(WantedKey),
}

/// A key that a token names and that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedKey {
    /// Whose key it would be.
    pub issuer: IssuerId,
    /// Its `kid`, at most 128 bytes.
    pub kid: Box<str>,
}

impl From<Fault> for TokenFault {
    fn from(fault: Fault) -> Self {
        Self::Invalid(fault)
    }
}

/// Declares the faults, each with its word and its meaning, so that none of the three can be forgotten.
macro_rules! faults {
    ($($fault:ident $word:literal $meaning:literal)*) => {
        /// What is wrong with an invalid token, in the order of the checks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Fault {
            $(#[doc = $meaning] $fault,)*
        }

        impl Fault {
            /// All faults, in the order of the checks: the source of the table in `docs/reasons.md`.
            pub const ALL: &'static [Self] = &[$(Self::$fault,)*];

            /// The stable word of the fault in logs and metrics.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$fault => $word,)*
                }
            }

            /// Cause and remedy, for the documentation and `portcullis token explain`.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$fault => $meaning,)*
                }
            }
        }
    };
}

faults! {
    TooLarge "too_large"
        "The token is larger than 32 KiB; Entra's own stay below 12 KB."
    Encrypted "encrypted"
        "Five parts make an encrypted token (JWE), which only its recipient can read: ask for a signed one."
    Malformed "malformed"
        "The token is not three parts with a dot between: truncated, or not a JWT at all."
    NotBase64url "not_base64url"
        "A part of the token is empty or not canonical base64url without padding (RFC 7515 section 2)."
    HeaderTooLarge "header_too_large"
        "The token's header is larger than 2 KiB; Entra's have about 100 bytes."
    MalformedHeader "malformed_header"
        "The token's header is not a JSON object, or is nested more than 16 levels deep."
    HeaderNameTwice "header_name_twice"
        "A name stands twice in an object of the header, so that two readers could differ."
    NoAlgorithm "no_algorithm"
        "`alg` is missing or not a string."
    Unsigned "unsigned"
        "`alg` is `none`: anybody can write such a token."
    SymmetricAlgorithm "symmetric_algorithm"
        "`alg` is an HMAC (`HS256` and its kin), whose key would have to be a secret; the gateway has public keys only."
    AlgorithmNotAllowed "algorithm_not_allowed"
        "`alg` is not one of `tokens.algorithms`."
    CriticalHeader "critical_header"
        "The header has `crit`: extensions that must be understood and are not (RFC 7515 section 4.1.11)."
    UnencodedPayload "unencoded_payload"
        "The header has `b64`, which changes how the payload is read (RFC 7797); Entra never sends it."
    Compressed "compressed"
        "The header has `zip`: the payload would have to be unpacked (RFC 7516 section 4.1.3); Entra never sends it."
    EncryptedContent "encrypted_content"
        "The header has `enc`, a member of encrypted tokens (RFC 7516 section 4.1.2)."
    Nested "nested"
        "The header has `cty`: the payload is another token (RFC 7519 section 5.2); Entra never sends it."
    WrongType "wrong_type"
        "`typ` is neither `JWT` nor `at+jwt`, with or without `application/` before it."
    NoKeyId "no_key_id"
        "`kid` is missing: it names the key, and no other way to find one is used."
    BadKeyId "bad_key_id"
        "`kid` is empty, longer than 128 bytes or not a string."
    MalformedPayload "malformed_payload"
        "The token's payload is not a JSON object, or is nested more than 16 levels deep."
    PayloadNameTwice "payload_name_twice"
        "A name stands twice in an object of the payload, so that two readers could differ."
    NoIssuer "no_issuer"
        "`iss` is missing or not a string."
    UnknownIssuer "unknown_issuer"
        "`iss` is not exactly an issuer of `gateway.yaml`: add the tenant or issuer, or ask for the token there."
    UnknownKey "unknown_key"
        "`kid` names none of the issuer's keys. New keys are fetched, at most once in `tokens.cooldown`: try again."
    KeyMismatch "key_mismatch"
        "The key named by `kid` is not for the algorithm named by `alg`."
    KeyIssuer "key_issuer"
        "The key named by `kid` is published for another issuer."
    BadSignature "bad_signature"
        "The signature does not fit the token: it was changed, or signed with another key."
    GraphToken "graph_token"
        "The token is for Microsoft Graph and cannot be verified by anyone else: ask for one for your own API, with a scope such as `api://YOUR-API/.default`."
    LookAlikeClaim "look_alike_claim"
        "A claim has the name of one that is checked, but for its letter case (`Tid` for `tid`)."
    NoVersion "no_version"
        "`ver` is missing or not a string."
    WrongVersion "wrong_version"
        "`ver` is not the version that the issuer writes (v1 issuer `1.0`, v2 issuer `2.0`)."
    NoTenant "no_tenant"
        "`tid` is missing or not a GUID."
    WrongTenant "wrong_tenant"
        "`tid` is not the tenant that the issuer belongs to."
    NoAudience "no_audience"
        "`aud` is missing."
    BadAudience "bad_audience"
        "`aud` is empty, or neither a string nor a list of strings."
    KeyAudience "key_audience"
        "The key named by `kid` belongs to one application (`app_keys`), and `aud` is not that application."
    IssuerAudience "issuer_audience"
        "`aud` is none of the `audiences` that `gateway.yaml` admits for this issuer."
    NoExpiry "no_expiry"
        "`exp` is missing: the token would be valid for ever."
    BadExpiry "bad_expiry"
        "`exp` is not a whole number of seconds."
    NoStart "no_start"
        "`nbf` is missing; Entra always writes it."
    BadStart "bad_start"
        "`nbf` is not a whole number of seconds."
    BadIssueTime "bad_issue_time"
        "`iat` is not a whole number of seconds."
    TimesContradict "times_contradict"
        "`exp` lies before `nbf` or `iat`."
    LifetimeTooLong "lifetime_too_long"
        "The token is valid for longer than `tokens.max_lifetime`."
    Expired "expired"
        "`exp` has passed by more than `tokens.leeway`: ask for a new token."
    NotYetValid "not_yet_valid"
        "`nbf` lies ahead by more than `tokens.leeway`: compare the clocks of gateway and issuer."
    IssuedInFuture "issued_in_future"
        "`iat` lies ahead by more than `tokens.leeway`: compare the clocks of gateway and issuer."
    NoObjectId "no_object_id"
        "`oid` is missing; a user's client must ask for the scope `profile`."
    BadObjectId "bad_object_id"
        "`oid` is not a GUID."
    BadSubject "bad_subject"
        "`sub`, or the claim that `subject` names in its place, is missing, not a string, empty, longer than 256 bytes or has control characters."
    BadScopes "bad_scopes"
        "`scp` is neither missing nor a string that names at least one scope."
    BadTokenKind "bad_token_kind"
        "`idtyp` is neither `user` nor `app`, or contradicts `scp`."
    IdToken "id_token"
        "This is an ID token: it tells a client who signed in and must not be used to call an API. Send the access token."
    NotAnAccessToken "not_an_access_token"
        "Neither a user's access token (`scp`) nor an application's (`idtyp` is `app`, or `sub` equals `oid`); at other issuers, marked as another kind of token (`typ`, `token_use`) or without `scope`, `scp` and a client."
    NoClient "no_client"
        "`azp` (v2) or `appid` (v1), the client that asked for the token, is missing."
    BadClient "bad_client"
        "`azp` (v2) or `appid` (v1) is not a GUID; at other issuers, the client's claim is not a string of 1 to 256 bytes."
    ProofOfPossession "proof_of_possession"
        "The token is bound to a key (`cnf`), which the gateway cannot check."
    BadRoles "bad_roles"
        "`roles` is not a list of strings; at other issuers, the claim that `roles` names is neither that nor a string."
    BadGroups "bad_groups"
        "`groups` is not a list of strings, or its overage markers (`_claim_names`, `hasgroups`) are malformed."
    BadTokenId "bad_token_id"
        "`uti` (`jti` at other issuers) is not a string of 1 to 128 bytes, so the token could not be revoked by it."
    Revoked "revoked"
        "The principal or the token was revoked: see `revoked` in `gateway.yaml`. The principal must sign in again."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_stable_snake_case_and_unique() {
        let mut words: Vec<_> = Fault::ALL.iter().map(|fault| fault.word()).collect();
        assert!(words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || b"_64".contains(&byte))));
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Fault::ALL.len());
    }

    #[test]
    fn every_meaning_is_a_sentence() {
        assert!(Fault::ALL.iter().all(|fault| fault.meaning().ends_with('.')));
    }
}
