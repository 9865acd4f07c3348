//! Integration tests against real servers, one binary: see the modules.

#![cfg(test)]

mod calls;
mod servers;
