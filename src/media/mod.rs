//! Media between two legs: pipelines, directions, the tap. Pure; knows neither sockets nor recordings.

pub mod pipeline;
pub mod tap;
pub mod vocabulary;
