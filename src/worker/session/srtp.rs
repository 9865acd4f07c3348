//! The SRTP contexts of a trunk leg, over the leg's whole life.

use crate::rtp::srtp::Protect;
use crate::rtp::srtp::SrtpKeys;
use crate::rtp::srtp::Unprotect;
use crate::rtp::srtp::Unprotected;

/// See the module.
#[derive(Debug)]
pub(super) struct Contexts {
    ours: Protect,
    theirs: Unprotect,
    /// The peer's key before the last re-keying: what was on its way is still taken, until the new key was seen at work.
    before: Option<Unprotect>,
}

impl Contexts {
    /// Contexts for these keys. What did not change goes on; what did goes on counting (RFC 3711 3.3.1). `None` where
    /// the keys cannot be used: then nothing crosses.
    pub(super) fn with(known: Option<Self>, keys: &SrtpKeys) -> Option<Self> {
        let Some(mut known) = known else {
            return Some(Self {
                ours: Protect::new(&keys.send)?,
                theirs: Unprotect::new(&keys.receive)?,
                before: None,
            });
        };
        if *known.ours.key() != keys.send {
            known.ours.rekey(&keys.send)?;
        }
        if *known.theirs.key() != keys.receive {
            let fresh = known.theirs.rekeyed(&keys.receive)?;
            known.before = Some(std::mem::replace(&mut known.theirs, fresh));
        }
        Some(known)
    }

    /// Takes the peer's side from another context under the same key, such as a fork's: the one that it takes the place
    /// of is given back, where there is one.
    pub(super) fn turn(&mut self, theirs: Unprotect) -> Option<Unprotect> {
        if theirs.key() != self.theirs.key() {
            return None;
        }
        self.theirs = theirs;
        self.before.take()
    }

    /// Opens a datagram in place: the length of what was inside, or `None` where it is not the peer's, or a replay.
    pub(super) fn unprotect(&mut self, rtcp: bool, bytes: &mut [u8]) -> Option<usize> {
        match (open(&mut self.theirs, rtcp, bytes), &mut self.before) {
            (Ok(length), _) => {
                self.before = None;
                Some(length)
            }
            (Err(Unprotected::Authentication), Some(before)) => open(before, rtcp, bytes).ok(),
            (Err(_), _) => None,
        }
    }

    /// Protects the first `length` bytes of `buffer`: how many there are then.
    pub(super) fn protect(&mut self, rtcp: bool, buffer: &mut [u8], length: usize) -> Option<usize> {
        if rtcp { self.ours.rtcp(buffer, length) } else { self.ours.rtp(buffer, length) }
    }
}

/// Opens a datagram in place; see [`Unprotect::rtp`].
pub(super) fn open(context: &mut Unprotect, rtcp: bool, bytes: &mut [u8]) -> Result<usize, Unprotected> {
    if rtcp { context.rtcp(bytes) } else { context.rtp(bytes) }
}
