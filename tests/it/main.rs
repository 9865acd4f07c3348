//! Integration tests against real servers, one binary: see the modules.

mod calls;
mod servers;
