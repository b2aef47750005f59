//! One fetch of the keys of one issuer: a file, or OpenID Connect Discovery 1.0 section 4 and then its JWKS document.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::{From, KeySource};
use crate::source::http::{Client, Url};
use crate::token::KeySet;
use crate::token::keys::DOCUMENT_BYTES;

/// What is read of a discovery document. The rest does not concern a gateway.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// Gets the keys of a source, or a clause that says from where they could not be had, and why.
pub(super) async fn fetch(source: Arc<KeySource>) -> Result<KeySet, String> {
    let keys = match &source.from {
        From::Discovery { document, ca } => discover(&source.url, document, ca.as_deref()).await,
        From::File(path) => {
            let path = path.clone();
            let read = move || file(&path).map_err(|cause| format!("`{}`: {cause}", path.display()));
            tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?
        }
    }?;
    believable(keys, &source)
}

/// Keys, unless there is one among them that anybody can sign with.
pub(super) fn believable(keys: KeySet, source: &KeySource) -> Result<KeySet, String> {
    if keys.has_development_key() && !source.development {
        return Err("there is a development key among them, and other machines can reach a listener".into());
    }
    Ok(keys)
}

/// Reads a key file.
pub(super) fn file(path: &Path) -> Result<KeySet, String> {
    // Anything but a plain file could be endless, or never let itself be opened.
    if !fs::metadata(path).map_err(|error| error.to_string())?.is_file() {
        return Err("not a file".into());
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut json = Vec::new();
    // One byte more than is taken, so that a larger file is seen to be larger.
    file.take(DOCUMENT_BYTES as u64 + 1).read_to_end(&mut json).map_err(|error| error.to_string())?;
    KeySet::parse(&json).map_err(|fault| fault.0)
}

async fn discover(issuer: &str, document: &str, ca: Option<&[u8]>) -> Result<KeySet, String> {
    let client = Client::new(ca)?;
    let url = Url::parse(document)?;
    let body = client.get(&url).await?;
    let keys = keys_url(&url, &body, issuer)?;
    let body = client.get(&keys).await?;
    KeySet::parse(&body).map_err(|fault| format!("`{keys}`: {fault}"))
}

/// Where the keys are, out of the discovery document that came from `url`, which must be of this issuer.
pub(super) fn keys_url(url: &Url, body: &[u8], issuer: &str) -> Result<Url, String> {
    let discovery: Discovery =
        serde_json::from_slice(body).map_err(|error| format!("`{url}`: not a discovery document: {error}"))?;
    if discovery.issuer != issuer {
        let said = discovery.issuer.escape_debug();
        return Err(format!("`{url}`: the document is of the issuer `{said}`, not of `{issuer}`"));
    }
    let keys = Url::parse(&discovery.jwks_uri).map_err(|why| format!("`{url}`: `jwks_uri`: {why}"))?;
    if url.is_https() && !keys.is_https() {
        return Err(format!("`{url}`: `jwks_uri`: `{keys}` is plain HTTP, though the document came over TLS"));
    }
    Ok(keys)
}
