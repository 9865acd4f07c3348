//! One request of the PBX under way: its retransmissions, and whether it was answered.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::sim::peer::{PATIENCE, T1, T2};
use crate::sip::StatusCode;
use crate::sip::message::{Method, Request};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Asked {
    request: Request,
    branch: String,
    is_first_invite: bool,
    bytes: Bytes,
    next_at: Option<Instant>,
    interval: Duration,
    until: Instant,
    proceeding: bool,
    answered: Option<StatusCode>,
}

impl Asked {
    pub(super) fn new(request: Request, branch: String, is_first_invite: bool, now: Instant) -> Self {
        Self {
            bytes: request.to_bytes(),
            request,
            branch,
            is_first_invite,
            next_at: Some(now + T1),
            interval: T1,
            until: now + PATIENCE,
            proceeding: false,
            answered: None,
        }
    }

    pub(super) const fn request(&self) -> &Request {
        &self.request
    }

    pub(super) const fn method(&self) -> &Method {
        &self.request.method
    }

    pub(super) const fn is_first_invite(&self) -> bool {
        self.is_first_invite
    }

    pub(super) const fn is_answered(&self) -> bool {
        self.answered.is_some()
    }

    /// Whether it waits for its final response.
    pub(super) fn is_open(&self) -> bool {
        self.answered.is_none()
    }

    /// Whether a provisional response came: only then may a CANCEL go out (RFC 3261 9.1).
    pub(super) const fn is_proceeding(&self) -> bool {
        self.proceeding
    }

    pub(super) fn is_it(&self, branch: &str, method: &Method) -> bool {
        self.branch == branch && self.request.method == *method
    }

    /// A response came. Whether it is the first final one.
    pub(super) fn hear(&mut self, status: StatusCode, now: Instant) -> bool {
        if status.is_provisional() {
            self.proceeding = true;
            if self.request.method == Method::Invite {
                // As long as it rings: only the caller's patience ends it.
                self.next_at = None;
                self.until = now + 20 * PATIENCE;
            }
            return false;
        }
        self.next_at = None;
        self.until = now + PATIENCE;
        self.answered.replace(status).is_none()
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.next_at.map_or(Some(self.until), |at| Some(at.min(self.until)))
    }

    /// The datagram that is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<Bytes> {
        self.next_at.filter(|at| *at <= now && now < self.until)?;
        let longest = if self.request.method == Method::Invite { PATIENCE } else { T2 };
        self.interval = if self.proceeding { T2 } else { (self.interval * 2).min(longest) };
        self.next_at = Some(now + self.interval);
        Some(self.bytes.clone())
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.until <= now
    }
}
