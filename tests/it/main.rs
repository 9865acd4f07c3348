//! Integration tests against real servers, one binary: see the modules.

mod servers;
