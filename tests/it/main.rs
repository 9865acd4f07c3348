//! Integration tests against real servers, one binary: see the modules.

#![cfg(test)]

mod api;
mod auth;
mod calls;
mod http;
mod playback;
mod servers;
mod store;
