//! Secrets, written as `x` or kept in a file named by `x_file`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use secrecy::SecretString;

use crate::config::error::ConfigError;

/// The secret of `key`, from the value or from the file. Exactly one of the two must be given.
pub(super) fn required(
    key: &'static str,
    value: Option<String>,
    file: Option<&Path>,
) -> Result<SecretString, ConfigError> {
    optional(key, value, file)?.ok_or_else(|| ConfigError::Unusable {
        key,
        message: format!("is missing; expected a value here, or a file in {key}_file"),
    })
}

/// As [`required`], where neither may be given.
pub(super) fn optional(
    key: &'static str,
    value: Option<String>,
    file: Option<&Path>,
) -> Result<Option<SecretString>, ConfigError> {
    match (value, file) {
        (Some(_), Some(_)) => {
            Err(ConfigError::Unusable { key, message: format!("is given twice: remove it or {key}_file") })
        }
        (Some(value), None) => Ok(Some(SecretString::from(value))),
        (None, Some(file)) => read(key, file).map(Some),
        (None, None) => Ok(None),
    }
}

/// Reads a secret file that nobody else may read. A line end at its end is not part of it.
fn read(key: &'static str, file: &Path) -> Result<SecretString, ConfigError> {
    let unusable = |message: String| ConfigError::Unusable { key, message };
    let text = std::fs::read_to_string(file)
        .map_err(|error| unusable(format!("the file {} cannot be read: {error}", file.display())))?;
    let metadata = std::fs::metadata(file)
        .map_err(|error| unusable(format!("the file {} cannot be looked at: {error}", file.display())))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(unusable(format!("the file {} may be read by others: chmod 600 it", file.display())));
    }
    Ok(SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// A path of the configuration, seen from the configuration file's folder.
pub(super) fn beside(folder: &Path, path: PathBuf) -> PathBuf {
    folder.join(path)
}
