//! Integration tests against real servers, one binary: see the modules.

#![cfg(test)]

mod api;
mod auth;
mod bridging;
mod calls;
mod emergency;
mod faults;
mod flows;
mod http;
mod internal;
mod kamailio;
mod playback;
mod qualify;
mod replaces;
mod servers;
mod site;
mod store;
mod traces;
mod trunks;
mod user_agents;
