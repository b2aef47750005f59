//! One fetch of the keys of one issuer: a file, or OpenID Connect Discovery 1.0 section 4 and then its JWKS document.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::{From, KeySource};
use crate::source::http::{Client, Url};
use crate::token::keys::DOCUMENT_BYTES;
use crate::token::{KeySet, KeySetFault};

/// What is read of a discovery document. The rest does not concern a gateway.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// Why no keys came.
#[derive(Debug)]
pub(super) struct Failure {
    /// A clause that says from where they could not be had, and why.
    pub(super) cause: String,
    /// Whether the document shows a secret key.
    pub(super) exposed: bool,
    /// The names of the secret keys that it shows.
    pub(super) shown: Vec<Box<str>>,
}

impl std::convert::From<String> for Failure {
    fn from(cause: String) -> Self {
        Self { cause, exposed: false, shown: Vec::new() }
    }
}

/// Gets the keys of a source; each document may take so long.
pub(super) async fn fetch(source: Arc<KeySource>, timeout: Duration) -> Result<KeySet, Failure> {
    let keys = match &source.from {
        From::Discovery { document, ca } => {
            let client = Client::new(ca.as_deref(), timeout)?;
            let jwks = discover(&source.url, document, &client).await?;
            download(&jwks, &client).await
        }
        From::Jwks { document, ca } => {
            let client = Client::new(ca.as_deref(), timeout)?;
            download(&Url::parse(document)?, &client).await
        }
        From::File(path) => {
            let path = path.clone();
            let read = move || {
                file(&path).map_err(|failure| {
                    let cause = format!("`{}`: {}", path.display(), failure.cause);
                    Failure { cause, ..failure }
                })
            };
            tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?
        }
    }?;
    Ok(believable(keys, &source)?)
}

/// Keys, unless there is one among them that anybody can sign with.
pub(super) fn believable(keys: KeySet, source: &KeySource) -> Result<KeySet, String> {
    if keys.has_development_key() && !source.development {
        let cause = "there is a development key among them, and other machines can reach a listener";
        return Err(cause.to_owned());
    }
    Ok(keys)
}

/// Reads a key file.
pub(super) fn file(path: &Path) -> Result<KeySet, Failure> {
    // Anything but a plain file could be endless, or never let itself be opened.
    if !fs::metadata(path).map_err(|error| error.to_string())?.is_file() {
        return Err("not a file".to_owned().into());
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut json = Vec::new();
    // One byte more than is taken, so that a larger file is seen to be larger.
    file.take(DOCUMENT_BYTES as u64 + 1).read_to_end(&mut json).map_err(|error| error.to_string())?;
    KeySet::parse(&json).map_err(|KeySetFault { why, exposed, shown }| Failure { cause: why, exposed, shown })
}

/// Where the keys of an issuer are, by its discovery document.
async fn discover(issuer: &str, document: &str, client: &Client) -> Result<Url, String> {
    let url = Url::parse(document)?;
    let body = client.get(&url).await?;
    keys_url(&url, &body, issuer)
}

/// Where the keys are, out of the discovery document that came from `url`, which must be of this issuer.
pub(super) fn keys_url(url: &Url, body: &[u8], issuer: &str) -> Result<Url, String> {
    let discovery: Discovery = serde_json::from_slice(body)
        .map_err(|error| format!("`{url}`: not a discovery document: {}", brief(&error.to_string())))?;
    if discovery.issuer != issuer {
        let said = brief(&discovery.issuer);
        let said = said.escape_debug();
        return Err(format!("`{url}`: the document is of the issuer `{said}`, not of `{issuer}`"));
    }
    let keys = Url::parse(&discovery.jwks_uri).map_err(|why| format!("`{url}`: `jwks_uri`: {}", brief(&why)))?;
    if url.is_https() && !keys.is_https() {
        return Err(format!("`{url}`: `jwks_uri`: `{keys}` is plain HTTP, though the document came over TLS"));
    }
    Ok(keys)
}

async fn download(url: &Url, client: &Client) -> Result<KeySet, Failure> {
    let body = client.get(url).await?;
    KeySet::parse(&body).map_err(|KeySetFault { why, exposed, shown }| {
        let cause = format!("`{url}`: {why}");
        Failure { cause, exposed, shown }
    })
}

/// As much of what a document says as a line of the log needs.
fn brief(text: &str) -> String {
    text.chars().take(200).collect()
}
