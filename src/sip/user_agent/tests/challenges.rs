//! Challenges of requests within dialogs, and trunks whose targets have names.

use std::time::Duration;

use bytes::Bytes;

use super::bench::Bench;
use super::bench::header;
use super::bench::request;
use super::invite;
use super::leg;
use super::target;
use super::trunks::challenge;
use super::trunks::credentials;
use super::trunks::line;
use super::trunks::respond;
use super::trunks::respond_to;
use crate::ids::LegId;
use crate::ids::TrunkName;
use crate::sip::Body;
use crate::sip::Command;
use crate::sip::Event;
use crate::sip::ReferTarget;
use crate::sip::StatusCode;
use crate::sip::registration::State;
use crate::sip::user_agent::Config;
use crate::sip::user_agent::Input;
use crate::sip::user_agent::Network;

const SDP: &str = "Content-Type: application/sdp\n\nv=0 theirs";

/// A call that came in and is answered, on a trunk whose passwords we know.
fn talking() -> (Bench, LegId, String) {
    let mut bench = Bench::with(|config| config.trunks[0].peering.credentials = Some(credentials("tandem")));
    let (leg, tag) = bench.talking();
    (bench, leg, tag)
}

/// The request just sent is challenged: it comes once more with credentials, the next number, and all else the same.
fn challenged(bench: &mut Bench, method: &str) -> String {
    let first = bench.last().to_owned();
    let number: u32 = header(&first, "CSeq").split(' ').next().unwrap().parse().unwrap();
    let sent = respond(bench, "401 Unauthorized", &challenge("n1", ""));
    assert!(sent.last().unwrap().starts_with(method), "{sent:?}");
    let second = bench.last().to_owned();
    assert_eq!(header(&second, "CSeq"), format!("{} {method}", number + 1));
    assert!(header(&second, "Authorization").contains("username=\"tandem\", realm=\"pbx\", nonce=\"n1\""));
    assert_ne!(header(&first, "Via"), header(&second, "Via"));
    for same in ["From", "To", "Call-ID"] {
        assert_eq!(header(&first, same), header(&second, same));
    }
    let body = |text: &str| text.split_once("\r\n\r\n").unwrap().1.to_owned();
    assert_eq!(body(&first), body(&second));
    second
}

fn reinvite(leg: LegId) -> Command {
    Command::Reinvite { leg, sdp: Bytes::from_static(b"v=0 ours") }
}

#[test]
fn a_challenged_reinvite_comes_with_credentials_and_its_ack_bears_them() {
    let (mut bench, leg, _) = talking();
    bench.command(reinvite(leg));
    let second = challenged(&mut bench, "INVITE");
    assert!(bench.events.is_empty(), "the call room hears of the answer alone");
    let sent = respond(&mut bench, "200 OK", SDP);
    assert_eq!(sent, ["ACK sip:2000@10.0.0.2:5060 SIP/2.0"]);
    let ack = bench.last();
    assert_eq!(header(ack, "CSeq"), header(&second, "CSeq").replace("INVITE", "ACK"));
    assert_eq!(header(ack, "Authorization"), header(&second, "Authorization"));
    assert_eq!(bench.words(), ["renegotiated"]);
}

#[test]
fn a_challenged_reinvite_has_all_its_time_again() {
    let (mut bench, leg, _) = talking();
    bench.command(reinvite(leg));
    bench.say(&trying(bench.last()));
    bench.wait(Duration::from_secs(20));
    challenged(&mut bench, "INVITE");
    bench.say(&trying(bench.last()));
    bench.wait(Duration::from_secs(20));
    assert!(bench.events.is_empty(), "40 s after the first, 20 s after the second");
    bench.wait(Duration::from_millis(12_500));
    assert_eq!(bench.words(), ["ended DialogLost"]);
}

/// 100 to a request of ours.
fn trying(ours: &str) -> String {
    super::bench::response(ours, "100 Trying", "theirs")
}

#[test]
fn a_reinvite_that_is_challenged_in_vain_leaves_the_call() {
    let (mut bench, leg, _) = talking();
    bench.command(reinvite(leg));
    challenged(&mut bench, "INVITE");
    let mut tries = 1;
    while respond(&mut bench, "401 Unauthorized", &challenge("n1", "")).iter().any(|line| line.starts_with("INVITE")) {
        tries += 1;
        assert!(tries <= 2, "a password that is wrong stays wrong");
    }
    assert_eq!(bench.words(), ["renegotiation failed 401"]);
    assert_eq!(bench.command(Command::Bye { leg, reason: None }).len(), 1, "the call goes on");
}

#[test]
fn a_challenged_update_refreshes_the_session_all_the_same() {
    let mut bench = Bench::with(|config| config.trunks[0].peering.credentials = Some(credentials("tandem")));
    let timer = "Allow: INVITE, UPDATE\nSupported: timer\nSession-Expires: 600;refresher=uas\n";
    bench.say(&request("INVITE", 1, "b1", "", &format!("{timer}{}", super::bench::OFFER)));
    let leg = bench.invited();
    bench.command(super::bench::accept(leg));
    let tag = super::bench::to_tag(bench.last());
    bench.say(&request("ACK", 1, "b2", &tag, ""));
    bench.words();
    assert_eq!(bench.wait(Duration::from_mins(5)), ["UPDATE sip:2000@10.0.0.2:5060 SIP/2.0"]);
    let second = challenged(&mut bench, "UPDATE");
    assert_eq!(header(&second, "Session-Expires"), "600;refresher=uac");
    respond(&mut bench, "200 OK", "Session-Expires: 600;refresher=uac\n");
    assert!(bench.wait(Duration::from_secs(299)).is_empty());
    assert_eq!(bench.wait(Duration::from_secs(1)).len(), 1, "the next refresh");
    assert!(header(bench.last(), "Authorization").contains("nc=00000002"));
    assert!(bench.words().is_empty());
}

#[test]
fn a_challenged_prack_names_the_same_response() {
    let mut bench = Bench::with(|config| config.trunks[0].peering.credentials = Some(credentials("tandem")));
    bench.command(invite(1));
    let more = format!("Contact: <sip:1001@10.0.0.2:5060>\nRequire: 100rel\nRSeq: 7\n{SDP}");
    assert_eq!(respond(&mut bench, "183 Session Progress", &more), ["PRACK sip:1001@10.0.0.2:5060 SIP/2.0"]);
    let second = challenged(&mut bench, "PRACK");
    assert_eq!(header(&second, "RAck"), "7 1 INVITE");
    assert!(respond(&mut bench, "200 OK", "").is_empty());
    assert_eq!(bench.words(), ["progressed 183"]);
    bench.command(Command::Bye { leg: leg(1), reason: None });
    assert!(bench.last().starts_with("CANCEL"));
}

#[test]
fn a_challenged_refer_and_its_reports_go_on() {
    let (mut bench, leg, tag) = talking();
    bench.command(Command::Refer { leg, to: ReferTarget { user: "1005".to_owned(), replaces: None } });
    let second = challenged(&mut bench, "REFER");
    assert!(header(&second, "Refer-To").contains("sip:1005@"));
    respond(&mut bench, "202 Accepted", "");
    assert!(bench.words().is_empty());
    let report = "Event: refer\nSubscription-State: terminated;reason=noresource\n\
        Content-Type: message/sipfrag;version=2.0\n\nSIP/2.0 200 OK";
    assert_eq!(bench.say(&request("NOTIFY", 2, "n1", &tag, report)), ["SIP/2.0 200 OK"]);
    assert_eq!(bench.words(), ["refer 200 over"]);
}

#[test]
fn a_challenged_notify_is_followed_by_the_next_report() {
    let (mut bench, leg, tag) = talking();
    bench.say(&request("REFER", 2, "r1", &tag, "Refer-To: <sip:1005@10.0.0.2>\n\n"));
    bench.command(Command::AcceptRefer { leg });
    assert!(bench.last().starts_with("NOTIFY"));
    bench.command(Command::NotifyRefer { leg, status: StatusCode::OK });
    let second = challenged(&mut bench, "NOTIFY");
    assert!(second.ends_with("SIP/2.0 100 Trying\r\n"));
    assert_eq!(respond(&mut bench, "200 OK", ""), ["NOTIFY sip:2000@10.0.0.2:5060 SIP/2.0"]);
    assert!(bench.last().ends_with("SIP/2.0 200 OK\r\n"));
    assert!(header(bench.last(), "Authorization").contains("nc=00000002"));
}

#[test]
fn a_challenged_info_carries_its_digits() {
    let (mut bench, leg, _) = talking();
    let body = Body { content_type: "application/dtmf-relay".to_owned(), content: "Signal=5\r\n".into() };
    bench.command(Command::Info { leg, body });
    assert!(challenged(&mut bench, "INFO").ends_with("Signal=5\r\n"));
}

#[test]
fn early_dialogs_of_an_invite_that_is_challenged_after_ringing_are_gone() {
    let mut bench = Bench::with(|config| config.trunks[0].peering.credentials = Some(credentials("tandem")));
    bench.command(invite(1));
    respond(&mut bench, "180 Ringing", "Contact: <sip:1001@10.0.0.2:5060>\n");
    respond(&mut bench, "401 Unauthorized", &challenge("n1", ""));
    assert!(bench.last().starts_with("INVITE"));
    respond(&mut bench, "180 Ringing", "Contact: <sip:1001@10.0.0.2:5060>\n");
    let early: Vec<u32> = bench
        .events
        .iter()
        .filter_map(|event| if let Event::Progressed { early, .. } = event { Some(*early) } else { None })
        .collect();
    assert_eq!(early, [0, 0], "one early dialog at a time");
}

// --- targets with names ---

/// A trunk whose names have no address yet.
fn unresolved(config: &mut Config) {
    config.trunks[0].targets.clear();
    config.trunks[0].networks.push(Network::host("10.0.0.3".parse().unwrap()));
    config.trunks[0].peering.options_interval = Some(Duration::from_secs(30));
    config.trunks[0].peering.options_misses = 1;
}

fn resolve(bench: &mut Bench, to: &[&str]) -> Vec<String> {
    let targets = to.iter().copied().map(target).collect();
    bench.feed(Input::Resolved { trunk: TrunkName::new("pbx"), targets })
}

#[test]
fn a_trunk_whose_name_is_found_takes_calls_registers_and_is_asked() {
    let mut bench = Bench::with(|config| {
        unresolved(config);
        config.trunks[0].peering.lines = vec![line("2001", "1001")];
    });
    let now = bench.now;
    bench.agent.start(now);
    assert!(bench.wait(Duration::from_secs(1)).is_empty());
    bench.command(invite(1));
    assert_eq!(bench.words(), ["refused 503"]);
    resolve(&mut bench, &["10.0.0.2:5060"]);
    assert_eq!(bench.wait(Duration::from_millis(20)), ["REGISTER sip:pbx.test SIP/2.0"]);
    respond(&mut bench, "200 OK", "Expires: 600\n");
    assert_eq!(bench.agent.trunks()[0].lines, [("2001".to_owned(), State::Registered)]);
    assert_eq!(bench.wait(Duration::from_secs(8)), ["OPTIONS sip:10.0.0.2:5060 SIP/2.0"]);
    respond(&mut bench, "200 OK", "");
    assert_eq!(bench.command(invite(2)), ["INVITE sip:1001@10.0.0.2:5060 SIP/2.0"]);
}

#[test]
fn what_is_known_of_a_target_stays_with_its_address() {
    let mut bench = Bench::with(unresolved);
    let now = bench.now;
    bench.agent.start(now);
    resolve(&mut bench, &["10.0.0.2:5060", "10.0.0.3:5060"]);
    let flow = super::udp("10.0.0.1:5060", "10.0.0.2:5060");
    bench.command(invite(1));
    bench.feed(Input::FlowFailed { flow });
    let standing = |bench: &Bench| {
        let targets = bench.agent.trunks().remove(0).targets;
        targets.into_iter().map(|(address, is_up)| (address.to_string(), is_up)).collect::<Vec<_>>()
    };
    let [second, third] = ["10.0.0.2:5060", "10.0.0.3:5060"].map(str::to_owned);
    assert_eq!(standing(&bench), [(second.clone(), false), (third.clone(), true)]);
    resolve(&mut bench, &["10.0.0.3:5060", "10.0.0.2:5060"]);
    assert_eq!(standing(&bench), [(third.clone(), true), (second.clone(), false)]);
    // Its answer to the next OPTIONS counts for its new place.
    let before = bench.sent.len();
    bench.wait(Duration::from_secs(8));
    let asked: Vec<String> = bench.sent[before..].iter().map(|(_, text)| text.clone()).collect();
    for options in asked.iter().filter(|text| text.starts_with("OPTIONS sip:10.0.0.2")) {
        respond_to(&mut bench, &second, options, "200 OK", "");
    }
    assert_eq!(standing(&bench), [(third, true), (second, true)]);
}
