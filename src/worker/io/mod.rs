//! The worker's shell: its thread, its sockets, its ports, and the ring to the recorder.

pub mod config;
pub mod partners;
pub mod ports;
pub mod recorder_ring;
pub mod thread;
mod turn;
pub mod udp;

pub use config::Config;
pub use partners::Partners;
pub use partners::partners;
pub use recorder_ring::TapConsumer;
pub use recorder_ring::TapProducer;
pub use recorder_ring::ring;
pub use thread::Full;
pub use thread::SpawnError;
pub use thread::WorkerHandle;
pub use thread::WorkerThread;
pub use thread::spawn;
pub use turn::Outlets;

#[cfg(test)]
mod tests;
