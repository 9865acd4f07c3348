//! Where a stream stands: the index that a sequence number means, and which were seen (RFC 3711 3.3.1, 3.3.2).

/// One past the highest index of RTP: 32 bits of roll-over counter and 16 of sequence.
pub(super) const RTP_INDICES: u64 = 1 << 48;

/// The index that `sequence` most probably means, given the highest so far; `None` before the first packet of all.
pub(super) const fn guess(highest: u64, sequence: u16) -> Option<u64> {
    let (counter, last) = (highest >> 16, highest & 0xffff);
    let sequence = sequence as u64;
    let counter = if last < 0x8000 {
        if sequence > last + 0x8000 { counter.checked_sub(1) } else { Some(counter) }
    } else if last - 0x8000 > sequence {
        Some(counter + 1)
    } else {
        Some(counter)
    };
    match counter {
        Some(counter) if counter << 16 < RTP_INDICES => Some(counter << 16 | sequence),
        _ => None,
    }
}

/// The index of our own next packet: the first with this `sequence` past the highest, so that no index, and with it no
/// key stream, is ever used twice, however many packets went another way meanwhile. `None` where the key is used up.
pub(super) fn after(highest: u64, sequence: u16) -> Option<u64> {
    let index = (highest & !0xffff) | u64::from(sequence);
    let index = if index > highest { index } else { index + 0x1_0000 };
    Some(index).filter(|index| *index < RTP_INDICES)
}

/// The last 128 indices, and which of them came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReplayWindow {
    highest: u64,
    /// Bit n is `highest - n`.
    seen: u128,
}

impl ReplayWindow {
    /// Begins with the first index.
    pub(super) const fn new(index: u64) -> Self {
        Self { highest: index, seen: 1 }
    }

    pub(super) const fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether `index` is new: neither seen, nor too old to say.
    pub(super) fn is_new(&self, index: u64) -> bool {
        match self.highest.checked_sub(index) {
            None => true,
            Some(age @ 0..128) => self.seen & (1 << age) == 0,
            Some(_) => false,
        }
    }

    /// Remembers an index that was authenticated.
    pub(super) fn mark(&mut self, index: u64) {
        if let Some(ahead) = index.checked_sub(self.highest).filter(|ahead| *ahead > 0) {
            let shift = u32::try_from(ahead).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(shift).unwrap_or(0) | 1;
            self.highest = index;
        } else if let age @ 0..128 = self.highest - index {
            self.seen |= 1 << age;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_counter_is_guessed_as_rfc_3711_3_3_1_says() {
        for (highest, sequence, index) in [
            (0, 1, Some(1)),
            (0x7fff, 0xffff, Some(0xffff)),
            (5, 0xfffe, None),
            (0x1_0005, 0xfffe, Some(0xfffe)),
            (0xfffe, 3, Some(0x1_0003)),
            (0xffff, 0x7ffe, Some(0x1_7ffe)),
            (0xffff, 0x7fff, Some(0x7fff)),
            (RTP_INDICES - 1, 0, None),
        ] {
            assert_eq!(guess(highest, sequence), index, "{sequence} after {highest:#x}");
        }
    }

    #[test]
    fn our_own_index_only_grows() {
        assert_eq!(after(5, 6), Some(6));
        assert_eq!(after(5, 5), Some(0x1_0005));
        assert_eq!(after(0xfde8, 0x9a28), Some(0x1_9a28), "40,000 packets went by in the clear");
        assert_eq!(after(RTP_INDICES - 1, 0), None);
    }

    #[test]
    fn a_window_takes_each_once_and_none_that_is_too_old() {
        let mut window = ReplayWindow::new(1_000);
        assert!(!window.is_new(1_000));
        assert!(window.is_new(1_000 - 127) && !window.is_new(1_000 - 128));
        window.mark(900);
        assert!(!window.is_new(900));
        window.mark(1_100);
        assert!(!window.is_new(1_000) && window.is_new(1_001) && !window.is_new(972) && !window.is_new(900));
        window.mark(1 << 40);
        assert!(!window.is_new(1_100) && window.is_new((1 << 40) - 1));
    }

    proptest! {
        #[test]
        fn a_window_agrees_with_a_set(steps in proptest::collection::vec(0_u64..600, 1..200)) {
            let mut window = ReplayWindow::new(0);
            let mut seen = std::collections::BTreeSet::from([0]);
            for index in steps {
                let highest = *seen.last().unwrap();
                let new = !seen.contains(&index) && index + 128 > highest;
                prop_assert_eq!(window.is_new(index), new);
                if new {
                    window.mark(index);
                    seen.insert(index);
                }
            }
        }

        #[test]
        fn a_guess_is_right_within_half_a_cycle(highest in 0x8000_u64..(1 << 40), step in -0x7fff_i64..0x8000) {
            let index = highest.checked_add_signed(step).unwrap();
            prop_assert_eq!(guess(highest, (index & 0xffff) as u16), Some(index));
        }
    }
}
