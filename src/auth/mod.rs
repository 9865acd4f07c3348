//! Who may do what: identities from the directory, roles, session tokens, the budget of binds.

pub mod io;
pub mod lockout;
pub mod revocation;
pub mod role;
pub mod session_token;
pub mod user_name;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::Extension;

/// A right-bearing role, from a directory group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Takes and places calls.
    Agent,
    /// Watches their department.
    Supervisor,
    /// Finds, hears, holds and exports recordings.
    Compliance,
    /// The second pair of eyes.
    Approver,
    /// Reads the audit log; hears nothing.
    Auditor,
    /// Keeps it running; hears nothing.
    Operator,
}

/// A person as the directory knows them, at the time of login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The user name, lower case.
    pub user: String,
    /// The name for people to read.
    pub display_name: String,
    /// Where an agent is reached.
    pub extension: Option<Extension>,
    /// The number shown to a trunk when this agent calls; the extension where absent.
    pub number: Option<String>,
    /// What they may do.
    pub roles: BTreeSet<Role>,
}

impl Identity {
    /// Whether this person has `role`.
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}
