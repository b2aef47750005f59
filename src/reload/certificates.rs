//! Whether the certificates and keys that route maps name can be used, asked of the code that will use them: a fault in
//! one is a fault of the route map, not of the first request.

use super::named::Named;
use crate::diag::Report;
use crate::document::Located;
use crate::document::routes::RoutesDocument;
use crate::document::upstream::UpstreamTlsDocument;
use crate::proxy::{CertificateFile, check_authorities, check_identity};

/// Checks the `tls` of all upstreams. Files that cannot be read or hold nothing of their kind are left to the compiler,
/// which reports them.
pub(super) fn check(routes: &[RoutesDocument], named: &Named, report: &mut Report) {
    for upstream in routes.iter().flat_map(|document| &document.upstreams) {
        let UpstreamTlsDocument { ca, client_certificate, client_key, .. } = &upstream.tls;
        if let Some((ca, pem)) = usable(ca.as_ref(), "CERTIFICATE-----", named)
            && let Err(fault) = check_authorities(&pem)
        {
            let message = format!("the certificates in `{}` cannot be used: {}", ca.value, fault.cause);
            report
                .error("bad_certificate", ca.place, message)
                .help("each block of the file must be the certificate of an authority");
        }
        let chain = usable(client_certificate.as_ref(), "CERTIFICATE-----", named);
        let key = usable(client_key.as_ref(), "PRIVATE KEY-----", named);
        let Some(((chain, chain_pem), (key, key_pem))) = chain.zip(key) else { continue };
        if let Err(fault) = check_identity(&chain_pem, &key_pem) {
            let (file, what, help) = match fault.file {
                CertificateFile::Key => {
                    (key, "key", "it must be the key (PKCS#8, PKCS#1 or SEC1) of the first certificate of the chain")
                }
                CertificateFile::Certificate | CertificateFile::Authorities => {
                    (chain, "certificates", "the chain begins with the gateway's own certificate")
                }
            };
            let message = format!("the {what} in `{}` cannot be used: {}", file.value, fault.cause);
            report.error("bad_certificate", file.place, message).help(help);
        }
    }
}

fn usable<'d>(file: Option<&'d Located<String>>, block: &str, named: &Named) -> Option<(&'d Located<String>, Vec<u8>)> {
    let file = file?;
    let pem = named.read(file).ok()?;
    let has = String::from_utf8_lossy(&pem).lines().any(|line| line.trim_end().ends_with(block));
    has.then_some((file, pem))
}
