//! `portcullis token explain`: a token taken apart offline, with every check of the gateway, the gates, and what to change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::advice::{Advice, Advisor, Named};
use super::revoked::{self, Looked};
use super::{input, json, text};
use crate::cli::{ConfigFile, Exit, Failure, Output, data, now, say};
use crate::config::{self, Config};
use crate::diag::Report;
use crate::document;
use crate::document::gateway::GatewayDocument;
use crate::reload;
use crate::review::{Admission, Policy};
use crate::route::{Application, host::Host};
use crate::source::file;
use crate::source::jwks::{self, From, KeySource};
use crate::telemetry::moment;
use crate::token::keys::DOCUMENT_BYTES;
use crate::token::{Fault, Inspection, Issuers, KeyRing, KeySet, Outcome, Step, TokenFault, Verifier};

/// `token explain`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the token would be believed and may come in where it was asked for, 1 not, or nobody \
can tell without keys; a revoked token is not believed. 2 usage, 3 configuration invalid."
)]
pub(in crate::cli) struct Options {
    /// The file with the token [default: standard input].
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The application whose gate is to be asked [default: all are, and none counts].
    #[arg(long, value_name = "NAME", conflicts_with = "host")]
    application: Option<String>,
    /// The host of the application.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// A key document that was downloaded, for issuers whose keys the gateway fetches.
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// When to check: `2026-09-21T14:13:20Z`, or Unix seconds [default: now].
    #[arg(long, value_name = "TIME", value_parser = at)]
    at: Option<u64>,
    /// How the explanation is printed.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
    #[command(flatten)]
    config: ConfigFile,
}

/// All that is said of a token.
pub(super) struct Explanation<'e> {
    /// When it was checked, in Unix seconds.
    pub(super) at: u64,
    /// What was taken off the input.
    pub(super) notes: Vec<&'static str>,
    pub(super) inspection: Inspection,
    /// The steps of the inspection, each with what to do about it.
    pub(super) steps: Vec<(Step, Option<Advice>)>,
    /// Whether the token is revoked.
    pub(super) revoked: Looked,
    /// Who asks, as grants name it, where the token says it.
    pub(super) named: Option<Named>,
    /// What applications say to the token, each with what to do about it.
    pub(super) admissions: Vec<Admitted<'e>>,
    /// Whether an application was named, so that its gate counts.
    pub(super) asked: bool,
}

/// What an application says to the token.
pub(super) struct Admitted<'e> {
    pub(super) admission: Admission<'e>,
    /// `FILE:LINE:COLUMN` of the application.
    pub(super) place: String,
    /// One for each step of the gate; `None` for those that pass.
    pub(super) advice: Vec<Option<Advice>>,
    /// What to do where the grants do not know the caller.
    pub(super) stranger: Option<Advice>,
}

/// Whether the token is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is.
    Believed,
    /// It is not.
    NotBelieved(Fault),
    /// Nobody can tell without keys.
    Undecided,
}

impl Explanation<'_> {
    /// What the verifier says, and then the revocations.
    pub(super) fn verdict(&self) -> Verdict {
        match &self.inspection.verdict {
            Ok(_) if self.revoked.is_revoked() => Verdict::NotBelieved(Fault::Revoked),
            Ok(_) => Verdict::Believed,
            Err(TokenFault::Invalid(fault)) => Verdict::NotBelieved(*fault),
            Err(TokenFault::UnknownKey(_)) => Verdict::NotBelieved(Fault::UnknownKey),
            Err(TokenFault::KeysUnavailable(_)) => Verdict::Undecided,
        }
    }

    /// Whether the token gets where it was to get.
    pub(super) fn good(&self) -> bool {
        let admitted = || self.admissions.iter().all(|one| one.admission.refusal.is_none());
        self.verdict() == Verdict::Believed && (!self.asked || !self.admissions.is_empty() && admitted())
    }
}

/// What is read before a token can be explained.
struct World {
    config: Config,
    gateway: GatewayDocument,
    policy: Policy,
    report: Report,
}

/// Prints the explanation.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let input = input::read(options.token_file.as_deref())?;
    let World { config, gateway, policy, mut report } = World::read(&options.config.path)?;
    let applications = applications(&policy, options)?;
    let at = options.at.unwrap_or_else(now);
    let keys = keys(&config.keys, options.jwks.as_deref(), at)?;
    let verifier = Verifier::new(Issuers::new(config.issuers), config.rules, 0);
    let inspection = verifier.inspect(&input.token, &keys, at);
    let revoked = revoked::look(&config.revoked, verifier.issuers(), inspection.said.as_ref(), &mut report)?;

    let advisor = Advisor {
        inspection: &inspection,
        gateway: &gateway,
        issuers: verifier.issuers(),
        sources: &config.keys,
        report: &report,
        at,
    };
    let steps = inspection.steps.iter().map(|step| (*step, advisor.of_step(*step))).collect();
    let said = inspection.said.as_ref();
    let named = said.map(|said| advisor.named(said));
    let admissions = said.into_iter().flat_map(|said| {
        applications.iter().filter_map(|application| advisor.admitted(policy.admission(application, said)?))
    });
    let admissions = admissions.collect();
    let asked = options.application.is_some() || options.host.is_some();
    let explanation = Explanation { at, notes: input.notes, steps, revoked, named, admissions, asked, inspection };
    match options.output {
        Output::Text => say(text::explanation(&explanation).trim_end()),
        Output::Json => data(format_args!("{:#}", json::explanation(&explanation))),
    }
    Ok(if explanation.good() { Exit::Ok } else { Exit::Findings })
}

impl World {
    fn read(path: &Path) -> Result<Self, Failure> {
        let mut report = Report::new();
        let config = config::load(path, &mut report);
        let policy = config.as_ref().and_then(|config| reload::load_for_review(&config.policy, &mut report));
        if let (Some(config), Some(policy), false) = (config, policy, report.has_errors())
            // Once more, as it is written: for the places of its settings.
            && let Some(source) = file::read_document(path, &mut report)
            && let Some(gateway) = document::read_gateway(source, &mut report)
        {
            return Ok(Self { config, gateway, policy, report });
        }
        Err(Failure::new(Exit::Configuration, report.render()))
    }
}

/// Those whose gates are asked.
fn applications<'p>(policy: &'p Policy, options: &Options) -> Result<Vec<&'p Arc<Application>>, Failure> {
    let routes = &policy.snapshot.routes;
    let usage = |message: String| Failure::new(Exit::Usage, message);
    if let Some(host) = &options.host {
        let parsed = Host::parse(host).map_err(|_| usage(format!("`{host}` is no host")))?;
        let found = routes.application(&parsed);
        return Ok(vec![found.ok_or_else(|| usage(format!("no application has the host `{host}`")))?]);
    }
    let all = routes.applications().iter();
    let Some(name) = &options.application else { return Ok(all.collect()) };
    let found: Vec<_> = all.filter(|application| *application.name == **name).collect();
    if found.is_empty() {
        let names: Vec<String> = routes.applications().iter().map(|known| known.name.to_string()).collect();
        return Err(usage(format!("no application `{name}`; there is {}", super::listed(names.iter()))));
    }
    Ok(found)
}

/// The keys that are there without asking anybody: those in files, and those of a document that was brought along.
fn keys(sources: &[KeySource], brought: Option<&Path>, now: u64) -> Result<KeyRing, Failure> {
    let ring = jwks::load_files(sources, KeyRing::empty(sources.len()), now).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(|(path, why)| format!("`{}`: {why}", path.display())).collect();
        Failure::new(Exit::Configuration, faults.join("\n"))
    })?;
    let Some(path) = brought else { return Ok(ring) };
    let usage = |why: &dyn std::fmt::Display| Failure::new(Exit::Usage, format!("`{}`: {why}", path.display()));
    let json = file::read(path, DOCUMENT_BYTES as u64).map_err(|why| usage(&why))?;
    let set = Arc::new(KeySet::parse(&json).map_err(|fault| usage(&fault))?);
    let fetched = sources.iter().filter(|source| match source.from {
        From::Discovery { .. } | From::Jwks { .. } => true,
        From::File(_) => false,
    });
    // As a running gateway would refuse them.
    let believed = fetched.filter(|source| source.development || !set.has_development_key());
    Ok(believed.fold(ring, |ring, source| ring.with(source.id, Arc::clone(&set), now)))
}

fn at(text: &str) -> Result<u64, String> {
    moment(text).ok_or_else(|| "write a time such as `2026-09-21T14:13:20Z`, or Unix seconds".to_owned())
}

/// The mark before a check.
pub(super) const fn mark(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "✓",
        Outcome::Failed(_) => "✗",
        Outcome::NoKeys => "?",
        Outcome::NotReached => "·",
    }
}
