//! Where identities come from.

use std::fmt;

use async_trait::async_trait;
use secrecy::SecretString;

use crate::auth::Identity;
use crate::auth::user_name::UserName;

/// Judges a password and tells who it is.
#[async_trait]
pub trait Directory: Send + Sync + fmt::Debug {
    /// Answers within three seconds, whatever the directory does.
    async fn authenticate(&self, user: &UserName, password: &SecretString) -> Result<Identity, DirectoryError>;
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// No such user, or not this password. Which of the two is not told.
    #[error("the user name or the password is wrong")]
    InvalidCredentials,
    /// The password was not judged, or is right but the account may not log in now.
    #[error("the account may not log in")]
    Disabled,
    /// The directory cannot be asked now.
    #[error("the directory cannot be reached: {0}")]
    Unavailable(String),
    /// The directory answers, but not to what we are configured to ask.
    #[error("the directory is not set up as configured: {0}")]
    Misconfigured(String),
}
