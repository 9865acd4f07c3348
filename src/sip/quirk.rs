//! Quirks: what is done otherwise than the RFCs say, for a peer that needs it. Each has a name in the configuration, and
//! says so whenever it changed something.

use std::fmt;

use crate::ids::TrunkName;

/// One deviation from the RFCs that a trunk may need. None is on by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Quirk {
    /// Responses go to the port that the request came from, though its Via has no `rport` (RFC 3581): for a peer behind
    /// a NAT that names a port of its inside.
    ForceRport,
    /// In-dialog requests go to the address that the peer speaks from, whatever its Contact and Record-Route say
    /// (against RFC 3261 12.2.1.1): for a peer behind a NAT, or one that writes a Contact that leads nowhere.
    ContactFromSource,
    /// Our INVITEs do not name `100rel` in Supported, and of ours only those provisional responses are reliable that the
    /// INVITE requires so (RFC 3262): for a peer that begins PRACK and does not end it.
    No100rel,
    /// We send no UPDATE though the peer's Allow names it (RFC 3311): sessions are refreshed by re-INVITE.
    NoUpdate,
    /// A request within a dialog is served though its `CSeq` did not grow (against RFC 3261 12.2.2): for a peer that
    /// numbers its requests anew.
    LaxCseq,
    /// Numbers that we call and call from bear `user=phone` (RFC 3261 19.1.1): for a carrier that takes nothing else for
    /// a number.
    UserPhone,
}

impl Quirk {
    /// Every quirk, in the order of their documentation.
    pub const ALL: [Self; 6] =
        [Self::ForceRport, Self::ContactFromSource, Self::No100rel, Self::NoUpdate, Self::LaxCseq, Self::UserPhone];

    /// Its name in the configuration, in traces and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ForceRport => "force_rport",
            Self::ContactFromSource => "contact_from_source",
            Self::No100rel => "no_100rel",
            Self::NoUpdate => "no_update",
            Self::LaxCseq => "lax_cseq",
            Self::UserPhone => "user_phone",
        }
    }

    /// The quirk of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|quirk| quirk.name() == name)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Quirk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A trunk's quirks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quirks(u8);

impl Quirks {
    /// Whether it is among them.
    pub const fn contains(self, quirk: Quirk) -> bool {
        self.0 & quirk.bit() != 0
    }

    /// In the order of [`Quirk::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Quirk> {
        Quirk::ALL.into_iter().filter(move |quirk| self.contains(*quirk))
    }
}

impl FromIterator<Quirk> for Quirks {
    fn from_iter<I: IntoIterator<Item = Quirk>>(quirks: I) -> Self {
        Self(quirks.into_iter().fold(0, |bits, quirk| bits | quirk.bit()))
    }
}

/// A quirk changed what we did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuirkFired {
    /// The trunk whose it is.
    pub trunk: TrunkName,
    /// Which.
    pub quirk: Quirk,
    /// SIP's Call-ID of the message that it was about.
    pub sip_call_id: String,
    /// What it did, in one clause. Names no person.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_names_read_back() {
        for quirk in Quirk::ALL {
            let set: Quirks = std::iter::once(quirk).collect();
            assert_eq!(set.iter().collect::<Vec<_>>(), [quirk]);
            assert_eq!(Quirk::from_name(quirk.name()), Some(quirk));
        }
        assert_eq!(Quirk::ALL.into_iter().collect::<Quirks>().iter().count(), Quirk::ALL.len());
        assert_eq!(Quirk::from_name("force-rport"), None);
    }
}
