//! RTP and RTCP (RFC 3550), telephone events (RFC 4733). Pure.

pub mod packet;
pub mod receive_stream;
pub mod rtcp;
pub mod send_stream;
pub mod seq;
pub mod telephone_event;
