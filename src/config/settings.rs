//! What the data plane needs to know: `limits`, `timeouts`, `rates` and `trusted_proxies`.

use std::num::NonZeroU32;

use crate::diag::Report;
use crate::document::Located;
use crate::document::gateway::{GatewayDocument, LimitsDocument, RateDocument, RatesDocument, TimeoutsDocument};
use crate::proxy::{Limits, Network, NotANetwork, Rate, Rates, Sample, Settings, Timeouts};

pub(super) fn resolve(document: &GatewayDocument, report: &mut Report) -> Settings {
    Settings {
        limits: limits(&document.limits),
        timeouts: timeouts(&document.timeouts),
        rates: rates(&document.rates),
        traces: document.traces.as_ref().map(|traces| Sample::per_million(traces.sample)),
        trusted_proxies: document.trusted_proxies.iter().filter_map(|text| network(text, report)).collect(),
    }
}

fn network(written: &Located<String>, report: &mut Report) -> Option<Network> {
    written
        .value
        .parse()
        .map_err(|fault: NotANetwork| {
            report
                .error("bad_network", written.place, fault.to_string())
                .help("write an address or a range in CIDR form, such as `10.0.0.0/8` or `fd00::/8`");
        })
        .ok()
}

// Field by field, so that a new key does not compile before it does something.
fn limits(document: &LimitsDocument) -> Limits {
    let LimitsDocument {
        connections,
        connections_per_client,
        requests,
        head_bytes,
        target_bytes,
        headers,
        form_bytes,
        streams,
        failed_tokens_per_client,
        upstream_idle,
    } = *document;
    Limits {
        connections,
        connections_per_client,
        requests,
        head_bytes,
        target_bytes,
        headers,
        form_bytes,
        streams,
        failed_tokens_per_client,
        upstream_idle,
    }
}

fn timeouts(document: &TimeoutsDocument) -> Timeouts {
    let TimeoutsDocument {
        handshake,
        client_head,
        client_idle,
        client_body,
        request,
        connect,
        response,
        response_body,
        upstream_idle,
        tunnel_idle,
        drain,
    } = *document;
    let request = Some(request).filter(|time| !time.is_zero());
    Timeouts {
        handshake,
        client_head,
        client_idle,
        client_body,
        request,
        connect,
        response,
        response_body,
        upstream_idle,
        tunnel_idle,
        drain,
    }
}

fn rates(document: &RatesDocument) -> Rates {
    let RatesDocument { per_client, per_principal } = *document;
    Rates { per_client: per_client.map(rate), per_principal: per_principal.map(rate) }
}

fn rate(RateDocument { requests, per, burst }: RateDocument) -> Rate {
    // The document has no zero.
    let count = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    Rate { requests: count(requests), per, burst: count(burst) }
}
