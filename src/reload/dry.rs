//! What a dry run would change, told one by one: what is live and what the files say are compiled anew from their texts,
//! with those principals that the compiled tables show to differ, and compared. All of it happens beside requests and
//! beside reloads, one at a time, and nothing of it is left behind.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::ask::MOST_PRINCIPALS;
use super::behind::{apart, behind, give_way_for};
use super::feed::{versions, with_all_rows};
use super::history::Edition;
use super::load::{PolicyFiles, Texts};
use super::{Handle, Mode, Order, ReloadOutcome, Trigger};
use crate::diag::Report;
use crate::policy::Domains;
use crate::review::diff::{Difference, Side, diff};
use crate::review::{Concerned, Everybody, Policy};
use crate::route::RouteMap;
use crate::snapshot::Snapshot;

/// How long anybody waits for the comparison.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long anybody waits until that of somebody else is made.
const TURN: Duration = Duration::from_secs(20);
/// How often it is begun anew because rows of databases changed under it.
const ATTEMPTS: usize = 3;

/// All that would change, and the texts of both sides, which know where everything is written.
#[derive(Debug, Default)]
pub struct Compared {
    /// What would change.
    pub found: Difference,
    /// The texts of what is live.
    pub old: Report,
    /// The texts of the files.
    pub new: Report,
}

/// Why there is no comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCompared {
    /// Somebody else's is being made.
    Busy,
    /// It takes too long.
    Late,
    /// What is live was made of texts that are nowhere any more.
    TextsGone,
    /// The files changed once more while they were compared.
    FilesChanged,
    /// Rows of databases change all the time.
    RowsChange,
    /// A fault of the gateway.
    Broken,
}

/// What is to be compared.
pub(super) struct Tried {
    pub(super) files: Arc<PolicyFiles>,
    /// The directory of the last good documents.
    pub(super) copy: Option<PathBuf>,
    pub(super) live: Arc<Snapshot>,
    /// The texts that what is live was made of, as far as they are kept.
    pub(super) texts: Texts,
    /// What is live was made of this, and what the files say of that; nothing once both are freed.
    pub(super) both: Option<[Edition; 2]>,
}

impl Drop for Tried {
    fn drop(&mut self) {
        // Whoever asked may have gone away: to free a million principals is no work for a thread that serves requests.
        if let Some(both) = self.both.take() {
            let _ = apart("policy", move || drop(both));
        }
    }
}

impl Handle {
    /// Tries what the files say, publishes nothing, and has `render` make something of all that would change. There is
    /// nothing to compare where the files cannot be used. `None` as for a [`reload`](Self::reload).
    pub async fn dry_run<T: Send + 'static>(
        &self,
        by: Option<String>,
        render: impl FnOnce(&Compared) -> T + Send + 'static,
    ) -> Option<(ReloadOutcome, Option<Result<T, NotCompared>>)> {
        // Before anything is read: whoever waits holds nothing.
        let turn = timeout(TURN, Arc::clone(&self.turn).acquire_owned()).await.ok().and_then(Result::ok);
        let order = Order { trigger: Trigger::Request, by, mode: Mode::Dry };
        let (outcome, tried) = self.order(order).await?;
        let compared = match (&outcome, tried, turn) {
            (ReloadOutcome::Unchanged { .. }, ..) => Some(Ok(render(&Compared::default()))),
            (_, None, _) => None,
            (_, Some(_), None) => Some(Err(NotCompared::Busy)),
            (_, Some(tried), Some(turn)) => Some(compared(*tried, turn, render).await),
        };
        Some((outcome, compared))
    }
}

async fn compared<T: Send + 'static>(
    mut tried: Tried,
    turn: OwnedSemaphorePermit,
    render: impl FnOnce(&Compared) -> T + Send + 'static,
) -> Result<T, NotCompared> {
    let work = behind(move || {
        give_way_for(usize::MAX);
        let compared = tried.compare().map(|compared| render(&compared));
        drop(tried.both.take());
        // Not before: whoever asked may have gone away long ago.
        drop(turn);
        compared
    });
    timeout(PATIENCE, work).await.map_err(|_elapsed| NotCompared::Late)?.ok_or(NotCompared::Broken)?
}

impl Tried {
    fn compare(&self) -> Result<Compared, NotCompared> {
        for _ in 0..ATTEMPTS {
            let rows = versions(&self.files.feeds);
            let compared = self.attempt()?;
            if versions(&self.files.feeds) == rows {
                return Ok(compared);
            }
        }
        Err(NotCompared::RowsChange)
    }

    fn attempt(&self) -> Result<Compared, NotCompared> {
        let Some([last, next]) = &self.both else { return Err(NotCompared::Broken) };
        // Of both as they were when they were tried: something else may have been published since.
        let rows = |edition: &Edition, domains: &Domains| with_all_rows(&mut edition.fed.clone(), domains);
        let (before, after) = (rows(last, &self.live.domains), rows(next, &next.domains));
        let (Some(before), Some(after)) = (before, after) else { return Err(NotCompared::Broken) };
        let concerned = Concerned::of((&self.live.routes, &before), (&next.routes, &after), MOST_PRINCIPALS);
        let among = |policy: Policy, routes: &Arc<RouteMap>, domains: Domains| {
            let everybody = || Everybody::new(Arc::clone(routes), Arc::new(domains));
            if concerned.is_everybody() { policy } else { policy.among(everybody()) }
        };
        let (old, old_texts) = self.side(Side::Old, (last, &self.texts), &concerned, NotCompared::TextsGone)?;
        let (new, new_texts) = self.side(Side::New, (next, &next.texts), &concerned, NotCompared::FilesChanged)?;
        let (old, new) = (among(old, &self.live.routes, before), among(new, &next.routes, after));
        let mut found = diff(&old, &new);
        found.left_out = concerned.left_out();
        Ok(Compared { found, old: old_texts, new: new_texts })
    }

    fn side(
        &self,
        side: Side,
        (edition, texts): (&Edition, &Texts),
        concerned: &Concerned,
        gone: NotCompared,
    ) -> Result<(Policy, Report), NotCompared> {
        let wanted = |domain: &str, id: &str| concerned.has(side, domain, id);
        let from = (&*self.files, self.copy.as_deref());
        match texts.policy(from, (&edition.content, &edition.fed), &self.live, wanted) {
            None => Err(gone),
            Some(Ok(read)) => Ok(read),
            Some(Err(report)) => {
                tracing::error!(?side, "what was published or tried cannot be compiled again:\n{}", report.render());
                Err(NotCompared::Broken)
            }
        }
    }
}
