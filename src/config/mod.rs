//! The configuration: read once, checked whole, and handed to each room as the room's own type.
//!
//! Rooms never import this; the composition root does.

mod addresses;
mod agents;
mod env;
mod error;
mod internal;
mod media;
mod raw;
mod raw_calls;
mod raw_trunk;
mod rooms;
mod secret;
mod sip;
mod trunk;
mod value;

use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

pub use error::ConfigError;

use error::Source;

/// Everything that the composition root needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of this node.
    pub node_name: String,
    /// How long a shutdown waits for calls.
    pub drain_timeout: Duration,
    /// Logs.
    pub log: crate::telemetry::init::Config,
    /// Where SIP listens.
    pub sip: SipListen,
    /// The user agent's trunks.
    pub trunks: Vec<crate::sip::user_agent::Trunk>,
    /// Calls.
    pub call: crate::call::Config,
    /// Worker threads; `None` is one a core.
    pub workers: Option<usize>,
    /// A worker's sockets; worker N adds N to the browser port.
    pub worker: crate::worker::io::Config,
    /// HTTP listeners.
    pub http: Http,
    /// Signalling.
    pub signaling: crate::signaling::Config,
    /// Sessions and the budget of binds.
    pub desk: crate::auth::io::desk::DeskConfig,
    /// Where the key of cookies and tokens is kept.
    pub login_secret_file: Option<PathBuf>,
    /// The directory.
    pub ldap: crate::auth::io::ldap::LdapConfig,
    /// PostgreSQL, as the gateway's account.
    pub database_url: SecretString,
    /// PostgreSQL, as the schema's owner; `database_url` where absent.
    pub database_owner_url: Option<SecretString>,
    /// The recorder.
    pub recording: crate::recording::io::thread::RecordingConfig,
    /// The vault's private key, where this node may play.
    pub vault_private_key_file: Option<PathBuf>,
}

impl Config {
    /// The trunks of the file: all but the one that leads back into this gateway.
    pub fn trunks_outside(&self) -> impl Iterator<Item = &crate::sip::user_agent::Trunk> {
        self.trunks.iter().filter(|trunk| !trunk.is_internal())
    }
}

/// Where SIP listens.
#[derive(Debug, Clone)]
pub struct SipListen {
    /// UDP; the first for every trunk, then one for each trunk with an interface of its own.
    pub udp: Vec<SocketAddr>,
    /// TCP, likewise.
    pub tcp: Vec<SocketAddr>,
    /// TLS, likewise.
    pub tls: Vec<SocketAddr>,
    /// Certificates and trust.
    pub tls_files: crate::sip::io::tls::Config,
    /// Between pings on idle connections of trunks; `None` sends none.
    pub keep_alive: Option<Duration>,
    /// Targets that are names, to be resolved.
    pub places: Vec<crate::sip::io::resolve::TrunkPlaces>,
    /// Whom to ask for names; the system's where empty.
    pub nameservers: Vec<SocketAddr>,
}

/// HTTP listeners.
#[derive(Debug, Clone)]
pub struct Http {
    /// Without TLS.
    pub plain: Option<SocketAddr>,
    /// With TLS: address, certificate chain, key (PEM).
    pub tls: Option<(SocketAddr, PathBuf, PathBuf)>,
}

/// Reads and checks the configuration in `path`, overruled by the environment.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let source = Source { path: path.to_owned(), text };
    let file = parse(&source, env::overrides(std::env::vars()))?;
    rooms::build(file, &source)
}

/// The file with the environment's overrides. Without any, every complaint names its place in the file.
fn parse(source: &Source, overrides: Vec<env::Override>) -> Result<raw::File, ConfigError> {
    let as_written = toml::from_str::<raw::File>(&source.text).map_err(|error| source.rejected(&error));
    if overrides.is_empty() {
        return as_written;
    }
    let mut table: toml::Table = source.text.parse().map_err(|error| source.rejected(&error))?;
    env::apply(overrides, &mut table)?;
    let merged = toml::to_string(&table)
        .map_err(|error| ConfigError::Environment { variable: "TANDEM__*".to_owned(), message: error.to_string() })?;
    // A fault that the file has by itself is shown there, in the words and the place that the engineer wrote.
    toml::from_str(&merged).map_err(|error| match as_written {
        Err(in_file) => in_file,
        Ok(_) => {
            ConfigError::Environment { variable: "TANDEM__*".to_owned(), message: error.message().replace('\n', "; ") }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../config/tandem.example.toml");

    fn source(text: &str) -> Source {
        Source { path: "tandem.toml".into(), text: text.to_owned() }
    }

    fn complaint(text: &str) -> String {
        let source = source(text);
        match parse(&source, Vec::new()).and_then(|file| rooms::build(file, &source)) {
            Ok(_) => panic!("it was taken"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_example_is_right() {
        parse(&source(EXAMPLE), Vec::new()).unwrap();
    }

    #[test]
    fn every_default_that_the_example_shows_is_taken() {
        // A line such as `# key = value` shows a default; other comments are prose.
        let is_key = |key: &str| key.chars().all(|c| c.is_ascii_lowercase() || "_\"0123456789".contains(c));
        let shows_key = |line: &&str| line.split_once(" = ").is_some_and(|(key, _)| is_key(key));
        let shown: Vec<&str> =
            EXAMPLE.lines().map(|line| line.strip_prefix("# ").filter(shows_key).unwrap_or(line)).collect();
        let shown = shown.join("\n");
        // `url` and `url_file` exclude each other when the secret is read, not when the file is.
        parse(&source(&shown), Vec::new()).unwrap();
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place() {
        let text = EXAMPLE.replace("udp = \"127.0.0.1:5060\"", "upd = \"127.0.0.1:5060\"");
        let complaint = complaint(&text);
        assert!(complaint.starts_with("tandem.toml:") && complaint.contains("unknown field `upd`"), "{complaint}");
    }

    #[test]
    fn required_recordings_are_not_refused_before_the_others() {
        let marks = |keys: &str| {
            let source = source(&EXAMPLE.replace("# shed_at_percent = 85\n# refuse_at_percent = 95", keys));
            rooms::watermarks(&parse(&source, Vec::new()).unwrap().recording, &source)
        };
        let taken = marks("refuse_at_percent = 60").unwrap();
        assert_eq!((taken.shed_percent, taken.refuse_percent), (60, 60));
        let complaint = marks("shed_at_percent = 90\nrefuse_at_percent = 80").unwrap_err().to_string();
        assert!(complaint.contains("expected a percentage from 0 to 80"), "{complaint}");
    }

    #[test]
    fn a_wrong_value_says_what_was_expected() {
        let text = EXAMPLE.replace("trunk_ports = \"20000-29999\"", "trunk_ports = \"29999\"");
        let complaint = complaint(&text);
        assert!(complaint.contains("\"29999\" is not a port range; expected such as"), "{complaint}");
    }

    #[test]
    fn a_rule_to_a_trunk_that_is_not_there_is_refused() {
        let text = EXAMPLE.replace("trunk = \"pbx\"", "trunk = \"carrier\"");
        let complaint = complaint(&text);
        assert!(complaint.contains("no trunk is named \"carrier\""), "{complaint}");
    }

    /// The example with more keys in its trunk.
    fn with_trunk_keys(keys: &str) -> String {
        EXAMPLE.replacen("\n[dial]", &format!("{keys}\n\n[dial]"), 1)
    }

    #[test]
    fn a_trunks_wrong_keys_say_what_was_expected() {
        let cases = [
            ("username = \"tandem\"", "expected username and password (or password_file) together"),
            ("challenge = true", "a challenge that nobody can answer"),
            ("challenge = true\nusers = [{ name = \"pbx\", ha1 = \"abc\" }]", "expected 32 hexadecimal digits"),
            ("challenge = true\nusers = [{ name = \"pbx\" }]", "expected a password (or password_file), or ha1"),
            ("line = [{ aor = \"2001\" }]", "expected an address of record such as"),
            ("line = [{ aor = \"sip:1@p\" }, { aor = \"sip:1@q\" }]", "another line has this contact_user"),
            ("failover_on = [404]", "expected 500, 502 and 504 at most"),
            ("headers_in = [\"Route\"]", "\"Route\" may not cross"),
            ("headers_out = [\"v\"]", "\"v\" may not cross"),
            (
                "quirks = [\"rport\"]",
                "\"rport\" is no quirk; expected some of force_rport, contact_from_source, no_100rel",
            ),
        ];
        for (keys, expected) in cases {
            let complaint = complaint(&with_trunk_keys(keys));
            assert!(complaint.contains(expected), "{keys}: {complaint}");
        }
    }

    #[test]
    fn a_trunks_keys_reach_the_user_agent() {
        let keys = "username = \"tandem\"\npassword = \"secret\"\nrealm = \"pbx\"\ncalls_max = 3\nfailover_on = [500]\n\
            line = [{ aor = \"sip:2001@pbx.example.com\", extension = \"1001\", password = \"x\" }]\n\
            numbers = [{ direction = \"in\", prefix = \"0\", digits = \"4-15\", strip = 1, prepend = \"+49\" }]\noptions_interval = \"0s\"";
        let source = source(&with_trunk_keys(keys));
        let file = parse(&source, Vec::new()).unwrap();
        let peering = trunk::peering(&file.trunk[0], &source, Path::new("")).unwrap();
        assert_eq!(peering.credentials.unwrap().username, "tandem");
        assert_eq!((peering.calls_max, peering.options_interval), (Some(3), None));
        let line = &peering.lines[0];
        assert_eq!((line.contact_user.as_str(), line.extension.as_str(), line.register), ("2001", "1001", true));
        assert_eq!(line.credentials.as_ref().unwrap().username, "2001");
        assert_eq!(peering.numbers[0].prepend, "+49");
    }

    #[test]
    fn the_lines_of_an_agent_leave_room_for_an_emergency_call() {
        let text = EXAMPLE.replacen("# \"1002\" = 250", "\"1001\" = 1\n\"1002\" = 250", 1);
        let source = source(&text);
        let file = parse(&source, Vec::new()).unwrap();
        let call = rooms::call(&file, &source).unwrap();
        let signaling = rooms::signaling(&file.http, &file.agents, &call);
        for (extension, lines) in [("1001", 1), ("1002", 250), ("1003", 2)] {
            let extension = crate::ids::Extension::new(extension);
            assert_eq!(call.lines_of(&extension), lines);
            assert!(signaling.calls_max_for(Some(&extension)) > lines, "{extension}");
        }
    }

    #[test]
    fn an_emergency_trunk_that_is_not_there_is_refused() {
        let text = EXAMPLE.replacen("# emergency_trunk = \"pbx\"", "emergency_trunk = \"site\"", 1);
        assert!(complaint(&text).contains("no trunk is named \"site\""));
        let text = EXAMPLE.replacen("# emergency = [\"112\"]", "emergency = [\"11a\"]", 1);
        assert!(complaint(&text).contains("expected a number of digits alone"));
    }

    #[test]
    fn a_site_that_refuses_emergency_calls_tells_its_phones() {
        for (word, refused) in [("route", false), ("refuse", true)] {
            let key = format!("emergency_calls = \"{word}\"");
            let source = source(&EXAMPLE.replacen("# emergency_calls = \"route\"", &key, 1));
            let file = parse(&source, Vec::new()).unwrap();
            let call = rooms::call(&file, &source).unwrap();
            assert_eq!(call.dial_plan.emergency.refused, refused);
            assert_eq!(rooms::signaling(&file.http, &file.agents, &call).emergency_calls, !refused);
        }
    }

    #[test]
    fn two_trunks_of_one_name_are_refused() {
        let (head, rest) = EXAMPLE.split_once("[dial]").unwrap();
        let (_, trunk) = head.split_once("[[trunk]]").unwrap();
        let complaint = complaint(&format!("{head}[[trunk]]{trunk}[dial]{rest}"));
        assert!(complaint.contains("another trunk is named \"pbx\""), "{complaint}");
    }

    #[test]
    fn a_wildcard_that_no_peer_can_be_told_is_refused() {
        for key in ["udp = \"", "media_bind = \"", "browser_bind = \""] {
            let (head, rest) = EXAMPLE.split_once(key).unwrap();
            let (address, rest) = rest.split_once('"').unwrap();
            let wildcard = if address.contains(':') { "0.0.0.0:5060" } else { "0.0.0.0" };
            let complaint = complaint(&format!("{head}{key}{wildcard}\"{rest}"));
            assert!(complaint.contains("0.0.0.0 cannot be told to a peer"), "{complaint}");
        }
    }

    fn trunk_of(keys: &str) -> raw::Trunk {
        parse(&source(&with_trunk_keys(keys)), Vec::new()).unwrap().trunk.remove(0)
    }

    #[test]
    fn keys_in_readable_signalling_are_refused_unless_it_is_said() {
        for mode in ["optional", "required"] {
            let complaint = complaint(&with_trunk_keys(&format!("srtp = \"{mode}\"")));
            assert!(complaint.contains("insecure_sdes = true"), "{complaint}");
        }
        let trunk = trunk_of("srtp = \"optional\"\ninsecure_sdes = true\ndowngrade = true");
        let policy = media::srtp(&trunk, &source("")).unwrap().unwrap();
        assert!(!policy.required && policy.downgrade);
        assert_eq!(policy.suites, crate::worker::SrtpSuite::ALL);
        assert_eq!(media::srtp(&trunk_of(""), &source("")).unwrap(), None);
    }

    #[test]
    fn a_downgrade_is_for_optional_srtp_only() {
        for keys in ["downgrade = true", "srtp = \"required\"\ninsecure_sdes = true\ndowngrade = true"] {
            let complaint = complaint(&with_trunk_keys(keys));
            assert!(complaint.contains("`downgrade` is for srtp = \"optional\" only"), "{complaint}");
        }
        let complaint = complaint(&with_trunk_keys("srtp = \"required\"\ninsecure_sdes = true\nsrtp_suites = []"));
        assert!(complaint.contains("expected at least one suite"), "{complaint}");
    }

    #[test]
    fn symmetric_media_needs_networks() {
        let complaint = complaint(&with_trunk_keys("media_source = \"symmetric\""));
        assert!(complaint.contains("`media_networks`"), "{complaint}");
        let trunk = trunk_of("media_source = \"symmetric\"\nmedia_networks = [\"192.0.2.0/24\"]");
        let crate::worker::MediaSource::Symmetric(networks) = media::media_source(&trunk, &source("")).unwrap() else {
            panic!("not symmetric")
        };
        assert!(networks[0].contains("192.0.2.9".parse().unwrap()));
    }

    #[test]
    fn hold_music_that_cannot_be_read_is_refused() {
        let complaint = complaint(&EXAMPLE.replace(
            "trunk_ports = \"20000-29999\"",
            "trunk_ports = \"20000-29999\"\nhold_music_file = \"Cargo.toml\"",
        ));
        assert!(complaint.contains("this is no WAV file"), "{complaint}");
    }

    #[test]
    fn a_recording_that_never_begins_cannot_go_on_after_a_transfer() {
        let trunk = "# record_after_transfer = \"stop\"";
        for (recording, is_refused) in [("never", true), ("best_effort", false)] {
            let keys = format!("record_after_transfer = \"continue\"\nrecording = \"{recording}\"");
            let source = source(&EXAMPLE.replacen(trunk, &keys, 1));
            let built = parse(&source, Vec::new()).and_then(|file| rooms::call(&file, &source));
            let refused = built.is_err_and(|error| error.to_string().contains("expected \"stop\""));
            assert_eq!(refused, is_refused, "{recording}");
        }
    }

    #[test]
    fn a_group_of_nobody_or_with_a_member_twice_is_refused() {
        for members in ["[]", "[\"1001\", \"1001\"]"] {
            let text = EXAMPLE.replace("members = [\"1001\", \"1002\"]", &format!("members = {members}"));
            let complaint = complaint(&text);
            assert!(complaint.contains("each of them once"), "{complaint}");
        }
    }

    #[test]
    fn the_environment_overrules_the_file() {
        let variable = ("TANDEM__AGENTS__LINES_MAX".to_owned(), "7".to_owned());
        let file = parse(&source(EXAMPLE), env::overrides(std::iter::once(variable))).unwrap();
        assert_eq!(*file.agents.lines_max.get_ref(), 7);
    }
}
