//! Transfers across calls: whose dialog a Replaces names, and what a Refer-To says (RFC 3891, RFC 5589).

use std::time::Instant;

use crate::ids::LegId;
use crate::sip::Event;
use crate::sip::OutgoingInvite;
use crate::sip::ReferTarget;
use crate::sip::ReferTo;
use crate::sip::StatusCode;
use crate::sip::dialog::Dialog;
use crate::sip::dialog::refer;
use crate::sip::dialog::refer::Replaces;
use crate::sip::dialog::usage;
use crate::sip::message::HeaderName;
use crate::sip::message::Host;
use crate::sip::message::Request;
use crate::sip::message::SipUri;
use crate::sip::message::Uri;
use crate::sip::user_agent::Trunk;
use crate::sip::user_agent::UserAgent;
use crate::sip::user_agent::peering::Direction;
use crate::sip::user_agent::peering::NumberOf;

impl UserAgent {
    /// The call whose place a new INVITE takes (RFC 3891 3); `Err` is the response where there is none that it may.
    pub(super) fn replaced_by(&self, trunk: usize, request: &Request) -> Result<Option<LegId>, StatusCode> {
        let mut named = request.headers.get_all(&HeaderName::Replaces);
        let Some(value) = named.next() else { return Ok(None) };
        let replaces = Replaces::parse(value).filter(|_| named.next().is_none()).ok_or(StatusCode::BAD_REQUEST)?;
        let leg = self.leg_of(trunk, &replaces.dialog).ok_or(StatusCode::CALL_DOES_NOT_EXIST)?;
        let usage = self.usages.get(&leg).and_then(|entry| entry.machine.in_dialog(&replaces.dialog));
        match usage {
            Some(usage) if !usage.is_replaceable() => Err(StatusCode::CALL_DOES_NOT_EXIST),
            Some(usage) if replaces.early_only && !usage.is_early() => Err(StatusCode::BUSY_HERE),
            Some(_) => Ok(Some(leg)),
            None => Err(StatusCode::CALL_DOES_NOT_EXIST),
        }
    }

    /// The Replaces of an INVITE of ours. `Err` where the call that it names is none of this trunk.
    pub(super) fn replaces_header(&self, trunk: usize, invite: &OutgoingInvite) -> Result<Option<String>, StatusCode> {
        match (invite.replaces, asked_for(invite, &HeaderName::Replaces)) {
            (Some(leg), _) => {
                let dialog = self.dialog_of(trunk, leg).ok_or(StatusCode::CALL_DOES_NOT_EXIST)?;
                Ok(Some(Replaces::value_for_peer(dialog.id())))
            }
            (None, asked) => Ok(asked),
        }
    }

    /// The one dialog of a call on that trunk.
    fn dialog_of(&self, trunk: usize, leg: LegId) -> Option<&Dialog> {
        let entry = self.usages.get(&leg).filter(|entry| entry.trunk == trunk)?;
        let usage = entry.machine.dialogs().last().filter(|usage| usage.is_replaceable())?;
        Some(usage.dialog())
    }

    /// Asks the peer of `leg` to call somebody else.
    pub(super) fn refer(&mut self, leg: LegId, to: &ReferTarget, now: Instant) {
        let Some(trunk) = self.usages.get(&leg).map(|entry| entry.trunk) else { return };
        match self.refer_to_of(trunk, leg, to) {
            Some(refer_to) => self.tell_usage(leg, &usage::Input::Refer(refer_to), now),
            None => self.tell_call_room(Event::ReferProgressed {
                leg,
                status: StatusCode::CALL_DOES_NOT_EXIST,
                is_refused: true,
                is_over: true,
            }),
        }
    }

    fn refer_to_of(&self, trunk: usize, leg: LegId, to: &ReferTarget) -> Option<String> {
        if let Some(consulted) = to.replaces {
            let dialog = self.dialog_of(trunk, consulted)?;
            return Some(refer::refer_to_value(dialog.remote_target(), Some(dialog.id())));
        }
        let dialog = self.dialog_of(trunk, leg)?;
        let domain = self.config.trunks.get(trunk).and_then(|trunk| trunk.domain.as_deref()).and_then(Host::parse);
        let at = [&dialog.remote().uri, dialog.remote_target()].into_iter().find_map(Uri::as_sip);
        let (host, port) = match (domain, at) {
            (Some(domain), _) => (domain, None),
            (None, Some(uri)) => (uri.host.clone(), uri.port),
            (None, None) => return None,
        };
        let peering = self.config.trunks.get(trunk).map(|trunk| &trunk.peering)?;
        let user = peering.rewrite(Direction::Out, NumberOf::Called, &to.user);
        Some(refer::refer_to_value(&SipUri::with_user(&user, host, port).into(), None))
    }

    /// The peer of `leg` asks for a transfer.
    pub(super) fn tell_referral(&mut self, leg: LegId, request: &Request) {
        let trunk = self.usages.get(&leg).map(|entry| entry.trunk);
        let (Some((user, replaces)), Some(trunk)) = (refer::refer_to(&request.headers), trunk) else { return };
        let settings = self.config.trunks.get(trunk);
        let rewrite = |trunk: &Trunk| trunk.peering.rewrite(Direction::In, NumberOf::Called, &user);
        let (is_internal, user) = (settings.is_some_and(Trunk::is_internal), settings.map_or(user.clone(), rewrite));
        // Where the peer is ourselves, the dialog at the target is ours as well, and is named as the target knows it.
        let ours = replaces.as_ref().filter(|_| !is_internal);
        let ours = ours.and_then(|replaces| self.leg_of(trunk, &replaces.dialog));
        let replaces_header = replaces.filter(|_| ours.is_none()).map(|replaces| replaces.value());
        let referred_by = refer::referred_by(&request.headers);
        self.tell_call_room(Event::Referred {
            leg,
            to: ReferTo { user, replaces: ours, replaces_header, referred_by },
        });
    }
}

/// A header that a REFER asked for.
pub(super) fn asked_for(invite: &OutgoingInvite, header: &HeaderName) -> Option<String> {
    let asked = invite.headers.iter().find(|(name, _)| HeaderName::from_wire(name) == *header);
    asked.map(|(_, value)| value.clone())
}
