//! Arithmetic with large odd moduli, as far as forging signatures needs it. Slow, and not for secrets.

/// Little-endian digits of 32 bits.
#[derive(Clone)]
pub struct Number(Vec<u32>);

impl Number {
    /// From big-endian bytes, with room for so many digits.
    pub fn read(bytes: &[u8], digits: usize) -> Self {
        let mut number = vec![0; digits];
        for (place, byte) in bytes.iter().rev().enumerate().filter(|(_, byte)| **byte != 0) {
            number[place / 4] |= u32::from(*byte) << (place % 4 * 8);
        }
        Self(number)
    }

    /// Big-endian bytes, four for each digit.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.iter().rev().flat_map(|digit| digit.to_be_bytes()).collect()
    }

    fn bit(&self, place: usize) -> bool {
        self.0[place / 32] >> (place % 32) & 1 == 1
    }

    /// Adds, and says whether one was carried out of the last digit.
    fn add(&mut self, other: &Self) -> bool {
        let mut carry = 0;
        for (digit, other) in self.0.iter_mut().zip(&other.0) {
            let sum = u64::from(*digit) + u64::from(*other) + carry;
            *digit = sum as u32;
            carry = sum >> 32;
        }
        carry == 1
    }

    /// Subtracts a number that is not larger, except for one that is borrowed from beyond the last digit.
    pub fn subtract(&mut self, other: &Self) {
        let mut borrow = 0;
        for (digit, other) in self.0.iter_mut().zip(&other.0) {
            let difference = i64::from(*digit) - i64::from(*other) - borrow;
            *digit = difference as u32;
            borrow = i64::from(difference < 0);
        }
    }

    fn is_at_least(&self, other: &Self) -> bool {
        self.0.iter().rev().ge(other.0.iter().rev())
    }

    /// The sum of two numbers below a modulus, below it too.
    fn sum(&self, other: &Self, modulus: &Self) -> Self {
        let mut sum = self.clone();
        if sum.add(other) || sum.is_at_least(modulus) {
            sum.subtract(modulus);
        }
        sum
    }

    /// The product of two numbers below a modulus, divided by two to the power of all its bits (Montgomery).
    fn product(&self, other: &Self, modulus: &Self) -> Self {
        let digits = modulus.0.len();
        // What makes the lowest digit vanish: the negative inverse of the modulus' own, found by Newton's steps.
        let inverse = (0..5)
            .fold(1_u32, |inverse, _| inverse.wrapping_mul(2_u32.wrapping_sub(modulus.0[0].wrapping_mul(inverse))));
        let mut total = vec![0_u32; digits + 2];
        for digit in &self.0 {
            let factor = total[0].wrapping_add(digit.wrapping_mul(other.0[0])).wrapping_mul(inverse.wrapping_neg());
            let (mut carry, mut carried) = (0_u64, 0_u64);
            for place in 0..digits {
                let sum = u64::from(total[place]) + u64::from(*digit) * u64::from(other.0[place]) + carry;
                carry = sum >> 32;
                let sum = u64::from(sum as u32) + u64::from(factor) * u64::from(modulus.0[place]) + carried;
                carried = sum >> 32;
                if place > 0 {
                    total[place - 1] = sum as u32;
                }
            }
            let sum = u64::from(total[digits]) + carry + carried;
            total[digits - 1] = sum as u32;
            total[digits] = total[digits + 1] + (sum >> 32) as u32;
        }
        let over = total[digits] > 0;
        total.truncate(digits);
        let mut product = Self(total);
        if over || product.is_at_least(modulus) {
            product.subtract(modulus);
        }
        product
    }

    /// The number to a power, modulo an odd number larger than it.
    pub fn power(&self, exponent: &Self, modulus: &Self) -> Self {
        let bits = modulus.0.len() * 32;
        let mut one = Self(vec![0; modulus.0.len()]);
        one.0[0] = 1;
        let lift = |number: &Self| (0..bits).fold(number.clone(), |number, _| number.sum(&number, modulus));
        let (base, mut result) = (lift(self), lift(&one));
        for place in (0..exponent.0.len() * 32).rev() {
            result = result.product(&result, modulus);
            if exponent.bit(place) {
                result = result.product(&base, modulus);
            }
        }
        result.product(&one, modulus)
    }
}
