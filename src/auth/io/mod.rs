//! The shells of authentication: the directory, the audit log's trait, the desk that all logins pass.

pub mod audit;
pub mod desk;
pub mod directory;
pub mod ldap;
