//! `[[trunk]]`'s operator's part: credentials, lines, numbers, caps, headers.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use crate::config::error::ConfigError;
use crate::config::error::Source;
use crate::config::raw;
use crate::config::secret;
use crate::config::value::Digits;
use crate::config::value::Span;
use crate::limits;
use crate::sip::StatusCode;
use crate::sip::digest::Credentials;
use crate::sip::digest::server::Guard;
use crate::sip::digest::server::UserSecret;
use crate::sip::message::Uri;
use crate::sip::user_agent::Peering;
use crate::sip::user_agent::identity;
use crate::sip::user_agent::peering;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    aor: Spanned<String>,
    contact_user: Option<String>,
    extension: Option<String>,
    auth_user: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    #[serde(default = "yes")]
    register: bool,
    #[serde(default = "hour")]
    expires: Span,
}

const fn yes() -> bool {
    true
}

fn hour() -> Span {
    Span(std::time::Duration::from_hours(1))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    name: String,
    password: Option<String>,
    password_file: Option<PathBuf>,
    ha1: Option<Spanned<String>>,
    ha1_sha256: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Direction {
    In,
    Out,
}

#[derive(Debug, Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "snake_case")]
enum NumberOf {
    Caller,
    Called,
    #[default]
    Both,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NumberRule {
    direction: Direction,
    #[serde(default)]
    of: NumberOf,
    #[serde(default)]
    prefix: String,
    digits: Digits,
    #[serde(default)]
    strip: usize,
    #[serde(default)]
    prepend: String,
}

pub(super) fn thirty_seconds() -> Span {
    Span(std::time::Duration::from_secs(30))
}

pub(super) fn five_seconds() -> Span {
    Span(std::time::Duration::from_secs(5))
}

pub(super) const fn two() -> u32 {
    2
}

/// What the user agent is told of a trunk's operator.
pub(super) fn peering(trunk: &raw::Trunk, source: &Source, folder: &Path) -> Result<Peering, ConfigError> {
    let interval = trunk.options_interval.0;
    Ok(Peering {
        credentials: credentials(trunk, folder)?,
        guard: guard(trunk, source, folder)?,
        lines: lines(trunk, source, folder)?,
        options_interval: Some(interval).filter(|interval| !interval.is_zero()),
        options_misses: trunk.options_misses,
        failover_on: failover_on(&trunk.failover_on, source)?,
        calls_max: trunk.calls_max,
        calls_per_second: trunk.calls_per_second,
        busy_retry_after: trunk.retry_after.0,
        headers_in: crossing(&trunk.headers_in, source)?,
        headers_out: crossing(&trunk.headers_out, source)?,
        asserts_identity: trunk.asserted_identity,
        numbers: trunk.numbers.iter().map(number_rule).collect(),
    })
}

fn credentials(trunk: &raw::Trunk, folder: &Path) -> Result<Option<Credentials>, ConfigError> {
    let file = trunk.password_file.clone().map(|path| secret::beside(folder, path));
    let password = secret::optional("trunk.password", trunk.password.clone(), file.as_deref())?;
    match (trunk.username.clone(), password) {
        (Some(username), Some(password)) => Ok(Some(Credentials { username, password, realm: trunk.realm.clone() })),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => {
            let message = "expected username and password (or password_file) together, or neither".to_owned();
            Err(ConfigError::Unusable { key: "trunk.username", message })
        }
    }
}

fn guard(trunk: &raw::Trunk, source: &Source, folder: &Path) -> Result<Option<Guard>, ConfigError> {
    if !*trunk.challenge.get_ref() {
        return Ok(None);
    }
    if trunk.users.is_empty() {
        let message = "a challenge that nobody can answer; expected at least one [[trunk.users]]".to_owned();
        return Err(source.wrong(trunk.challenge.span(), message));
    }
    let mut users = BTreeMap::new();
    for user in &trunk.users {
        users.insert(user.name.clone(), user_secret(user, source, folder)?);
    }
    // A quoted string of ours without anything to escape.
    let realm: String = trunk.realm.clone().unwrap_or_else(|| "tandem".to_owned());
    if realm.contains(['"', '\\', '\r', '\n']) {
        let message = "expected a realm without quotes, backslashes and line ends".to_owned();
        return Err(source.wrong(trunk.challenge.span(), message));
    }
    Ok(Some(Guard { realm, users }))
}

fn user_secret(user: &User, source: &Source, folder: &Path) -> Result<UserSecret, ConfigError> {
    let file = user.password_file.clone().map(|path| secret::beside(folder, path));
    let password = secret::optional("trunk.users.password", user.password.clone(), file.as_deref())?;
    let hashed = |hash: &Spanned<String>, digits: usize| {
        let text = hash.get_ref().to_ascii_lowercase();
        if text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(secrecy::SecretString::from(text))
        } else {
            Err(source.wrong(hash.span(), format!("expected {digits} hexadecimal digits")))
        }
    };
    match (password, &user.ha1, &user.ha1_sha256) {
        (Some(password), None, None) => Ok(UserSecret::Password(password)),
        (None, Some(md5), sha256) => Ok(UserSecret::Hashed {
            md5: hashed(md5, 32)?,
            sha256: sha256.as_ref().map(|sha256| hashed(sha256, 64)).transpose()?,
        }),
        (None, None, _) | (Some(_), _, _) => {
            let message = format!("user {:?}: expected a password (or password_file), or ha1", user.name);
            Err(ConfigError::Unusable { key: "trunk.users", message })
        }
    }
}

fn lines(trunk: &raw::Trunk, source: &Source, folder: &Path) -> Result<Vec<peering::Line>, ConfigError> {
    let mut lines: Vec<peering::Line> = Vec::new();
    for raw in &trunk.line {
        let line = line(raw, trunk, source, folder)?;
        if lines.iter().any(|other| other.contact_user == line.contact_user || other.extension == line.extension) {
            let message = "another line has this contact_user or extension; expected one of its own".to_owned();
            return Err(source.wrong(raw.aor.span(), message));
        }
        lines.push(line);
    }
    if lines.len() > limits::SIP_LINES_MAX {
        let message = format!("expected at most {} lines", limits::SIP_LINES_MAX);
        return Err(ConfigError::Unusable { key: "trunk.line", message });
    }
    Ok(lines)
}

fn line(line: &Line, trunk: &raw::Trunk, source: &Source, folder: &Path) -> Result<peering::Line, ConfigError> {
    let wrong = || {
        source.wrong(line.aor.span(), "expected an address of record such as \"sip:2001@pbx.example.com\"".to_owned())
    };
    let aor = Uri::parse(line.aor.get_ref()).ok().filter(|aor| aor.as_sip().is_some()).ok_or_else(wrong)?;
    let user = aor.user_unescaped().filter(|user| !user.is_empty()).ok_or_else(wrong)?;
    let file = line.password_file.clone().map(|path| secret::beside(folder, path));
    let password = secret::optional("trunk.line.password", line.password.clone(), file.as_deref())?;
    let username = line.auth_user.clone().unwrap_or_else(|| user.clone());
    let contact_user = line.contact_user.clone().unwrap_or_else(|| user.clone());
    Ok(peering::Line {
        aor,
        extension: line.extension.clone().unwrap_or_else(|| contact_user.clone()),
        contact_user,
        credentials: password.map(|password| Credentials { username, password, realm: trunk.realm.clone() }),
        register: line.register,
        expires: line.expires.0,
    })
}

fn failover_on(codes: &Spanned<Vec<u16>>, source: &Source) -> Result<Vec<StatusCode>, ConfigError> {
    let wrong = || source.wrong(codes.span(), "expected 500, 502 and 504 at most: 503 always counts".to_owned());
    let status = |code: &u16| StatusCode::new(*code).filter(|_| [500, 502, 504].contains(code)).ok_or_else(wrong);
    codes.get_ref().iter().map(status).collect()
}

fn crossing(names: &Spanned<Vec<String>>, source: &Source) -> Result<Vec<String>, ConfigError> {
    if let Some(name) = names.get_ref().iter().find(|name| !identity::may_cross(name)) {
        let message = format!("{name:?} may not cross; expected header names that belong to no dialog, hop or login");
        return Err(source.wrong(names.span(), message));
    }
    if names.get_ref().len() > limits::SIP_PASSED_HEADERS_MAX {
        let message = format!("expected at most {} names", limits::SIP_PASSED_HEADERS_MAX);
        return Err(source.wrong(names.span(), message));
    }
    Ok(names.get_ref().clone())
}

fn number_rule(rule: &NumberRule) -> peering::NumberRule {
    peering::NumberRule {
        direction: match rule.direction {
            Direction::In => peering::Direction::In,
            Direction::Out => peering::Direction::Out,
        },
        number_of: match rule.of {
            NumberOf::Caller => peering::NumberOf::Caller,
            NumberOf::Called => peering::NumberOf::Called,
            NumberOf::Both => peering::NumberOf::Both,
        },
        prefix: rule.prefix.clone(),
        digits_min: *rule.digits.0.start(),
        digits_max: *rule.digits.0.end(),
        strip: rule.strip,
        prepend: rule.prepend.clone(),
    }
}
