//! Reads the entries of `listeners`.

use super::{Field, conflict, fields, scalar, wrong};
use crate::diag::Report;
use crate::document::Located;
use crate::document::gateway::{
    ClientsDocument, HstsDocument, ListenerDocument, MinVersionDocument, PairDocument, TlsDocument,
};
use crate::document::parse::{Node, Shape};

/// The port of HTTPS where none is named.
const HTTPS: u16 = 443;
const DAY: u64 = 86_400_000;
/// What lists of hosts that browsers build in ask for (hstspreload.org), in milliseconds.
const PRELOAD: u64 = 365 * DAY;

/// One entry of `listeners`.
pub(super) fn listener(node: &Node, report: &mut Report) -> Option<ListenerDocument> {
    let keys = ["address", "tls", "insecure_plaintext", "proxy_protocol", "hsts", "redirect_to_https"];
    let [address, tls, plaintext, proxy_protocol, hsts, redirect] = fields(node, "this listener", keys, report)?;
    let address = address.need_text(report);
    let insecure_plaintext = plaintext.flag(false, report);
    if let (Some(first), Some(second)) = (tls.node, redirect.node) {
        let help = "a listener that redirects speaks plain HTTP and does nothing else: give it an entry of its own";
        conflict(("tls", first), ("redirect_to_https", second), help, report);
    }
    if let (None, Some(node)) = (tls.node, hsts.node) {
        report
            .error("missing_key", node.place, "`hsts` needs `tls` in the same listener")
            .help("browsers believe it over TLS only: move it to the listener that speaks TLS");
    }
    let encrypted = match tls.node {
        Some(node) => Some(self::tls(node, report)?),
        None => None,
    };
    let proxy_at = proxy_protocol.node.map_or(node.place, |node| node.place);
    Some(ListenerDocument {
        place: node.place,
        address: address?,
        tls: encrypted,
        insecure_plaintext,
        proxy_protocol: Located::new(proxy_at, proxy_protocol.flag(false, report)),
        hsts: hsts.node.and_then(|node| self::hsts(node, report)),
        redirect_to_https: self::redirect(redirect, report),
    })
}

fn tls(node: &Node, report: &mut Report) -> Option<TlsDocument> {
    let keys = ["certificate", "key", "certificates", "min_version", "client_ca", "client_certificate", "client_crl"];
    let [certificate, key, certificates, min_version, ca, shown, crl] = fields(node, "this `tls`", keys, report)?;
    let pair = self::pair(certificate, key, report);
    let more = certificates.items(report).iter();
    let certificates = more.filter_map(|node| {
        let [certificate, key] = fields(node, "this entry of `certificates`", ["certificate", "key"], report)?;
        self::pair(certificate, key, report)
    });
    let certificates = certificates.collect();
    let min_version = self::min_version(min_version, report);
    Some(TlsDocument { pair: pair?, certificates, min_version, clients: clients([ca, shown, crl], report) })
}

/// `tls` of `admin`: one certificate, and none that operators have to show, for whoever asks how things are has none.
pub(super) fn operators(node: &Node, report: &mut Report) -> Option<TlsDocument> {
    let keys = ["certificate", "key", "min_version", "client_ca", "client_crl"];
    let [certificate, key, min_version, ca, crl] = fields(node, "`tls` of `admin`", keys, report)?;
    let pair = self::pair(certificate, key, report);
    let min_version = self::min_version(min_version, report);
    let shown = Field { node: None, ..ca };
    let clients = clients([ca, shown, crl], report).map(|clients| ClientsDocument { required: false, ..clients });
    Some(TlsDocument { pair: pair?, certificates: Vec::new(), min_version, clients })
}

fn min_version(field: Field<'_>, report: &mut Report) -> MinVersionDocument {
    let versions = [("1.2", MinVersionDocument::Tls12), ("1.3", MinVersionDocument::Tls13)];
    field.choice(&versions, report)
}

fn pair(certificate: Field<'_>, key: Field<'_>, report: &mut Report) -> Option<PairDocument> {
    let (certificate, key) = (certificate.need_text(report), key.need_text(report));
    Some(PairDocument { certificate: certificate?, key: key? })
}

fn clients([ca, shown, crl]: [Field<'_>; 3], report: &mut Report) -> Option<ClientsDocument> {
    let words = [("required", true), ("optional", false)];
    let required = shown.node.and_then(|node| scalar::choice(node, shown.key, &words, report)).unwrap_or(true);
    let lists = crl.text(report);
    if ca.node.is_none() {
        for field in [shown, crl] {
            if let Some(node) = field.node {
                report
                    .error("missing_key", node.place, format!("`{}` needs `client_ca`", field.key))
                    .help("say with `client_ca` whose certificates clients may show, or remove it");
            }
        }
    }
    ca.text(report).map(|ca| ClientsDocument { ca, crl: lists, required })
}

fn hsts(node: &Node, report: &mut Report) -> Option<HstsDocument> {
    let [max_age, subdomains, preload] =
        fields(node, "this `hsts`", ["max_age", "include_subdomains", "preload"], report)?;
    max_age.need(report)?;
    let read = HstsDocument {
        place: node.place,
        max_age: max_age.duration(0, 0..=3650 * DAY, report),
        include_subdomains: subdomains.flag(false, report),
        preload: preload.flag(false, report),
    };
    let short = read.max_age.as_millis() < u128::from(PRELOAD);
    if let (true, Some(node)) = (read.preload && (short || !read.include_subdomains), preload.node) {
        report
            .error(
                "bad_value",
                node.place,
                "`preload` needs `include_subdomains: true` and a `max_age` of 365d or more",
            )
            .help("browsers' makers take no other host into their lists; leaving one is slow");
    }
    Some(read)
}

/// `redirect_to_https`: `true`, `false` (the default) or a map with the port.
fn redirect(field: Field<'_>, report: &mut Report) -> Option<Located<u16>> {
    let node = field.node?;
    let port = match node.shape() {
        Shape::Map(_) => {
            let [port] = fields(node, "this `redirect_to_https`", ["port"], report)?;
            port.need(report)?;
            u16::try_from(port.number(HTTPS.into(), 1..=65_535, report)).ok()?
        }
        Shape::Scalar { .. } => scalar::flag(node, field.key, report)?.then_some(HTTPS)?,
        Shape::List(_) => {
            wrong(node, format_args!("`{}`", field.key), "`true` or `{port: NUMBER}`", report);
            return None;
        }
    };
    Some(Located::new(node.place, port))
}

#[cfg(test)]
mod tests {
    use crate::diag::Report;
    use crate::document::read_gateway;

    fn faults(listener: &str) -> Vec<String> {
        let mut report = Report::new();
        let text = format!("version: 1\nlisteners: [{{address: 127.0.0.1:1, {listener}}}]\nroutes: r\ngrants: g\n");
        let source = report.add_source("gateway.yaml", &text);
        read_gateway(source, &mut report);
        report.diagnostics().iter().map(|found| found.message.clone()).collect()
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let tls = |more: &str| format!("tls: {{certificate: c, key: k, {more}}}");
        for (listener, said) in [
            ("redirect_to_https: true, tls: {certificate: c, key: k}".to_owned(), "exclude each other"),
            ("redirect_to_https: {port: 0}".into(), "`port` must be 1 to 65535"),
            ("redirect_to_https: [8443]".into(), "must be `true` or `{port: NUMBER}`"),
            ("redirect_to_https: {}".into(), "`port` is missing"),
            ("hsts: {max_age: 1d}".into(), "`hsts` needs `tls`"),
            (format!("{}, hsts: {{}}", tls("")), "`max_age` is missing"),
            (format!("{}, hsts: {{max_age: 3651d}}", tls("")), "`max_age` must be 0s to 87600h"),
            (format!("{}, hsts: {{max_age: 365d, preload: true}}", tls("")), "`preload` needs"),
            (
                format!("{}, hsts: {{max_age: 364d, include_subdomains: true, preload: true}}", tls("")),
                "`preload` needs",
            ),
            (tls("client_certificate: optional"), "`client_certificate` needs `client_ca`"),
            (tls("client_crl: x"), "`client_crl` needs `client_ca`"),
            (tls("client_ca: x, client_certificate: maybe"), "unknown value `maybe`"),
            (tls("min_version: 1.1"), "unknown value `1.1`"),
            (tls("certificates: [{certificate: x}]"), "`key` is missing in this entry of `certificates`"),
        ] {
            let found = faults(&listener);
            assert!(found.len() == 1 && found[0].contains(said), "{listener}: {found:?}");
        }
    }

    #[test]
    fn what_can_be_meant_is_not() {
        for listener in [
            "redirect_to_https: true",
            "redirect_to_https: {port: 8443}, proxy_protocol: true",
            "tls: {certificate: c, key: k, client_ca: x}, hsts: {max_age: 0s}",
        ] {
            assert!(faults(listener).is_empty(), "{listener}: {:?}", faults(listener));
        }
    }
}
