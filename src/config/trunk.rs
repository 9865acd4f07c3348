//! What a `[[trunk]]` is to the user agent: where it is, its dialogs' terms, credentials, lines, numbers, caps, headers.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;

use crate::config::error::ConfigError;
use crate::config::error::Source;
use crate::config::raw;
use crate::config::secret;
use crate::config::sip;
use crate::config::value::Network;
use crate::ids::TrunkName;
use crate::limits;
use crate::sip::StatusCode;
use crate::sip::dialog::Terms;
use crate::sip::dialog::terms::MIN_SE;
use crate::sip::dialog::terms::ReliableProvisionals;
use crate::sip::dialog::terms::SessionTimerPolicy;
use crate::sip::digest::Credentials;
use crate::sip::digest::server::Guard;
use crate::sip::digest::server::UserSecret;
use crate::sip::message::Uri;
use crate::sip::quirk::Quirk;
use crate::sip::quirk::Quirks;
use crate::sip::user_agent;
use crate::sip::user_agent::Peering;
use crate::sip::user_agent::identity;
use crate::sip::user_agent::peering;

/// What the user agent is told of a trunk. Paths are seen from `folder`.
pub(super) fn user_agent_trunk(
    trunk: &raw::Trunk,
    advertised: Option<String>,
    source: &Source,
    folder: &Path,
) -> Result<user_agent::Trunk, ConfigError> {
    let network = |network: &Network| {
        let (address, prefix_len) = network.0;
        user_agent::Network { address, prefix_len }
    };
    Ok(user_agent::Trunk {
        name: TrunkName::new(trunk.name.get_ref().as_str()),
        networks: trunk.networks.iter().map(network).collect(),
        targets: sip::targets(trunk),
        domain: trunk.domain.clone(),
        advertised: trunk.advertised_sip.clone().or(advertised),
        bind: trunk.bind.as_ref().map(|bind| *bind.get_ref()),
        trusts_identity: trunk.trusts_identity,
        headers: Vec::new(),
        peering: peering(trunk, source, folder)?,
        terms: terms(trunk, source)?,
    })
}

/// What a trunk's dialogs may do. Session intervals are whole seconds on the wire.
fn terms(trunk: &raw::Trunk, source: &Source) -> Result<Terms, ConfigError> {
    let session_expires = trunk.session_expires.get_ref().0;
    if session_expires < MIN_SE || session_expires.subsec_nanos() != 0 {
        let message = "expected whole seconds, at least 90s (RFC 4028 4)".to_owned();
        return Err(source.wrong(trunk.session_expires.span(), message));
    }
    let reliable_provisionals = match trunk.reliable_provisionals {
        raw::ReliableProvisionals::Required => ReliableProvisionals::Required,
        raw::ReliableProvisionals::Offered => ReliableProvisionals::Offered,
    };
    let session_timer = match trunk.session_timer {
        raw::SessionTimer::Off => SessionTimerPolicy::Off,
        raw::SessionTimer::Accept => SessionTimerPolicy::Accept,
        raw::SessionTimer::Require => SessionTimerPolicy::Require,
    };
    Ok(Terms { reliable_provisionals, session_timer, session_expires, quirks: quirks(trunk, source)? })
}

/// The quirks that a trunk names.
fn quirks(trunk: &raw::Trunk, source: &Source) -> Result<Quirks, ConfigError> {
    let quirk = |name: &Spanned<String>| {
        Quirk::from_name(name.get_ref()).ok_or_else(|| {
            let known = Quirk::ALL.map(Quirk::name).join(", ");
            source.wrong(name.span(), format!("{:?} is no quirk; expected some of {known}", name.get_ref()))
        })
    };
    trunk.quirks.iter().map(quirk).collect()
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

fn user_secret(user: &raw::User, source: &Source, folder: &Path) -> Result<UserSecret, ConfigError> {
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

fn line(line: &raw::Line, trunk: &raw::Trunk, source: &Source, folder: &Path) -> Result<peering::Line, ConfigError> {
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

fn number_rule(rule: &raw::NumberRule) -> peering::NumberRule {
    peering::NumberRule {
        direction: match rule.direction {
            raw::Direction::In => peering::Direction::In,
            raw::Direction::Out => peering::Direction::Out,
        },
        number_of: match rule.of {
            raw::NumberOf::Caller => peering::NumberOf::Caller,
            raw::NumberOf::Called => peering::NumberOf::Called,
            raw::NumberOf::Both => peering::NumberOf::Both,
        },
        prefix: rule.prefix.clone(),
        digits_min: *rule.digits.0.start(),
        digits_max: *rule.digits.0.end(),
        strip: rule.strip,
        prepend: rule.prepend.clone(),
    }
}
