//! One byte range of a request (RFC 9110 14).

use std::ops::Range;

/// What a `Range` header asks of something that is `length` bytes long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// All of it: there is no header, or one that may be ignored (14.2: another unit, several ranges, bad syntax).
    Whole,
    /// These bytes: at least one, all inside.
    Part(Range<u64>),
    /// Nothing that is there: 416.
    Unsatisfiable,
}

/// Reads a header's value.
pub(super) fn asked(header: Option<&str>, length: u64) -> Asked {
    let Some((unit, spec)) = header.and_then(|value| value.split_once('=')) else { return Asked::Whole };
    let Some((first, last)) = spec.trim().split_once('-') else { return Asked::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Asked::Whole;
    }
    match (first, last) {
        ("", suffix) => number(suffix).map_or(Asked::Whole, |count| part(length.saturating_sub(count), length, length)),
        (first, "") => number(first).map_or(Asked::Whole, |first| part(first, length, length)),
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => part(first, last.saturating_add(1), length),
            _ => Asked::Whole,
        },
    }
}

fn part(start: u64, end: u64, length: u64) -> Asked {
    let end = end.min(length);
    if start < end { Asked::Part(start..end) } else { Asked::Unsatisfiable }
}

/// Digits only: `parse` would take a sign. A number beyond all lengths is still a number.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_forms_of_a_range() {
        assert_eq!(asked(Some("bytes=0-0"), 100), Asked::Part(0..1));
        assert_eq!(asked(Some("bytes=10-19"), 100), Asked::Part(10..20));
        assert_eq!(asked(Some("bytes=90-"), 100), Asked::Part(90..100));
        assert_eq!(asked(Some("bytes=90-1000"), 100), Asked::Part(90..100));
        assert_eq!(asked(Some("bytes=-10"), 100), Asked::Part(90..100));
        assert_eq!(asked(Some("bytes=-1000"), 100), Asked::Part(0..100));
        assert_eq!(asked(Some("bytes=0-99999999999999999999999"), 100), Asked::Part(0..100));
    }

    #[test]
    fn a_range_outside_cannot_be_satisfied() {
        for header in ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(asked(Some(header), 100), Asked::Unsatisfiable, "{header}");
        }
        assert_eq!(asked(Some("bytes=0-"), 0), Asked::Unsatisfiable);
    }

    #[test]
    fn what_is_no_single_range_is_ignored() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-1",
            "bytes=0-1,5-6",
            "items=0-1",
            "bytes=+1-2",
            "bytes=a-b",
            "bytes=--5",
        ] {
            assert_eq!(asked(Some(header), 100), Asked::Whole, "{header}");
        }
        assert_eq!(asked(None, 100), Asked::Whole);
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_and_never_outside(header in "bytes=[0-9-]{0,12}", length in 0_u64..10_000) {
            if let Asked::Part(range) = asked(Some(&header), length) {
                prop_assert!(range.start < range.end && range.end <= length);
            }
        }
    }
}
