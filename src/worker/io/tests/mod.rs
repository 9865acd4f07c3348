//! A real worker thread on loopback, a browser that is not ours, and a trunk that is a plain socket.

#[cfg(feature = "demo")]
mod call;
mod isolation;
#[cfg(feature = "demo")]
mod joined;
#[cfg(feature = "demo")]
mod rig;
#[cfg(feature = "demo")]
mod tone;
