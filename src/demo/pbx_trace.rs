//! Reads baresip's SIP trace, line by line, into entries of the ladder.

use crate::demo::ladder::Party;

/// A message in the trace whose `CSeq` has not come yet.
#[derive(Debug)]
pub(super) struct SipTrace {
    /// The PBX's own address, as it stands in the trace.
    address: String,
    /// Whether the PBX sent it.
    sent: Option<bool>,
    start_line: Option<String>,
}

impl SipTrace {
    /// The trace of a PBX that listens on `address`.
    pub(super) const fn new(address: String) -> Self {
        Self { address, sent: None, start_line: None }
    }

    /// The next line; at a message's `CSeq`, who sent it to whom and what it says.
    pub(super) fn line(&mut self, line: &str) -> Option<(Party, Party, String)> {
        let line =
            line.trim_start_matches(|c: char| c == '\u{1b}' || c == '[' || c.is_ascii_digit() || c == ';' || c == 'm');
        if let Some(from) = sender(line) {
            self.sent = Some(from == self.address);
            self.start_line = None;
            return None;
        }
        let sent = self.sent?;
        let Some(start_line) = &self.start_line else {
            self.start_line = Some(line.to_owned());
            return None;
        };
        let method = line.strip_prefix("CSeq:")?.split_whitespace().nth(1)?.to_owned();
        let text = match start_line.strip_prefix("SIP/2.0 ") {
            Some(status) => format!("{status} ({method})"),
            None => start_line.strip_suffix(" SIP/2.0").unwrap_or(start_line).to_owned(),
        };
        self.sent = None;
        let (from, to) = if sent { (Party::Pbx, Party::Gateway) } else { (Party::Gateway, Party::Pbx) };
        Some((from, to, text))
    }
}

/// The sender in `UDP 127.0.0.1:5070 -> 127.0.0.1:5060`.
fn sender(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("UDP ").or_else(|| line.strip_prefix("TCP "))?;
    rest.split_once(" -> ").map(|(from, _)| from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_its_response_are_read() {
        let text = "\u{1b}[36;1m#\nUDP 127.0.0.1:5070 -> 127.0.0.1:5060\nINVITE sip:1001@127.0.0.1:5060 SIP/2.0\nVia: x\nCSeq: 9597 INVITE\n\nv=0\n\
                    \u{1b}[;m\n\u{1b}[36;1m#\nUDP 127.0.0.1:5060 -> 127.0.0.1:5070\nSIP/2.0 180 Ringing\nCSeq: 9597 INVITE\n";
        let mut trace = SipTrace::new("127.0.0.1:5070".into());
        let found: Vec<_> = text.lines().filter_map(|line| trace.line(line)).collect();
        let expected = [
            (Party::Pbx, Party::Gateway, "INVITE sip:1001@127.0.0.1:5060".to_owned()),
            (Party::Gateway, Party::Pbx, "180 Ringing (INVITE)".to_owned()),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn other_output_says_nothing() {
        let mut trace = SipTrace::new("127.0.0.1:5070".into());
        assert!(["baresip is ready.", "CSeq: 1 INVITE", "UDP nonsense"].iter().all(|line| trace.line(line).is_none()));
    }
}
