//! Whether the candidates that lie there could be loaded, for whoever looks over a configuration.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Below, NotLoaded, read_beside};
use crate::reload::load::{Content, PolicyFiles, Why};

/// How deep below the directory candidates are looked for.
const DEPTH: usize = 3;
/// The most directories that are looked into.
const MOST_DIRECTORIES: usize = 1_000;
/// The most candidates that are read.
const MOST: usize = 16;

/// What was found where candidates may lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// How many candidates were read.
    pub read: usize,
    /// What is odd, each as a message and what to do.
    pub warnings: Vec<(String, String)>,
}

/// Reads the candidates below the directory as they would be loaded beside the live policy, which was made of `content`. A
/// candidate is a directory that has one of the files of the live policy at its place; at most 16 are read.
pub fn check(below: &Below, live: &PolicyFiles, content: &Content) -> Checked {
    let mut checked = Checked::default();
    let shown = below.directory.display();
    if !below.directory.is_dir() {
        let help = "make the directory, or take `candidates` out of `shadow` in gateway.yaml".to_owned();
        checked.warnings.push((format!("`shadow.candidates` names `{shown}`, which is no directory"), help));
        return checked;
    }
    let mut search = Search { below, live, left: MOST_DIRECTORIES, unseen: 0, found: Vec::new() };
    search.within(&below.directory, DEPTH);
    let Search { unseen, found, .. } = search;
    if unseen > 0 {
        let message = format!(
            "not all below `{shown}` was looked into: {unseen} of its directories cannot be read, or come after the first \
             {MOST_DIRECTORIES}"
        );
        let help = "remove what is no candidate, and let whoever checks the configuration read the others".to_owned();
        checked.warnings.push((message, help));
    }
    if found.len() > MOST {
        let message =
            format!("there are {} candidates or more below `{shown}`, of which {MOST} were read", found.len());
        checked.warnings.push((message, "remove those that nobody needs any more".to_owned()));
    }
    for directory in found.into_iter().take(MOST) {
        checked.read += 1;
        let name = directory.strip_prefix(&below.directory).unwrap_or(&directory).display().to_string();
        let named = content.listed().map(|(kind, path)| (kind, path.clone())).collect();
        if let Err(why) = read_beside((live, named), below, &name) {
            checked.warnings.push(told(&name, &why));
        }
    }
    checked
}

/// Looks for candidates.
struct Search<'s> {
    below: &'s Below,
    live: &'s PolicyFiles,
    /// How many directories may still be looked into.
    left: usize,
    /// How many were not, at least.
    unseen: usize,
    found: Vec<PathBuf>,
}

impl Search<'_> {
    fn within(&mut self, directory: &Path, depth: usize) {
        let Ok(entries) = fs::read_dir(directory) else {
            self.unseen += 1;
            return;
        };
        let inside = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
        // One more than may be looked into, so that it is known to be too many.
        let mut inside: Vec<PathBuf> = inside.take(MOST_DIRECTORIES + 1).collect();
        inside.sort();
        for path in inside {
            let Some(left) = self.left.checked_sub(1) else {
                self.unseen += 1;
                return;
            };
            self.left = left;
            if self.is_candidate(&path) {
                self.found.push(path);
            } else if depth > 1 {
                self.within(&path, depth - 1);
            }
        }
    }

    fn is_candidate(&self, directory: &Path) -> bool {
        let files = [&self.live.routes, &self.live.grants].map(|live| self.below.alike(live, directory));
        files.into_iter().flatten().flatten().any(|file| file.exists())
    }
}

fn told(name: &str, why: &NotLoaded) -> (String, String) {
    let help = format!("mend it, or remove it; `portcullis shadow load {name}` says all of it");
    let why = match why {
        NotLoaded::Rejected { why: Why::Tests, errors, .. } => format!("of its tests, {errors} fail"),
        NotLoaded::Rejected { why: Why::Faults, errors, report } => {
            let mut lines = report.lines().skip_while(|line| !line.starts_with("error"));
            let first = lines.next().and_then(|line| line.split_once(": ")).map_or("", |(_, message)| message);
            let place = lines.next().and_then(|line| line.trim_start().strip_prefix("--> "));
            let place = place.map_or_else(String::new, |place| format!(" ({place})"));
            format!("errors: {errors}, the first: {first}{place}")
        }
        NotLoaded::Ambiguous(path) => format!("`{}` would stand for two entries of gateway.yaml", path.display()),
        NotLoaded::BadName(text) | NotLoaded::Missing(text) => text.clone(),
        NotLoaded::NotConfigured | NotLoaded::Busy | NotLoaded::Broken => "it cannot be read".to_owned(),
    };
    (format!("the candidate `{name}` would be rejected: {why}"), help)
}
