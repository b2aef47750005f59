//! The PROXY protocol, versions 1 and 2: the first bytes of a connection, in which a load balancer says whose
//! connection it passes on. Read strictly: what is not exactly a header ends the connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// How a header of version 2 begins.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// How one of version 1 begins.
const PREFIX: &[u8] = b"PROXY ";
/// The longest header of version 1, with its line end.
const MAX_LINE: usize = 107;
/// The part of a header of version 2 that is always there: signature, command, family, length.
const FIXED: usize = 16;
/// The longest header of version 2 that is read; the addresses take up to 36 bytes of it, the rest is extensions.
const MAX_HEADER: usize = 4096;
/// The extension with a checksum of the header.
const CRC32C: u8 = 0x03;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// That of a client at this address.
    Client(SocketAddr),
    /// The load balancer's own (`LOCAL`), or that of somebody whom it cannot name (`UNKNOWN`).
    Unnamed,
}

/// How far the first bytes of a connection go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// They begin a header, and at least so many more belong to it.
    Wants(usize),
    /// They are a whole header.
    Whole(Source),
}

/// They are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads the header and not one byte more.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Source> {
    let mut header = Vec::with_capacity(MAX_LINE);
    loop {
        let wanted = match parse(&header) {
            Ok(Parsed::Whole(source)) => return Ok(source),
            Ok(Parsed::Wants(bytes)) => bytes,
            Err(Malformed) => return Err(io::ErrorKind::InvalidData.into()),
        };
        let before = header.len();
        header.resize(before + wanted, 0);
        if let Some(new) = header.get_mut(before..) {
            stream.read_exact(new).await?;
        }
    }
}

/// Looks at the first bytes of a connection. Never wants more than belong to the header.
///
/// # Errors
/// They are no header of version 1 or 2, or one that is longer than any that is in use.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let Some((start, rest)) = bytes.split_at_checked(SIGNATURE.len()) else {
        let begins = SIGNATURE.starts_with(bytes) || starts_alike(bytes);
        return if begins { Ok(Parsed::Wants(SIGNATURE.len() - bytes.len())) } else { Err(Malformed) };
    };
    if start == SIGNATURE {
        binary(bytes, rest)
    } else if start.starts_with(PREFIX) {
        line(bytes)
    } else {
        Err(Malformed)
    }
}

fn starts_alike(bytes: &[u8]) -> bool {
    bytes.iter().zip(PREFIX).all(|(byte, wanted)| byte == wanted)
}

/// Version 1: `PROXY TCP4 SOURCE DESTINATION PORT PORT` and CR LF.
fn line(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let text = match bytes {
        _ if bytes.len() > MAX_LINE => return Err(Malformed),
        [text @ .., b'\r', b'\n'] => text,
        _ if bytes.contains(&b'\n') || bytes.len() >= MAX_LINE => return Err(Malformed),
        [.., b'\r'] => return Ok(Parsed::Wants(1)),
        _ => return Ok(Parsed::Wants((MAX_LINE - bytes.len()).min(2))),
    };
    if text.contains(&b'\r') || text.contains(&b'\n') {
        return Err(Malformed);
    }
    let text = std::str::from_utf8(text).map_err(|_| Malformed)?;
    let mut words = text.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        // Whatever follows is to be ignored.
        return Ok(Parsed::Whole(Source::Unnamed));
    }
    let [Some(source), Some(destination), Some(port), Some(other), None] =
        [words.next(), words.next(), words.next(), words.next(), words.next()]
    else {
        return Err(Malformed);
    };
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            Some("TCP4") => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            Some("TCP6") => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let port = self::port(port).zip(self::port(other)).map(|(port, _)| port);
    let source = address(source).zip(address(destination)).map(|(source, _)| source);
    let (source, port) = source.zip(port).ok_or(Malformed)?;
    Ok(Parsed::Whole(Source::Client(SocketAddr::new(source, port))))
}

fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// Version 2; `rest` is what follows the signature.
fn binary(bytes: &[u8], rest: &[u8]) -> Result<Parsed, Malformed> {
    let [command, family, high, low, payload @ ..] = rest else {
        return Ok(Parsed::Wants(FIXED.saturating_sub(bytes.len())));
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let whole = FIXED + length;
    // What is wrong already needs no more bytes to be so.
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed),
    };
    let addresses = match family {
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        // Datagrams and Unix sockets never end here.
        _ if local => 0,
        _ => return Err(Malformed),
    };
    if whole > MAX_HEADER || bytes.len() > whole || (!local && length < addresses) {
        return Err(Malformed);
    }
    if bytes.len() < whole {
        return Ok(Parsed::Wants(whole - bytes.len()));
    }
    if local {
        return Ok(Parsed::Whole(Source::Unnamed));
    }
    let (addresses, extensions) = payload.split_at_checked(addresses).ok_or(Malformed)?;
    check_extensions(bytes, extensions)?;
    Ok(Parsed::Whole(match addresses {
        [a, b, c, d, _, _, _, _, high, low, _, _] => {
            let port = u16::from_be_bytes([*high, *low]);
            Source::Client(SocketAddr::new(Ipv4Addr::new(*a, *b, *c, *d).into(), port))
        }
        [source @ .., high, low, _, _] => {
            let octets = source.first_chunk::<16>().ok_or(Malformed)?;
            let port = u16::from_be_bytes([*high, *low]);
            Source::Client(SocketAddr::new(Ipv6Addr::from(*octets).into(), port))
        }
        _ => Source::Unnamed,
    }))
}

/// Extensions are skipped, but they must fill their room exactly, and a checksum must be right.
fn check_extensions(header: &[u8], mut rest: &[u8]) -> Result<(), Malformed> {
    let mut checked = false;
    while let [kind, high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, behind) = after.split_at_checked(length).ok_or(Malformed)?;
        if *kind == CRC32C {
            let told = u32::from_be_bytes(value.try_into().map_err(|_| Malformed)?);
            let at = header.len() - behind.len() - value.len();
            let zeroed = header.iter().enumerate().map(|(place, byte)| {
                let in_checksum = (at..at + value.len()).contains(&place);
                if in_checksum { 0 } else { *byte }
            });
            if checked || crc32c(zeroed) != told {
                return Err(Malformed);
            }
            checked = true;
        }
        rest = behind;
    }
    if rest.is_empty() { Ok(()) } else { Err(Malformed) }
}

/// The checksum of RFC 9260 appendix A, bit by bit: headers are short.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    !bytes.fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(text: &str) -> Result<Parsed, Malformed> {
        Ok(Parsed::Whole(Source::Client(text.parse().unwrap())))
    }

    const UNNAMED: Result<Parsed, Malformed> = Ok(Parsed::Whole(Source::Unnamed));

    /// A header of version 2.
    fn header(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, payload].concat()
    }

    const FOUR: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 1, 0xbb];

    fn six() -> Vec<u8> {
        let address = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        [&address("2001:db8::7")[..], &address("2001:db8::1"), &[0x30, 0x39, 1, 0xbb]].concat()
    }

    #[test]
    fn a_line_names_the_client() {
        for (line, found) in [
            ("PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n", client("192.0.2.7:12345")),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 0 443\r\n", client("192.0.2.7:0")),
            ("PROXY TCP6 2001:db8::7 ::1 12345 443\r\n", client("[2001:db8::7]:12345")),
            ("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 443\r\n", client("[::ffff:192.0.2.7]:1")),
            ("PROXY UNKNOWN\r\n", UNNAMED),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", UNNAMED),
        ] {
            assert_eq!(parse(line.as_bytes()), found, "{line}");
        }
    }

    #[test]
    fn a_line_of_any_other_form_is_refused() {
        for line in [
            "GET / HTTP/1.1\r\n\r\n",
            "PROXY\r\n          ",
            "proxy TCP4 192.0.2.7 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1 2\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1\r2\r\n",
            "PROXY  TCP4 192.0.2.7 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7  10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1 2 \r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1 2 3\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n",
            "PROXY TCP4 192.0.2.007 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 ::1 1 2\r\n",
            "PROXY TCP4 2001:db8::7 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 65536 2\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 +1 2\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 01 2\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1 \r\n",
            "PROXY TCP5 192.0.2.7 10.0.0.1 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
        ] {
            assert_eq!(parse(line.as_bytes()), Err(Malformed), "{line}");
        }
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_LINE - 16));
        assert_eq!((long.len(), parse(long.as_bytes())), (MAX_LINE, UNNAMED));
        assert_eq!(parse(format!("PROXY UNKNOWN {}", "x".repeat(MAX_LINE - 14)).as_bytes()), Err(Malformed));
    }

    #[test]
    fn a_binary_header_names_the_client() {
        for (header, found) in [
            (header(0x21, 0x11, &FOUR), client("192.0.2.7:12345")),
            (header(0x21, 0x21, &six()), client("[2001:db8::7]:12345")),
            (header(0x21, 0x11, &[&FOUR[..], &[0x04, 0, 2, 9, 9, 0xea, 0, 0]].concat()), client("192.0.2.7:12345")),
            (header(0x20, 0x00, &[]), UNNAMED),
            (header(0x20, 0x11, &FOUR), UNNAMED),
            (header(0x20, 0x31, &[0; 216]), UNNAMED),
            (header(0x21, 0x00, &[]), UNNAMED),
        ] {
            assert_eq!(parse(&header), found, "{header:x?}");
        }
    }

    #[test]
    fn a_binary_header_of_any_other_form_is_refused() {
        for header in [
            header(0x11, 0x11, &FOUR),
            header(0x22, 0x11, &FOUR),
            header(0x21, 0x12, &FOUR),
            header(0x21, 0x31, &[0; 216]),
            header(0x21, 0x11, &FOUR[..11]),
            header(0x21, 0x21, &FOUR),
            header(0x21, 0x11, &[&FOUR[..], &[4]].concat()),
            header(0x21, 0x11, &[&FOUR[..], &[4, 0, 1]].concat()),
            header(0x21, 0x11, &[&FOUR[..], &vec![0; MAX_HEADER]].concat()),
            [header(0x21, 0x11, &FOUR).as_slice(), b"x"].concat(),
        ] {
            assert_eq!(parse(&header), Err(Malformed), "{header:x?}");
        }
    }

    #[test]
    fn a_checksum_must_be_right_and_stand_there_once() {
        let with = |checksum: [u8; 4]| header(0x21, 0x11, &[&FOUR[..], &[CRC32C, 0, 4], &checksum].concat());
        let right = crc32c(with([0; 4]).into_iter()).to_be_bytes();
        assert_eq!(parse(&with(right)), client("192.0.2.7:12345"));
        let mut wrong = right;
        wrong[3] ^= 1;
        assert_eq!(parse(&with(wrong)), Err(Malformed));
        assert_eq!(parse(&with([0; 4])), Err(Malformed));
        let twice = [&FOUR[..], &[CRC32C, 0, 4], &right, &[CRC32C, 0, 4], &right].concat();
        assert_eq!(parse(&header(0x21, 0x11, &twice)), Err(Malformed));
        assert_eq!(parse(&header(0x21, 0x11, &[&FOUR[..], &[CRC32C, 0, 0]].concat())), Err(Malformed));
    }

    #[test]
    fn the_checksum_is_crc32c() {
        // The check value that catalogues of such checksums name, and an example of RFC 3720 appendix B.4.
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283);
        assert_eq!(crc32c([0; 32].into_iter()), 0x8a91_36aa);
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    proptest! {
        #[test]
        fn any_header_is_read_to_its_last_byte_and_no_further(
            octets in any::<[u8; 12]>(), long in any::<bool>(), more in proptest::collection::vec(any::<u8>(), 0..64)
        ) {
            let source = SocketAddr::new(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]).into(),
                u16::from_be_bytes([octets[8], octets[9]]));
            let sent = if long {
                header(0x21, 0x11, &octets)
            } else {
                format!("PROXY TCP4 {} 10.0.0.1 {} 443\r\n", source.ip(), source.port()).into_bytes()
            };
            let whole = [sent.as_slice(), more.as_slice()].concat();
            let mut rest = whole.as_slice();
            let found = runtime().block_on(read(&mut rest)).unwrap();
            prop_assert_eq!(found, Source::Client(source));
            prop_assert_eq!(rest, more.as_slice());
            for end in 0..sent.len() {
                prop_assert!(matches!(parse(&sent[..end]), Ok(Parsed::Wants(n)) if n > 0 && end + n <= sent.len()));
            }
        }

        #[test]
        fn whatever_comes_is_read_within_bounds(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..3) {
            let bytes = match kind {
                0 => bytes,
                1 => [PREFIX, &bytes].concat(),
                _ => [&SIGNATURE[..], &[0x21, 0x11], &bytes].concat(),
            };
            match parse(&bytes) {
                Ok(Parsed::Wants(more)) => prop_assert!(more > 0 && bytes.len() + more <= MAX_HEADER),
                Ok(Parsed::Whole(_)) | Err(Malformed) => {}
            }
        }
    }
}
