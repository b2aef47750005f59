//! `portcullis init`: a first configuration that runs, with a development key instead of a sign-in service.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use http::Uri;

use crate::cli::files::{self, Readers};
use crate::cli::{Exit, Failure, say};
use crate::token::mint::DevelopmentKey;

const GATEWAY: &str = include_str!("init/gateway.yaml");
const ROUTES: &str = include_str!("init/routes.yaml");
const GRANTS: &str = include_str!("init/grants.yaml");

/// `init`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The folder to write to; made if it does not exist.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The application that the gateway shall stand in front of.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3000", value_parser = upstream)]
    upstream: String,
}

/// One file to write.
struct Draft {
    name: &'static str,
    contents: String,
    readers: Readers,
}

/// Writes the files, or none if one of them is there already.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let folder = &options.folder;
    let drafts = drafts(&options.upstream)?;
    let present: Vec<_> = drafts.iter().map(|draft| folder.join(draft.name)).filter(|path| path.exists()).collect();
    if !present.is_empty() {
        let names: Vec<_> = present.iter().map(|path| format!("  {}", path.display())).collect();
        let message = format!("nothing written, because these files exist already:\n{}", names.join("\n"));
        return Err(Failure::new(Exit::Findings, message));
    }
    fs::create_dir_all(folder).map_err(|error| failed("make", folder, &error))?;
    for draft in &drafts {
        let path = folder.join(draft.name);
        files::create(&path, &draft.contents, draft.readers).map_err(|error| failed("write", &path, &error))?;
    }
    say(next_steps(folder, &drafts, &options.upstream));
    Ok(Exit::Ok)
}

fn drafts(upstream: &str) -> Result<Vec<Draft>, Failure> {
    let key = DevelopmentKey::generate().map_err(|fault| Failure::new(Exit::Findings, fault.0))?;
    let random = |bytes| files::random_hex(bytes).map_err(|error| Failure::new(Exit::Findings, error));
    let mut grants = GRANTS.to_owned();
    for principal in ["@OLGA@", "@VERA@", "@NILS@"] {
        grants = grants.replace(principal, &guid(&random(16)?));
    }
    let draft = |name, contents, readers| Draft { name, contents, readers };
    Ok(vec![
        draft("gateway.yaml", GATEWAY.replace("@TENANT@", &guid(&random(16)?)), Readers::Anyone),
        draft("routes.yaml", ROUTES.replace("@UPSTREAM@", upstream), Readers::Anyone),
        draft("grants.yaml", grants, Readers::Anyone),
        draft("dev.jwks.json", key.jwks(), Readers::Anyone),
        draft("dev.key.pem", key.to_pem(), Readers::Owner),
        draft("admin.token", format!("{}\n", random(32)?), Readers::Owner),
    ])
}

/// 32 random hexadecimal digits as a GUID of version 4 (RFC 9562 section 5.4).
fn guid(hex: &str) -> String {
    let digits = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-4{}-8{}-{}", digits(0, 8), digits(8, 12), digits(13, 16), digits(17, 20), digits(20, 32))
}

/// Accepts `http://HOST[:PORT]` and `https://HOST[:PORT]`.
fn upstream(text: &str) -> Result<String, String> {
    let help = "write it as http://HOST:PORT, without a path";
    let uri: Uri = text.parse().map_err(|error| format!("{error}; {help}"))?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"));
    let (Some(scheme), Some(authority)) = (scheme, uri.authority()) else { return Err(help.to_owned()) };
    if authority.as_str().contains('@') || uri.path() != "/" || uri.query().is_some() {
        return Err(help.to_owned());
    }
    Ok(format!("{scheme}://{authority}"))
}

fn failed(verb: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Findings, format!("cannot {verb} `{}`: {error}", path.display()))
}

/// The three commands that come next, as they can be pasted.
fn next_steps(folder: &Path, drafts: &[Draft], upstream: &str) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "portcullis".to_owned());
    let config = folder.join("gateway.yaml");
    let config = config.display();
    let names: Vec<_> = drafts.iter().map(|draft| draft.name).collect();
    let call = |who: &str| {
        format!(
            "curl -i -H \"Authorization: Bearer $({program} token mint --as {who} --config {config})\" \
             http://localhost:8080/"
        )
    };
    format!(
        "Wrote to {}: {}\n\nNext, with your application running at {upstream}:\n\n\
         1. run the gateway:\n   {program} serve --config {config}\n\
         2. in another terminal, a request that is allowed:\n   {}\n\
         3. and one that is refused, with the reason:\n   {}",
        folder.display(),
        names.join(", "),
        call("olga"),
        call("nils"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Guid;

    #[test]
    fn an_upstream_is_a_scheme_a_host_and_a_port() {
        for (written, read) in [
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("https://app.example.org/", "https://app.example.org"),
            ("http://[::1]:3000", "http://[::1]:3000"),
        ] {
            assert_eq!(upstream(written).as_deref(), Ok(read), "{written}");
        }
        for written in ["", "127.0.0.1:3000", "ftp://h", "http://h/path", "http://h/?q", "http://u@h", "http://h\"x"] {
            assert!(upstream(written).is_err(), "{written}");
        }
    }

    #[test]
    fn random_digits_become_a_guid_of_version_4() {
        let guid = guid("0123456789abcdef0123456789abcdef");
        assert_eq!(guid, "01234567-89ab-4def-8123-456789abcdef");
        assert!(guid.parse::<Guid>().is_ok());
    }
}
