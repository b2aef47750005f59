//! The stand, its queue and its judge, without any socket: both policies refuse everything.

use std::thread;

use http::Request;

use super::*;
use crate::model::Reason;
use crate::pep::{self, Verdict};
use crate::snapshot::Snapshot;
use crate::token::{Algorithms, Issuers, KeyRing, Rules};

struct Fixture {
    live: Arc<Live>,
    verifier: Arc<Verifier>,
    stand: Arc<Stand>,
    telemetry: Arc<Telemetry>,
}

/// Both policies have no application at all.
fn fixture() -> Fixture {
    let live = Arc::new(Live::new(Snapshot {
        serial: 1,
        loaded_at: 1,
        routes: Arc::default(),
        domains: Arc::default(),
        keys: Arc::new(KeyRing::empty(0)),
        revoked: Arc::default(),
    }));
    let rules = Rules { leeway: 0, max_lifetime: 1, algorithms: Algorithms { rs256: true, ps256: false, es256: true } };
    let verifier = Arc::new(Verifier::new(Issuers::default(), rules, 1));
    let telemetry = Telemetry::new("0", false);
    let stand = Stand::new(&live, &verifier, &telemetry);
    Fixture { live, verifier, stand, telemetry }
}

fn about(longest: Duration) -> About {
    About { name: "next".into(), digest: "d".into(), at: 5, by: None, longest, warnings: String::new() }
}

const DAY: Duration = Duration::from_secs(86_400);

fn policy() -> Policy {
    Policy { routes: Arc::default(), rows: Box::new(|| Some(Arc::default())) }
}

impl Fixture {
    /// A request that both refuse, offered as a worker offers it.
    fn ask(&self, reader: &Reader, value: &str) {
        let request = Request::builder().uri("/").header("host", "a.test").header("x", value).body(()).unwrap();
        let head = request.into_parts().0;
        let now = 10;
        let environment = Environment {
            now,
            trusted_peer: false,
            secure: false,
            has_body: false,
            server_name: None,
            certificate: None,
        };
        let offer = reader.copy(&head, environment);
        let verdict = pep::authorize(&self.live.load(), &self.verifier, head, environment);
        assert!(matches!(&verdict, Verdict::Refused { refusal, .. } if refusal.reason == Reason::NoApplication));
        offer.into_iter().for_each(|offer| offer.judged(&verdict));
    }

    fn report(&self) -> Report {
        self.stand.report(20).unwrap().1
    }

    fn lost(&self, why: Why) -> u64 {
        self.report().counts.not_judged().find(|(known, _)| *known == why).unwrap().1
    }

    fn until(&self, done: impl Fn(&Report) -> bool) {
        let begun = Instant::now();
        while !done(&self.report()) {
            assert!(begun.elapsed() < DAY / 8640, "{:?}", self.report());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_full_queue_makes_nobody_wait_and_what_found_no_place_is_counted() {
    let fixture = fixture();
    let reader = Reader::new(&fixture.stand);
    fixture.ask(&reader, "before");
    let (judge, trial) = fixture.stand.prepare(about(DAY), policy());
    fixture.stand.begin(trial);
    for _ in 0..QUEUE + 3 {
        fixture.ask(&reader, "");
    }
    assert_eq!((fixture.report().waiting, fixture.lost(Why::QueueFull)), (QUEUE as u64, 3));
    let judging = thread::spawn(|| judge.run());
    fixture.until(|report| report.counts.same == QUEUE as u64 && report.waiting == 0);
    assert_eq!(fixture.lost(Why::QueueFull), 3);
    let page = fixture.telemetry.render();
    assert!(page.contains("portcullis_candidate_requests_total{outcome=\"not_judged\"} 3\n"), "{page}");
    assert!(page.contains(&format!("portcullis_candidate_requests_total{{outcome=\"same\"}} {QUEUE}\n")), "{page}");
    assert!(page.contains("portcullis_candidate_running 1\n"), "{page}");
    fixture.stand.clear();
    judging.join().unwrap();
    assert!(fixture.telemetry.render().contains("portcullis_candidate_running 0\n"));
}

#[test]
fn a_head_that_is_too_large_is_counted_and_not_copied() {
    let fixture = fixture();
    let reader = Reader::new(&fixture.stand);
    let (_judge, trial) = fixture.stand.prepare(about(DAY), policy());
    fixture.stand.begin(trial);
    fixture.ask(&reader, &"x".repeat(MOST_BYTES));
    assert_eq!((fixture.report().waiting, fixture.lost(Why::TooLarge)), (0, 1));
}

#[test]
fn what_was_judged_by_an_older_state_is_no_difference() {
    let fixture = fixture();
    let reader = Reader::new(&fixture.stand);
    let (judge, trial) = fixture.stand.prepare(about(DAY), policy());
    fixture.stand.begin(trial);
    fixture.ask(&reader, "");
    fixture.live.publish_revoked(&Arc::new(crate::token::Revoked::new(7, [])));
    fixture.ask(&reader, "");
    let judging = thread::spawn(|| judge.run());
    fixture.until(|report| report.waiting == 0);
    assert_eq!((fixture.report().counts.same, fixture.lost(Why::PolicyChanged)), (1, 1));
    // Another policy: the report begins anew, and what is asked from then on counts.
    fixture.live.publish_policy(Arc::default(), Arc::default(), 9);
    let report = fixture.report();
    assert_eq!((report.serial, report.since, report.restarts, report.counts), (2, 20, 1, Counts::default()));
    fixture.ask(&reader, "");
    fixture.until(|report| report.counts.same == 1);
    fixture.stand.clear();
    judging.join().unwrap();
}

#[test]
fn a_candidate_that_is_taken_down_or_replaced_is_freed_and_one_whose_time_is_over_keeps_its_report() {
    let fixture = fixture();
    let reader = Reader::new(&fixture.stand);
    let put_up = |longest| {
        let domains = Arc::new(Domains::default());
        let weak = Arc::downgrade(&domains);
        let policy = Policy { routes: Arc::default(), rows: Box::new(move || Some(Arc::clone(&domains))) };
        let (judge, trial) = fixture.stand.prepare(about(longest), policy);
        fixture.stand.begin(trial);
        (weak, thread::spawn(|| judge.run()))
    };
    let (first, judging_first) = put_up(DAY);
    fixture.ask(&reader, "");
    fixture.until(|report| report.counts.same == 1);
    let (second, judging_second) = put_up(DAY);
    judging_first.join().unwrap();
    assert!(first.upgrade().is_none() && second.upgrade().is_some());
    assert_eq!(fixture.report().counts.same, 0);
    assert_eq!(fixture.stand.clear(), Some(about(DAY)));
    judging_second.join().unwrap();
    assert!(second.upgrade().is_none() && fixture.stand.report(20).is_none() && fixture.stand.clear().is_none());

    let (third, judging_third) = put_up(Duration::from_millis(300));
    fixture.ask(&reader, "");
    judging_third.join().unwrap();
    fixture.ask(&reader, "");
    assert!(third.upgrade().is_none());
    let report = fixture.report();
    assert_eq!((report.running, report.counts.judged(), report.waiting), (false, 1, 0));
    // What is live since has nothing to do with it.
    fixture.live.publish_policy(Arc::default(), Arc::default(), 9);
    assert_eq!(fixture.report().counts.judged(), 1);
}

#[test]
fn the_judge_ends_with_the_gateway() {
    let fixture = fixture();
    let (judge, trial) = fixture.stand.prepare(about(DAY), policy());
    fixture.stand.begin(trial);
    let judging = thread::spawn(|| judge.run());
    drop(fixture);
    judging.join().unwrap();
}

#[test]
fn a_candidate_whose_rows_are_not_to_be_had_says_nothing() {
    let fixture = fixture();
    let reader = Reader::new(&fixture.stand);
    let policy = Policy { routes: Arc::default(), rows: Box::new(|| None) };
    let (judge, trial) = fixture.stand.prepare(about(DAY), policy);
    fixture.stand.begin(trial);
    let judging = thread::spawn(|| judge.run());
    fixture.ask(&reader, "");
    fixture.until(|report| report.waiting == 0);
    assert_eq!((fixture.report().counts.judged(), fixture.lost(Why::PolicyChanged)), (0, 1));
    fixture.stand.clear();
    judging.join().unwrap();
}

#[test]
fn a_defect_ends_the_judgement_of_one_request_and_no_more() {
    let fixture = fixture();
    let reader = Reader::new(&fixture.stand);
    let mut broken = true;
    let rows = move || {
        assert!(!std::mem::take(&mut broken), "a defect");
        Some(Arc::default())
    };
    let policy = Policy { routes: Arc::default(), rows: Box::new(rows) };
    let (judge, trial) = fixture.stand.prepare(about(DAY), policy);
    fixture.stand.begin(trial);
    let judging = thread::spawn(|| judge.run());
    fixture.ask(&reader, "");
    fixture.ask(&reader, "");
    fixture.until(|report| report.counts.same == 1);
    assert_eq!(fixture.lost(Why::Broken), 1);
    fixture.stand.clear();
    judging.join().unwrap();
}
