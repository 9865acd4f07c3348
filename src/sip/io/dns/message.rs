//! DNS questions and answers as bytes (RFC 1035 4): as much as finding a SIP server needs. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Jumps within one compressed name; an honest one needs few.
const JUMPS_MAX: usize = 16;
/// Bytes of a name with its dots (RFC 1035 2.3.4).
const NAME_BYTES_MAX: usize = 255;
/// Records of one answer that are read; more are left.
const RECORDS_MAX: usize = 64;
const CLASS_IN: u16 = 1;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sip::io) enum Kind {
    A,
    Aaaa,
    /// RFC 2782.
    Srv,
    /// RFC 3403.
    Naptr,
}

impl Kind {
    const fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
            Self::Srv => 33,
            Self::Naptr => 35,
        }
    }
}

/// The data of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sip::io) enum Data {
    Address(IpAddr),
    Srv(Srv),
    Naptr(Naptr),
}

/// Where a service is (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sip::io) struct Srv {
    pub(in crate::sip::io) priority: u16,
    pub(in crate::sip::io) weight: u16,
    pub(in crate::sip::io) port: u16,
    /// Without the dot at its end; empty says that the service is not to be had.
    pub(in crate::sip::io) target: String,
}

/// Which services a domain has (RFC 3403 4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sip::io) struct Naptr {
    pub(in crate::sip::io) order: u16,
    pub(in crate::sip::io) preference: u16,
    pub(in crate::sip::io) flags: String,
    pub(in crate::sip::io) service: String,
    pub(in crate::sip::io) replacement: String,
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::sip::io) struct Answer {
    /// Of the kind that was asked for; aliases (CNAME) are followed within the answer, as resolvers give them.
    pub(in crate::sip::io) records: Vec<Data>,
    /// The shortest time to live among them.
    pub(in crate::sip::io) ttl: Option<Duration>,
    /// The rest is to be had by TCP.
    pub(in crate::sip::io) is_truncated: bool,
}

/// Why an answer is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// The bytes break off, or contradict themselves.
    #[error("malformed DNS answer")]
    Malformed,
    /// It answers another question.
    #[error("a DNS answer to another question")]
    NotOurs,
    /// The server's refusal (RFC 1035 4.1.1): 2 is a failure, 5 a refusal.
    #[error("the DNS server answered with error {0}")]
    Server(u8),
}

/// The bytes of a question; `None` for a name that DNS cannot hold.
pub(in crate::sip::io) fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(name.len() + 18);
    bytes.extend_from_slice(&id.to_be_bytes());
    // Recursion desired; one question.
    bytes.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > NAME_BYTES_MAX - 2 {
        return None;
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length))?;
        bytes.push(length);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&kind.number().to_be_bytes());
    bytes.extend_from_slice(&CLASS_IN.to_be_bytes());
    Some(bytes)
}

/// Reads the answer to [`question`]`(id, name, kind)`. A name that does not exist is an answer without records.
pub(in crate::sip::io) fn answer(bytes: &[u8], id: u16, name: &str, kind: Kind) -> Result<Answer, DnsError> {
    let mut reader = Reader { bytes, at: 0 };
    let malformed = DnsError::Malformed;
    let (answered, flags) = (reader.u16().ok_or(malformed)?, reader.u16().ok_or(malformed)?);
    let (questions, records) = (reader.u16().ok_or(malformed)?, reader.u16().ok_or(malformed)?);
    reader.at += 4;
    let is_response = flags & 0x8000 != 0;
    if answered != id || !is_response || questions != 1 {
        return Err(DnsError::NotOurs);
    }
    let (asked, number) = (reader.name().ok_or(malformed)?, reader.u16().ok_or(malformed)?);
    reader.at += 2;
    if !asked.eq_ignore_ascii_case(name.strip_suffix('.').unwrap_or(name)) || number != kind.number() {
        return Err(DnsError::NotOurs);
    }
    match u8::try_from(flags & 0x000f) {
        // 3: no such name.
        Ok(0 | 3) => {}
        Ok(code) => return Err(DnsError::Server(code)),
        Err(_) => return Err(malformed),
    }
    let mut answer = Answer { is_truncated: flags & 0x0200 != 0, ..Answer::default() };
    for _ in 0..usize::from(records).min(RECORDS_MAX) {
        match reader.record(kind) {
            Some(Some((data, ttl))) => {
                answer.ttl = Some(answer.ttl.map_or(ttl, |shortest| shortest.min(ttl)));
                answer.records.push(data);
            }
            Some(None) => {}
            None if answer.is_truncated => break,
            None => return Err(malformed),
        }
    }
    Ok(answer)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// A `<character-string>` (RFC 1035 3.3).
    fn text(&mut self) -> Option<String> {
        let [length] = self.array()?;
        self.take(usize::from(length)).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// A name without the dot at its end, compressed or not (RFC 1035 4.1.4). Each jump leads backwards.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let mut at = self.at;
        let mut end = None;
        for _ in 0..=JUMPS_MAX {
            let (jump, behind) = self.labels(at, &mut name)?;
            let end = *end.get_or_insert(behind);
            match jump {
                None => {
                    self.at = end;
                    return Some(name);
                }
                Some(target) if target < at => at = target,
                Some(_) => return None,
            }
        }
        None
    }

    /// Adds the labels from `at` on to `name`: where they go on, if elsewhere, and what comes behind them here.
    fn labels(&self, mut at: usize, name: &mut String) -> Option<(Option<usize>, usize)> {
        loop {
            let length = *self.bytes.get(at)?;
            match length {
                0 => return Some((None, at + 1)),
                1..=63 => {}
                64..=191 => return None,
                192.. => {
                    let low = usize::from(*self.bytes.get(at + 1)?);
                    return Some((Some((usize::from(length & 0x3f) << 8) | low), at + 2));
                }
            }
            let end = at + 1 + usize::from(length);
            let label = self.bytes.get(at + 1..end)?;
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(std::str::from_utf8(label).ok()?);
            if name.len() > NAME_BYTES_MAX {
                return None;
            }
            at = end;
        }
    }

    /// The next record; inside, nothing for one of another kind.
    #[expect(clippy::option_option, reason = "the outer one is the end of what can be read")]
    fn record(&mut self, wanted: Kind) -> Option<Option<(Data, Duration)>> {
        self.name()?;
        let (kind, class) = (self.u16()?, self.u16()?);
        let ttl = Duration::from_secs(u64::from(u32::from_be_bytes(self.array()?)));
        let length = usize::from(self.u16()?);
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len())?;
        if kind != wanted.number() || class != CLASS_IN {
            self.at = end;
            return Some(None);
        }
        let data = self.data(wanted)?;
        (self.at == end).then_some(Some((data, ttl)))
    }

    fn data(&mut self, kind: Kind) -> Option<Data> {
        Some(match kind {
            Kind::A => Data::Address(Ipv4Addr::from(self.array::<4>()?).into()),
            Kind::Aaaa => Data::Address(Ipv6Addr::from(self.array::<16>()?).into()),
            Kind::Srv => {
                let (priority, weight, port) = (self.u16()?, self.u16()?, self.u16()?);
                Data::Srv(Srv { priority, weight, port, target: self.name()? })
            }
            Kind::Naptr => {
                let (order, preference) = (self.u16()?, self.u16()?);
                let (flags, service, _regexp) = (self.text()?, self.text()?, self.text()?);
                Data::Naptr(Naptr { order, preference, flags, service, replacement: self.name()? })
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer to `question` whose records are given as type, time to live and data, all named by the question.
    fn reply(question: &[u8], flags: u16, records: &[(u16, u32, &[u8])]) -> Vec<u8> {
        let mut bytes = question.to_vec();
        bytes[2..4].copy_from_slice(&flags.to_be_bytes());
        bytes[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
        for (kind, ttl, data) in records {
            bytes.extend_from_slice(&[0xc0, 12]);
            bytes.extend_from_slice(&kind.to_be_bytes());
            bytes.extend_from_slice(&[0, 1]);
            bytes.extend_from_slice(&ttl.to_be_bytes());
            bytes.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(data);
        }
        bytes
    }

    #[test]
    fn a_question_is_as_rfc_1035_has_it() {
        let bytes = question(0x1234, "sip.test.", Kind::Srv).unwrap();
        assert_eq!(bytes, b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03sip\x04test\0\0\x21\0\x01");
        assert_eq!(question(1, "a..b", Kind::A), None);
        assert_eq!(question(1, &"a".repeat(64), Kind::A), None);
        assert_eq!(question(1, &"a.".repeat(130), Kind::A), None);
    }

    #[test]
    fn addresses_come_with_the_shortest_time_to_live_and_aliases_are_stepped_over() {
        let asked = question(7, "pbx.test", Kind::A).unwrap();
        let bytes = reply(&asked, 0x8180, &[(5, 9, b"\x01x\0"), (1, 60, &[10, 0, 0, 2]), (1, 30, &[10, 0, 0, 3])]);
        let found = answer(&bytes, 7, "PBX.test", Kind::A).unwrap();
        let addresses = ["10.0.0.2", "10.0.0.3"].map(|text| Data::Address(text.parse().unwrap()));
        assert_eq!((found.records, found.ttl), (addresses.to_vec(), Some(Duration::from_secs(30))));
    }

    #[test]
    fn services_and_their_places_are_read_with_compressed_names() {
        let asked = question(7, "_sip._udp.pbx.test", Kind::Srv).unwrap();
        // The target is "a" and then what the question says behind its first two labels (offset 22: "pbx.test").
        let bytes = reply(&asked, 0x8180, &[(33, 60, b"\0\x0a\0\x14\x13\xc4\x01a\xc0\x16")]);
        let srv = Srv { priority: 10, weight: 20, port: 5060, target: "a.pbx.test".to_owned() };
        assert_eq!(answer(&bytes, 7, "_sip._udp.pbx.test", Kind::Srv).unwrap().records, [Data::Srv(srv)]);

        let asked = question(7, "pbx.test", Kind::Naptr).unwrap();
        let bytes = reply(&asked, 0x8180, &[(35, 60, b"\0\x01\0\x02\x01s\x07SIP+D2U\0\x04_sip\x04_udp\xc0\x0c")]);
        let naptr = Naptr {
            order: 1,
            preference: 2,
            flags: "s".to_owned(),
            service: "SIP+D2U".to_owned(),
            replacement: "_sip._udp.pbx.test".to_owned(),
        };
        assert_eq!(answer(&bytes, 7, "pbx.test", Kind::Naptr).unwrap().records, [Data::Naptr(naptr)]);
    }

    #[test]
    fn an_answer_to_another_question_is_none() {
        let asked = question(7, "pbx.test", Kind::A).unwrap();
        let bytes = reply(&asked, 0x8180, &[]);
        assert_eq!(answer(&bytes, 7, "pbx.test", Kind::A), Ok(Answer::default()));
        assert_eq!(answer(&bytes, 8, "pbx.test", Kind::A), Err(DnsError::NotOurs));
        assert_eq!(answer(&bytes, 7, "other.test", Kind::A), Err(DnsError::NotOurs));
        assert_eq!(answer(&bytes, 7, "pbx.test", Kind::Aaaa), Err(DnsError::NotOurs));
        assert_eq!(answer(&asked, 7, "pbx.test", Kind::A), Err(DnsError::NotOurs), "our own question");
    }

    #[test]
    fn no_such_name_is_empty_and_a_failure_is_not() {
        let asked = question(7, "pbx.test", Kind::A).unwrap();
        assert_eq!(answer(&reply(&asked, 0x8183, &[]), 7, "pbx.test", Kind::A), Ok(Answer::default()));
        assert_eq!(answer(&reply(&asked, 0x8182, &[]), 7, "pbx.test", Kind::A), Err(DnsError::Server(2)));
        assert!(answer(&reply(&asked, 0x8380, &[]), 7, "pbx.test", Kind::A).unwrap().is_truncated);
    }

    #[test]
    fn names_that_lead_in_circles_are_malformed() {
        let asked = question(7, "pbx.test", Kind::Srv).unwrap();
        let at = u8::try_from(asked.len() + 12 + 6).unwrap();
        let bytes = reply(&asked, 0x8180, &[(33, 60, &[0, 1, 0, 1, 0, 1, 0xc0, at])]);
        assert_eq!(answer(&bytes, 7, "pbx.test", Kind::Srv), Err(DnsError::Malformed));
    }

    proptest! {
        #[test]
        fn arbitrary_answers_never_panic(tail in proptest::collection::vec(any::<u8>(), 0..300), count: u16) {
            for kind in [Kind::A, Kind::Aaaa, Kind::Srv, Kind::Naptr] {
                let mut bytes = question(7, "pbx.test", kind).unwrap();
                bytes[2] = 0x81;
                bytes[6..8].copy_from_slice(&count.to_be_bytes());
                bytes.extend_from_slice(&tail);
                drop(answer(&bytes, 7, "pbx.test", kind));
                drop(answer(&tail, 7, "pbx.test", kind));
            }
        }
    }
}
