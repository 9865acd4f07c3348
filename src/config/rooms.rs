//! What each room makes of the file.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;

use crate::auth::Role;
use crate::auth::io::desk::DeskConfig;
use crate::auth::io::ldap::LdapBind;
use crate::auth::io::ldap::LdapConfig;
use crate::auth::lockout::LockoutConfig;
use crate::auth::role::RoleMap;
use crate::call::TrunkPolicy;
use crate::codec::TrunkCodec;
use crate::config;
use crate::config::Config;
use crate::config::Http;
use crate::config::addresses::check_shown;
use crate::config::agents;
use crate::config::error::ConfigError;
use crate::config::error::Source;
use crate::config::internal;
use crate::config::media;
use crate::config::raw;
use crate::config::secret;
use crate::config::trunk;
use crate::ids::Extension;
use crate::ids::TrunkName;
use crate::recording::io::disk::Watermarks;
use crate::recording::io::thread::RecordingConfig;
use crate::routing::DialPlan;
use crate::routing::DialRule;
use crate::routing::Emergency;
use crate::telemetry;

/// Packet times that a trunk may ask for, in milliseconds.
const PTIMES_MS: [u8; 5] = [10, 20, 30, 40, 60];

/// Makes the rooms' configurations. Paths in the file are seen from the file's folder.
pub(super) fn build(file: raw::File, source: &Source) -> Result<Config, ConfigError> {
    let folder = source.path.parent().unwrap_or(Path::new("")).to_owned();
    let call = call(&file, source)?;
    let mut trunks = Vec::new();
    for trunk in &file.trunk {
        trunks.push(trunk::user_agent_trunk(trunk, file.sip.advertised.clone(), source, &folder)?);
    }
    trunks.extend(internal::user_agent_trunk(&file.agents));
    Ok(Config {
        node_name: file.node.name.clone(),
        drain_timeout: file.node.drain_timeout.0,
        log: log(&file.log),
        sip: config::sip::listen(&file, source, &folder)?,
        trunks,
        workers: workers(&file.media, source)?,
        worker: worker(&file.media, source)?,
        http: http(file.http.plain, &file.http, &folder)?,
        signaling: signaling(&file.http, &file.agents, &call),
        desk: desk(&file.login),
        login_secret_file: file.login.secret_file.map(|path| secret::beside(&folder, path)),
        ldap: ldap(file.ldap, source, &folder)?,
        database_url: secret::required(
            "database.url",
            file.database.url,
            file.database.url_file.map(|path| secret::beside(&folder, path)).as_deref(),
        )?,
        database_owner_url: secret::optional(
            "database.owner_url",
            file.database.owner_url,
            file.database.owner_url_file.map(|path| secret::beside(&folder, path)).as_deref(),
        )?,
        recording: recording(&file.recording, &file.vault, &folder, source)?,
        vault_private_key_file: file.vault.private_key_file.map(|path| secret::beside(&folder, path)),
        call,
    })
}

fn log(log: &raw::Log) -> telemetry::init::Config {
    let format = match log.format {
        raw::LogFormat::Text => telemetry::init::Format::Text,
        raw::LogFormat::Json => telemetry::init::Format::Json,
    };
    telemetry::init::Config { level: log.level.clone(), format }
}

pub(super) fn call(file: &raw::File, source: &Source) -> Result<crate::call::Config, ConfigError> {
    let mut trunks = BTreeMap::new();
    for trunk in &file.trunk {
        internal::check_name(trunk, source)?;
        let name = TrunkName::new(trunk.name.get_ref().as_str());
        if trunks.insert(name, trunk_policy(trunk, source)?).is_some() {
            let message = format!("another trunk is named {:?}; expected a name of its own", trunk.name.get_ref());
            return Err(source.wrong(trunk.name.span(), message));
        }
    }
    let rules = file.dial.rule.iter().map(|rule| dial_rule(rule, &trunks, source)).collect::<Result<_, _>>()?;
    let extensions = file.dial.extensions.iter().map(|block| block.0.clone()).collect();
    let emergency = emergency(file, source)?;
    let agents = &file.agents;
    let groups = agents::groups(&file.group, source)?;
    let internal = agents::internal_trunks(agents, &file.trunk, source)?;
    // After the dial rules: no number outside leads to ourselves.
    trunks.extend(internal::policy(agents).map(|policy| (internal::name(), policy)));
    Ok(crate::call::Config {
        dial_plan: DialPlan { extensions, rules, emergency },
        trunks,
        no_answer: agents.no_answer.0,
        unavailable_after_no_answer: agents.unavailable_after_no_answer,
        dial_timeout: agents.dial_timeout.0,
        device_timeout: agents.device_timeout.0,
        transport_timeout: agents.transport_timeout.0,
        call_waiting: agents.call_waiting,
        lines_max: agents::lines_max(&agents.lines_max, source)?,
        lines_max_of: agents.lines_max_of.iter().map(|(who, max)| (Extension::new(who.as_str()), *max)).collect(),
        groups,
        internal_trunk: internal.internal,
        returning_trunk: internal.returning,
        transfer_timeout: agents.transfer_timeout.0,
        calls_max: file.media.calls_max,
        ..crate::call::Config::default()
    })
}

fn trunk_policy(trunk: &raw::Trunk, source: &Source) -> Result<TrunkPolicy, ConfigError> {
    let codecs: Vec<TrunkCodec> = trunk
        .codecs
        .get_ref()
        .iter()
        .map(|codec| match codec {
            raw::Codec::Pcmu => TrunkCodec::Pcmu,
            raw::Codec::Pcma => TrunkCodec::Pcma,
        })
        .collect();
    if codecs.is_empty() {
        return Err(source.wrong(trunk.codecs.span(), "expected at least one codec".to_owned()));
    }
    let ptime_ms = u8::try_from(trunk.ptime.get_ref().0.as_millis()).unwrap_or(0);
    if !PTIMES_MS.contains(&ptime_ms) {
        return Err(source.wrong(trunk.ptime.span(), "expected 10ms, 20ms, 30ms, 40ms or 60ms".to_owned()));
    }
    let media_address = *trunk.media_bind.get_ref();
    let shown = trunk.media_advertised.is_some();
    check_shown(media_address, trunk.media_bind.span(), shown, "media_advertised", source)?;
    let media_advertised = trunk.media_advertised.unwrap_or(media_address);
    let (transfer, records_after_transfer) = agents::transfer(trunk, source)?;
    let (hold_style, dtmf) = agents::styles(trunk);
    let (srtp, media_source) = (media::srtp(trunk, source)?, media::media_source(trunk, source)?);
    Ok(TrunkPolicy {
        media_address,
        media_advertised,
        codecs,
        ptime_ms,
        recording: media::obligation(trunk.recording),
        srtp,
        media_source,
        hold_style,
        dtmf,
        transfer,
        records_after_transfer,
    })
}

fn dial_rule(
    rule: &raw::DialRule,
    trunks: &BTreeMap<TrunkName, TrunkPolicy>,
    source: &Source,
) -> Result<DialRule, ConfigError> {
    let trunk = TrunkName::new(rule.trunk.get_ref().as_str());
    if !trunks.contains_key(&trunk) {
        let message = format!("no trunk is named {:?}; expected the name of a [[trunk]]", rule.trunk.get_ref());
        return Err(source.wrong(rule.trunk.span(), message));
    }
    Ok(DialRule {
        prefix: rule.prefix.clone(),
        digits_min: *rule.digits.0.start(),
        digits_max: *rule.digits.0.end(),
        trunk,
        strip: rule.strip,
        prepend: rule.prepend.clone(),
    })
}

/// Emergency numbers, and the trunks that they leave by: the site's first, then every other in the file's order.
fn emergency(file: &raw::File, source: &Source) -> Result<Emergency, ConfigError> {
    for number in &file.dial.emergency {
        let is_number = !number.get_ref().is_empty() && number.get_ref().bytes().all(|byte| byte.is_ascii_digit());
        if !is_number {
            return Err(source.wrong(number.span(), "expected a number of digits alone, such as \"112\"".to_owned()));
        }
    }
    let mut trunks: Vec<TrunkName> =
        file.trunk.iter().map(|trunk| TrunkName::new(trunk.name.get_ref().as_str())).collect();
    if let Some(first) = &file.dial.emergency_trunk {
        let name = TrunkName::new(first.get_ref().as_str());
        let Some(at) = trunks.iter().position(|trunk| *trunk == name) else {
            let message = format!("no trunk is named {:?}; expected the name of a [[trunk]]", first.get_ref());
            return Err(source.wrong(first.span(), message));
        };
        let name = trunks.remove(at);
        trunks.insert(0, name);
    }
    let numbers = file.dial.emergency.iter().map(|number| number.get_ref().clone()).collect();
    let refused = file.dial.emergency_calls == raw::EmergencyCalls::Refuse;
    Ok(Emergency { numbers, outside_prefix: file.dial.outside_prefix.clone(), trunks, refused })
}

fn workers(media: &raw::Media, source: &Source) -> Result<Option<usize>, ConfigError> {
    match &media.workers {
        Some(workers) if *workers.get_ref() == 0 => {
            Err(source.wrong(workers.span(), "expected at least one worker".to_owned()))
        }
        Some(workers) => Ok(Some(*workers.get_ref())),
        None => Ok(None),
    }
}

fn http(plain: Option<std::net::SocketAddr>, http: &raw::Http, folder: &Path) -> Result<Http, ConfigError> {
    let beside = |path: &std::path::PathBuf| secret::beside(folder, path.clone());
    let tls = match (http.tls, &http.certificate_file, &http.key_file) {
        (None, _, _) => None,
        (Some(address), Some(certificate), Some(key)) => Some((address, beside(certificate), beside(key))),
        (Some(_), _, _) => {
            let message = "needs http.certificate_file and http.key_file".to_owned();
            return Err(ConfigError::Unusable { key: "http.tls", message });
        }
    };
    if plain.is_none() && tls.is_none() {
        let message = "nothing listens; expected http.plain, http.tls or both".to_owned();
        return Err(ConfigError::Unusable { key: "http", message });
    }
    Ok(Http { plain, tls })
}

pub(super) fn signaling(
    http: &raw::Http,
    agents: &raw::Agents,
    call: &crate::call::Config,
) -> crate::signaling::Config {
    let defaults = crate::signaling::Config::default();
    crate::signaling::Config {
        origins: http.origins.iter().cloned().collect(),
        allow_no_origin: http.allow_no_origin,
        resume_grace: agents.resume.0,
        calls_max: defaults.calls_max.max(call.lines_max + 1),
        // The call room counts lines and lets emergency calls pass; this bound is above any number of lines.
        calls_max_of: above_lines(call, defaults.calls_max),
        messages_per_second: http.messages_per_second.unwrap_or(defaults.messages_per_second),
        emergency_calls: !call.dial_plan.emergency.refused,
        ..defaults
    }
}

fn above_lines(call: &crate::call::Config, at_least: usize) -> BTreeMap<Extension, usize> {
    call.lines_max_of.iter().map(|(who, lines)| (who.clone(), at_least.max(lines + 1))).collect()
}

fn desk(login: &raw::Login) -> DeskConfig {
    DeskConfig {
        session_lifetime: login.session.0,
        signaling_lifetime: login.token.0,
        lockout: LockoutConfig {
            failures_max: login.failures_max,
            reserved: login.failures_reserved,
            window: login.failures_window.0,
        },
        ..DeskConfig::default()
    }
}

fn ldap(ldap: raw::Ldap, source: &Source, folder: &Path) -> Result<LdapConfig, ConfigError> {
    let known = |server: &&String| server.starts_with("ldap://") || server.starts_with("ldaps://");
    if ldap.servers.get_ref().is_empty() || !ldap.servers.get_ref().iter().all(|server| known(&server)) {
        let message = "expected at least one server, each as \"ldap://HOST:PORT\" or \"ldaps://HOST:PORT\"".to_owned();
        return Err(source.wrong(ldap.servers.span(), message));
    }
    let password_file = ldap.bind_password_file.map(|path| secret::beside(folder, path));
    let password = secret::required("ldap.bind_password", ldap.bind_password, password_file.as_deref())?;
    let defaults = LdapConfig::default();
    Ok(LdapConfig {
        servers: ldap.servers.into_inner(),
        ca_file: ldap.ca_file.map_or(defaults.ca_file, |path| secret::beside(folder, path)),
        insecure_plain: ldap.insecure_plain,
        timeout: ldap.timeout.0,
        bind: LdapBind::Service { dn: ldap.bind_dn, password },
        user_base: ldap.user_base,
        user_filter: ldap.user_filter,
        group_base: ldap.group_base,
        group_filter: ldap.group_filter,
        user_attribute: ldap.user_attribute,
        name_attribute: ldap.name_attribute,
        extension_attribute: ldap.extension_attribute,
        number_attribute: ldap.number_attribute,
        roles: roles(&ldap.groups),
    })
}

fn roles(groups: &raw::Groups) -> RoleMap {
    let borne = [
        (&groups.agent, Role::Agent),
        (&groups.supervisor, Role::Supervisor),
        (&groups.compliance, Role::Compliance),
        (&groups.approver, Role::Approver),
        (&groups.auditor, Role::Auditor),
        (&groups.operator, Role::Operator),
    ];
    RoleMap::new(borne.into_iter().flat_map(|(names, role)| names.iter().map(move |name| (name, role))))
}

fn worker(media: &raw::Media, source: &Source) -> Result<crate::worker::io::Config, ConfigError> {
    let browser_bind = *media.browser_bind.get_ref();
    let shown = !media.browser_advertised.is_empty();
    check_shown(browser_bind, media.browser_bind.span(), shown, "browser_advertised", source)?;
    Ok(crate::worker::io::Config {
        browser_bind: (browser_bind, media.browser_port).into(),
        browser_advertised: media.browser_advertised.clone(),
        trunk_ports: media.trunk_ports.0.clone(),
        rtp_timeout: media.rtp_timeout.0,
        calls_max: media.calls_max,
        hold_music: media::hold_music(media, source)?,
        ..crate::worker::io::Config::default()
    })
}

fn recording(
    recording: &raw::Recording,
    vault: &raw::Vault,
    folder: &Path,
    source: &Source,
) -> Result<RecordingConfig, ConfigError> {
    Ok(RecordingConfig {
        spool_dir: folder.join(&recording.spool_dir),
        store_dir: folder.join(&recording.store_dir),
        node_key_file: folder.join(&recording.node_key_file),
        recipient_files: vault.recipients.get_ref().iter().map(|file| folder.join(file)).collect(),
        watermarks: watermarks(recording, source)?,
    })
}

/// When the spool's disk is too full for a recording: for one that may be missed never later than for one that must be.
pub(super) fn watermarks(recording: &raw::Recording, source: &Source) -> Result<Watermarks, ConfigError> {
    let percent = |key: &Option<Spanned<u8>>, default: u8, limit: u8| match key {
        Some(key) if *key.get_ref() > limit => {
            let message = format!("{} is too much; expected a percentage from 0 to {limit}", key.get_ref());
            Err(source.wrong(key.span(), message))
        }
        Some(key) => Ok(*key.get_ref()),
        None => Ok(default.min(limit)),
    };
    let defaults = Watermarks::default();
    let refuse_percent = percent(&recording.refuse_at_percent, defaults.refuse_percent, 100)?;
    let shed_percent = percent(&recording.shed_at_percent, defaults.shed_percent, refuse_percent)?;
    Ok(Watermarks { shed_percent, refuse_percent })
}
