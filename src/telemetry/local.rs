//! One thread's end of telemetry: what moves with every request is counted and handed over here, in memory that no other
//! thread writes.

use std::cell::RefCell;
use std::sync::Arc;

use super::Telemetry;
use super::metrics::Index;
use super::record::RequestRecord;
use super::trace::Tracer;
use super::writer::Pen;

/// The most records that a thread keeps for further requests.
const KEPT_RECORDS: usize = 256;

/// What one thread reports its requests to. It stays on its thread.
#[derive(Debug)]
pub struct Local {
    shared: Arc<Telemetry>,
    index: Index,
    pen: Option<Pen>,
    tracer: Option<Tracer>,
    /// Records that are not used at the moment.
    #[expect(clippy::vec_box, reason = "requests hold them by their pointer, and large values are not moved about")]
    spare: RefCell<Vec<Box<RequestRecord>>>,
}

impl Local {
    pub(super) fn new(shared: Arc<Telemetry>) -> Self {
        let (index, pen) = (shared.metrics.index(), shared.decisions.as_ref().map(|log| log.pen()));
        let tracer = shared.tracer.get().cloned();
        Self { shared, index, pen, tracer, spare: RefCell::default() }
    }

    /// A record of which nothing is known, for one request.
    pub fn record(&self) -> Box<RequestRecord> {
        let has_texts = self.pen.is_some() || self.tracer.is_some();
        self.spare.borrow_mut().pop().unwrap_or_else(|| Box::new(RequestRecord::new(has_texts)))
    }

    /// Whether this request may go on: where `audit.required` is set, only if its line will be written, which is promised
    /// by that. Never waits.
    pub fn admit(&self, record: &mut RequestRecord) -> bool {
        match &self.pen {
            Some(pen) if self.shared.is_audited => {
                record.is_owed = pen.has_room();
                record.is_owed
            }
            _ => true,
        }
    }

    /// Counts a finished request and leaves its values for the writer. Never waits: where the writer cannot keep up, the
    /// line is dropped and counted.
    pub fn emit(&self, mut record: Box<RequestRecord>) {
        self.index.request(&record);
        if let Some(pen) = &self.pen {
            pen.hand_over(&mut record);
        }
        if let Some(tracer) = &self.tracer {
            tracer.hand_over(&mut record);
        }
        let mut spare = self.spare.borrow_mut();
        if spare.len() < KEPT_RECORDS {
            record.clear();
            spare.push(record);
        }
    }

    /// A request came in. Returns how many are in flight in all threads, this one included.
    pub fn request_started(&self) -> usize {
        usize::try_from(self.shared.metrics.in_flight.inc().saturating_add(1)).unwrap_or(0)
    }

    /// A request that [`request_started`](Self::request_started) counted is over.
    pub fn request_finished(&self) {
        self.shared.metrics.in_flight.dec();
    }

    /// A client has connected.
    pub fn connection_opened(&self) {
        self.index.connection_opened();
    }

    /// A client's connection is gone; it was opened on this thread.
    pub fn connection_closed(&self) {
        self.index.connection_closed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::record::Text;

    #[test]
    fn records_are_used_again_and_not_more_of_them_than_needed_are_kept() {
        let local = Telemetry::new("0", false).local();
        let first = local.record();
        let address = std::ptr::from_ref(&*first);
        local.emit(first);
        assert_eq!(std::ptr::from_ref(&*local.record()), address);
        let many: Vec<_> = (0..2 * KEPT_RECORDS).map(|_| local.record()).collect();
        many.into_iter().for_each(|record| local.emit(record));
        assert_eq!(local.spare.borrow().len(), KEPT_RECORDS);
    }

    #[test]
    fn requests_in_flight_are_those_of_all_threads() {
        let telemetry = Telemetry::new("0", false);
        let (one, other) = (telemetry.local(), telemetry.local());
        assert_eq!([one.request_started(), other.request_started(), other.request_started()], [1, 2, 3]);
        one.request_finished();
        assert_eq!(telemetry.in_flight(), 2);
        assert!(telemetry.render().contains("portcullis_requests_in_flight 2"));
    }

    #[test]
    fn a_request_is_counted_with_and_without_a_log() {
        for telemetry in [Telemetry::new("0", false), Telemetry::writing_to("0", Box::new(std::io::sink()))] {
            let local = telemetry.local();
            let mut record = local.record();
            record.set(Text::Application, "app");
            record.set(Text::Route, "read");
            record.figures.status = 200;
            local.emit(record);
            let series = "portcullis_requests_total{application=\"app\",route=\"read\",decision=\"deny\",reason=\"\",\
                          status=\"2xx\"} 1";
            assert!(telemetry.render().contains(series));
        }
    }
}
