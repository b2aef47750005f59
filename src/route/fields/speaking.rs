//! Names of header fields that speak for others: who asks, by which method, for which target, from where. Whatever has
//! ever stood between a browser and an old application put its word there, so a client must not.

use super::shapes::{Shapes, shape};

/// Names in which backends believe to read who asks, by which method, for which target or from where. Sorted; names
/// are folded before they are looked up. `destination` is WebDAV's second target (RFC 4918 section 10.3), which no route
/// has judged.
const SPEAKS_FOR_OTHERS: [&str; 115] = [
    "appgw-client-cert",
    "auth-user",
    "auth-username",
    "authenticated-user",
    "base-url",
    "client-cert",
    "client-cert-chain",
    "client-ip",
    "destination",
    "eppn",
    "fastly-client-ip",
    "from-oauth2-proxy",
    "front-end-https",
    "gap-auth",
    "gap-signature",
    "http-remote-user",
    "http-url",
    "kubeflow-userid",
    "logon-user",
    "path-info",
    "path-translated",
    "proxy",
    "proxy-client-ip",
    "proxy-host",
    "proxy-remote-user",
    "proxy-url",
    "proxy-user",
    "request-uri",
    "script-name",
    "smuser",
    "true-client-ip",
    "uri",
    "url",
    "user",
    "user-email",
    "user-id",
    "user-name",
    "userid",
    "username",
    "x-access-token",
    "x-anonymous-consumer",
    "x-auth-audience",
    "x-auth-email",
    "x-auth-groups",
    "x-auth-id",
    "x-auth-name",
    "x-auth-roles",
    "x-auth-subject",
    "x-auth-user",
    "x-auth-userid",
    "x-auth-username",
    "x-authuser",
    "x-client-dn",
    "x-client-ip",
    "x-client-verify",
    "x-cluster-client-ip",
    "x-commonaccesstoken",
    "x-email",
    "x-forward-for",
    "x-forward-host",
    "x-forward-proto",
    "x-forwarded",
    "x-groups",
    "x-host",
    "x-http-destinationurl",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-http-verb",
    "x-https",
    "x-id-token",
    "x-identity",
    "x-jwt-assertion",
    "x-jwt-payload",
    "x-login",
    "x-matched-path",
    "x-method",
    "x-method-override",
    "x-ms-endpoint-absolute-path",
    "x-ms-forwarded-client-ip",
    "x-ms-proxy",
    "x-on-behalf-of",
    "x-override-url",
    "x-path-info",
    "x-preferred-username",
    "x-principal",
    "x-proxy-remote-user",
    "x-proxy-url",
    "x-proxy-user",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-request-method",
    "x-request-uri",
    "x-role",
    "x-roles",
    "x-scheme",
    "x-script-name",
    "x-ssl-cert",
    "x-subject",
    "x-tunnel-method",
    "x-upn",
    "x-uri",
    "x-url",
    "x-url-scheme",
    "x-user",
    "x-user-email",
    "x-user-groups",
    "x-user-id",
    "x-user-login",
    "x-user-name",
    "x-user-roles",
    "x-userid",
    "x-userinfo",
    "x-username",
    "x-waws-unencoded-url",
];

/// The same as families of names, by how they begin.
const SPEAKING_FAMILIES: [&str; 47] = [
    "cas-",
    "cf-access-",
    "cf-connecting-",
    "impersonate-",
    "iv-",
    "mellon-",
    "ms-aspnetcore-",
    "oam-",
    "oidc-",
    "osso-",
    "remote-",
    "shib-",
    "sm-",
    "ssl-client",
    "tailscale-",
    "webauth-",
    "wl-proxy-",
    "x-accel-",
    "x-amzn-oidc-",
    "x-apigateway-api-",
    "x-arr-",
    "x-auth-request-",
    "x-authenticated",
    "x-authentik-",
    "x-azure-",
    "x-client-cert",
    "x-consumer-",
    "x-credential-",
    "x-endpoint-api-",
    "x-envoy-",
    "x-goog-authenticated-",
    "x-goog-iap-",
    "x-invoke-",
    "x-middleware-",
    "x-ms-client-principal",
    "x-ms-token-",
    "x-original-",
    "x-originating-",
    "x-pomerium-",
    "x-portcullis",
    "x-remote-",
    "x-rewrite-",
    "x-sendfile",
    "x-ssl-client",
    "x-sso-",
    "x-vouch-",
    "x-webauth-",
];

/// `X-Forwarded-*` and its successor as far as a trusted proxy may say them; the rest of that family (`-User`,
/// `-Email`, `-Uri`, `-Method` ...) goes whoever sent it.
const BELIEVED_OF_PROXIES: [&str; 6] =
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix", "x-forwarded-proto"];

const OTHERS_SHAPES: Shapes = Shapes::of(&SPEAKS_FOR_OTHERS);
const FAMILIES: Shapes = Shapes::of(&SPEAKING_FAMILIES);

/// Whether a field of this name, in lower case and without marks, speaks for others; `trusted` says whether a trusted
/// proxy sent it.
pub(super) fn speaks_for_others(name: &str, trusted: bool) -> bool {
    // Ordinary headers leave here.
    let Some(shape) = shape(name.as_bytes()) else { return false };
    if FAMILIES.begins_with(shape) && SPEAKING_FAMILIES.iter().any(|family| name.starts_with(family)) {
        return true;
    }
    if name.starts_with("x-forwarded-") || name == "forwarded" {
        return !(trusted && BELIEVED_OF_PROXIES.contains(&name));
    }
    OTHERS_SHAPES.has(shape) && SPEAKS_FOR_OTHERS.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_folded_and_name_nothing_twice() {
        assert!(SPEAKS_FOR_OTHERS.is_sorted());
        assert!(SPEAKING_FAMILIES.is_sorted());
        for name in SPEAKS_FOR_OTHERS.iter().chain(&SPEAKING_FAMILIES).chain(&BELIEVED_OF_PROXIES) {
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{name}");
            assert!(speaks_for_others(name, false), "{name} never gets past the first glance");
        }
        for name in SPEAKS_FOR_OTHERS {
            assert!(!SPEAKING_FAMILIES.iter().any(|family| name.starts_with(family)), "{name} is of a family");
        }
    }
}
