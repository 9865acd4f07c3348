//! Dialogs and the INVITE usage (RFC 3261 12 to 15).
//!
//! [`OutboundInvite`] is our INVITE until its final response; [`InviteUsage`] is an inbound INVITE from its arrival,
//! or one early dialog of an outbound one from its first response, until BYE is done with. Both build requests without
//! Via: branch and transport are the user agent's.

pub mod id;
pub mod invite_usage;
pub mod outbound_invite;
pub mod refer;
pub mod reliable;
pub mod session_timer;
pub mod state;
pub mod terms;
pub mod usage;

pub use id::DialogId;
pub use invite_usage::InviteUsage;
pub use outbound_invite::OutboundInvite;
pub use state::Dialog;
pub use terms::Terms;
