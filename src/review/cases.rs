//! `tests:` run against a policy: each is a request with the decision that it must get.

use super::policy::Policy;
use super::request::{BadRequest, Request};
use crate::diag::SourceId;
use crate::document::routes::TestDocument;
use crate::document::{Entries, Literal};

/// What came of one test.
#[derive(Debug)]
pub struct Outcome<'t> {
    /// The test.
    pub test: &'t TestDocument,
    /// What was found: nothing for a request that is allowed, the code with its subject for one that is denied, or why it
    /// could not be tried.
    pub found: Result<Option<String>, BadRequest>,
    /// Whether that is what the test expects. A test that cannot be tried fails.
    pub passed: bool,
}

/// Runs tests in order and hands each outcome on, with the policy that judged: the one given, or a copy with the test's
/// settings. Settings concern the file that the test stands in, if it is one of the policy's.
pub fn run<'t>(
    policy: &Policy,
    tests: impl IntoIterator<Item = &'t TestDocument>,
    mut each: impl FnMut(&Outcome<'t>, &Policy),
) {
    // Tests with the same settings tend to stand together, and a copy takes as long as a load.
    let mut copy: Option<(SourceId, &Entries<Literal>, Result<Policy, BadRequest>)> = None;
    for test in tests {
        let source = test.place.source;
        if test.settings.is_empty() {
            let outcome = outcome(test, policy);
            each(&outcome, policy);
            continue;
        }
        let usable = copy.take().filter(|(of, settings, _)| *of == source && alike(settings, &test.settings));
        let (_, _, other) = copy.insert(usable.unwrap_or_else(|| {
            let own =
                policy.routes.iter().any(|file| file.settings.iter().any(|(name, _)| name.place.source == source));
            (source, &test.settings, policy.with_settings(&test.settings, own.then_some(source)))
        }));
        match other {
            Ok(other) => each(&outcome(test, other), other),
            Err(fault) => each(&Outcome { test, found: Err(fault.clone()), passed: false }, policy),
        }
    }
}

impl Outcome<'_> {
    /// What the test expects, in words.
    pub fn expected(&self) -> String {
        match (self.test.allow, &self.test.reason) {
            (true, _) => "allowed".to_owned(),
            (false, None) => "denied".to_owned(),
            (false, Some(reason)) => format!("denied: {}", reason.value),
        }
    }

    /// What was found, in words.
    pub fn in_words(&self) -> String {
        match &self.found {
            Err(fault) => format!("not tried: {fault}"),
            Ok(None) => "allowed".to_owned(),
            Ok(Some(code)) => format!("denied: {code}"),
        }
    }
}

fn alike(one: &Entries<Literal>, other: &Entries<Literal>) -> bool {
    let pairs = |entries: &Entries<Literal>| -> Vec<(String, Literal)> {
        entries.iter().map(|(name, value)| (name.value.clone(), value.clone())).collect()
    };
    pairs(one) == pairs(other)
}

fn outcome<'t>(test: &'t TestDocument, policy: &Policy) -> Outcome<'t> {
    let found = Request::of_test(test).and_then(|request| {
        let tried = request.try_on(policy)?;
        Ok(tried.code().map(str::to_owned))
    });
    let passed = match (&found, &test.reason) {
        (Err(_), _) => false,
        (Ok(None), _) => test.allow,
        (Ok(Some(_)), None) => !test.allow,
        (Ok(Some(code)), Some(reason)) => !test.allow && code.starts_with(&reason.value),
    };
    Outcome { test, found, passed }
}
