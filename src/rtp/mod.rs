//! RTP and RTCP (RFC 3550), telephone events (RFC 4733), SRTP (RFC 3711). Pure.

pub mod packet;
pub mod receive_stream;
pub mod rtcp;
pub mod send_stream;
pub mod seq;
pub mod srtp;
pub mod telephone_event;
