//! The shells of recording: threads, files, the object store, the catalogue's trait.

pub mod catalog;
