//! RTP and RTCP (RFC 3550), telephone events (RFC 4733). Pure.

pub mod telephone_event;
