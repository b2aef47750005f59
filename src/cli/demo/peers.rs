//! The two made-up peers of the demo: the application that is protected, and the service that signs people in.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use serde_json::json;
use tokio::runtime::Builder;

use crate::cli::demo::http::{self, Answer, Request, Response};

/// Starts both on a thread of their own, which lives as long as the process.
///
/// # Errors
/// When the system has no thread or descriptor left.
pub(super) fn start(backend: TcpListener, issuer: TcpListener, tenants: Vec<String>, jwks: String) -> io::Result<()> {
    let authority = authority(issuer.local_addr()?);
    backend.set_nonblocking(true)?;
    issuer.set_nonblocking(true)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let backend = tokio::net::TcpListener::from_std(backend)?;
    let issuer = tokio::net::TcpListener::from_std(issuer)?;
    drop(entered);
    let sign_in: Answer = Arc::new(move |request| sign_in(request, &authority, &tenants, &jwks));
    thread::Builder::new().name("demo-peers".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::join!(http::serve(backend, Arc::new(echo)), http::serve(issuer, sign_in));
        });
    })?;
    Ok(())
}

/// The base URL of the made-up sign-in service.
pub(super) fn authority(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// The legacy application: knows nothing of tokens and shows what it received.
fn echo(request: &Request) -> Response {
    let headers: Vec<_> = request.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let seen = json!({
        "application": "the demo's stand-in for OMS",
        "method": request.method,
        "target": request.target,
        "headers": headers,
        "body_bytes": request.body_bytes,
    });
    Response { status: "200 OK", body: format!("{seen:#}\n") }
}

/// The sign-in service: discovery documents (OpenID Connect Discovery 1.0 section 3) and keys (RFC 7517), at the
/// paths at which Entra has them.
fn sign_in(request: &Request, authority: &str, tenants: &[String], jwks: &str) -> Response {
    let found = request.target.strip_prefix('/').and_then(|rest| rest.split_once('/'));
    let known = found.filter(|(tenant, _)| tenants.iter().any(|known| known == tenant));
    let Some((tenant, document)) = known.filter(|_| request.method == "GET") else {
        return Response { status: "404 Not Found", body: "{}\n".to_owned() };
    };
    let discovery = |issuer: &str, keys: &str| {
        let document = json!({
            "issuer": format!("{authority}/{tenant}/{issuer}"),
            "jwks_uri": format!("{authority}/{tenant}/{keys}"),
            "id_token_signing_alg_values_supported": ["RS256"],
        });
        format!("{document:#}\n")
    };
    let body = match document {
        ".well-known/openid-configuration" => discovery("", "discovery/keys"),
        "v2.0/.well-known/openid-configuration" => discovery("v2.0", "discovery/v2.0/keys"),
        "discovery/keys" | "discovery/v2.0/keys" => jwks.to_owned(),
        _ => return Response { status: "404 Not Found", body: "{}\n".to_owned() },
    };
    Response { status: "200 OK", body }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn get(target: &str) -> Response {
        let request = Request {
            method: "GET".into(),
            target: target.into(),
            headers: vec![("X-A".into(), "b".into())],
            body_bytes: 0,
        };
        sign_in(&request, "http://127.0.0.1:1", &["t1".to_owned()], "KEYS")
    }

    #[test]
    fn both_versions_have_their_issuer_and_their_keys() {
        for (target, issuer) in [
            ("/t1/.well-known/openid-configuration", "http://127.0.0.1:1/t1/"),
            ("/t1/v2.0/.well-known/openid-configuration", "http://127.0.0.1:1/t1/v2.0"),
        ] {
            let document: Value = serde_json::from_str(&get(target).body).unwrap();
            assert_eq!(document["issuer"], issuer);
            let keys = document["jwks_uri"].as_str().unwrap().strip_prefix("http://127.0.0.1:1").unwrap();
            assert_eq!(get(keys).body, "KEYS");
        }
    }

    #[test]
    fn a_stranger_gets_nothing() {
        for target in ["/", "/t2/discovery/keys", "/t1/other", "*"] {
            assert_eq!(get(target).status, "404 Not Found", "{target}");
        }
    }

    #[test]
    fn the_application_shows_what_it_received() {
        let request = Request {
            method: "PUT".into(),
            target: "/x?y".into(),
            headers: vec![("X-A".into(), "b".into()), ("x-a".into(), "c".into())],
            body_bytes: 3,
        };
        let seen: Value = serde_json::from_str(&echo(&request).body).unwrap();
        assert_eq!(seen["headers"], json!(["X-A: b", "x-a: c"]));
        assert_eq!((&seen["method"], &seen["body_bytes"]), (&json!("PUT"), &json!(3)));
    }
}
