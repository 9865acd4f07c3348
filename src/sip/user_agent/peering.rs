//! What a trunk's operator asks of us, beyond where it is: who we are there, how much, and which words may cross.

use std::time::Duration;

use crate::sip::StatusCode;
use crate::sip::digest::Credentials;
use crate::sip::digest::server::Guard;
use crate::sip::message::NameAddr;
use crate::sip::message::Uri;

/// See the [module](self). The default asks nothing and allows no header to cross.
#[derive(Debug, Clone, Default)]
pub struct Peering {
    /// Answers challenges of the trunk's own addresses.
    pub credentials: Option<Credentials>,
    /// Who may call in, where the trunk is challenged.
    pub guard: Option<Guard>,
    /// What registers there.
    pub lines: Vec<Line>,
    /// Time between OPTIONS to each target; `None` sends none.
    pub options_interval: Option<Duration>,
    /// Unanswered OPTIONS after which a target is down; at least 1.
    pub options_misses: u32,
    /// Final statuses besides 503 that make an INVITE take the next target.
    pub failover_on: Vec<StatusCode>,
    /// Calls at once, both directions together.
    pub calls_max: Option<usize>,
    /// New calls a second, both directions together; the burst is one second's.
    pub calls_per_second: Option<u32>,
    /// Retry-After of a call that is too many.
    pub busy_retry_after: Duration,
    /// Header fields of an INVITE that the call room sees.
    pub headers_in: Vec<String>,
    /// Header fields that the call room may add to an INVITE.
    pub headers_out: Vec<String>,
    /// Whether our INVITEs say P-Asserted-Identity: the trunk is trusted with it (RFC 3325).
    pub asserts_identity: bool,
    /// How numbers are rewritten: the first rule that fits a number decides.
    pub numbers: Vec<NumberRule>,
}

/// An address of record that is ours at the trunk's registrar.
#[derive(Debug, Clone)]
pub struct Line {
    /// The address of record: `sip:2001@pbx.example.com`.
    pub aor: Uri,
    /// The user part of our Contact, by which calls to the line are known.
    pub contact_user: String,
    /// The extension that it rings, and whose calls leave by it.
    pub extension: String,
    /// Answers challenges for this line; the trunk's credentials where absent.
    pub credentials: Option<Credentials>,
    /// Whether it registers; otherwise the PBX knows us by configuration.
    pub register: bool,
    /// The expiry that is asked for.
    pub expires: Duration,
}

impl Line {
    /// As From and To name it.
    pub(super) fn address(&self) -> NameAddr {
        NameAddr::new(self.aor.clone())
    }

    /// Whether a From or Request-URI user names it.
    pub(super) fn is_named(&self, user: &str) -> bool {
        self.contact_user == user || self.aor.user_unescaped().as_deref() == Some(user)
    }
}

/// Which way a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the trunk.
    In,
    /// To the trunk.
    Out,
}

/// Whose number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberOf {
    /// The one who calls.
    Caller,
    /// The one who is called.
    Called,
    /// Either.
    Both,
}

/// One rewriting of a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberRule {
    /// Of which calls.
    pub direction: Direction,
    /// Of whom.
    pub number_of: NumberOf,
    /// What the number begins with; empty fits all.
    pub prefix: String,
    /// Fewest digits, a leading `+` not counted.
    pub digits_min: usize,
    /// Most digits.
    pub digits_max: usize,
    /// Characters cut from the front.
    pub strip: usize,
    /// Put in front afterwards.
    pub prepend: String,
}

impl NumberRule {
    fn fits(&self, direction: Direction, number_of: NumberOf, number: &str) -> bool {
        let digits = number.strip_prefix('+').unwrap_or(number);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        self.direction == direction
            && (self.number_of == number_of || self.number_of == NumberOf::Both)
            && is_number
            && number.starts_with(&self.prefix)
            && (self.digits_min..=self.digits_max).contains(&digits.len())
    }
}

impl Peering {
    /// A number as the other side writes it. What is no number, such as a name, stays as it is.
    pub fn rewrite(&self, direction: Direction, number_of: NumberOf, number: &str) -> String {
        let fitting = self.numbers.iter().find(|rule| rule.fits(direction, number_of, number));
        fitting.map_or_else(
            || number.to_owned(),
            |rule| rule.prepend.chars().chain(number.chars().skip(rule.strip)).collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(direction: Direction, prefix: &str, digits: (usize, usize), strip: usize, prepend: &str) -> NumberRule {
        NumberRule {
            direction,
            number_of: NumberOf::Both,
            prefix: prefix.to_owned(),
            digits_min: digits.0,
            digits_max: digits.1,
            strip,
            prepend: prepend.to_owned(),
        }
    }

    /// A German trunk: national with 0, international with 00, extensions of four digits.
    fn peering() -> Peering {
        let (incoming, outgoing) = (Direction::In, Direction::Out);
        let numbers = vec![
            rule(incoming, "+493012345", (13, 13), 9, ""),
            rule(incoming, "00", (5, 17), 2, "+"),
            rule(incoming, "0", (4, 15), 1, "+49"),
            rule(outgoing, "+49", (4, 15), 3, "0"),
            rule(outgoing, "+", (4, 15), 1, "00"),
        ];
        Peering { numbers, ..Peering::default() }
    }

    #[test]
    fn national_and_international_numbers_become_e164_and_back() {
        let peering = peering();
        let rewrite = |direction, number| peering.rewrite(direction, NumberOf::Caller, number);
        assert_eq!(rewrite(Direction::In, "00441632960000"), "+441632960000");
        assert_eq!(rewrite(Direction::In, "030123456"), "+4930123456");
        assert_eq!(rewrite(Direction::Out, "+4930123456"), "030123456");
        assert_eq!(rewrite(Direction::Out, "+441632960000"), "00441632960000");
    }

    #[test]
    fn the_first_rule_that_fits_decides_and_others_are_left_alone() {
        let peering = peering();
        let rewrite = |number| peering.rewrite(Direction::In, NumberOf::Called, number);
        assert_eq!(rewrite("+4930123451001"), "51001");
        assert_eq!(rewrite("1001"), "1001");
        assert_eq!(rewrite("0alice"), "0alice");
        assert_eq!(rewrite(""), "");
    }

    #[test]
    fn a_rule_for_the_caller_leaves_the_called_alone() {
        let mut peering = peering();
        for rule in &mut peering.numbers {
            rule.number_of = NumberOf::Caller;
        }
        assert_eq!(peering.rewrite(Direction::In, NumberOf::Called, "030123456"), "030123456");
        assert_eq!(peering.rewrite(Direction::In, NumberOf::Caller, "030123456"), "+4930123456");
    }
}
