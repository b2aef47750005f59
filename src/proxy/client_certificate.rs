//! Reads who a client is out of the certificate that its handshake proved.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::model::ClientCertificate;
use crate::model::client_certificate::{dns, uri};
use crate::model::distinguished_name::{self, Attribute, der};

/// The largest certificate that is read, in bytes: more than any that is in use, and a header can still carry it.
const MAX_BYTES: usize = 16 * 1024;
/// The most alternative names that are read.
const MAX_NAMES: usize = 64;
/// Identifier octets of DER: SEQUENCE, SET, OBJECT IDENTIFIER.
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// Why a certificate names nobody: for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) &'static str);

/// Reads a certificate (DER). What could be read in two ways is refused, so that nobody has half a name.
///
/// # Errors
/// It is too large, has too many names, or cannot be read to its end.
pub(super) fn read(bytes: &[u8]) -> Result<ClientCertificate, Unreadable> {
    if bytes.len() > MAX_BYTES {
        return Err(Unreadable("it is too large"));
    }
    let (rest, certificate) = X509Certificate::from_der(bytes).map_err(|_| Unreadable("it cannot be parsed"))?;
    if !rest.is_empty() {
        return Err(Unreadable("bytes follow it"));
    }
    let subject = subject(certificate.subject())?;
    let alternative = certificate.subject_alternative_name().map_err(|_| Unreadable("its names cannot be parsed"))?;
    let alternative = alternative.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    if alternative.len() > MAX_NAMES {
        return Err(Unreadable("it has too many names"));
    }
    let alternative = alternative.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => dns(name),
        GeneralName::URI(text) => uri(text),
        _ => None,
    });
    let moment = |seconds: i64| u64::try_from(seconds).unwrap_or_default();
    let validity = certificate.validity();
    Ok(ClientCertificate {
        names: subject.into_iter().chain(alternative).map(Into::into).collect(),
        from: moment(validity.not_before.timestamp()),
        until: moment(validity.not_after.timestamp()),
        field: format!(":{}:", STANDARD.encode(bytes)).into(),
    })
}

/// The text of a subject; `None` if it is empty.
fn subject(name: &X509Name<'_>) -> Result<Option<String>, Unreadable> {
    let mut parts = Vec::new();
    let mut kinds = Vec::new();
    let mut written = Vec::new();
    for part in name.iter() {
        let mut set = Vec::new();
        for attribute in part.iter() {
            kinds.push(attribute.attr_type().to_id_string());
            set.extend_from_slice(&encoded(attribute)?);
        }
        written.extend_from_slice(&der(SET, &set));
    }
    // The parser stops in silence at a part that it cannot read.
    if der(SEQUENCE, &written) != name.as_raw() {
        return Err(Unreadable("its subject cannot be parsed"));
    }
    let mut kinds = kinds.iter();
    for part in name.iter() {
        let mut attributes = Vec::new();
        for (attribute, kind) in part.iter().zip(kinds.by_ref()) {
            attributes.push(Attribute { kind, tag: identifier(attribute)?, content: attribute.attr_value().data });
        }
        parts.push(attributes);
    }
    let text = distinguished_name::write(parts.into_iter());
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn encoded(attribute: &AttributeTypeAndValue<'_>) -> Result<Vec<u8>, Unreadable> {
    let kind = der(OBJECT_IDENTIFIER, attribute.attr_type().as_bytes());
    let value = der(identifier(attribute)?, attribute.attr_value().data);
    Ok(der(SEQUENCE, &[kind, value].concat()))
}

/// The identifier octet of an attribute's value.
fn identifier(attribute: &AttributeTypeAndValue<'_>) -> Result<u8, Unreadable> {
    let header = &attribute.attr_value().header;
    let number = u8::try_from(header.tag().0).ok().filter(|number| *number < 0x1f);
    let number = number.ok_or(Unreadable("its subject has a value of an unknown type"))?;
    Ok((header.class() as u8) << 6 | u8::from(header.constructed()) << 5 | number)
}

#[cfg(test)]
mod tests {
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType, date_time_ymd};

    use super::*;

    fn made(params: &CertificateParams) -> Vec<u8> {
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2026, 12, 31);
        params
    }

    #[test]
    fn a_certificate_says_who_its_owner_is() {
        let mut params = params();
        params.distinguished_name.push(DnType::CountryName, "DE");
        params.distinguished_name.push(DnType::OrganizationName, DnValue::Utf8String("A, B".into()));
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 5]), DnValue::Utf8String("7".into()));
        params.distinguished_name.push(DnType::CommonName, "billing");
        let text = |text: &str| Ia5String::try_from(text).unwrap();
        params.subject_alt_names = vec![
            SanType::DnsName(text("Billing.Internal")),
            SanType::Rfc822Name(text("a@example.org")),
            SanType::URI(text("spiffe://example.org/billing")),
            SanType::DnsName(text("*.internal")),
            SanType::IpAddress("192.0.2.1".parse().unwrap()),
        ];
        let der = made(&params);
        let read = read(&der).unwrap();
        let names: Vec<&str> = read.names.iter().map(|name| &**name).collect();
        assert_eq!(
            names,
            ["CN=billing,2.5.4.5=#0c0137,O=A\\, B,C=DE", "dns:billing.internal", "uri:spiffe://example.org/billing"]
        );
        assert_eq!((read.from, read.until), (1_767_225_600, 1_798_675_200));
        assert!(read.is_valid_at(1_767_225_600) && !read.is_valid_at(1_767_225_599));
        assert!(read.is_valid_at(1_798_675_200) && !read.is_valid_at(1_798_675_201));
        let inner = read.field.strip_prefix(':').unwrap().strip_suffix(':').unwrap();
        assert_eq!(STANDARD.decode(inner).unwrap(), der);
    }

    #[test]
    fn a_certificate_without_any_name_names_nobody() {
        assert_eq!(read(&made(&params())).unwrap().names.len(), 0);
    }

    #[test]
    fn what_cannot_be_read_to_its_end_is_refused() {
        let good = made(&params());
        assert_eq!(read(&[good.as_slice(), b"\0"].concat()), Err(Unreadable("bytes follow it")));
        assert!(read(&good[..good.len() - 1]).is_err());
        assert!(read(b"").is_err());
        assert_eq!(read(&vec![0x30; MAX_BYTES + 1]), Err(Unreadable("it is too large")));
        let mut many = params();
        many.subject_alt_names =
            (0..=MAX_NAMES).map(|n| SanType::DnsName(format!("a{n}.test").try_into().unwrap())).collect();
        assert_eq!(read(&made(&many)), Err(Unreadable("it has too many names")));
    }

    #[test]
    fn a_subject_with_a_part_that_the_parser_leaves_out_is_refused() {
        let mut params = params();
        params.distinguished_name.push(DnType::CommonName, DnValue::Utf8String("billing".into()));
        params.distinguished_name.push(DnType::OrganizationalUnitName, DnValue::Utf8String("extra".into()));
        let good = made(&params);
        assert_eq!(&*read(&good).unwrap().names[0], "OU=extra,CN=billing");
        // The value of the last part says that it is longer, or shorter, than the part has room for.
        let at = good.windows(5).rposition(|window| window == b"extra").unwrap() - 1;
        for length in [6, 4] {
            let mut bad = good.clone();
            bad[at] = length;
            assert_eq!(read(&bad), Err(Unreadable("its subject cannot be parsed")), "{length}");
        }
    }
}
