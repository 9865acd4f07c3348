//! The ring of decoded frames from one worker to the recorder's thread: allocated once, one producer, one consumer.

use std::sync::Arc;
use std::sync::OnceLock;
use std::thread::Thread;

use crate::limits::TAP_RING_FRAMES;
use crate::media::tap::TapFrame;

/// The worker's end.
#[derive(Debug)]
pub struct TapProducer {
    frames: rtrb::Producer<TapFrame>,
    listener: Arc<OnceLock<Thread>>,
    unannounced: bool,
}

/// The recorder's end.
#[derive(Debug)]
pub struct TapConsumer {
    frames: rtrb::Consumer<TapFrame>,
    listener: Arc<OnceLock<Thread>>,
}

/// A ring of [`TAP_RING_FRAMES`].
pub fn ring() -> (TapProducer, TapConsumer) {
    ring_of(TAP_RING_FRAMES)
}

/// A ring of `frames`.
pub fn ring_of(frames: usize) -> (TapProducer, TapConsumer) {
    let (producer, consumer) = rtrb::RingBuffer::new(frames);
    let listener = Arc::new(OnceLock::new());
    let producer = TapProducer { frames: producer, listener: Arc::clone(&listener), unannounced: false };
    (producer, TapConsumer { frames: consumer, listener })
}

impl TapProducer {
    /// Puts a frame in. `false`: the ring is full, or nobody reads any more, and the frame is lost.
    pub fn push(&mut self, frame: TapFrame) -> bool {
        let pushed = !self.frames.is_abandoned() && self.frames.push(frame).is_ok();
        self.unannounced |= pushed;
        pushed
    }

    /// Wakes the recorder once, if anything was put in since the last time. Call it once a turn.
    pub fn announce(&mut self) {
        if std::mem::take(&mut self.unannounced)
            && let Some(listener) = self.listener.get()
        {
            listener.unpark();
        }
    }
}

impl TapConsumer {
    /// Says which thread to wake: the one that calls this, once, before it first parks.
    pub fn listen(&self) {
        self.listener.get_or_init(std::thread::current);
    }

    /// Takes the oldest frame.
    pub fn pop(&mut self) -> Option<TapFrame> {
        self.frames.pop().ok()
    }

    /// Moves up to `most` frames to the end of `into`; says how many.
    pub fn pop_batch(&mut self, into: &mut Vec<TapFrame>, most: usize) -> usize {
        let waiting = self.frames.slots().min(most);
        let Ok(chunk) = self.frames.read_chunk(waiting) else { return 0 };
        into.extend(chunk);
        waiting
    }

    /// Frames that wait.
    pub fn waiting(&self) -> usize {
        self.frames.slots()
    }

    /// Whether the worker is gone; what waits can still be taken.
    pub fn is_abandoned(&self) -> bool {
        self.frames.is_abandoned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::media::tap::Samples8k;
    use crate::media::tap::TapBody;
    use crate::media::tap::TapChannel;
    use crate::media::tap::TapId;

    fn frame(timestamp: u32) -> TapFrame {
        TapFrame {
            tap: TapId(1),
            channel: TapChannel::Sent,
            timestamp,
            epoch: 0,
            arrival: Clock::system().now(),
            body: TapBody::Pcm8k { samples: Samples8k::new(&[1, 2, 3]), concealed: false },
        }
    }

    #[test]
    fn frames_come_out_in_order_and_in_batches() {
        let (mut producer, mut consumer) = ring_of(8);
        for timestamp in 0..5 {
            assert!(producer.push(frame(timestamp)));
        }
        assert_eq!(consumer.pop().unwrap().timestamp, 0);
        let mut batch = Vec::new();
        assert_eq!(consumer.pop_batch(&mut batch, 3), 3);
        assert_eq!(batch.iter().map(|frame| frame.timestamp).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(consumer.waiting(), 1);
    }

    #[test]
    fn a_full_or_abandoned_ring_says_so() {
        let (mut producer, consumer) = ring_of(2);
        assert!(producer.push(frame(0)) && producer.push(frame(1)));
        assert!(!producer.push(frame(2)));
        drop(consumer);
        assert!(!producer.push(frame(3)));
    }

    #[test]
    fn the_listener_is_woken_once_something_is_in() {
        let (mut producer, mut consumer) = ring_of(4);
        let listener = std::thread::spawn(move || {
            consumer.listen();
            while consumer.waiting() == 0 {
                std::thread::park();
            }
            consumer.pop().unwrap().timestamp
        });
        assert!(producer.push(frame(7)));
        while !listener.is_finished() {
            producer.unannounced = true;
            producer.announce();
            std::thread::yield_now();
        }
        assert_eq!(listener.join().unwrap(), 7);
    }
}
