//! What the payload says.

use portcullis::token::Fault;
use serde_json::{Value, json};

use crate::token_world::{
    CLIENT, CONSUMERS, HEADER, NOW, OBJECT, OKTA, PARTNER, TENANT, World, all, app, app_v1, base64, okta, user,
    user_v1, v1_url, v2_url, with, without,
};
use crate::{Row, row};

/// Rows of signed payloads, each said by how it differs from a good one.
fn rows(world: &World, cases: Vec<(&str, Value, Fault)>) -> Vec<Row> {
    cases.into_iter().map(|(what, claims, fault)| row(what, world.token(&claims), fault)).collect()
}

/// Values of every wrong type for a claim that is a text.
fn not_text() -> Vec<Value> {
    vec![json!(null), json!(true), json!(0), json!(1.5), json!([]), json!(["x"]), json!({}), json!({"x": "y"})]
}

pub fn time(world: &World) -> Vec<Row> {
    let mut made = rows(
        world,
        vec![
            ("no exp", without(user(), "exp"), Fault::NoExpiry),
            ("no nbf", without(user(), "nbf"), Fault::NoStart),
            ("neither nbf nor iat", without(without(user(), "nbf"), "iat"), Fault::NoStart),
            ("expired by the leeway", with(user(), "exp", json!(NOW - 60)), Fault::Expired),
            ("expired by more", with(user(), "exp", json!(NOW - 61)), Fault::Expired),
            ("expired by five minutes, which others forgive", with(user(), "exp", json!(NOW - 300)), Fault::Expired),
            (
                "expired a day ago",
                all(
                    user(),
                    &[("exp", json!(NOW - 86_400)), ("nbf", json!(NOW - 90_000)), ("iat", json!(NOW - 90_000))],
                ),
                Fault::Expired,
            ),
            (
                "expired in 1970",
                all(user(), &[("exp", json!(3600)), ("nbf", json!(0)), ("iat", json!(0))]),
                Fault::Expired,
            ),
            ("all times zero", all(user(), &[("exp", json!(0)), ("nbf", json!(0)), ("iat", json!(0))]), Fault::Expired),
            ("valid in 61 seconds", with(user(), "nbf", json!(NOW + 61)), Fault::NotYetValid),
            ("valid in an hour less a second", with(user(), "nbf", json!(NOW + 3599)), Fault::NotYetValid),
            ("issued in 61 seconds", with(user(), "iat", json!(NOW + 61)), Fault::IssuedInFuture),
            ("exp before nbf", with(user(), "nbf", json!(NOW + 3601)), Fault::TimesContradict),
            ("exp before iat", with(user(), "iat", json!(NOW + 3601)), Fault::TimesContradict),
            (
                "exp and nbf exchanged",
                all(user(), &[("exp", json!(NOW - 300)), ("nbf", json!(NOW + 3600))]),
                Fault::TimesContradict,
            ),
            (
                "a lifetime of a second too long",
                with(user(), "exp", json!(NOW - 300 + 28 * 3600 + 61)),
                Fault::LifetimeTooLong,
            ),
            ("a lifetime of a year", with(user(), "exp", json!(NOW + 31_536_000)), Fault::LifetimeTooLong),
            ("an exp in milliseconds", with(user(), "exp", json!((NOW + 3600) * 1000)), Fault::LifetimeTooLong),
            (
                "all times in milliseconds",
                all(
                    user(),
                    &[("exp", json!((NOW + 3600) * 1000)), ("nbf", json!(NOW * 1000)), ("iat", json!(NOW * 1000))],
                ),
                Fault::LifetimeTooLong,
            ),
            ("the largest exp", with(user(), "exp", json!(1_u64 << 53)), Fault::LifetimeTooLong),
            ("an nbf of zero", with(user(), "nbf", json!(0)), Fault::LifetimeTooLong),
            ("an iat of zero", with(user(), "iat", json!(0)), Fault::LifetimeTooLong),
            ("a Keycloak token that has expired", with(okta(), "exp", json!(NOW - 61)), Fault::Expired),
            ("another issuer's token without times", without(okta(), "iat"), Fault::NoStart),
            (
                "another issuer's token valid for years",
                with(okta(), "exp", json!(NOW + 100_000_000)),
                Fault::LifetimeTooLong,
            ),
        ],
    );
    let numbers = [
        "null",
        "true",
        "\"1790003600\"",
        "[1790003600]",
        "{}",
        "-1",
        "-1790003600",
        "1790003600.5",
        "1e300",
        "1e19",
        "9007199254740993",
        "18446744073709551615",
        "18446744073709551616",
        "340282366920938463463374607431768211456",
        "\"\"",
        "\"now\"",
        "\"2026-11-22T05:00:00Z\"",
    ];
    for (name, fault) in [("exp", Fault::BadExpiry), ("nbf", Fault::BadStart), ("iat", Fault::BadIssueTime)] {
        for number in numbers {
            // Put in as text: `serde_json` would write some of them in another way.
            let payload = with(user(), name, json!("#")).to_string().replacen("\"#\"", number, 1);
            made.push(row(format!("{name} {number}"), world.rsa.sign(HEADER, &payload), fault));
        }
    }
    made
}

pub fn issuer(world: &World) -> Vec<Row> {
    let mut made = Vec::new();
    for value in not_text() {
        made.push(row(format!("iss {value}"), world.token(&with(user(), "iss", value)), Fault::NoIssuer));
    }
    made.push(row("no iss", world.token(&without(user(), "iss")), Fault::NoIssuer));
    made.push(row("iss in a list", world.token(&with(user(), "iss", json!([v2_url(TENANT)]))), Fault::NoIssuer));
    let (v1, v2) = (v1_url(TENANT), v2_url(TENANT));
    for iss in [
        String::new(),
        "https://attacker.example/".into(),
        v2_url(OBJECT),
        v1_url(PARTNER),
        v2_url(CONSUMERS),
        format!("{v2}/"),
        format!(" {v2}"),
        format!("{v2} "),
        format!("{v2}\u{0}"),
        format!("{v2}\n"),
        format!("{v2}#"),
        format!("{v2}?"),
        format!("{v2}?x=1"),
        v2.replace("https", "http"),
        v2.replace("https", "HTTPS"),
        v2.replace(".com", ".com:443"),
        v2.replace(".com", ".com."),
        v2.replace(".com", ".us"),
        v2.replace(".com", ".com.attacker.example"),
        v2.replace("login", "Login"),
        v2.replace("https://", "https://user@"),
        v2.replace("https://", "https://attacker.example/"),
        v2.replace("/v2.0", ""),
        v2.replace("/v2.0", "/v1.0"),
        v2.replace("/v2.0", "/V2.0"),
        v2.replace("/v2.0", "/v2.0/../v2.0"),
        v2.replace("/v2.0", "//v2.0"),
        v2.replace(TENANT, "{tenantid}"),
        v2.replace(TENANT, "common"),
        v2.replace(TENANT, "organizations"),
        v2.replace(TENANT, "consumers"),
        v2.replace(TENANT, "uss.onmicrosoft.com"),
        v2.replace(TENANT, &TENANT.replace('-', "")),
        v2.replace(TENANT, "*"),
        v2.replace("microsoftonline", "micr\u{43e}softonline"),
        v2.replace("microsoftonline", "microsoft%6fnline"),
        v1.trim_end_matches('/').into(),
        v1.replace("sts.windows.net", "STS.windows.net"),
        v1.replace("sts.windows.net", "sts.chinacloudapi.cn"),
        format!("{v1}v2.0"),
        format!("{v1},{v2}"),
        OKTA.to_uppercase(),
        format!("{OKTA}/"),
    ] {
        made.push(row(format!("iss {iss:?}"), world.token(&with(user(), "iss", json!(iss))), Fault::UnknownIssuer));
    }
    for (what, kid, claims) in [
        ("a key of personal accounts", "rsa-consumers", user()),
        ("a key of personal accounts, v1", "rsa-consumers", user_v1()),
        (
            "a tenant's own key for a partner",
            "rsa-tenant",
            all(user(), &[("iss", json!(v2_url(PARTNER))), ("tid", json!(PARTNER))]),
        ),
        ("a key of a tenant for another issuer", "rsa-tenant", okta()),
        ("a key of all tenants for another issuer", "rsa-template", okta()),
    ] {
        let header = format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#);
        made.push(row(what, world.rsa.sign(&header, &claims.to_string()), Fault::KeyIssuer));
    }
    made
}

pub fn tenant(world: &World) -> Vec<Row> {
    let mut made = Vec::new();
    for value in not_text() {
        made.push(row(format!("tid {value}"), world.token(&with(user(), "tid", value.clone())), Fault::NoTenant));
        made.push(row(format!("ver {value}"), world.token(&with(user(), "ver", value)), Fault::NoVersion));
    }
    for tid in ["", "uss", "common", "{tenantid}", "uss.onmicrosoft.com"] {
        made.push(row(format!("tid {tid:?}"), world.token(&with(user(), "tid", json!(tid))), Fault::NoTenant));
    }
    for tid in [
        format!("{{{TENANT}}}"),
        TENANT.replace('-', ""),
        format!(" {TENANT}"),
        format!("{TENANT}\n"),
        format!("urn:uuid:{TENANT}"),
        format!("{TENANT}0"),
        TENANT[1..].into(),
    ] {
        made.push(row(format!("tid {tid:?}"), world.token(&with(user(), "tid", json!(tid))), Fault::NoTenant));
    }
    for tid in [PARTNER, OBJECT, CONSUMERS, "00000000-0000-0000-0000-000000000000"] {
        made.push(row(format!("tid {tid}"), world.token(&with(user(), "tid", json!(tid))), Fault::WrongTenant));
        made.push(row(format!("v1, tid {tid}"), world.token(&with(user_v1(), "tid", json!(tid))), Fault::WrongTenant));
    }
    for ver in ["", "2", "2.0 ", "v2.0", "3.0", "1.0", "02.0", "2.00"] {
        made.push(row(format!("ver {ver:?}"), world.token(&with(user(), "ver", json!(ver))), Fault::WrongVersion));
    }
    made.extend(rows(
        world,
        vec![
            ("no tid", without(user(), "tid"), Fault::NoTenant),
            ("no tid, v1", without(user_v1(), "tid"), Fault::NoTenant),
            ("no ver", without(user(), "ver"), Fault::NoVersion),
            ("v1 issuer, ver 2.0", with(user_v1(), "ver", json!("2.0")), Fault::WrongVersion),
            ("v1 claims under the v2 issuer", with(user_v1(), "iss", json!(v2_url(TENANT))), Fault::WrongVersion),
            ("v2 claims under the v1 issuer", with(user(), "iss", json!(v1_url(TENANT))), Fault::WrongVersion),
            (
                "a partner's token under our issuer",
                with(user(), "tid", json!(PARTNER.to_uppercase())),
                Fault::WrongTenant,
            ),
            ("our token under a partner's issuer", with(user(), "iss", json!(v2_url(PARTNER))), Fault::WrongTenant),
            ("Tid beside tid", with(user(), "Tid", json!(PARTNER)), Fault::LookAlikeClaim),
            ("TID in place of tid", with(without(user(), "tid"), "TID", json!(TENANT)), Fault::LookAlikeClaim),
        ],
    ));
    made
}

pub fn audience(world: &World) -> Vec<Row> {
    let mut made = rows(world, vec![("no aud", without(user(), "aud"), Fault::NoAudience)]);
    for aud in [
        json!(null),
        json!(0),
        json!(true),
        json!(""),
        json!([]),
        json!([""]),
        json!(["api://oms", ""]),
        json!(["api://oms", 1]),
        json!(["api://oms", null]),
        json!([["api://oms"]]),
        json!({"aud": "api://oms"}),
        json!({}),
    ] {
        made.push(row(format!("aud {aud}"), world.token(&with(user(), "aud", aud)), Fault::BadAudience));
    }
    let own =
        |aud: Value| world.application.sign(r#"{"alg":"ES256","kid":"own"}"#, &with(user(), "aud", aud).to_string());
    for aud in [
        json!("api://oms"),
        json!(["api://custom", "api://oms"]),
        json!(["api://oms", "api://custom"]),
        json!("api://custom/"),
        json!("API://custom"),
        json!("api://custom "),
        json!("custom"),
    ] {
        made.push(row(format!("an application's key, aud {aud}"), own(aud), Fault::KeyAudience));
    }
    for aud in [
        json!("api://elsewhere"),
        json!(["account"]),
        json!("api://oms/"),
        json!("API://OMS"),
        json!("account api://oms"),
    ] {
        made.push(row(
            format!("another issuer, aud {aud}"),
            world.token(&with(okta(), "aud", aud)),
            Fault::IssuerAudience,
        ));
    }
    // Only Graph can verify these: the signature is over another header than the one that is sent.
    for aud in ["00000003-0000-0000-c000-000000000000", "https://graph.microsoft.com", "https://graph.microsoft.com/"] {
        let token = world.rsa.sign(
            r#"{"typ":"JWT","nonce":"hashed","alg":"RS256","kid":"rsa"}"#,
            &with(user_v1(), "aud", json!(aud)).to_string(),
        );
        let (_, rest) = token.split_once('.').unwrap();
        let header = base64(r#"{"typ":"JWT","nonce":"plain","alg":"RS256","kid":"rsa"}"#);
        made.push(row(format!("Graph: {aud}"), format!("{header}.{rest}"), Fault::GraphToken));
    }
    made
}

pub fn subject(world: &World) -> Vec<Row> {
    let mut made = Vec::new();
    for value in not_text() {
        made.push(row(format!("oid {value}"), world.token(&with(user(), "oid", value.clone())), Fault::BadObjectId));
        made.push(row(format!("scp {value}"), world.token(&with(user(), "scp", value.clone())), Fault::BadScopes));
        made.push(row(
            format!("idtyp {value}"),
            world.token(&with(user(), "idtyp", value.clone())),
            Fault::BadTokenKind,
        ));
        made.push(row(format!("azp {value}"), world.token(&with(user(), "azp", value.clone())), Fault::BadClient));
        made.push(row(
            format!("appid {value}"),
            world.token(&with(user_v1(), "appid", value.clone())),
            Fault::BadClient,
        ));
        made.push(row(format!("sub {value}"), world.token(&with(okta(), "sub", value.clone())), Fault::BadSubject));
        made.push(row(format!("client_id {value}"), world.token(&with(okta(), "client_id", value)), Fault::BadClient));
    }
    for oid in [
        String::new(),
        "olga".into(),
        "olga@example.org".into(),
        format!("{{{OBJECT}}}"),
        OBJECT.replace('-', ""),
        format!(" {OBJECT}"),
        format!("{OBJECT}\u{0}"),
        format!("{OBJECT},{CLIENT}"),
        OBJECT.replace('2', "\u{ff12}"),
        OBJECT.replace('2', "g"),
    ] {
        made.push(row(format!("oid {oid:?}"), world.token(&with(user(), "oid", json!(oid))), Fault::BadObjectId));
    }
    for scp in ["", " ", "   ", "\t", "\u{2003}"] {
        made.push(row(format!("scp {scp:?}"), world.token(&with(user(), "scp", json!(scp))), Fault::BadScopes));
        made.push(row(format!("app with scp {scp:?}"), world.token(&with(app(), "scp", json!(scp))), Fault::BadScopes));
    }
    for kind in ["", "app", "App", "APP", "device", "User", "user ", "ServiceAccount"] {
        made.push(row(
            format!("scp and idtyp {kind:?}"),
            world.token(&with(user(), "idtyp", json!(kind))),
            Fault::BadTokenKind,
        ));
    }
    for kind in ["", "user", "App", "device", "app "] {
        made.push(row(
            format!("no scp and idtyp {kind:?}"),
            world.token(&with(app(), "idtyp", json!(kind))),
            Fault::BadTokenKind,
        ));
    }
    for azp in ["", "spa", "api://client", "33333333-3333-3333-3333"] {
        made.push(row(format!("azp {azp:?}"), world.token(&with(user(), "azp", json!(azp))), Fault::BadClient));
    }
    let id_token = || without(without(without(user(), "scp"), "azp"), "azpacr");
    let id_token_v1 = || without(without(without(user_v1(), "scp"), "appid"), "appidacr");
    made.extend(rows(
        world,
        vec![
            ("no oid", without(user(), "oid"), Fault::NoObjectId),
            ("no oid, app", without(app(), "oid"), Fault::NoObjectId),
            ("no oid, sub is a GUID", with(without(user(), "oid"), "sub", json!(OBJECT)), Fault::NoObjectId),
            ("an ID token", id_token(), Fault::IdToken),
            (
                "an ID token with its usual claims",
                all(
                    id_token(),
                    &[
                        ("nonce", json!("n")),
                        ("c_hash", json!("x")),
                        ("at_hash", json!("y")),
                        ("email", json!("o@example.org")),
                    ],
                ),
                Fault::IdToken,
            ),
            ("an ID token, v1", id_token_v1(), Fault::IdToken),
            ("an ID token for a client with roles", with(id_token(), "aud", json!(CLIENT)), Fault::IdToken),
            ("no scp, a user's sub", without(user(), "scp"), Fault::NotAnAccessToken),
            ("no scp, a user's sub, v1", without(user_v1(), "scp"), Fault::NotAnAccessToken),
            ("no scp, sub of another", with(app(), "sub", json!(CLIENT)), Fault::NotAnAccessToken),
            ("no scp, sub a list", with(app(), "sub", json!([OBJECT])), Fault::NotAnAccessToken),
            ("no scp, no sub", without(app(), "sub"), Fault::NotAnAccessToken),
            ("an application without its client", without(app(), "azp"), Fault::NoClient),
            ("an application without its client, v1", without(app_v1(), "appid"), Fault::NoClient),
            ("a user without the client", without(user(), "azp"), Fault::NoClient),
            ("v2 with the v1 client", with(without(user(), "azp"), "appid", json!(CLIENT)), Fault::NoClient),
            ("v1 with the v2 client", with(without(user_v1(), "appid"), "azp", json!(CLIENT)), Fault::NoClient),
            ("another issuer, no sub", without(okta(), "sub"), Fault::BadSubject),
            ("another issuer, sub empty", with(okta(), "sub", json!("")), Fault::BadSubject),
            ("another issuer, sub too long", with(okta(), "sub", json!("x".repeat(257))), Fault::BadSubject),
            ("another issuer, an ID token by its nonce", with(okta(), "nonce", json!("n")), Fault::IdToken),
            ("another issuer, an ID token by at_hash", with(okta(), "at_hash", json!("n")), Fault::IdToken),
            ("another issuer, an ID token by typ", with(okta(), "typ", json!("ID")), Fault::IdToken),
            ("another issuer, a refresh token", with(okta(), "typ", json!("Refresh")), Fault::NotAnAccessToken),
            ("another issuer, a logout token", with(okta(), "typ", json!("Logout")), Fault::NotAnAccessToken),
            ("another issuer, token_use id", with(okta(), "token_use", json!("id")), Fault::IdToken),
            ("another issuer, typ a list", with(okta(), "typ", json!(["Bearer"])), Fault::NotAnAccessToken),
            ("Oid beside oid", with(user(), "Oid", json!(CLIENT)), Fault::LookAlikeClaim),
            ("SCP for scp", with(id_token(), "SCP", json!("access_as_user")), Fault::LookAlikeClaim),
            ("IdTyp for idtyp", with(id_token(), "IdTyp", json!("app")), Fault::LookAlikeClaim),
        ],
    ));
    made
}

pub fn others(world: &World) -> Vec<Row> {
    let mut made = Vec::new();
    for value in [
        json!(null),
        json!("IPS Access"),
        json!(0),
        json!(true),
        json!({"IPS Access": true}),
        json!([1]),
        json!(["x", null]),
        json!([["x"]]),
        json!(["x", {}]),
    ] {
        made.push(row(format!("roles {value}"), world.token(&with(user(), "roles", value.clone())), Fault::BadRoles));
        made.push(row(
            format!("an app's roles {value}"),
            world.token(&with(app(), "roles", value.clone())),
            Fault::BadRoles,
        ));
        made.push(row(format!("groups {value}"), world.token(&with(user(), "groups", value)), Fault::BadGroups));
    }
    for value in [json!(null), json!("groups"), json!(["groups"]), json!(1), json!(true)] {
        made.push(row(
            format!("_claim_names {value}"),
            world.token(&with(user(), "_claim_names", value)),
            Fault::BadGroups,
        ));
    }
    for value in [json!(null), json!(1), json!([true]), json!({})] {
        made.push(row(format!("hasgroups {value}"), world.token(&with(user(), "hasgroups", value)), Fault::BadGroups));
    }
    for value in [json!(null), json!(""), json!(1), json!(["x"]), json!({}), json!("x".repeat(129))] {
        made.push(row(format!("uti {value}"), world.token(&with(user(), "uti", value.clone())), Fault::BadTokenId));
        made.push(row(format!("jti {value}"), world.token(&with(okta(), "jti", value)), Fault::BadTokenId));
    }
    for value in [
        json!(null),
        json!({}),
        json!({"kid": "x"}),
        json!({"jwk": {"kty": "RSA"}}),
        json!({"x5t#S256": "x"}),
        json!({"xms_ksl": "sw"}),
        json!("x"),
        json!([]),
    ] {
        made.push(row(format!("cnf {value}"), world.token(&with(user(), "cnf", value)), Fault::ProofOfPossession));
    }
    for name in [
        "Ver", "Iss", "Aud", "AUD", "Exp", "EXP", "Nbf", "Iat", "Sub", "Azp", "AppId", "appId", "Roles", "ROLES",
        "Groups", "Cnf", "CNF",
    ] {
        made.push(row(
            format!("{name}, which looks like another"),
            world.token(&with(user(), name, json!("x"))),
            Fault::LookAlikeClaim,
        ));
    }
    made
}
