//! Numbers as text, without the standard library's formatter, which costs more than all else in a line of the log.

/// Appends a number in decimal digits.
pub(super) fn decimal(out: &mut Vec<u8>, mut number: u64) {
    if number < 10 {
        // As most are.
        return out.push(ones(number));
    }
    let mut digits = [b'0'; 20];
    let mut begin = digits.len();
    for digit in digits.iter_mut().rev() {
        begin -= 1;
        *digit = ones(number);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(begin..).unwrap_or_default());
}

/// The last digit of a number.
pub(super) const fn ones(number: u64) -> u8 {
    b'0' + (number % 10) as u8
}

/// A number as 16 hexadecimal digits in lower case.
pub fn hexadecimal(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    let (high, low) = digits.split_at_mut(8);
    high.copy_from_slice(&eight(number >> 32));
    low.copy_from_slice(&eight(number & 0xffff_ffff));
    digits
}

/// The lower 32 bits as eight digits, all at once: each half byte is moved to a byte of its own and made a letter there.
const fn eight(number: u64) -> [u8; 8] {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let pairs = (number | (number << 16)) & 0x0000_ffff_0000_ffff;
    let bytes = (pairs | (pairs << 8)) & 0x00ff_00ff_00ff_00ff;
    let halves = (bytes | (bytes << 4)) & (0x0f * EACH);
    // One for each digit above 9, which is a letter.
    let letters = ((halves + 6 * EACH) >> 4) & EACH;
    (halves + (b'0' as u64) * EACH + letters * ((b'a' - b'9' - 1) as u64)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(number: u64) -> String {
        let mut out = b"x".to_vec();
        decimal(&mut out, number);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_ends_of_the_range_are_written_like_all_others() {
        for number in [0, 1, 9, 10, 99, 100, 1_000_000, u64::MAX - 1, u64::MAX] {
            assert_eq!(written(number), format!("x{number}"));
            assert_eq!(hexadecimal(number), *format!("{number:016x}").as_bytes());
        }
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_the_standard_library_writes_them(number: u64, shift in 0..64u32) {
            let number = number >> shift;
            prop_assert_eq!(written(number), format!("x{number}"));
            let digits = hexadecimal(number);
            prop_assert_eq!(std::str::from_utf8(&digits), Ok(&*format!("{number:016x}")));
        }
    }
}
