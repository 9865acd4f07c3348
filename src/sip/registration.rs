//! One line's registration (RFC 3261 10.2): REGISTER, refresh, 423, back-off, and its end.

use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use crate::sip::StatusCode;
use crate::timer::Timers;

/// First wait after a failure; doubled each time.
const BACKOFF_MIN: Duration = Duration::from_secs(30);
/// Longest wait after a failure.
const BACKOFF_MAX: Duration = Duration::from_mins(30);
/// Shortest expiry that we ask for or believe: a registrar that grants a second must not be asked every second.
const EXPIRES_MIN: Duration = Duration::from_secs(10);
/// Longest expiry that we ask for, even where a registrar wants more.
const EXPIRES_MAX: Duration = Duration::from_hours(24);

/// Timers of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LineTimer {
    /// Send REGISTER: the first, a refresh, or again after a failure.
    Register,
    /// The registrar forgets us.
    Expiry,
}

/// What happens to it. Authentication is done outside: a 401 that comes here is final.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Input {
    /// Begin, after a wait that spreads many lines over time.
    Start {
        /// The wait.
        after: Duration,
    },
    /// 2xx.
    Accepted {
        /// The expiry that the registrar granted our Contact; `None` where it does not say: what we asked for.
        granted: Option<Duration>,
        /// By chance, from 0 to 1: spreads the refreshes.
        chance: f64,
    },
    /// Any other final response, or none at all.
    Refused {
        /// 300–699; 408 for silence, 503 for a path that failed.
        status: StatusCode,
        /// Min-Expires of a 423.
        min_expires: Option<Duration>,
        /// Retry-After.
        retry_after: Option<Duration>,
        /// Whether another target waits to be tried.
        elsewhere: bool,
        /// By chance, from 0 to 1: spreads the next tries.
        chance: f64,
    },
    /// Take the registration away; nothing is sent afterwards.
    Stop,
}

/// What it wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Send REGISTER with this expiry; zero takes the binding away.
    Register {
        /// Whole seconds.
        expires: Duration,
    },
    /// The line came up or went down.
    Changed(State),
}

/// Whether calls reach the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// The registrar knows us.
    Registered,
    /// It does not, or not any more.
    Unregistered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing is on its way.
    Waiting,
    /// REGISTER was asked for.
    Registering,
    /// REGISTER with expiry 0 was asked for.
    Unregistering,
    /// Nothing will happen any more.
    Stopped,
}

/// The machine.
#[derive(Debug)]
pub struct Registration {
    phase: Phase,
    state: State,
    expires: Duration,
    failures: u32,
    timers: Timers<LineTimer>,
    output: VecDeque<Output>,
}

impl Registration {
    /// A line that asks for `expires`; it begins with [`Input::Start`].
    pub fn new(expires: Duration) -> Self {
        Self {
            phase: Phase::Waiting,
            state: State::Unregistered,
            expires: expires.clamp(EXPIRES_MIN, EXPIRES_MAX),
            failures: 0,
            timers: Timers::default(),
            output: VecDeque::new(),
        }
    }

    /// Whether calls reach it.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Whether it was stopped, and the registrar knows or will not hear.
    pub const fn is_stopped(&self) -> bool {
        matches!(self.phase, Phase::Stopped)
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Start { after } => self.timers.set(LineTimer::Register, now + after),
            Input::Accepted { granted, chance } => self.accepted(granted, chance, now),
            Input::Refused { status, min_expires, retry_after, elsewhere, chance } => {
                if self.refused(status, min_expires) {
                    let retry_after = retry_after.unwrap_or_default().min(EXPIRES_MAX);
                    let wait = Some(Duration::ZERO).filter(|_| elsewhere);
                    let wait = wait.unwrap_or_else(|| self.back_off(chance).max(retry_after));
                    self.timers.set(LineTimer::Register, now + wait);
                }
            }
            Input::Stop => self.stop(),
        }
    }

    fn accepted(&mut self, granted: Option<Duration>, chance: f64, now: Instant) {
        match self.phase {
            Phase::Registering => {}
            Phase::Unregistering => {
                self.phase = Phase::Stopped;
                return;
            }
            Phase::Waiting | Phase::Stopped => return,
        }
        self.phase = Phase::Waiting;
        self.failures = 0;
        let granted = granted.unwrap_or(self.expires).clamp(EXPIRES_MIN, EXPIRES_MAX);
        // Between half and nine tenths of the time: many lines spread, and a lost refresh can be repeated.
        self.timers.set(LineTimer::Register, now + granted.mul_f64(0.5 + 0.4 * chance.clamp(0.0, 1.0)));
        self.timers.set(LineTimer::Expiry, now + granted);
        self.change(State::Registered);
    }

    /// Whether the line has to wait before it tries again.
    fn refused(&mut self, status: StatusCode, min_expires: Option<Duration>) -> bool {
        match self.phase {
            Phase::Registering => self.phase = Phase::Waiting,
            Phase::Unregistering => {
                self.phase = Phase::Stopped;
                return false;
            }
            Phase::Waiting | Phase::Stopped => return false,
        }
        let wanted =
            min_expires.filter(|_| status == StatusCode::INTERVAL_TOO_BRIEF).map(|wanted| wanted.min(EXPIRES_MAX));
        if let Some(wanted) = wanted.filter(|wanted| *wanted > self.expires) {
            self.expires = wanted;
            self.register();
            return false;
        }
        // A registrar that says no has forgotten us; one that is silent may still remember.
        let is_no = status != StatusCode::REQUEST_TIMEOUT && status.as_u16() < 500;
        if is_no {
            self.timers.stop(LineTimer::Expiry);
            self.change(State::Unregistered);
        }
        true
    }

    /// 30 s, doubled with each failure up to 30 min, give or take a quarter.
    fn back_off(&mut self, chance: f64) -> Duration {
        let doubled = BACKOFF_MIN.saturating_mul(1 << self.failures.min(10)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        doubled.mul_f64(0.75 + 0.5 * chance.clamp(0.0, 1.0))
    }

    fn register(&mut self) {
        self.phase = Phase::Registering;
        self.output.push_back(Output::Register { expires: self.expires });
    }

    fn stop(&mut self) {
        self.timers.clear();
        // A REGISTER on its way may succeed yet: its binding is taken away as well.
        let may_be_known = self.state == State::Registered || self.phase == Phase::Registering;
        if may_be_known && !matches!(self.phase, Phase::Unregistering | Phase::Stopped) {
            self.phase = Phase::Unregistering;
            self.output.push_back(Output::Register { expires: Duration::ZERO });
        } else if self.phase == Phase::Waiting {
            self.phase = Phase::Stopped;
        }
        self.change(State::Unregistered);
    }

    fn change(&mut self, state: State) {
        if self.state != state {
            self.state = state;
            self.output.push_back(Output::Changed(state));
        }
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                LineTimer::Register if self.phase == Phase::Waiting => self.register(),
                LineTimer::Register => {}
                LineTimer::Expiry => self.change(State::Unregistered),
            }
        }
    }

    /// When to call [`Self::handle_timeout`], and for which timer.
    pub fn poll_timeout(&self) -> Option<(Instant, LineTimer)> {
        self.timers.next()
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    struct Bench {
        line: Registration,
        now: Instant,
    }

    impl Bench {
        fn new(expires: u64) -> Self {
            let mut bench = Self { line: Registration::new(Duration::from_secs(expires)), now: Clock::system().now() };
            bench.line.handle(Input::Start { after: Duration::from_secs(3) }, bench.now);
            bench
        }

        fn drain(&mut self) -> Vec<String> {
            let mut words = Vec::new();
            while let Some(output) = self.line.poll_output() {
                words.push(match output {
                    Output::Register { expires } => format!("register {}", expires.as_secs()),
                    Output::Changed(State::Registered) => "up".to_owned(),
                    Output::Changed(State::Unregistered) => "down".to_owned(),
                });
            }
            words
        }

        fn feed(&mut self, input: Input) -> Vec<String> {
            self.line.handle(input, self.now);
            self.drain()
        }

        /// Waits for the next timer: how many seconds, and what came of it.
        fn next(&mut self) -> (u64, Vec<String>) {
            let (at, _) = self.line.poll_timeout().unwrap();
            let waited = (at - self.now).as_secs();
            self.now = at;
            self.line.handle_timeout(at);
            (waited, self.drain())
        }

        fn refuse(&mut self, status: u16) -> Vec<String> {
            let status = StatusCode::new(status).unwrap();
            let refused =
                Input::Refused { status, min_expires: None, retry_after: None, elsewhere: false, chance: 0.5 };
            self.feed(refused)
        }
    }

    fn accepted(granted: Option<u64>, chance: f64) -> Input {
        Input::Accepted { granted: granted.map(Duration::from_secs), chance }
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_line_registers_and_refreshes_between_half_and_nine_tenths_of_what_was_granted() {
        let mut bench = Bench::new(3_600);
        assert_eq!(bench.next(), (3, words(&["register 3600"])));
        assert_eq!(bench.feed(accepted(Some(100), 0.0)), ["up"]);
        assert_eq!(bench.next(), (50, words(&["register 3600"])));
        assert!(bench.feed(accepted(Some(100), 1.0)).is_empty());
        assert_eq!(bench.next(), (90, words(&["register 3600"])));
    }

    #[test]
    fn a_423_is_tried_again_at_once_with_the_registrars_minimum() {
        let mut bench = Bench::new(60);
        bench.next();
        let status = StatusCode::INTERVAL_TOO_BRIEF;
        let min_expires = Some(Duration::from_mins(30));
        let refused = Input::Refused { status, min_expires, retry_after: None, elsewhere: false, chance: 0.5 };
        assert_eq!(bench.feed(refused), ["register 1800"]);
        assert!(bench.feed(refused).is_empty(), "the same minimum again makes no loop");
        assert_eq!(bench.next().0, 30);
    }

    #[test]
    fn failures_wait_30_s_doubled_up_to_30_min() {
        let mut bench = Bench::new(3_600);
        let mut waits = Vec::new();
        bench.next();
        for _ in 0..9 {
            bench.refuse(503);
            let (waited, wish) = bench.next();
            assert_eq!(wish, ["register 3600"]);
            waits.push(waited);
        }
        assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1_800, 1_800, 1_800]);
        bench.feed(accepted(None, 0.0));
        bench.next();
        bench.refuse(503);
        assert_eq!(bench.next().0, 30, "a success begins anew");
    }

    #[test]
    fn retry_after_is_honoured_and_another_target_is_tried_at_once() {
        let mut bench = Bench::new(3_600);
        bench.next();
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let retry_after = Some(Duration::from_mins(5));
        bench.feed(Input::Refused { status, min_expires: None, retry_after, elsewhere: false, chance: 0.5 });
        assert_eq!(bench.next().0, 300);
        bench.feed(Input::Refused { status, min_expires: None, retry_after, elsewhere: true, chance: 0.5 });
        assert_eq!(bench.next().0, 0);
        let retry_after = Some(Duration::ZERO);
        bench.feed(Input::Refused { status, min_expires: None, retry_after, elsewhere: false, chance: 0.5 });
        assert_eq!(bench.next().0, 60, "a Retry-After of nothing is no invitation to a flood");
    }

    #[test]
    fn a_registrar_that_falls_silent_is_believed_until_the_expiry() {
        let mut bench = Bench::new(3_600);
        bench.next();
        bench.feed(accepted(Some(60), 0.0));
        bench.next();
        assert!(bench.refuse(408).is_empty());
        // 30 s later the expiry and the next try fall together.
        assert_eq!(bench.next(), (30, words(&["register 3600", "down"])));
    }

    #[test]
    fn a_refusal_takes_the_line_down() {
        let mut bench = Bench::new(3_600);
        bench.next();
        bench.feed(accepted(Some(60), 0.0));
        bench.next();
        assert_eq!(bench.refuse(403), ["down"]);
    }

    #[test]
    fn a_stopped_line_takes_its_binding_away_and_is_silent() {
        let mut bench = Bench::new(3_600);
        bench.next();
        bench.feed(accepted(None, 0.0));
        assert_eq!(bench.feed(Input::Stop), ["register 0", "down"]);
        assert!(!bench.line.is_stopped());
        assert!(bench.feed(accepted(None, 0.0)).is_empty());
        assert!(bench.line.is_stopped() && bench.line.poll_timeout().is_none());
        let mut never = Bench::new(3_600);
        assert!(never.feed(Input::Stop).is_empty());
        assert!(never.line.is_stopped());
    }
}
