//! The dial plan: which numbers are extensions of ours, and which an agent may dial on which trunk.
//!
//! It denies by default: a number that no rule names goes nowhere.

use crate::ids::Extension;
use crate::ids::TrunkName;

/// Longest number that is looked at: E.164 has 15 digits, prefixes and feature codes add a few.
const NUMBER_DIGITS_MAX: usize = 32;

/// A block of extensions of equal length, such as `1000`–`1999`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtensionRange {
    first: String,
    last: String,
}

impl ExtensionRange {
    /// A block from `first` to `last`, both digits only and equally long; `None` otherwise or where reversed.
    pub fn new(first: &str, last: &str) -> Option<Self> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let fits = digits(first) && digits(last) && first.len() == last.len() && first <= last;
        fits.then(|| Self { first: first.to_owned(), last: last.to_owned() })
    }

    fn contains(&self, number: &str) -> bool {
        // Equal lengths make the order of text the order of numbers.
        number.len() == self.first.len()
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && (self.first.as_str()..=self.last.as_str()).contains(&number)
    }
}

/// Numbers that agents may dial, and how they leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialRule {
    /// Digits that the number begins with; empty fits every number.
    pub prefix: String,
    /// Fewest digits of the whole number.
    pub digits_min: usize,
    /// Most digits of the whole number.
    pub digits_max: usize,
    /// The trunk that it leaves by.
    pub trunk: TrunkName,
    /// Digits cut from the front.
    pub strip: usize,
    /// Digits put in front, after the cut.
    pub prepend: String,
}

impl DialRule {
    fn fits(&self, number: &str) -> bool {
        let digits = number.trim_start_matches('+').len();
        number.starts_with(&self.prefix) && (self.digits_min..=self.digits_max).contains(&digits)
    }

    fn route(&self, number: &str) -> Route {
        let kept: String = number.chars().skip(self.strip).collect();
        let number = format!("{}{kept}", self.prepend);
        Route { trunk: self.trunk.clone(), number, emergency: None }
    }
}

/// Where a dialled number leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The trunk.
    pub trunk: TrunkName,
    /// The number as the trunk gets it.
    pub number: String,
    /// Of an emergency call, every other trunk to try where the first fails, in order. No right, cap, drain or recorder
    /// holds it up. `None` for any other call.
    pub emergency: Option<Vec<TrunkName>>,
}

/// Numbers that everybody may always dial; or nobody, where this gateway is no way to help.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Emergency {
    /// As they are dialled on a mobile telephone: `112`.
    pub numbers: Vec<String>,
    /// What people dial first for an outside line, such as `0`; `0112` is then an emergency as well.
    pub outside_prefix: String,
    /// The trunks to try, the site's own first.
    pub trunks: Vec<TrunkName>,
    /// Nobody may dial them here, whatever a rule says: whoever tries is told at once, and told before by their phone.
    pub refused: bool,
}

impl Emergency {
    /// The way of an emergency call; `None` where the number is none, or there is no trunk.
    fn route(&self, number: &str) -> Result<Option<Route>, Denied> {
        let outside = (!self.outside_prefix.is_empty()).then(|| number.strip_prefix(&self.outside_prefix)).flatten();
        let found = self.numbers.iter().find(|known| *known == number || Some(known.as_str()) == outside);
        if found.is_some() && self.refused {
            return Err(Denied::Emergency);
        }
        let way = found.zip(self.trunks.split_first());
        Ok(way.map(|(number, (first, others))| Route {
            trunk: first.clone(),
            number: number.clone(),
            emergency: Some(others.to_vec()),
        }))
    }
}

/// Why a number may not be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Empty, too long, or with characters that no phone has.
    #[error("this is not a telephone number")]
    NotANumber,
    /// No rule names it.
    #[error("this number may not be dialled from here")]
    NoRule,
    /// The extension of whoever dials it.
    #[error("this is your own extension")]
    Oneself,
    /// An emergency number, where the site refuses them.
    #[error("emergency calls cannot be made from this phone")]
    Emergency,
}

/// See the [module](self).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DialPlan {
    /// Our own extensions.
    pub extensions: Vec<ExtensionRange>,
    /// What may be dialled: the first rule that fits decides.
    pub rules: Vec<DialRule>,
    /// What everybody may dial, before any rule.
    pub emergency: Emergency,
}

impl DialPlan {
    /// The extension that a trunk's called number means, or `None` where it is not one of ours.
    pub fn extension(&self, called: &str) -> Option<Extension> {
        self.extensions.iter().any(|range| range.contains(called)).then(|| Extension::new(called))
    }

    /// Whether an agent who types this number asks for help, be it refused.
    pub fn is_emergency(&self, typed: &str) -> bool {
        normalise(typed).is_some_and(|number| !matches!(self.emergency.route(&number), Ok(None)))
    }

    /// Where a number that an agent typed leads. Spaces and the usual separators are dropped.
    pub fn route(&self, typed: &str) -> Result<Route, Denied> {
        let number = normalise(typed).ok_or(Denied::NotANumber)?;
        let rule = || self.rules.iter().find(|rule| rule.fits(&number)).map(|rule| rule.route(&number));
        self.emergency.route(&number)?.or_else(rule).ok_or(Denied::NoRule)
    }
}

/// Digits, `*`, `#` and one leading `+`, without the separators that people write.
fn normalise(typed: &str) -> Option<String> {
    let number: String = typed.chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')' | '/')).collect();
    let digits = number.strip_prefix('+').unwrap_or(&number);
    let fits = (1..=NUMBER_DIGITS_MAX).contains(&digits.len());
    (fits && digits.chars().all(|c| c.is_ascii_digit() || c == '*' || c == '#')).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> DialPlan {
        let pbx = TrunkName::new("pbx");
        DialPlan {
            extensions: vec![ExtensionRange::new("1000", "1999").unwrap()],
            rules: vec![
                DialRule {
                    prefix: "6".into(),
                    digits_min: 3,
                    digits_max: 3,
                    trunk: pbx.clone(),
                    strip: 0,
                    prepend: String::new(),
                },
                DialRule {
                    prefix: "00".into(),
                    digits_min: 8,
                    digits_max: 17,
                    trunk: pbx,
                    strip: 2,
                    prepend: "+".into(),
                },
            ],
            emergency: Emergency {
                numbers: vec!["112".into(), "110".into()],
                outside_prefix: "0".into(),
                trunks: vec![TrunkName::new("site"), TrunkName::new("carrier")],
                refused: false,
            },
        }
    }

    #[test]
    fn numbers_outside_the_blocks_are_not_extensions() {
        assert_eq!(plan().extension("1001"), Some(Extension::new("1001")));
        assert_eq!(plan().extension("2001"), None);
        assert_eq!(plan().extension("10011"), None);
        assert_eq!(plan().extension("1o01"), None);
    }

    #[test]
    fn a_number_without_a_rule_is_denied() {
        assert_eq!(plan().route("112233"), Err(Denied::NoRule));
        assert_eq!(plan().route("6001"), Err(Denied::NoRule));
    }

    #[test]
    fn separators_are_dropped_and_the_rule_rewrites() {
        let route = plan().route("00 49 (30) 123-456").unwrap();
        assert_eq!(route.number, "+4930123456");
        assert_eq!(plan().route("600").unwrap().number, "600");
    }

    #[test]
    fn an_emergency_number_needs_no_rule_with_and_without_the_outside_prefix() {
        for typed in ["112", "0112", "1 1 2"] {
            let route = plan().route(typed).unwrap();
            assert_eq!((route.trunk, route.number.as_str()), (TrunkName::new("site"), "112"), "{typed}");
            assert_eq!(route.emergency, Some(vec![TrunkName::new("carrier")]));
        }
        assert_eq!(plan().route("1120"), Err(Denied::NoRule));
        assert_eq!(plan().route("00112"), Err(Denied::NoRule));
        assert_eq!(plan().route("600").unwrap().emergency, None);
    }

    #[test]
    fn a_site_that_refuses_emergency_numbers_lets_no_rule_pass_them() {
        let mut plan = plan();
        plan.emergency.refused = true;
        plan.rules.push(DialRule { prefix: String::new(), digits_min: 1, digits_max: 30, ..plan.rules[0].clone() });
        for typed in ["112", "0112", "1 1 2", "110"] {
            assert_eq!(plan.route(typed), Err(Denied::Emergency), "{typed}");
        }
        assert_eq!(plan.route("1120").unwrap().emergency, None, "another number is none");
    }

    #[test]
    fn what_no_phone_can_dial_is_not_a_number() {
        for typed in ["", "+", "sip:bob@example.com", "12\r\n3", "1".repeat(33).as_str()] {
            assert_eq!(plan().route(typed), Err(Denied::NotANumber), "{typed:?}");
        }
    }

    #[test]
    fn a_reversed_or_uneven_block_is_refused() {
        assert_eq!(ExtensionRange::new("1999", "1000"), None);
        assert_eq!(ExtensionRange::new("100", "1999"), None);
    }
}
