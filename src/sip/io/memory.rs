//! What we send to ourselves: a queue, bounded, and served by turns with the sockets, so that neither starves the other.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::limits::SIP_MEMORY;
use crate::telemetry::metrics::SIP_MESSAGES;

/// Messages on their way from us to ourselves.
#[derive(Debug, Default)]
pub(super) struct Memory {
    waiting: VecDeque<Bytes>,
    /// The last message that was handled was one of these: the sockets go first.
    has_had_its_turn: bool,
}

impl Memory {
    /// Takes a message along. One that finds no room is lost and counted: its transaction repeats it, or gives up.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if self.waiting.len() < SIP_MEMORY {
            self.waiting.push_back(bytes);
            return;
        }
        metrics::counter!(SIP_MESSAGES.name, "what" => "memory_full").increment(1);
        tracing::debug!("a message to ourselves found no room");
    }

    /// The next message, where it is this queue's turn.
    pub(super) fn pop_in_turn(&mut self) -> Option<Bytes> {
        if self.has_had_its_turn { None } else { self.pop() }
    }

    /// The next message: the sockets brought nothing.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let bytes = self.waiting.pop_front();
        self.has_had_its_turn = bytes.is_some();
        bytes
    }

    /// The sockets brought something.
    pub(super) const fn give_turn(&mut self) {
        self.has_had_its_turn = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_loses_the_newest_message_and_keeps_the_others_in_order() {
        let mut memory = Memory::default();
        for number in 0..SIP_MEMORY + 3 {
            memory.push(Bytes::from(number.to_string()));
        }
        for number in 0..SIP_MEMORY {
            assert_eq!(memory.pop().unwrap(), number.to_string());
        }
        assert_eq!(memory.pop(), None);
    }

    #[test]
    fn after_a_turn_the_sockets_go_first() {
        let mut memory = Memory::default();
        memory.push(Bytes::from_static(b"one"));
        memory.push(Bytes::from_static(b"two"));
        assert_eq!(memory.pop_in_turn().unwrap(), "one");
        assert_eq!(memory.pop_in_turn(), None);
        memory.give_turn();
        assert_eq!(memory.pop_in_turn().unwrap(), "two");
    }
}
