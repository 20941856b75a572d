//! Numbers as Java reads and compares them: properties are texts, and what makes a number of them is the literal
//! on the other side (broker.md §11.4).

use std::cmp::Ordering;

use super::node::Constant;

/// The digits zero of all scripts that `Character.digit` knows, within 16 bits.
const ZEROS: [u32; 37] = [
    0x0030, 0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66,
    0x0DE6, 0x0E50, 0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50,
    0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10,
];

fn digit(character: char) -> Option<i64> {
    if let Some(digit) = character.to_digit(10) {
        return Some(i64::from(digit));
    }
    let code = u32::from(character);
    let zero = ZEROS.iter().find(|&&zero| (zero..zero + 10).contains(&code))?;
    Some(i64::from(code - zero))
}

/// As `Long.valueOf`: an optional sign and digits, nothing else.
pub(super) fn parse_i64(text: &str) -> Option<i64> {
    let (digits, negative) = match text.strip_prefix('-') {
        Some(digits) => (digits, true),
        None => (text.strip_prefix('+').unwrap_or(text), false),
    };
    if digits.is_empty() {
        return None;
    }
    // Downwards, where there is one number more.
    let below_zero = digits
        .chars()
        .try_fold(0i64, |number, character| number.checked_mul(10)?.checked_sub(digit(character)?))?;
    if negative { Some(below_zero) } else { below_zero.checked_neg() }
}

/// As `Integer.valueOf`.
pub(super) fn parse_i32(text: &str) -> Option<i32> {
    parse_i64(text).and_then(|number| i32::try_from(number).ok())
}

/// As `Double.valueOf`: blanks around it, a type suffix, `NaN`, `Infinity` and hexadecimal forms are accepted.
pub(super) fn parse_f64(text: &str) -> Option<f64> {
    let trimmed = text.trim_matches(|character| character <= ' ');
    let (magnitude, negative) = match trimmed.strip_prefix('-') {
        Some(magnitude) => (magnitude, true),
        None => (trimmed.strip_prefix('+').unwrap_or(trimmed), false),
    };
    let number = match magnitude {
        "NaN" => f64::NAN,
        "Infinity" => f64::INFINITY,
        _ => {
            let digits = magnitude.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(magnitude);
            match magnitude.strip_prefix("0x").or_else(|| magnitude.strip_prefix("0X")) {
                // The suffix can only stand behind the exponent, which every hexadecimal form has.
                Some(_) => hexadecimal(&digits[2..])?,
                None => decimal(digits)?,
            }
        }
    };
    Some(if negative { -number } else { number })
}

fn decimal(digits: &str) -> Option<f64> {
    // Rust reads the words for infinity and no number too, in any case; and a sign, which was taken off already.
    let is_numeric = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
    if digits.starts_with(['+', '-']) || !digits.bytes().all(is_numeric) {
        return None;
    }
    digits.parse().ok()
}

/// Digits with at most one point, `p`, a decimal power of two: `1.8p1` is three.
fn hexadecimal(text: &str) -> Option<f64> {
    let (digits, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = || whole.bytes().chain(fraction.bytes());
    if all().next().is_none() || !all().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut power = power_of_two(exponent)?.saturating_sub(4 * fraction.len() as i64);
    // 60 bits are enough to round correctly, if the lowest one tells of anything that was left out.
    let mut significand = 0u64;
    for byte in all() {
        let digit = u64::from(char::from(byte).to_digit(16)?);
        if significand >> 60 == 0 {
            significand = significand << 4 | digit;
        } else {
            significand |= u64::from(digit != 0);
            power = power.saturating_add(4);
        }
    }
    Some(scaled(significand, power))
}

fn power_of_two(text: &str) -> Option<i64> {
    let (digits, negative) = match text.strip_prefix('-') {
        Some(digits) => (digits, true),
        None => (text.strip_prefix('+').unwrap_or(text), false),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Beyond all powers that matter one is like the other.
    let magnitude = digits.parse::<i64>().unwrap_or(i64::MAX).min(1 << 40);
    Some(if negative { -magnitude } else { magnitude })
}

/// `significand` times two to `power`, rounded once, to the nearest, ties to even.
fn scaled(significand: u64, power: i64) -> f64 {
    if significand == 0 {
        return 0.0;
    }
    let highest = power + 63 - i64::from(significand.leading_zeros());
    if highest > 1023 {
        return f64::INFINITY;
    }
    // What the last bit of the result stands for: subnormal numbers keep fewer bits.
    let last = (highest - 52).max(-1074);
    let dropped = last - power;
    let kept = if dropped <= 0 {
        significand << -dropped
    } else if dropped > 63 {
        u64::from(dropped == 64 && significand > 1 << 63)
    } else {
        let (kept, rest, half) =
            (significand >> dropped, significand & ((1 << dropped) - 1), 1 << (dropped - 1));
        kept + u64::from(rest > half || (rest == half && kept & 1 == 1))
    };
    // Both factors are exact, and so is the product, or it is infinite as it should be.
    let half_power = last / 2;
    kept as f64 * power_as_f64(half_power) * power_as_f64(last - half_power)
}

fn power_as_f64(power: i64) -> f64 {
    f64::from_bits(((power + 1023) as u64) << 52)
}

/// As `Double.compareTo`: NaN equals itself and is above everything, -0 is below 0.
pub(super) fn compare_f64(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right).filter(|order| order.is_ne()).unwrap_or_else(|| {
        let rank = |number: f64| match number {
            number if number.is_nan() => 1,
            number if number == 0.0 && number.is_sign_negative() => -1,
            _ => 0,
        };
        rank(left).cmp(&rank(right))
    })
}

/// Order of two numeric literals; `None` when one is none.
pub(super) fn compare_constants(left: &Constant, right: &Constant) -> Option<Ordering> {
    let whole = |constant: &Constant| match constant {
        Constant::Int(number) => Some(i64::from(*number)),
        Constant::Long(number) => Some(*number),
        _ => None,
    };
    let float = |constant: &Constant| match constant {
        Constant::Double(number) => Some(*number),
        other => whole(other).map(|number| number as f64),
    };
    match (whole(left), whole(right)) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => Some(compare_f64(float(left)?, float(right)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_a_sign_and_digits_of_any_script() {
        assert_eq!(parse_i32("+5"), Some(5));
        assert_eq!(parse_i32("-2147483648"), Some(i32::MIN));
        assert_eq!(parse_i32("2147483648"), None);
        assert_eq!(parse_i64("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_i64("9223372036854775808"), None);
        assert_eq!(parse_i32("٤٢"), Some(42));
        for text in ["", "+", "-", "5.0", " 5", "5 ", "0x1", "1_000", "--5"] {
            assert_eq!(parse_i32(text), None, "{text:?}");
        }
    }

    #[test]
    fn floats_are_what_java_reads() {
        for (text, number) in [
            (" 5 \n", 5.0),
            ("5.", 5.0),
            (".5", 0.5),
            ("1e3", 1000.0),
            ("1.5d", 1.5),
            ("2F", 2.0),
            ("-Infinity", f64::NEG_INFINITY),
            ("1e999", f64::INFINITY),
            ("0x1.8p1", 3.0),
            ("0X.8P+1f", 1.0),
            ("-0x10.p0", -16.0),
            ("0x1p-1074", 5e-324),
            ("0x1p-1075", 0.0),
            ("0x1.00000001p-1075", 5e-324),
            ("0x1.fffffffffffffp1023", f64::MAX),
            ("0x1.fffffffffffff8p1023", f64::INFINITY),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080000000000000001p0", 1.0 + f64::EPSILON),
            ("0x123456789abcdef01p0", 20_988_295_479_420_645_121.0),
        ] {
            assert_eq!(parse_f64(text), Some(number), "{text:?}");
        }
        assert!(parse_f64("NaN").is_some_and(f64::is_nan));
        for text in [
            "", " ", "nan", "inf", "infinity", "1e", "+-5", "--5", "1_0", "0x1", "0x.p1", "0x1p", "5L", "d",
            ".",
        ] {
            assert_eq!(parse_f64(text), None, "{text:?}");
        }
    }

    #[test]
    fn floats_are_ordered_as_java_orders_them() {
        assert_eq!(compare_f64(-0.0, 0.0), Ordering::Less);
        assert_eq!(compare_f64(f64::NAN, f64::INFINITY), Ordering::Greater);
        assert_eq!(compare_f64(f64::NAN, -f64::NAN), Ordering::Equal);
        assert_eq!(compare_f64(1.0, f64::NAN), Ordering::Less);
        assert_eq!(compare_f64(1.0, 2.0), Ordering::Less);
    }
}
