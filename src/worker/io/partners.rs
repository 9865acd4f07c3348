//! The ways between the workers of a node: packets of joined calls, whose sessions may be on two threads.
//!
//! Each worker has one queue, allocated once. Its own sessions use it too, so that two sessions of one worker do not
//! call each other. Nobody waits: where it is full, the packet is lost, as on any line.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::sync::mpsc::sync_channel;

use rustix::event::EventfdFlags;

use crate::ids::CallId;
use crate::limits::WORKER_CROSSINGS;
use crate::media::vocabulary::ToPeer;

/// A packet on its way from one joined session to the other.
#[derive(Debug)]
pub(in crate::worker::io) struct Crossing {
    pub(in crate::worker::io) from: CallId,
    pub(in crate::worker::io) to: CallId,
    pub(in crate::worker::io) packet: ToPeer,
}

/// Wakes a worker out of its wait.
#[derive(Debug, Clone)]
pub(in crate::worker::io) struct Bell(Arc<OwnedFd>);

impl Bell {
    fn new() -> io::Result<Self> {
        let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(eventfd)))
    }

    pub(in crate::worker::io) fn ring(&self) {
        // A full counter wakes as well as one more would.
        rustix::io::write(&*self.0, &1_u64.to_ne_bytes()).ok();
    }

    pub(in crate::worker::io) fn clear(&self) {
        rustix::io::read(&*self.0, &mut [0; 8]).ok();
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[derive(Debug)]
struct Door {
    queue: SyncSender<Crossing>,
    bell: Bell,
}

/// One worker's place among the workers of the node: its own queue, and the doors of all.
#[derive(Debug)]
pub struct Partners {
    number: usize,
    inbox: Receiver<Crossing>,
    doors: Arc<[Door]>,
    bell: Bell,
    /// Workers that have got something since the last announcement.
    unannounced: Vec<bool>,
}

/// The places of `count` workers, by number.
pub fn partners(count: usize) -> io::Result<Vec<Partners>> {
    let (mut doors, mut inboxes) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for _ in 0..count {
        let (queue, inbox) = sync_channel(WORKER_CROSSINGS);
        let bell = Bell::new()?;
        doors.push(Door { queue, bell: bell.clone() });
        inboxes.push((inbox, bell));
    }
    let doors: Arc<[Door]> = doors.into();
    let place = |(number, (inbox, bell))| {
        let (doors, unannounced) = (Arc::clone(&doors), vec![false; count]);
        Partners { number, inbox, doors, bell, unannounced }
    };
    Ok(inboxes.into_iter().enumerate().map(place).collect())
}

impl Partners {
    /// What wakes this worker.
    pub(in crate::worker::io) const fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Puts a packet into the queue of worker `to`. `false`: that queue is full, its worker gone, or there is none such.
    pub(in crate::worker::io) fn send(&mut self, to: usize, crossing: Crossing) -> bool {
        let sent = self.doors.get(to).is_some_and(|door| door.queue.try_send(crossing).is_ok());
        // This worker itself looks into its queue before it sleeps.
        if let Some(unannounced) = self.unannounced.get_mut(to).filter(|_| sent && to != self.number) {
            *unannounced = true;
        }
        sent
    }

    /// The oldest packet for this worker.
    pub(in crate::worker::io) fn receive(&self) -> Option<Crossing> {
        self.inbox.try_recv().ok()
    }

    /// Wakes each worker that was sent something, once. Call it once a turn.
    pub(in crate::worker::io) fn announce(&mut self) {
        for (door, unannounced) in self.doors.iter().zip(&mut self.unannounced) {
            if std::mem::take(unannounced) {
                door.bell.ring();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::media::vocabulary::Bytes;
    use crate::media::vocabulary::PeerPayload;

    fn crossing(sequence: u64) -> Crossing {
        let mut rng = StdRng::seed_from_u64(sequence);
        let (from, to) = (CallId::generate(1, &mut rng), CallId::generate(2, &mut rng));
        let kind = PeerPayload::Pcmu;
        let packet = ToPeer { ssrc: 1, kind, sequence, timestamp: 0, marker: false, payload: Bytes::copied(&[7; 160]) };
        Crossing { from, to, packet }
    }

    fn is_rung(bell: &Bell) -> bool {
        rustix::io::read(bell, &mut [0; 8]).is_ok()
    }

    #[test]
    fn what_is_sent_arrives_in_order_at_the_worker_of_that_number_which_is_woken_once() {
        let [mut first, second] = <[Partners; 2]>::try_from(partners(2).unwrap()).unwrap();
        for sequence in 0..3 {
            assert!(first.send(1, crossing(sequence)));
        }
        assert!(!is_rung(second.bell()), "not before the turn ends");
        first.announce();
        assert!(is_rung(second.bell()));
        first.announce();
        assert!(!is_rung(second.bell()), "nothing new");
        let got: Vec<u64> = std::iter::from_fn(|| second.receive()).map(|crossing| crossing.packet.sequence).collect();
        assert_eq!(got, [0, 1, 2]);
        assert!(first.receive().is_none());
    }

    #[test]
    fn the_own_queue_needs_no_bell() {
        let [mut only] = <[Partners; 1]>::try_from(partners(1).unwrap()).unwrap();
        assert!(only.send(0, crossing(5)));
        only.announce();
        assert!(!is_rung(only.bell()));
        assert_eq!(only.receive().unwrap().packet.sequence, 5);
    }

    #[test]
    fn a_full_queue_a_worker_that_is_gone_and_one_that_never_was_refuse() {
        let [mut first, second] = <[Partners; 2]>::try_from(partners(2).unwrap()).unwrap();
        let sent = (0..2_000).filter(|sequence| first.send(1, crossing(*sequence))).count();
        assert_eq!(sent, WORKER_CROSSINGS);
        drop(second);
        assert!(!first.send(1, crossing(0)));
        assert!(!first.send(2, crossing(0)));
        first.announce();
    }
}
