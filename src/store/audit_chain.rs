//! The audit log's hash chains: the canonical bytes of a line, and what a check of the chains finds.
//!
//! The bytes are those of `audit_canonical` in the migrations, computed here a second time and independently.

use std::fmt;

use aws_lc_rs::digest;

/// Number of chains; an actor's lines are all in one.
pub const CHAINS: u8 = 8;

/// One line as it lies in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLine {
    /// Which chain.
    pub chain: i16,
    /// Its place there, from 1.
    pub seq: i64,
    /// The node that wrote it.
    pub node_id: Vec<u8>,
    /// When, in microseconds since 1970.
    pub at_us: i64,
    /// Who.
    pub actor: String,
    /// Did what.
    pub action: String,
    /// To what.
    pub object: String,
    /// From where.
    pub peer: String,
    /// More about it.
    pub detail: String,
    /// The hash of the line before; zeroes for the first.
    pub prev_hash: Vec<u8>,
    /// SHA-256 over the canonical bytes.
    pub hash: Vec<u8>,
}

impl AuditLine {
    /// What is hashed: big-endian numbers, then each text after its length.
    pub fn canonical(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&self.chain.to_be_bytes());
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        bytes.extend_from_slice(&self.prev_hash);
        bytes.extend_from_slice(&self.node_id);
        bytes.extend_from_slice(&self.at_us.to_be_bytes());
        for text in [&self.actor, &self.action, &self.object, &self.peer, &self.detail] {
            bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }

    /// The hash that it should have.
    pub fn computed_hash(&self) -> Vec<u8> {
        digest::digest(&digest::SHA256, &self.canonical()).as_ref().to_vec()
    }
}

/// The chain of an actor.
pub fn chain_of(actor: &str) -> u8 {
    digest::digest(&digest::SHA256, actor.as_bytes()).as_ref().first().map_or(0, |first| first % CHAINS)
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditFault {
    /// Which chain.
    pub chain: i16,
    /// At which line, or after it.
    pub seq: i64,
    /// What.
    pub kind: FaultKind,
}

/// See [`AuditFault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The line's own hash does not fit its content.
    Edited,
    /// The line does not follow the one before.
    Unlinked,
    /// One or more lines before this one are missing.
    Missing,
    /// The end of the chain is not where its head says.
    Truncated,
    /// The line lies in a chain that is not its actor's.
    Misplaced,
}

impl fmt::Display for AuditFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            FaultKind::Edited => "was edited",
            FaultKind::Unlinked => "does not follow the line before it",
            FaultKind::Missing => "comes after a line that is missing",
            FaultKind::Truncated => "is not the end that the chain's head names",
            FaultKind::Misplaced => "is not in its actor's chain",
        };
        write!(f, "line {} of chain {} {what}", self.seq, self.chain)
    }
}

/// Walks one chain, line by line, in the order of `seq`.
#[derive(Debug)]
pub struct ChainWalk {
    chain: i16,
    seq: i64,
    hash: Vec<u8>,
    faults: Vec<AuditFault>,
}

impl ChainWalk {
    /// At the beginning of `chain`.
    pub fn new(chain: i16) -> Self {
        Self { chain, seq: 0, hash: vec![0; 32], faults: Vec::new() }
    }

    /// The place of the last line seen.
    pub const fn seq(&self) -> i64 {
        self.seq
    }

    /// Takes the next line.
    pub fn handle(&mut self, line: &AuditLine) {
        if line.seq != self.seq + 1 {
            self.found(line.seq, FaultKind::Missing);
        } else if line.prev_hash != self.hash {
            self.found(line.seq, FaultKind::Unlinked);
        }
        if line.computed_hash() != line.hash {
            self.found(line.seq, FaultKind::Edited);
        }
        if i16::from(chain_of(&line.actor)) != self.chain {
            self.found(line.seq, FaultKind::Misplaced);
        }
        self.seq = line.seq;
        self.hash.clone_from(&line.hash);
    }

    /// Compares the end with the chain's head, and gives all that was found.
    pub fn finish(mut self, head_seq: i64, head_hash: &[u8]) -> Vec<AuditFault> {
        if self.seq != head_seq || self.hash != head_hash {
            self.found(self.seq, FaultKind::Truncated);
        }
        self.faults
    }

    fn found(&mut self, seq: i64, kind: FaultKind) {
        self.faults.push(AuditFault { chain: self.chain, seq, kind });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(length: i64) -> Vec<AuditLine> {
        let mut lines: Vec<AuditLine> = Vec::new();
        for seq in 1..=length {
            let mut line = AuditLine {
                chain: i16::from(chain_of("carol")),
                seq,
                node_id: vec![1; 16],
                at_us: 1_800_000_000_000_000 + seq,
                actor: "carol".to_owned(),
                action: "recording.play".to_owned(),
                object: format!("object {seq}"),
                peer: "127.0.0.1".to_owned(),
                detail: String::new(),
                prev_hash: lines.last().map_or(vec![0; 32], |last| last.hash.clone()),
                hash: Vec::new(),
            };
            line.hash = line.computed_hash();
            lines.push(line);
        }
        lines
    }

    fn faults(lines: &[AuditLine], head: &AuditLine) -> Vec<FaultKind> {
        let mut walk = ChainWalk::new(head.chain);
        for line in lines {
            walk.handle(line);
        }
        walk.finish(head.seq, &head.hash).into_iter().map(|fault| fault.kind).collect()
    }

    #[test]
    fn an_untouched_chain_has_no_fault() {
        let lines = chain(5);
        assert_eq!(faults(&lines, &lines[4]), []);
    }

    #[test]
    fn every_kind_of_tampering_has_its_name() {
        let lines = chain(5);
        let head = lines[4].clone();

        let mut edited = lines.clone();
        edited[2].detail.push('x');
        assert_eq!(faults(&edited, &head), [FaultKind::Edited]);

        let mut rehashed = edited.clone();
        rehashed[2].hash = rehashed[2].computed_hash();
        assert_eq!(faults(&rehashed, &head), [FaultKind::Unlinked]);

        let mut removed = lines.clone();
        removed.remove(2);
        assert_eq!(faults(&removed, &head), [FaultKind::Missing]);

        assert_eq!(faults(&lines[..4], &head), [FaultKind::Truncated]);

        let mut moved = lines.clone();
        moved[4].actor =
            (0..1_000).map(|n| format!("u{n}")).find(|actor| chain_of(actor) != chain_of("carol")).unwrap();
        moved[4].hash = moved[4].computed_hash();
        assert_eq!(faults(&moved, &moved[4]), [FaultKind::Misplaced]);
    }

    #[test]
    fn moving_a_character_between_two_fields_changes_the_bytes() {
        let mut line = chain(1).remove(0);
        let before = line.canonical();
        line.action.pop();
        line.object.insert(0, 'y');
        assert_ne!(line.canonical(), before);
    }
}
