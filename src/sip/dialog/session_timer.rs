//! Session timers (RFC 4028): who refreshes, how often, and when a session that nobody refreshed is over.

use std::time::Duration;

use crate::sip::dialog::terms::MIN_SE;
use crate::sip::dialog::terms::SessionTimerPolicy;
use crate::sip::dialog::terms::Terms;
use crate::sip::message::HeaderName;
use crate::sip::message::Headers;
use crate::sip::message::Params;
use crate::sip::message::Request;
use crate::sip::message::Response;

/// BYE leaves this long before the end, or a third of the interval where that is less (RFC 4028 10).
const BYE_BEFORE_END_MAX: Duration = Duration::from_secs(32);

/// Which side of a transaction refreshes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refresher {
    Uac,
    Uas,
}

impl Refresher {
    const fn word(self) -> &'static str {
        match self {
            Self::Uac => "uac",
            Self::Uas => "uas",
        }
    }
}

/// A session that has a time to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Running {
    expires: Duration,
    we_refresh: bool,
}

/// When what is to be done, counted from the last refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays {
    /// When we refresh; `None` where the peer does.
    pub refresh: Option<Duration>,
    /// When we give the session up with BYE.
    pub bye: Duration,
}

/// What both sides agreed on so far.
#[derive(Debug, Clone)]
pub struct SessionTimer {
    policy: SessionTimerPolicy,
    wanted: Duration,
    /// The smallest interval that the path takes: raised by each 422.
    min_se: Duration,
    running: Option<Running>,
}

impl SessionTimer {
    /// No session yet.
    pub fn new(terms: &Terms) -> Self {
        let wanted = terms.session_expires.max(MIN_SE);
        Self { policy: terms.session_timer, wanted, min_se: MIN_SE, running: None }
    }

    /// Whether a request asks for less than we take: it gets 422 with [`MIN_SE`] (RFC 4028 9). A peer without the
    /// extension could not make anything of that.
    pub fn is_too_brief(&self, headers: &Headers) -> bool {
        self.policy != SessionTimerPolicy::Off
            && headers.lists(&HeaderName::Supported, "timer")
            && session_expires(headers).is_some_and(|(expires, _)| expires < MIN_SE)
    }

    /// Adds what an INVITE or UPDATE of ours says (7.1, 7.4).
    pub fn ask(&self, headers: &mut Headers) {
        let asked = match (self.policy, self.running) {
            (SessionTimerPolicy::Off, _) | (SessionTimerPolicy::Accept, None) => None,
            (SessionTimerPolicy::Require, None) => Some((self.wanted, None)),
            (SessionTimerPolicy::Accept | SessionTimerPolicy::Require, Some(running)) => {
                let refresher = if running.we_refresh { Refresher::Uac } else { Refresher::Uas };
                Some((running.expires, Some(refresher)))
            }
        };
        if let Some((expires, refresher)) = asked {
            headers.push(HeaderName::SessionExpires, value(expires.max(self.min_se), refresher));
        }
        if self.min_se > MIN_SE && self.policy != SessionTimerPolicy::Off {
            headers.push(HeaderName::MinSe, self.min_se.as_secs().to_string());
        }
    }

    /// A 422 came: whether asking again with what it names could do (7.3).
    pub fn raise(&mut self, headers: &Headers) -> bool {
        let named = headers.get(&HeaderName::MinSe).and_then(|value| seconds(value.split(';').next()?));
        let raised = named.filter(|named| *named > self.min_se);
        if let Some(min_se) = raised {
            self.min_se = min_se;
        }
        raised.is_some()
    }

    /// A 2xx came to our INVITE or UPDATE (7.2).
    pub fn heard_answer(&mut self, response: &Response) {
        self.running = match (self.policy, session_expires(&response.headers)) {
            (SessionTimerPolicy::Off, _) | (SessionTimerPolicy::Accept, None) => None,
            (SessionTimerPolicy::Accept | SessionTimerPolicy::Require, Some((expires, refresher))) => {
                Some(Running { expires: expires.max(MIN_SE), we_refresh: refresher != Some(Refresher::Uas) })
            }
            // The peer has no timers: we alone keep the session alive.
            (SessionTimerPolicy::Require, None) => {
                Some(Running { expires: self.wanted.max(self.min_se), we_refresh: true })
            }
        };
    }

    /// Settles what the peer's INVITE or UPDATE asks for, and adds it to our 2xx (9).
    pub fn answer(&mut self, request: &Request, response: &mut Response) {
        let headers = &request.headers;
        let peer_can = headers.lists(&HeaderName::Supported, "timer") || headers.lists(&HeaderName::Require, "timer");
        let asked = session_expires(headers);
        let settled = match (self.policy, asked) {
            (SessionTimerPolicy::Off, _) | (SessionTimerPolicy::Accept, None) => None,
            (SessionTimerPolicy::Accept | SessionTimerPolicy::Require, Some((expires, refresher))) => {
                let floor = headers.get(&HeaderName::MinSe).and_then(|value| seconds(value.split(';').next()?));
                let floor = floor.unwrap_or(MIN_SE).max(MIN_SE);
                let ours = self.wanted.max(floor);
                Some((expires.clamp(MIN_SE, ours.max(MIN_SE)), refresher))
            }
            (SessionTimerPolicy::Require, None) => Some((self.wanted, None)),
        };
        self.running = settled.map(|(expires, refresher)| {
            let refresher = match refresher {
                Some(refresher) if peer_can => refresher,
                None if peer_can => Refresher::Uac,
                Some(_) | None => Refresher::Uas,
            };
            response.headers.push(HeaderName::SessionExpires, value(expires, Some(refresher)));
            if refresher == Refresher::Uac {
                response.headers.push(HeaderName::Require, "timer");
            }
            Running { expires, we_refresh: refresher == Refresher::Uas }
        });
    }

    /// The delays that begin now; `None` for a session that lives for ever.
    pub fn delays(&self) -> Option<Delays> {
        self.running.map(|Running { expires, we_refresh }| Delays {
            refresh: we_refresh.then(|| expires / 2),
            bye: expires.saturating_sub(BYE_BEFORE_END_MAX.min(expires / 3)),
        })
    }
}

fn value(expires: Duration, refresher: Option<Refresher>) -> String {
    let refresher = refresher.map(|refresher| format!(";refresher={}", refresher.word())).unwrap_or_default();
    format!("{}{refresher}", expires.as_secs())
}

fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse::<u32>().ok().map(|seconds| Duration::from_secs(u64::from(seconds)))
}

/// Session-Expires: the interval, and who refreshes. What cannot be read counts as absent.
fn session_expires(headers: &Headers) -> Option<(Duration, Option<Refresher>)> {
    let text = headers.get(&HeaderName::SessionExpires)?;
    let (interval, params) = text.split_at_checked(text.find(';').unwrap_or(text.len()))?;
    let params = Params::parse_header(params).unwrap_or_default();
    let refresher = params.value("refresher").and_then(|word| {
        [Refresher::Uac, Refresher::Uas].into_iter().find(|refresher| refresher.word().eq_ignore_ascii_case(word))
    });
    Some((seconds(interval)?, refresher))
}
