//! The metrics that every thread counts for itself, added up when somebody reads them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;

use super::cells::{Cells, DECIDE_MICROS, Durations, REQUEST_MICROS, Timings, TimingsSum};
use super::labels::{Named, Refused};

/// The cells of all threads. Those of a thread that has ended stay, for its requests were.
#[derive(Debug, Default)]
pub(super) struct Board(Mutex<Vec<Arc<Cells>>>);

impl Board {
    /// Cells for one more thread.
    pub(super) fn cells(&self) -> Arc<Cells> {
        let cells = Arc::<Cells>::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&cells));
        cells
    }

    fn all(&self) -> Vec<Arc<Cells>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A metric that is the sum over all threads.
#[derive(Clone, Debug)]
pub(super) struct Sum {
    /// The threads.
    pub(super) board: Arc<Board>,
    /// What is added up.
    pub(super) of: Summed,
}

/// What each thread counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Summed {
    /// Requests by what became of them.
    Requests,
    /// Requests that would have been refused where nothing is enforced.
    ShadowDenials,
    /// Refused tokens by cause.
    TokensRefused,
    /// How long requests took, by application.
    Whole,
    /// How long upstreams took, by application.
    Upstream,
    /// How long judging took.
    Decide,
    /// Open client connections.
    Connections,
    /// Client connections ever accepted.
    Accepted,
}

impl Sum {
    fn requests(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let told: Vec<_> = self.board.all().iter().flat_map(|cells| cells.requests.all()).collect();
        let mut sums = BTreeMap::new();
        for requests in &told {
            *sums.entry(&requests.outcome).or_insert(0) += requests.count.get();
        }
        sums.into_iter().try_for_each(|(outcome, count)| count_of(encoder.encode_family(outcome)?, count))
    }

    fn shadow_denials(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let told: Vec<_> = self.board.all().iter().flat_map(|cells| cells.denials.all()).collect();
        let mut sums = BTreeMap::new();
        for denials in &told {
            *sums.entry(&denials.of).or_insert(0) += denials.count.get();
        }
        sums.into_iter().try_for_each(|(of, count)| count_of(encoder.encode_family(of)?, count))
    }

    fn tokens_refused(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let mut sums = BTreeMap::new();
        for refused in self.board.all().iter().flat_map(|cells| cells.refused.all()) {
            *sums.entry(refused.cause).or_insert(0) += refused.count.get();
        }
        sums.into_iter().try_for_each(|(cause, count)| count_of(encoder.encode_family(&Refused { cause })?, count))
    }

    fn by_application(
        &self,
        mut encoder: MetricEncoder<'_>,
        timings: impl Fn(&Durations) -> &Timings<14>,
    ) -> fmt::Result {
        let mut sums = BTreeMap::<_, TimingsSum<14>>::new();
        for durations in self.board.all().iter().flat_map(|cells| cells.durations.all()) {
            sums.entry(Arc::clone(&durations.application)).or_default().add(timings(&durations));
        }
        // What never happened there has no duration: not every request has an upstream.
        sums.retain(|_, sum| sum.count() > 0);
        sums.into_iter().try_for_each(|(name, sum)| {
            let application = Named { label: "application", name: Some(name) };
            histogram(encoder.encode_family(&application)?, &REQUEST_MICROS, &sum)
        })
    }

    fn decide(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        let mut sum = TimingsSum::default();
        self.board.all().iter().for_each(|cells| sum.add(&cells.decide));
        histogram(encoder, &DECIDE_MICROS, &sum)
    }

    fn total(&self, part: impl Fn(&Cells) -> u64) -> u64 {
        self.board.all().iter().map(|cells| part(cells)).sum()
    }
}

impl EncodeMetric for Sum {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match self.of {
            Summed::Requests => self.requests(encoder),
            Summed::ShadowDenials => self.shadow_denials(encoder),
            Summed::TokensRefused => self.tokens_refused(encoder),
            Summed::Whole => self.by_application(encoder, |durations| &durations.whole),
            Summed::Upstream => self.by_application(encoder, |durations| &durations.upstream),
            Summed::Decide => self.decide(encoder),
            Summed::Connections => {
                let open = self.total(|cells| cells.connections.get());
                encoder.encode_gauge(&i64::try_from(open).unwrap_or(i64::MAX))
            }
            Summed::Accepted => count_of(encoder, self.total(|cells| cells.accepted.get())),
        }
    }

    fn metric_type(&self) -> MetricType {
        match self.of {
            Summed::Requests | Summed::ShadowDenials | Summed::TokensRefused | Summed::Accepted => MetricType::Counter,
            Summed::Whole | Summed::Upstream | Summed::Decide => MetricType::Histogram,
            Summed::Connections => MetricType::Gauge,
        }
    }

    /// Whether there is no series yet, and so nothing to describe.
    fn is_empty(&self) -> bool {
        let cells = self.board.all();
        let none = |counted: fn(&Cells) -> bool| cells.iter().all(|cells| counted(cells));
        match self.of {
            Summed::Requests => none(|cells| cells.requests.all().is_empty()),
            Summed::ShadowDenials => none(|cells| cells.denials.all().is_empty()),
            Summed::TokensRefused => none(|cells| cells.refused.all().is_empty()),
            Summed::Whole => none(|cells| cells.durations.all().is_empty()),
            Summed::Upstream => {
                none(|cells| cells.durations.all().iter().all(|durations| durations.upstream.is_empty()))
            }
            Summed::Decide | Summed::Connections | Summed::Accepted => false,
        }
    }
}

fn count_of(mut encoder: MetricEncoder<'_>, count: u64) -> fmt::Result {
    encoder.encode_counter(&count, None::<&Exemplar<NoLabelSet, f64>>)
}

fn histogram<const BOUNDS: usize>(
    mut encoder: MetricEncoder<'_>,
    bounds: &[u64; BOUNDS],
    sum: &TimingsSum<BOUNDS>,
) -> fmt::Result {
    let within = bounds.iter().map(|bound| seconds(*bound)).zip(sum.within);
    let buckets: Vec<(f64, u64)> = within.chain([(f64::INFINITY, sum.longer)]).collect();
    let exemplars = None::<&HashMap<usize, Exemplar<NoLabelSet, f64>>>;
    encoder.encode_histogram(seconds(sum.micros), sum.count(), &buckets, exemplars)
}

pub(super) fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
