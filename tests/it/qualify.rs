//! `tandem trunks` against real peers: baresip, a gateway of our own, and SIPp with a fault.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tandem::demo::gateway::GatewayProcess;
use tandem::demo::sipp::{Running, Scenario};
use tokio::process::Command;

use crate::site::{edit_config, set_stage, udp_ports, wait_until};

/// How long a whole qualification may take: fifteen flows of a few seconds each.
const PATIENCE: Duration = Duration::from_mins(3);

/// Runs `tandem trunks …` on a configuration: what it prints as JSON, what it says, and its exit code.
async fn trunks(config: &Path, arguments: &[&str]) -> (Value, String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.arg("trunks").args(arguments).args(["-o", "json", "--config"]).arg(config).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it does not end").unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (serde_json::from_slice(&output.stdout).unwrap_or(Value::Null), said, output.status.code())
}

/// The outcome of a flow.
fn outcome<'a>(report: &'a Value, flow: &str) -> &'a str {
    let steps = report["steps"].as_array().unwrap_or_else(|| panic!("no steps: {report}"));
    let step = steps.iter().find(|step| step["flow"] == flow);
    step.and_then(|step| step["outcome"].as_str()).unwrap_or_else(|| panic!("no {flow}: {report:#}"))
}

fn quirks(report: &Value) -> Vec<&str> {
    report["proposal"]["quirks"].as_array().unwrap().iter().filter_map(Value::as_str).collect()
}

/// The example's configuration with a trunk to `127.0.0.host`, spoken to from the address before it.
fn config_to(directory: &Path, host: u8) -> PathBuf {
    let text = include_str!("../../config/tandem.example.toml")
        .replace("udp = \"127.0.0.1:5060\"", &format!("udp = \"127.0.0.{}:5060\"", host - 1))
        .replace("udp:127.0.0.1:5070", &format!("udp:127.0.0.{host}:5060"))
        .replace("bind_password_file = \"ldap-password\"", "bind_password = \"x\"")
        .replace("url_file = \"database-url\"", "url = \"postgres://nobody@127.0.0.1/none\"");
    let file = directory.join("tandem.toml");
    std::fs::write(&file, text).unwrap();
    file
}

async fn peer(name: &str, host: u8, calls: u32) -> Running {
    let address = Ipv4Addr::new(127, 0, 0, host);
    let scenario = Scenario { calls, ..Scenario::outbound(name, SocketAddr::from((address, 5060))) };
    let running = scenario.with(&["-timeout", "60", "-rtp_echo"]).start().unwrap();
    wait_until("SIPp to listen", PATIENCE, async || udp_ports(address).contains(&5060).then_some(())).await;
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_and_a_gateway_of_our_own_are_qualified() {
    let (directory, stage) = set_stage(74, true).await;
    let config = stage.settings.config_file();
    let (listed, said, code) = trunks(&config, &["list"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(listed[0]["name"], "pbx");
    assert_eq!(listed[0]["targets"][0]["answered"], 404, "baresip knows no user of that name: {listed:#}");

    let (baresip, said, code) = trunks(&config, &["qualify", "pbx", "--number", "600"]).await;
    println!("{baresip:#}");
    assert!(baresip["peer"].as_str().unwrap_or_default().contains("baresip"), "{baresip:#}\n{said}");
    let supported =
        ["options", "early_offer", "late_offer", "offerless_reinvite", "codec_change", "cancel_race", "dtmf"];
    for flow in supported {
        assert_eq!(outcome(&baresip, flow), "supported", "{flow}: {baresip:#}");
    }
    for flow in ["prack", "update", "session_timer"] {
        assert_eq!(outcome(&baresip, flow), "not_supported", "{flow}: {baresip:#}");
    }
    // baresip 1.0.0 answers the hold and the resumption rightly, and its echo stays silent for ever after.
    assert_eq!(outcome(&baresip, "hold_sendonly"), "wrong", "{baresip:#}");
    assert_eq!((code, &baresip["passed"]), (Some(1), &Value::Bool(false)), "{said}");
    assert_eq!(quirks(&baresip), Vec::<&str>::new(), "{baresip:#}");

    // The gateway as its own trunk's peer: bob answers on 1002 and echoes.
    let text = std::fs::read_to_string(&config).unwrap();
    let to_itself = text.replace(&format!("udp:{}", stage.settings.pbx), &format!("udp:{}", stage.settings.sip));
    assert_ne!(text, to_itself);
    let file = directory.path().join("itself.toml");
    std::fs::write(&file, to_itself).unwrap();
    let (itself, said, code) = trunks(&file, &["qualify", "pbx", "--number", "1002"]).await;
    println!("{itself:#}");
    assert_eq!((code, &itself["passed"]), (Some(0), &Value::Bool(true)), "{itself:#}\n{said}");
    for flow in ["prack", "update", "hold_sendonly", "hold_inactive", "glare", "codec_change", "session_timer"] {
        assert_eq!(outcome(&itself, flow), "supported", "{flow}: {itself:#}");
    }
    assert_eq!(outcome(&itself, "reconnect"), "not_tested", "datagrams");
    assert_eq!(quirks(&itself), Vec::<&str>::new(), "{itself:#}");

    // The same by TCP, where a connection can break.
    let by_tcp = text.replace(&format!("udp:{}", stage.settings.pbx), &format!("tcp:{}", stage.settings.sip));
    std::fs::write(&file, by_tcp).unwrap();
    let flows = ["--flow", "early_offer", "--flow", "reconnect", "--flow", "large_message"];
    let (itself, said, code) = trunks(&file, &[&["qualify", "pbx", "--number", "1002"][..], &flows].concat()).await;
    assert_eq!(code, Some(0), "{itself:#}\n{said}");
    assert_eq!(outcome(&itself, "reconnect"), "supported", "{itself:#}");
    assert_eq!(outcome(&itself, "large_message"), "supported", "{itself:#}");
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_of_our_own_is_qualified_over_tls_where_both_sides_show_a_certificate() {
    let (directory, mut stage) = set_stage(68, false).await;
    stage.gateway.stop();
    let keys = "key_file = \"https.key\"\n\n[[trunk]]";
    let strict =
        "key_file = \"https.key\"\nclient_ca_file = \"https-ca.pem\"\nrequire_client_certificate = true\n\n[[trunk]]";
    edit_config(&stage.settings, &[(keys, strict)]);
    stage.gateway = GatewayProcess::start(stage.settings.clone()).await.unwrap();

    let text = std::fs::read_to_string(stage.settings.config_file()).unwrap();
    let by_tls = |more: &str| {
        let from = format!("targets = [\"udp:{}\"]", stage.settings.pbx);
        let to = format!("targets = [\"tls:{}\"]\ntls_ca_file = \"https-ca.pem\"\n{more}", stage.settings.sip_tls);
        assert!(text.contains(&from));
        let file = directory.path().join("by-tls.toml");
        std::fs::write(&file, text.replace(&from, &to)).unwrap();
        file
    };
    let flows = ["--flow", "options", "--flow", "early_offer", "--flow", "reconnect", "--flow", "large_message"];
    let arguments = [&["qualify", "pbx", "--number", "1002", "--timeout", "4"][..], &flows].concat();
    let (nobody, said, code) = trunks(&by_tls(""), &arguments).await;
    assert_eq!((code, outcome(&nobody, "options")), (Some(1), "wrong"), "no certificate, no call: {nobody:#}\n{said}");
    let ours = "tls_client_certificate_file = \"https.pem\"\ntls_client_key_file = \"https.key\"";
    let (report, said, code) = trunks(&by_tls(ours), &arguments).await;
    println!("{report:#}");
    assert_eq!(code, Some(0), "{report:#}\n{said}");
    for flow in ["options", "early_offer", "reconnect", "large_message"] {
        assert_eq!(outcome(&report, flow), "supported", "{flow}: {report:#}\n{said}");
    }
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_breaks_prack_works_with_the_quirk_that_is_proposed() {
    let directory = tempfile::tempdir().unwrap();
    let config = config_to(directory.path(), 77);
    let sipp = peer("uas_breaks_prack", 77, 10).await;
    let flows = ["--timeout", "3", "--flow", "early_offer", "--flow", "prack"];
    let (report, said, code) = trunks(&config, &[&["qualify", "pbx", "--number", "600"][..], &flows].concat()).await;
    drop(sipp);
    assert_eq!(outcome(&report, "early_offer"), "supported", "{report:#}\n{said}");
    assert_eq!(outcome(&report, "prack"), "wrong", "{report:#}");
    assert_eq!(quirks(&report), ["no_100rel"], "{report:#}");
    assert_eq!(code, Some(0), "every mandatory flow passes with what is proposed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_that_leads_nowhere_is_found_out() {
    let directory = tempfile::tempdir().unwrap();
    let config = config_to(directory.path(), 79);
    let sipp = peer("uas_contact_elsewhere", 79, 10).await;
    let flows = ["--timeout", "3", "--flow", "early_offer"];
    let (report, said, code) = trunks(&config, &[&["qualify", "pbx", "--number", "600"][..], &flows].concat()).await;
    drop(sipp);
    assert_eq!(outcome(&report, "early_offer"), "supported", "{report:#}\n{said}");
    assert_eq!(quirks(&report), ["contact_from_source"], "{report:#}");
    assert_eq!(code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_fails_and_a_wrong_name_is_an_error_of_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let config = config_to(directory.path(), 81);
    let (listed, _, code) = trunks(&config, &["list"]).await;
    assert_eq!((code, &listed[0]["targets"][0]["answered"]), (Some(0), &Value::Null), "{listed:#}");
    let (report, _, code) = trunks(&config, &["qualify", "pbx", "--number", "600", "--timeout", "1"]).await;
    assert_eq!((code, &report["passed"]), (Some(1), &Value::Bool(false)), "{report:#}");
    assert_eq!(outcome(&report, "options"), "wrong");
    assert_eq!(outcome(&report, "prack"), "not_tested", "no other call is tried");
    let (_, said, code) = trunks(&config, &["qualify", "pxb", "--number", "600"]).await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("no trunk is named \"pxb\"; expected one of pbx"), "{said}");
}
