//! Good tokens, as Entra ID and other issuers really vary them.

use portcullis::model::{Guid, PrincipalKey};
use portcullis::token::{Algorithms, Class, Groups, Rules, Verified};
use serde_json::{Value, json};

use crate::WORLD;
use crate::identity_provider::Signer;
use crate::token_world::{
    CLIENT, HEADER, NOW, OBJECT, OKTA, PARTNER, RULES, TENANT, World, all, app, app_v1, okta, user, user_v1, v2_url,
    with, without,
};

/// What a token must come to.
type Says = fn(&Verified) -> bool;

fn a_user(token: &Verified) -> bool {
    token.class == Class::User
}

fn an_app(token: &Verified) -> bool {
    token.class == Class::App
}

fn has_unknown_groups(token: &Verified) -> bool {
    token.groups == Groups::Unknown
}

fn lists_groups(token: &Verified, count: usize) -> bool {
    matches!(&token.groups, Groups::Listed(groups) if groups.len() == count)
}

/// So many group ids.
fn groups(count: usize) -> Value {
    (0..count).map(|number| json!(format!("{number:08x}-0000-4000-8000-000000000000"))).collect()
}

/// Payloads under the ordinary header: what is special, the claims, and what they come to.
fn payloads() -> Vec<(&'static str, Value, Says)> {
    let overage = [
        ("_claim_names", json!({"groups": "src1"})),
        (
            "_claim_sources",
            json!({"src1": {"endpoint": format!("https://graph.windows.net/{TENANT}/users/{OBJECT}/getMemberObjects")}}),
        ),
    ];
    vec![
        ("a user, v2", user(), a_user),
        ("a user, v1", user_v1(), a_user),
        ("an application, v2", app(), an_app),
        ("an application, v1", app_v1(), an_app),
        ("an application, idtyp", with(app(), "idtyp", json!("app")), an_app),
        ("an application, idtyp, v1", with(app_v1(), "idtyp", json!("app")), an_app),
        (
            "an application, idtyp, sub of its own",
            all(app(), &[("idtyp", json!("app")), ("sub", json!("pairwise"))]),
            an_app,
        ),
        ("an application, sub in capitals", with(app(), "sub", json!(OBJECT.to_uppercase())), an_app),
        ("an application without roles", without(app(), "roles"), an_app),
        ("an application with a certificate, v1", with(app_v1(), "appidacr", json!("2")), an_app),
        ("a user, idtyp", with(user(), "idtyp", json!("user")), a_user),
        ("several scopes", with(user(), "scp", json!("Orders.Read Orders.Write openid profile email")), a_user),
        ("audience: client id", with(user(), "aud", json!(CLIENT)), |token| *token.audiences[0] == *CLIENT),
        ("audience: client id, v1", with(user_v1(), "aud", json!(CLIENT)), |token| *token.audiences[0] == *CLIENT),
        ("audience: client id in capitals", with(user(), "aud", json!("ABCDEF00-0000-4000-8000-000000000000")), a_user),
        ("audience: App ID URI with a final slash, v1", with(user_v1(), "aud", json!("api://oms/")), |token| {
            &*token.audiences[0] == "api://oms/"
        }),
        ("audience: https URI, v1", with(user_v1(), "aud", json!("https://oms.example.org")), a_user),
        ("audience: spn form, v1", with(user_v1(), "aud", json!(format!("spn:{CLIENT}"))), a_user),
        ("audience: api:// with the client id", with(user_v1(), "aud", json!(format!("api://{CLIENT}"))), a_user),
        ("audience: a list of one", with(user(), "aud", json!(["api://oms"])), |token| token.audiences.len() == 1),
        ("audience: a list of two", with(user(), "aud", json!(["api://other", "api://oms"])), |token| {
            token.audiences.len() == 2
        }),
        (
            "a guest",
            all(
                user(),
                &[
                    ("idp", json!("https://sts.windows.net/66666666-6666-6666-6666-666666666666/")),
                    ("acct", json!(1)),
                    ("email", json!("gast@partner.example")),
                ],
            ),
            a_user,
        ),
        (
            "a guest, #EXT#",
            all(
                user_v1(),
                &[
                    ("upn", json!("gast_partner.example#EXT#@uss.onmicrosoft.com")),
                    ("unique_name", json!("gast@partner.example")),
                    ("idp", json!("live.com")),
                ],
            ),
            |token| token.username.as_deref() == Some("gast_partner.example#EXT#@uss.onmicrosoft.com"),
        ),
        (
            "a guest of a personal account",
            all(
                user_v1(),
                &[
                    ("unique_name", json!("live.com#gast@outlook.example")),
                    ("idp", json!("live.com")),
                    ("altsecid", json!("1:live.com:0003")),
                ],
            ),
            a_user,
        ),
        ("a member, acct", with(user(), "acct", json!(0)), a_user),
        ("a user of the partner", all(user(), &[("iss", json!(v2_url(PARTNER))), ("tid", json!(PARTNER))]), |token| {
            &*token.tenant == "partner"
        }),
        ("tid in capitals", with(user(), "tid", json!(TENANT.to_uppercase())), a_user),
        ("oid in capitals", with(user(), "oid", json!(OBJECT.to_uppercase())), |token| *token.subject == *OBJECT),
        ("azp in capitals", with(user(), "azp", json!("ABCDEF00-0000-4000-8000-000000000000")), |token| {
            token.client.as_deref() == Some("abcdef00-0000-4000-8000-000000000000")
        }),
        ("no groups", user(), |token| lists_groups(token, 0)),
        ("an empty list of groups", with(user(), "groups", json!([])), |token| lists_groups(token, 0)),
        ("one group by name", with(user(), "groups", json!(["USS\\Operators"])), |token| lists_groups(token, 1)),
        ("200 groups", with(user(), "groups", groups(200)), |token| lists_groups(token, 200)),
        ("200 groups, v1", with(user_v1(), "groups", groups(200)), |token| lists_groups(token, 200)),
        ("more groups than fit", all(user(), &overage), has_unknown_groups),
        ("more groups than fit, v1", all(user_v1(), &overage), has_unknown_groups),
        ("more groups than fit, implicit flow", with(user(), "hasgroups", json!(true)), has_unknown_groups),
        ("more groups than fit, implicit flow, as text", with(user(), "hasgroups", json!("true")), has_unknown_groups),
        ("other claims elsewhere", with(user(), "_claim_names", json!({"wids": "src1"})), |token| {
            lists_groups(token, 0)
        }),
        ("client capabilities", with(user(), "xms_cc", json!(["CP1"])), |token| token.takes_challenges),
        ("client capabilities, as text", with(user(), "xms_cc", json!("cp1")), |token| token.takes_challenges),
        ("client capabilities that are not known", with(user(), "xms_cc", json!(["protapp"])), |token| {
            !token.takes_challenges
        }),
        (
            "directory roles",
            with(
                user(),
                "wids",
                json!(["62e90394-69f5-4237-9190-012177145e10", "b79fbf4d-3ef9-4689-8143-76b194e85509"]),
            ),
            a_user,
        ),
        ("authentication context", with(user(), "acrs", json!(["c1", "urn:user:registersecurityinfo"])), a_user),
        (
            "unknown claims of every type",
            all(
                user(),
                &[
                    ("xms_new", json!({"a": [1, -2.5, null, true, {"b": "c"}]})),
                    ("x", json!(null)),
                    ("n", json!(1e300)),
                    ("big", json!(u64::MAX)),
                ],
            ),
            a_user,
        ),
        (
            "claims about the session",
            all(
                user(),
                &[
                    ("sid", json!("00000000-0000-4000-8000-000000000001")),
                    ("login_hint", json!("O.C")),
                    ("xms_ftd", json!("x")),
                    ("ctry", json!("CH")),
                ],
            ),
            a_user,
        ),
        (
            "tenant's own claims",
            all(
                user(),
                &[
                    ("extn.employeeId", json!(["E1"])),
                    ("http://schemas.example/claim", json!("x")),
                    ("tenant_region_scope", json!("EU")),
                ],
            ),
            a_user,
        ),
        ("no roles", without(user(), "roles"), |token| token.roles.is_empty()),
        ("an empty list of roles", with(user(), "roles", json!([])), |token| token.roles.is_empty()),
        (
            "many roles",
            with(user(), "roles", (0..100).map(|number| json!(format!("Role.{number}"))).collect()),
            |token| token.roles.len() == 100,
        ),
        ("a role in another script", with(user(), "roles", json!(["Прием"])), |token| &*token.roles[0] == "Прием"),
        (
            "a name in another script",
            all(user(), &[("preferred_username", json!("ольга@example.org")), ("name", json!("Ольга 山田 🦉"))]),
            |token| token.username.is_none(),
        ),
        ("a name with an apostrophe", with(user(), "preferred_username", json!("o'hara@example.org")), |token| {
            token.username.as_deref() == Some("o'hara@example.org")
        }),
        ("no name", without(user(), "preferred_username"), |token| token.username.is_none()),
        ("no iat", without(user(), "iat"), |token| token.issued_at == NOW - 300),
        ("no uti", without(user(), "uti"), |token| token.token_id.is_none()),
        ("no sub, scp", without(user(), "sub"), a_user),
        ("a public client", with(user(), "azpacr", json!("0")), a_user),
        ("exp at the edge of the leeway", with(user(), "exp", json!(NOW - 59)), a_user),
        ("nbf at the edge of the leeway", with(user(), "nbf", json!(NOW + 60)), a_user),
        ("iat at the edge of the leeway", with(user(), "iat", json!(NOW + 60)), a_user),
        ("nbf at exp", all(user(), &[("nbf", json!(NOW)), ("exp", json!(NOW))]), a_user),
        ("fresh", all(user(), &[("nbf", json!(NOW)), ("iat", json!(NOW)), ("exp", json!(NOW + 5))]), a_user),
        ("28 hours, as with continuous access evaluation", with(user(), "exp", json!(NOW - 300 + 28 * 3600)), a_user),
        ("28 hours and the leeway", with(user(), "exp", json!(NOW - 300 + 28 * 3600 + 60)), a_user),
        (
            "24 hours, half of them gone",
            all(user(), &[("nbf", json!(NOW - 43_200)), ("iat", json!(NOW - 43_200)), ("exp", json!(NOW + 43_200))]),
            a_user,
        ),
        (
            "times with a fraction of zero",
            all(user(), &[("exp", json!(NOW as f64 + 3600.0)), ("nbf", json!(NOW as f64 - 300.0))]),
            a_user,
        ),
        ("15 levels in a claim", with(user(), "x", (0..14).fold(json!(1), |inner, _| json!([inner]))), a_user),
        ("a token of 20 KiB", with(user(), "x", json!("x".repeat(14_000))), a_user),
    ]
}

/// Whether a token is believed, names its caller and says what it should.
fn check(world: &World, what: &str, token: &str, claims: &Value, says: Says) {
    let verified = world.verify(token).unwrap_or_else(|refusal| panic!("{what}: {refusal:?}"));
    let id = |name: &str| claims[name].as_str().unwrap().parse::<Guid>().unwrap();
    assert_eq!(verified.principal, PrincipalKey { tenant: id("tid"), object: id("oid") }, "{what}");
    assert_eq!(verified.window.until, claims["exp"].as_f64().unwrap() as u64, "{what}");
    assert!(says(&verified), "{what}: {verified:?}");
}

#[test]
fn payloads_as_entra_varies_them_are_believed() {
    let payloads = payloads();
    assert!(payloads.len() >= 54);
    for (what, claims, says) in payloads {
        check(&WORLD, what, &WORLD.token(&claims), &claims, says);
        let token = WORLD.p256.sign(r#"{"typ":"JWT","alg":"ES256","kid":"p256"}"#, &claims.to_string());
        check(&WORLD, what, &token, &claims, says);
    }
}

#[test]
fn headers_and_keys_as_entra_varies_them_are_believed() {
    let claims = user();
    for kid in [
        "rsa",
        "rsa-template",
        "rsa-tenant",
        "rsa-named",
        "rsa-x5c",
        "rsa-bare",
        "rsa-ops",
        "nOo3ZDrODXEK1jKWhXslHR_KXEg",
        "schlüssel/ünf",
        &"k".repeat(128),
    ] {
        let header = json!({"typ": "JWT", "alg": "RS256", "x5t": kid, "kid": kid}).to_string();
        check(&WORLD, &header, &WORLD.rsa.sign(&header, &claims.to_string()), &claims, a_user);
    }
    for kid in ["p256", "p256-named", "p256-template"] {
        let header = json!({"alg": "ES256", "kid": kid}).to_string();
        check(&WORLD, &header, &WORLD.p256.sign(&header, &claims.to_string()), &claims, a_user);
    }
    for header in [
        r#"{"alg":"RS256","kid":"rsa"}"#,
        r#"{"alg":"RS256","kid":"rsa","typ":"jwt"}"#,
        r#"{"alg":"RS256","kid":"rsa","typ":"at+jwt"}"#,
        r#"{"alg":"RS256","kid":"rsa","typ":"AT+JWT"}"#,
        "{ \"typ\" : \"JWT\",\r\n\t\"alg\" : \"RS256\", \"kid\" : \"rsa\" }\n",
        r#"{"\u0061lg":"RS256","kid":"r\u0073a"}"#,
        r#"{"alg":"RS256","kid":"rsa","x5t#S256":"x","nonce":"n","unknown":{"a":[1]}}"#,
    ] {
        check(&WORLD, header, &WORLD.rsa.sign(header, &claims.to_string()), &claims, a_user);
    }
    let v1 = user_v1();
    let token =
        WORLD.rsa.sign(r#"{"typ":"JWT","alg":"RS256","x5t":"rsa-template","kid":"rsa-template"}"#, &v1.to_string());
    check(&WORLD, "the keys of v1 are published under the v2 issuer", &token, &v1, a_user);
    let own = with(user(), "aud", json!("api://custom"));
    let token = WORLD.application.sign(r#"{"alg":"ES256","kid":"own"}"#, &own.to_string());
    check(&WORLD, "an application with keys of its own", &token, &own, a_user);
}

#[test]
fn rsa_keys_of_every_size_in_use_are_believed() {
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::RsaKeyPair;
    for size in [KeySize::Rsa2048, KeySize::Rsa3072, KeySize::Rsa4096] {
        let signer = Signer::Rsa(RsaKeyPair::generate(size).unwrap());
        let ring = WORLD.with_keys(&[signer.jwk("rsa")]);
        assert!(WORLD.verifier.verify(&signer.sign(HEADER, &user().to_string()), &ring, NOW).is_ok(), "{size:?}");
    }
}

#[test]
fn ps256_is_believed_where_it_is_configured() {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::RSA_PSS_SHA256;
    let algorithms = Algorithms { ps256: true, ..RULES.algorithms };
    let world = World::with_rules(Rules { algorithms, ..RULES });
    let Signer::Rsa(pair) = &world.rsa else { panic!("an RSA key") };
    for kid in ["rsa", "rsa-pss", "rsa-template"] {
        let claims = user();
        let header = format!(r#"{{"alg":"PS256","kid":"{kid}"}}"#);
        let signed =
            format!("{}.{}", crate::token_world::base64(&header), crate::token_world::base64(claims.to_string()));
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PSS_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        let token = format!("{signed}.{}", crate::token_world::base64(&signature));
        check(&world, kid, &token, &claims, a_user);
        assert!(WORLD.verify(&token).is_err(), "{kid} where PS256 is not configured");
    }
}

#[test]
fn tokens_of_another_issuer_are_believed_as_it_varies_them() {
    for (what, claims, says) in [
        ("as it is", okta(), (|token| token.client.as_deref() == Some("spa")) as Says),
        ("roles on a path", okta(), |token| &*token.roles[0] == "reader"),
        ("no roles", without(okta(), "realm_access"), |token| token.roles.is_empty()),
        ("azp", with(without(okta(), "client_id"), "azp", json!("web")), |token| {
            token.client.as_deref() == Some("web")
        }),
        ("cid", with(without(okta(), "client_id"), "cid", json!("web")), |token| {
            token.client.as_deref() == Some("web")
        }),
        ("no client", without(okta(), "client_id"), |token| token.client.is_none()),
        ("the client itself", with(okta(), "sub", json!("spa")), an_app),
        ("typ Bearer, as Keycloak writes", with(okta(), "typ", json!("Bearer")), a_user),
        ("token_use, as Cognito writes", with(okta(), "token_use", json!("access")), a_user),
        ("two audiences, one of them ours", with(okta(), "aud", json!(["account", "api://oms"])), a_user),
        ("a subject with a bar, as Auth0 writes", with(okta(), "sub", json!("auth0|64b7")), |token| {
            &*token.subject == "auth0|64b7"
        }),
        ("nbf as well", with(okta(), "nbf", json!(NOW - 300)), a_user),
    ] {
        let verified = WORLD.verify(&WORLD.token(&claims)).unwrap_or_else(|refusal| panic!("{what}: {refusal:?}"));
        assert_eq!((&*verified.tenant, claims["iss"].as_str()), ("okta", Some(OKTA)), "{what}");
        assert!(says(&verified), "{what}: {verified:?}");
    }
}
