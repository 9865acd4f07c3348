//! The shells of recording: threads, files, the object store, the catalogue's trait.

pub mod catalog;
pub mod disk;
pub mod export;
pub mod indexer;
pub mod journal;
pub mod keys;
pub mod object_store;
pub mod recover;
pub mod spool;
pub mod thread;
pub mod zip;

#[cfg(test)]
pub(crate) mod catalog_double;
