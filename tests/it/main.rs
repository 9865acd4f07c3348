//! Integration tests against real servers, one binary: see the modules.

mod api;
mod auth;
mod calls;
mod http;
mod servers;
mod store;
