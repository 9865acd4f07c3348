//! Media between two legs: pipelines, directions, the tap. Pure; knows neither sockets nor recordings.

pub mod hold_music;
pub mod pipeline;
pub mod quality;
pub mod tap;
pub mod vocabulary;

mod outputs;
mod packetizer;
mod reports;
mod ringback;
mod source_clock;
mod to_agent;
mod to_trunk;

#[cfg(test)]
pub(crate) mod tests;
