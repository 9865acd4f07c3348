//! Sequence numbers of what we send.

/// A jump of this many sequence numbers or more is a new source, not a loss (RFC 3550 A.1, `MAX_DROPOUT`).
const SEQUENCE_GAP_MAX: u64 = 3_000;

/// Numbers of what we send. The first lies below 65,536 (RFC 3711 3.3.1: roll-over counts begin at 0), and where the
/// source's numbers jump, for it was replaced, ours go on.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    last: Option<(u64, u64)>,
}

impl Numbering {
    pub(super) fn number(&mut self, source: u64) -> u64 {
        let number = match self.last {
            None => source & 0xFFFF,
            Some((theirs, ours)) if source > theirs && source - theirs < SEQUENCE_GAP_MAX => ours + (source - theirs),
            Some((_, ours)) => ours + 1,
        };
        self.last = Some((source, number));
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sent_numbers_begin_below_the_first_roll_over_and_keep_gaps() {
        let mut numbering = Numbering::default();
        assert_eq!(numbering.number(70_000), 70_000 - 65_536);
        assert_eq!(numbering.number(70_003), 70_003 - 65_536);
    }

    #[test]
    fn a_replaced_source_goes_on_where_the_last_one_ended() {
        let mut numbering = Numbering::default();
        assert_eq!(numbering.number(65_535), 65_535);
        assert_eq!(numbering.number(65_536), 65_536);
        assert_eq!(numbering.number(12), 65_537);
        assert_eq!(numbering.number(9_000_000), 65_538);
    }
}
