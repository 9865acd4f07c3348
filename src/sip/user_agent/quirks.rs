//! Where quirks change what the user agent does, and who is told.

use crate::ids::LegId;
use crate::sip::Flow;
use crate::sip::message::Request;
use crate::sip::message::Uri;
use crate::sip::quirk::Quirk;
use crate::sip::quirk::QuirkFired;
use crate::sip::quirk::Quirks;
use crate::sip::user_agent::Output;
use crate::sip::user_agent::UserAgent;
use crate::sip::user_agent::reach;
use crate::sip::user_agent::reach::ReplyPath;

impl UserAgent {
    /// Tells that a quirk changed something.
    pub(super) fn fire(&mut self, trunk: usize, quirk: Quirk, sip_call_id: &str, detail: String) {
        let Some(trunk) = self.config.trunks.get(trunk).map(|trunk| trunk.name.clone()) else { return };
        let fired = QuirkFired { trunk, quirk, sip_call_id: sip_call_id.to_owned(), detail };
        self.output.push_back(Output::Quirk(fired));
    }

    fn fire_for(&mut self, trunk: usize, quirk: Quirk, request: &Request, detail: String) {
        let sip_call_id = request.headers.call_id().unwrap_or_default().to_owned();
        self.fire(trunk, quirk, &sip_call_id, detail);
    }

    /// [`Quirk::ForceRport`]: a request whose answers take another path than its Via says.
    pub(super) fn note_forced_rport(&mut self, trunk: usize, flow: &Flow, path: &ReplyPath, request: &Request) {
        let Ok(via) = request.headers.top_via() else { return };
        let said = reach::reply_flow(*flow, &via, Quirks::default()).flow;
        if said != path.flow {
            let detail =
                format!("{} is answered to {}, not to {}", request.method.as_str(), path.flow.remote, said.remote);
            self.fire_for(trunk, Quirk::ForceRport, request, detail);
        }
    }

    /// The path of an in-dialog request whose first hop is `hop`, where the call's own path is `flow`
    /// ([`Quirk::ContactFromSource`]).
    pub(super) fn path_by(&mut self, trunk: usize, flow: Flow, hop: &Uri, request: &Request) -> Flow {
        let Some(settings) = self.config.trunks.get(trunk) else { return flow };
        let said = self.config.hop(settings, flow, hop);
        if !settings.terms.quirks.contains(Quirk::ContactFromSource) {
            return said;
        }
        let own = self.config.own_path(settings, flow);
        if own != said {
            let detail = format!("{} goes to {}, not to {}", request.method.as_str(), own.remote, said.remote);
            self.fire_for(trunk, Quirk::ContactFromSource, request, detail);
        }
        own
    }

    /// [`Quirk::No100rel`] and [`Quirk::UserPhone`]: what an INVITE of ours says otherwise.
    pub(super) fn note_shaped_invite(&mut self, trunk: usize, invite: &Request) {
        if self.terms_of(trunk).quirks.contains(Quirk::No100rel) {
            self.fire_for(trunk, Quirk::No100rel, invite, "INVITE does not offer 100rel".to_owned());
        }
        let marked = |uri: &Uri| uri.as_sip().is_some_and(|uri| uri.params.value("user") == Some("phone"));
        if marked(&invite.uri) || invite.headers.from().is_ok_and(|from| marked(&from.uri)) {
            self.fire_for(trunk, Quirk::UserPhone, invite, "INVITE says user=phone".to_owned());
        }
    }

    /// [`Quirk::NoUpdate`]: an early offer of ours that has no way but UPDATE.
    pub(super) fn note_withheld_update(&mut self, leg: LegId) {
        let Some(entry) = self.usages.get(&leg) else { return };
        let withheld = entry.machine.dialogs().iter().find(|usage| usage.is_update_withheld());
        let Some(sip_call_id) = withheld.map(|usage| usage.dialog().id().call_id().to_owned()) else { return };
        self.fire(entry.trunk, Quirk::NoUpdate, &sip_call_id, "no offer leaves before the call is answered".to_owned());
    }
}
