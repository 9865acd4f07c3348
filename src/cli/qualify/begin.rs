//! Flows that are about how calls begin and end.

use std::time::Duration;

use crate::cli::qualify::call::NoCall;
use crate::cli::qualify::call::final_status;
use crate::cli::qualify::endpoint::Endpoint;
use crate::cli::qualify::report::Outcome;
use crate::cli::qualify::robot::Robot;
use crate::cli::qualify::robot::Verdict;
use crate::cli::qualify::robot::contact_leads_elsewhere;
use crate::sip::Command;
use crate::sip::dialog::terms::MIN_SE;
use crate::sip::dialog::terms::SessionTimerPolicy;
use crate::sip::message::HeaderName;
use crate::sip::message::Headers;
use crate::sip::message::Method;
use crate::sip::message::Response;
use crate::sip::quirk::Quirk;
use crate::sip::quirk::Quirks;

/// How long a test call talks.
pub(super) const TALK: Duration = Duration::from_millis(800);
/// How long the bytes of a large INVITE's filling are, in lines of [`FILLING`].
const FILLING_LINES: usize = 40;
const FILLING: &str = "0123456789 0123456789 0123456789 0123456789 0123456789";

impl Robot<'_> {
    /// OPTIONS: any answer says that somebody is there.
    pub(super) async fn options(&mut self) -> anyhow::Result<Verdict> {
        let mut endpoint =
            self.endpoint(|trunk| trunk.peering.options_interval = Some(Duration::from_millis(200))).await?;
        let answer = endpoint.until(self.patience, |endpoint| endpoint.answer_to(&Method::Options).cloned()).await;
        self.learn(endpoint).await;
        Ok(match answer {
            Some(answer) => (Outcome::Supported, capabilities(&answer)),
            None => (Outcome::Wrong, "no answer to OPTIONS".to_owned()),
        })
    }

    /// INVITE with an offer, audio, BYE. Where that goes wrong, once more with each quirk that may help.
    pub(super) async fn early_offer(&mut self) -> anyhow::Result<Verdict> {
        let (verdict, suspects) = self.whole_call(true, &[]).await?;
        for quirk in suspects.into_iter().filter(|_| verdict.0 != Outcome::Supported) {
            let (again, _) = self.whole_call(true, &[quirk]).await?;
            if again.0 == Outcome::Supported {
                self.proposal.quirks.insert(quirk);
                return Ok((Outcome::Supported, format!("only with {quirk} ({}): {}", verdict.1, again.1)));
            }
        }
        Ok(verdict)
    }

    /// INVITE without an offer: the peer's comes in the 200, our answer in the ACK.
    pub(super) async fn late_offer(&mut self) -> anyhow::Result<Verdict> {
        Ok(self.whole_call(false, &[Quirk::No100rel]).await?.0)
    }

    /// A call from INVITE to BYE; and the quirks that may help where it did not go well: the peer's Contact leads
    /// elsewhere than to where it speaks from, or it had us PRACK.
    async fn whole_call(&mut self, is_early: bool, quirks: &[Quirk]) -> anyhow::Result<(Verdict, Vec<Quirk>)> {
        let mut endpoint = self.endpoint(|trunk| add(&mut trunk.terms.quirks, quirks)).await?;
        let call = self.call(&mut endpoint, is_early).await?;
        let verdict = match call {
            Ok(mut call) => {
                let audio = call.listen(&mut endpoint, TALK).await;
                let answered = endpoint.invite_responses().filter(|(_, response)| response.status.is_success()).count();
                let bye = call.hang_up(&mut endpoint).await;
                let seen = format!("answered; {audio} packets of audio in {} ms; BYE: {bye}", TALK.as_millis());
                // A 200 that is repeated again and again did not get its ACK.
                let is_right = (200..300).contains(&bye) && answered <= 2;
                let repeated = if answered > 2 { format!("; 200 came {answered} times") } else { String::new() };
                (if is_right { Outcome::Supported } else { Outcome::Wrong }, seen + &repeated)
            }
            Err(NoCall::Refused(415 | 488)) if !is_early => (Outcome::NotSupported, "refused".to_owned()),
            Err(why) => (Outcome::Wrong, why.to_string()),
        };
        let is_contact_bad = endpoint
            .invite_responses()
            .any(|(seen, response)| response.status.is_success() && contact_leads_elsewhere(seen, response));
        let suspects = [
            (is_contact_bad, Quirk::ContactFromSource),
            (endpoint.last_sent(&Method::Prack).is_some(), Quirk::No100rel),
        ];
        self.learn(endpoint).await;
        Ok((verdict, suspects.into_iter().filter_map(|(is_one, quirk)| is_one.then_some(quirk)).collect()))
    }

    /// Reliable provisional responses: as the peer likes, then required of it.
    pub(super) async fn prack(&mut self) -> anyhow::Result<Verdict> {
        let (willing, verdict) = self.reliable_call(false).await?;
        if !willing {
            return Ok(self.reliable_call(true).await?.1);
        }
        if verdict.0 == Outcome::Wrong {
            let (without, _) = self.whole_call(true, &[Quirk::No100rel]).await?;
            if without.0 == Outcome::Supported {
                self.proposal.quirks.insert(Quirk::No100rel);
                return Ok((verdict.0, format!("{}; with no_100rel: {}", verdict.1, without.1)));
            }
        }
        Ok(verdict)
    }

    /// Whether a reliable response came, and what it came to.
    async fn reliable_call(&mut self, is_required: bool) -> anyhow::Result<(bool, Verdict)> {
        let mut endpoint = self
            .endpoint(|trunk| {
                let quirks = trunk.terms.quirks.iter();
                trunk.terms.quirks = quirks.filter(|quirk| *quirk != Quirk::No100rel).collect();
                if is_required {
                    trunk.headers.push(("Require".to_owned(), "100rel".to_owned()));
                }
            })
            .await?;
        let call = self.call(&mut endpoint, true).await?;
        let prack = endpoint.answer_to(&Method::Prack).map(|answer| answer.status);
        let was_prack_sent = endpoint.last_sent(&Method::Prack).is_some();
        let provisional = endpoint
            .invite_responses()
            .any(|(_, response)| response.status.is_provisional() && response.status.as_u16() > 100);
        let words = match &call {
            Ok(_) => "answered".to_owned(),
            Err(why) => why.to_string(),
        };
        let verdict = match (prack, call.as_ref().err()) {
            (Some(status), None) if status.is_success() => (Outcome::Supported, format!("PRACK: {}", status.as_u16())),
            (Some(status), _) => (Outcome::Wrong, format!("PRACK: {}; {words}", status.as_u16())),
            (None, _) if was_prack_sent => (Outcome::Wrong, format!("no answer to PRACK; {words}")),
            (None, Some(NoCall::Refused(420))) => (Outcome::NotSupported, "420 where it is required".to_owned()),
            (None, None) if !provisional => (Outcome::NotTested, "answered without ringing".to_owned()),
            (None, None) => (Outcome::NotSupported, "rings without 100rel, even where it is required".to_owned()),
            (None, Some(_)) => (Outcome::Wrong, words),
        };
        if let Ok(call) = call {
            call.hang_up(&mut endpoint).await;
        }
        self.learn(endpoint).await;
        Ok((was_prack_sent, verdict))
    }

    /// A session timer of 90 s, or of what the peer asks for.
    pub(super) async fn session_timer(&mut self) -> anyhow::Result<Verdict> {
        let mut endpoint = self
            .endpoint(|trunk| {
                trunk.terms.session_timer = SessionTimerPolicy::Require;
                trunk.terms.session_expires = MIN_SE;
            })
            .await?;
        let call = self.call(&mut endpoint, true).await?;
        let raised = endpoint.invite_responses().find_map(|(_, response)| {
            let min = response.headers.get(&HeaderName::MinSe).filter(|_| response.status.as_u16() == 422)?;
            Some(format!("422 Min-SE {min}; "))
        });
        let verdict = match call {
            Err(why) => {
                self.proposal.settings.insert("session_timer = \"off\"");
                (Outcome::Wrong, format!("{}{why}", raised.unwrap_or_default()))
            }
            Ok(mut call) => {
                let said = endpoint.answer_to(&Method::Invite).and_then(|response| session_expires(&response.headers));
                let verdict = match said {
                    None => (Outcome::NotSupported, "no Session-Expires in its 200: we alone refresh".to_owned()),
                    Some(said) => {
                        let refreshed = call.renegotiate(&mut endpoint).await;
                        let again = endpoint.answer_to(&Method::Invite).and_then(|ok| session_expires(&ok.headers));
                        let words = format!("{}Session-Expires: {said}", raised.unwrap_or_default());
                        match (refreshed, again) {
                            (Ok(_), Some(again)) => (Outcome::Supported, format!("{words}; after a refresh: {again}")),
                            (Ok(_), None) => (Outcome::Wrong, format!("{words}; gone after a refresh")),
                            (Err(status), _) => (Outcome::Wrong, format!("{words}; refresh: {status}")),
                        }
                    }
                };
                call.hang_up(&mut endpoint).await;
                verdict
            }
        };
        self.learn(endpoint).await;
        Ok(verdict)
    }

    /// CANCEL at the first moment that allows it: a 487, or a 200 that crosses it and is ended.
    pub(super) async fn cancel_race(&mut self) -> anyhow::Result<Verdict> {
        let mut endpoint = self.endpoint(|_| {}).await?;
        let placed = self.place(&mut endpoint, true).await?;
        endpoint.command(Command::Cancel { leg: placed.leg, reason: None });
        let invite = final_status(&mut endpoint, &Method::Invite, self.patience).await;
        let verdict = if (200..300).contains(&invite) {
            let bye = final_status(&mut endpoint, &Method::Bye, self.patience).await;
            let is_right = (200..300).contains(&bye);
            (is_right, format!("a 200 crossed the CANCEL; BYE: {bye}"))
        } else {
            let cancel = final_status(&mut endpoint, &Method::Cancel, self.patience).await;
            ((400..700).contains(&invite) && cancel == 200, format!("CANCEL: {cancel}; INVITE: {invite}"))
        };
        self.learn(endpoint).await;
        Ok((if verdict.0 { Outcome::Supported } else { Outcome::Wrong }, verdict.1))
    }

    /// An INVITE of more than 2,000 bytes, in fragments over UDP; and by TCP where those get lost.
    pub(super) async fn large_message(&mut self) -> anyhow::Result<Verdict> {
        let (bytes, went) = self.large_call(false).await?;
        let Err(why) = went else {
            return Ok((Outcome::Supported, format!("an INVITE of {bytes} bytes was answered")));
        };
        if why != NoCall::Silent {
            return Ok((Outcome::NotSupported, format!("an INVITE of {bytes} bytes: {why}")));
        }
        let (_, by_tcp) = self.large_call(true).await?;
        if by_tcp.is_ok() {
            self.proposal.settings.insert("tcp_for_large = true");
            return Ok((Outcome::Supported, format!("an INVITE of {bytes} bytes was answered by TCP alone")));
        }
        Ok((Outcome::NotSupported, format!("an INVITE of {bytes} bytes: {why}, by TCP as well")))
    }

    async fn large_call(&mut self, by_tcp: bool) -> anyhow::Result<(usize, Result<(), NoCall>)> {
        let mut endpoint = self
            .endpoint(|trunk| {
                let filling = (0..FILLING_LINES).map(|_| ("X-Filling".to_owned(), FILLING.to_owned()));
                trunk.headers.extend(filling);
                for target in &mut trunk.targets {
                    target.tcp_for_large |= by_tcp;
                }
            })
            .await?;
        let call = self.call(&mut endpoint, true).await?;
        let bytes = endpoint.last_sent(&Method::Invite).map_or(0, |(invite, _)| invite.to_bytes().len());
        let went = match call {
            Ok(call) => {
                call.hang_up(&mut endpoint).await;
                Ok(())
            }
            Err(why) => Err(why),
        };
        self.learn(endpoint).await;
        Ok((bytes, went))
    }

    /// The connection breaks in the middle of a call, which goes on over another.
    pub(super) async fn reconnect(&mut self) -> anyhow::Result<Verdict> {
        let mut endpoint = self.endpoint(|_| {}).await?;
        let verdict = match self.call(&mut endpoint, true).await? {
            Err(why) => (Outcome::Wrong, why.to_string()),
            Ok(call) if !endpoint.cut() => {
                call.hang_up(&mut endpoint).await;
                (Outcome::NotTested, "the trunk is spoken to by datagrams".to_owned())
            }
            Ok(call) => {
                endpoint.wait(TALK).await;
                let bye = call.hang_up(&mut endpoint).await;
                let is_right = (200..300).contains(&bye);
                let seen = format!("BYE over a new connection: {bye}");
                (if is_right { Outcome::Supported } else { Outcome::Wrong }, seen)
            }
        };
        self.learn(endpoint).await;
        Ok(verdict)
    }
}

fn add(quirks: &mut Quirks, more: &[Quirk]) {
    *quirks = quirks.iter().chain(more.iter().copied()).collect();
}

fn session_expires(headers: &Headers) -> Option<String> {
    headers.get(&HeaderName::SessionExpires).map(str::to_owned)
}

/// What an answer to OPTIONS says of the peer.
fn capabilities(answer: &Response) -> String {
    let said = |name: HeaderName, word: &str| {
        answer.headers.get(&name).map(|value| format!("; {word}: {value}")).unwrap_or_default()
    };
    let (allow, supported) = (said(HeaderName::Allow, "Allow"), said(HeaderName::Supported, "Supported"));
    format!("{}{allow}{supported}", answer.status.as_u16())
}

/// Whether the peer said that it takes UPDATE.
pub(super) fn allows_update(endpoint: &Endpoint) -> bool {
    endpoint.invite_responses().any(|(_, response)| response.headers.lists(&HeaderName::Allow, "UPDATE"))
}
