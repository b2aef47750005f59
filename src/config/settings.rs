//! What the data plane needs to know: `limits`, `timeouts` and `trusted_proxies`.

use crate::diag::Report;
use crate::document::Located;
use crate::document::gateway::{GatewayDocument, LimitsDocument, TimeoutsDocument};
use crate::proxy::{Limits, Network, NotANetwork, Settings, Timeouts};

pub(super) fn resolve(document: &GatewayDocument, report: &mut Report) -> Settings {
    Settings {
        limits: limits(&document.limits),
        timeouts: timeouts(&document.timeouts),
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
    let LimitsDocument { connections, requests, head_bytes, headers, streams, upstream_idle } = *document;
    Limits { connections, requests, head_bytes, headers, streams, upstream_idle }
}

fn timeouts(document: &TimeoutsDocument) -> Timeouts {
    let TimeoutsDocument {
        handshake,
        client_head,
        client_body,
        connect,
        response,
        response_body,
        upstream_idle,
        tunnel_idle,
        drain,
    } = *document;
    Timeouts {
        handshake,
        client_head,
        client_body,
        connect,
        response,
        response_body,
        upstream_idle,
        tunnel_idle,
        drain,
    }
}
