//! The worker's shell: its thread, its sockets, its ports, and the ring to the recorder.

pub mod ports;
pub mod recorder_ring;
pub mod thread;
mod turn;
pub mod udp;
