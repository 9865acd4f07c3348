//! What a trunk asks of us: passwords, registrations, keep-alive, caps, and which words cross.

use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;

use super::bench::Bench;
use super::bench::OFFER;
use super::bench::accept;
use super::bench::header;
use super::bench::request;
use super::bench::to_tag;
use super::invite;
use super::leg;
use super::target;
use crate::pii::Pii;
use crate::sip::Command;
use crate::sip::Diversion;
use crate::sip::Event;
use crate::sip::StatusCode;
use crate::sip::digest::Credentials;
use crate::sip::digest::server::Guard;
use crate::sip::digest::server::UserSecret;
use crate::sip::message::Uri;
use crate::sip::registration::State;
use crate::sip::user_agent::Config;
use crate::sip::user_agent::Input;
use crate::sip::user_agent::Network;
use crate::sip::user_agent::peering::Direction;
use crate::sip::user_agent::peering::Line;
use crate::sip::user_agent::peering::NumberOf;
use crate::sip::user_agent::peering::NumberRule;

pub(super) fn credentials(user: &str) -> Credentials {
    let password = SecretString::from(format!("{user}-secret"));
    Credentials { username: user.to_owned(), password, realm: Some("pbx".to_owned()) }
}

pub(super) fn line(number: &str, extension: &str) -> Line {
    Line {
        aor: Uri::parse(&format!("sip:{number}@pbx.test")).unwrap(),
        contact_user: number.to_owned(),
        extension: extension.to_owned(),
        credentials: Some(credentials(number)),
        register: true,
        expires: Duration::from_mins(10),
    }
}

fn with_password() -> Bench {
    Bench::with(|config| config.trunks[0].peering.credentials = Some(credentials("tandem")))
}

fn two_targets(config: &mut Config) {
    config.trunks[0].targets.push(target("10.0.0.3:5060"));
    config.trunks[0].networks.push(Network::host("10.0.0.3".parse().unwrap()));
}

/// A response to the last request that was sent: with its Via, From, To, Call-ID and `CSeq`.
pub(super) fn respond(bench: &mut Bench, status: &str, more: &str) -> Vec<String> {
    let (flow, request) = bench.sent.last().unwrap().clone();
    respond_to(bench, &flow.remote.to_string(), &request, status, more)
}

pub(super) fn respond_to(bench: &mut Bench, from: &str, request: &str, status: &str, more: &str) -> Vec<String> {
    let [via, caller, to, call_id, cseq] =
        ["Via", "From", "To", "Call-ID", "CSeq"].map(|name| header(request, name).to_owned());
    let to = if to.contains("tag=") { to } else { format!("{to};tag=peer") };
    let more = if more.contains("\n\n") { more.to_owned() } else { format!("{more}\n") };
    bench.say_from(
        from,
        &format!("SIP/2.0 {status}\nVia: {via}\nFrom: {caller}\nTo: {to}\nCall-ID: {call_id}\nCSeq: {cseq}\n{more}"),
    )
}

pub(super) fn challenge(nonce: &str, more: &str) -> String {
    format!("WWW-Authenticate: Digest realm=\"pbx\", nonce=\"{nonce}\", qop=\"auth\"{more}\n")
}

const ANSWERED: &str = "Contact: <sip:1001@10.0.0.2:5060>\nContent-Type: application/sdp\n\nv=0";

// --- digest as a client ---

#[test]
fn a_challenged_invite_is_acknowledged_and_sent_once_more_with_credentials() {
    let mut bench = with_password();
    assert_eq!(bench.command(invite(1)), ["INVITE sip:1001@10.0.0.2:5060 SIP/2.0"]);
    let first = bench.last().to_owned();
    let sent = respond(&mut bench, "401 Unauthorized", &challenge("n1", ""));
    assert_eq!(sent, ["ACK sip:1001@10.0.0.2:5060 SIP/2.0", "INVITE sip:1001@10.0.0.2:5060 SIP/2.0"]);
    let second = bench.last().to_owned();
    assert!(header(&second, "Authorization").contains("username=\"tandem\", realm=\"pbx\", nonce=\"n1\""));
    assert_eq!((header(&first, "CSeq"), header(&second, "CSeq")), ("1 INVITE", "2 INVITE"));
    assert_eq!(header(&first, "Call-ID"), header(&second, "Call-ID"));
    assert_eq!(header(&first, "From"), header(&second, "From"));
    assert_ne!(header(&first, "Via"), header(&second, "Via"));
    assert_eq!(respond(&mut bench, "200 OK", ANSWERED), ["ACK sip:1001@10.0.0.2:5060 SIP/2.0"]);
    assert_eq!(header(bench.last(), "Authorization"), header(&second, "Authorization"), "RFC 3261 22.1");
    assert_eq!(bench.words(), ["accepted"]);
}

#[test]
fn a_bye_and_the_next_invite_bring_credentials_along_and_count_on() {
    let mut bench = with_password();
    bench.command(invite(1));
    respond(&mut bench, "407 Proxy Authentication Required", &challenge("n1", "").replace("WWW", "Proxy"));
    respond(&mut bench, "200 OK", ANSWERED);
    bench.command(Command::Bye { leg: leg(1), reason: None });
    assert!(header(bench.last(), "Proxy-Authorization").contains("nc=00000002"), "{}", bench.last());
    // A server that made a new nonce, and forgot to say stale=true.
    let again = respond(&mut bench, "401 Unauthorized", &challenge("n2", ""));
    assert_eq!(again, ["BYE sip:1001@10.0.0.2:5060 SIP/2.0"]);
    assert_eq!(header(bench.last(), "CSeq"), "4 BYE");
    assert!(header(bench.last(), "Authorization").contains("nonce=\"n2\""));
    respond(&mut bench, "200 OK", "");
    assert_eq!(bench.words(), ["accepted", "ended LocalBye"]);
    bench.command(invite(2));
    assert!(header(bench.last(), "Authorization").contains("nc=00000002"));
}

#[test]
fn a_proxy_and_the_server_behind_it_both_get_their_credentials() {
    let mut bench = with_password();
    bench.command(invite(1));
    let of_proxy = challenge("p1", "").replace("WWW", "Proxy");
    respond(&mut bench, "407 Proxy Authentication Required", &of_proxy);
    assert_eq!(respond(&mut bench, "401 Unauthorized", &challenge("s1", "")).len(), 2, "ACK and INVITE");
    let sent = bench.last().to_owned();
    assert!(header(&sent, "Authorization").contains("nonce=\"s1\""));
    let for_proxy = header(&sent, "Proxy-Authorization");
    assert!(for_proxy.contains("nonce=\"p1\"") && for_proxy.contains("nc=00000002"));
    assert_eq!(header(&sent, "CSeq"), "3 INVITE");
    respond(&mut bench, "200 OK", ANSWERED);
    bench.command(Command::Bye { leg: leg(1), reason: None });
    let bye = bench.last();
    assert!(header(bye, "Authorization").contains("nc=00000002") && header(bye, "Proxy-Authorization").contains("p1"));
    assert_eq!(bench.words(), ["accepted"]);
}

#[test]
fn a_wrong_password_is_said_once() {
    let mut bench = with_password();
    bench.command(invite(1));
    respond(&mut bench, "401 Unauthorized", &challenge("n1", ""));
    assert_eq!(respond(&mut bench, "401 Unauthorized", &challenge("n2", "")), ["ACK sip:1001@10.0.0.2:5060 SIP/2.0"]);
    assert_eq!(bench.words(), ["refused 401"]);
}

#[test]
fn a_loop_of_stale_nonces_ends_after_two_tries() {
    let mut bench = with_password();
    bench.command(invite(1));
    let mut invites = 1;
    for nonce in 0..10 {
        let stale = if nonce == 0 { "" } else { ", stale=true" };
        let sent = respond(&mut bench, "401 Unauthorized", &challenge(&format!("n{nonce}"), stale));
        if sent.len() < 2 {
            break;
        }
        invites += 1;
    }
    assert_eq!(invites, 3);
    assert_eq!(bench.words(), ["refused 401"]);
}

#[test]
fn another_realm_and_another_address_get_no_credentials() {
    let mut bench = with_password();
    bench.command(invite(1));
    let elsewhere = challenge("n1", "").replace("realm=\"pbx\"", "realm=\"evil\"");
    assert_eq!(respond(&mut bench, "401 Unauthorized", &elsewhere).len(), 1, "the ACK alone");
    assert_eq!(bench.words(), ["refused 401"]);
    let mut bench = with_password();
    bench.command(invite(1));
    let request = bench.last().to_owned();
    assert!(respond_to(&mut bench, "192.0.2.66:5060", &request, "401 Unauthorized", &challenge("n1", "")).is_empty());
}

#[test]
fn a_cancelled_invite_that_is_challenged_is_not_sent_again() {
    let mut bench = with_password();
    bench.command(invite(1));
    bench.command(Command::Cancel { leg: leg(1), reason: None });
    assert_eq!(respond(&mut bench, "401 Unauthorized", &challenge("n1", "")).len(), 1, "the ACK alone");
    assert_eq!(bench.words(), ["refused 487"]);
}

#[test]
fn a_cancel_after_the_challenge_is_for_the_invite_with_credentials() {
    let mut bench = with_password();
    bench.command(invite(1));
    respond(&mut bench, "401 Unauthorized", &challenge("n1", ""));
    respond(&mut bench, "180 Ringing", "");
    bench.command(Command::Cancel { leg: leg(1), reason: None });
    assert_eq!(header(bench.last(), "CSeq"), "2 CANCEL");
    assert!(!bench.last().contains("Authorization"));
}

// --- digest as a server ---

#[test]
fn a_trunk_that_must_prove_itself_is_challenged_before_anything_rings() {
    let mut bench = Bench::with(|config| {
        let secret = UserSecret::Password(SecretString::from("secret".to_owned()));
        let users = std::collections::BTreeMap::from([("pbx".to_owned(), secret)]);
        config.trunks[0].peering.guard = Some(Guard { realm: "tandem".to_owned(), users });
    });
    assert_eq!(bench.say(&request("INVITE", 1, "b1", "", OFFER)), ["SIP/2.0 401 Unauthorized"]);
    assert!(header(bench.last(), "WWW-Authenticate").contains("algorithm=SHA-256"));
    assert!(bench.events.is_empty());
    assert_eq!(bench.say(&request("OPTIONS", 1, "b2", "", "")), ["SIP/2.0 200 OK"]);
    let first =
        request("INVITE", 2, "b3", "", &format!("Authorization: Digest realm=\"tandem\", username=\"pbx\"\n{OFFER}"));
    assert_eq!(bench.say(&first.replace("c1", "c2")), ["SIP/2.0 401 Unauthorized"]);
}

// --- lines ---

#[test]
fn a_line_registers_with_its_own_password_and_goes_at_the_drain() {
    let mut bench = Bench::with(|config| config.trunks[0].peering.lines = vec![line("2001", "1001")]);
    let now = bench.now;
    bench.agent.start(now);
    assert_eq!(bench.wait(Duration::from_secs(1)), ["REGISTER sip:pbx.test SIP/2.0"]);
    let first = bench.last().to_owned();
    assert!(header(&first, "Contact").contains("<sip:2001@10.0.0.1:5060>;expires=600"), "{first}");
    assert_eq!(respond(&mut bench, "401 Unauthorized", &challenge("n1", "")), ["REGISTER sip:pbx.test SIP/2.0"]);
    assert!(header(bench.last(), "Authorization").contains("username=\"2001\""));
    assert_eq!(header(bench.last(), "CSeq"), "2 REGISTER");
    respond(&mut bench, "200 OK", "Contact: <sip:2001@10.0.0.1:5060>;expires=100\n");
    assert_eq!(bench.agent.trunks()[0].lines, [("2001".to_owned(), State::Registered)]);
    assert!(bench.wait(Duration::from_secs(49)).is_empty());
    assert_eq!(bench.wait(Duration::from_secs(42)).len(), 1, "the refresh");
    assert!(header(bench.last(), "Authorization").contains("nc=00000002"));
    respond(&mut bench, "200 OK", "Expires: 100\n");
    assert_eq!(bench.command(Command::Drain { retry_after: Duration::from_secs(5) }).len(), 1);
    assert!(header(bench.last(), "Contact").ends_with(";expires=0"));
    assert!(bench.agent.is_unregistering());
    respond(&mut bench, "200 OK", "");
    assert!(!bench.agent.is_unregistering());
    assert_eq!(bench.agent.trunks()[0].lines, [("2001".to_owned(), State::Unregistered)]);
}

#[test]
fn a_423_is_answered_with_the_registrars_minimum() {
    let mut bench = Bench::with(|config| config.trunks[0].peering.lines = vec![line("2001", "1001")]);
    let now = bench.now;
    bench.agent.start(now);
    bench.wait(Duration::from_secs(1));
    assert_eq!(respond(&mut bench, "423 Interval Too Brief", "Min-Expires: 1800\n").len(), 1);
    assert!(header(bench.last(), "Contact").ends_with(";expires=1800"));
}

#[test]
fn two_hundred_lines_do_not_register_at_once() {
    let lines: Vec<Line> =
        (0..200).map(|number| line(&format!("{}", 2_000 + number), &format!("{}", 1_000 + number))).collect();
    let mut bench = Bench::with(|config| config.trunks[0].peering.lines = lines);
    let now = bench.now;
    bench.agent.start(now);
    let mut each = Vec::new();
    for _ in 0..8 {
        each.push(bench.wait(Duration::from_millis(500)).iter().filter(|line| line.starts_with("REGISTER")).count());
    }
    // Retransmissions of UDP come on top of the 200; no half second has nearly all of them.
    assert!(each.iter().all(|count| *count < 150), "{each:?}");
    assert_eq!(bench.agent.transactions(), 200);
}

#[test]
fn a_call_to_a_line_rings_its_extension_and_one_of_the_extension_leaves_by_the_line() {
    let mut bench =
        Bench::with(|config| config.trunks[0].peering.lines = vec![line("1001", "1777"), line("2002", "2000")]);
    bench.say(&request("INVITE", 1, "b1", "", OFFER));
    assert_eq!(bench.words(), ["invited 1777"]);
    bench.command(invite(1));
    let sent = bench.last().to_owned();
    assert!(header(&sent, "From").contains("<sip:2002@pbx.test>"), "{sent}");
    assert!(header(&sent, "Contact").contains("sip:2002@10.0.0.1"));
    respond(&mut bench, "401 Unauthorized", &challenge("n1", ""));
    assert!(header(bench.last(), "Authorization").contains("username=\"2002\""));
}

// --- keep-alive and failover ---

fn probed(config: &mut Config) {
    two_targets(config);
    config.trunks[0].peering.options_interval = Some(Duration::from_secs(30));
    config.trunks[0].peering.options_misses = 2;
}

/// Runs a bench for a while; the second target answers every OPTIONS, the first as `first` says.
fn run_probed(bench: &mut Bench, seconds: u64, first: Option<&str>) {
    let mut seen = bench.sent.len();
    for _ in 0..seconds {
        bench.wait(Duration::from_secs(1));
        while let Some((flow, message)) = bench.sent.get(seen).cloned() {
            seen += 1;
            let remote = flow.remote.to_string();
            let answer = if remote.starts_with("10.0.0.2") { first } else { Some("200 OK") };
            if let Some(answer) = answer.filter(|_| message.starts_with("OPTIONS")) {
                respond_to(bench, &remote, &message, answer, "");
            }
        }
    }
}

fn next_target(bench: &mut Bench, number: u128) -> String {
    bench.command(invite(number));
    bench.sent.last().unwrap().0.remote.to_string()
}

#[test]
fn a_target_that_misses_its_options_is_tried_last_until_it_answers() {
    let mut bench = Bench::with(probed);
    let now = bench.now;
    bench.agent.start(now);
    assert_eq!(next_target(&mut bench, 1), "10.0.0.2:5060");
    run_probed(&mut bench, 60, None);
    let up = |bench: &Bench| bench.agent.trunks()[0].targets.iter().map(|(_, up)| *up).collect::<Vec<bool>>();
    assert_eq!(up(&bench), [false, true]);
    assert_eq!(next_target(&mut bench, 2), "10.0.0.3:5060");
    run_probed(&mut bench, 40, Some("200 OK"));
    assert_eq!(up(&bench), [true, true]);
    assert_eq!(next_target(&mut bench, 3), "10.0.0.2:5060");
}

#[test]
fn any_answer_to_options_is_a_sign_of_life_but_503_is_none() {
    for (answer, is_up) in [("404 Not Found", true), ("503 Service Unavailable", false)] {
        let mut bench = Bench::with(probed);
        let now = bench.now;
        bench.agent.start(now);
        run_probed(&mut bench, 80, Some(answer));
        assert_eq!(bench.agent.trunks()[0].targets[0].1, is_up, "{answer}");
    }
}

#[test]
fn a_target_in_its_retry_after_is_skipped_and_an_emergency_call_is_not() {
    let mut bench = Bench::with(|config| {
        two_targets(config);
        config.emergency = vec!["112".to_owned()];
    });
    bench.command(invite(1));
    let sent = respond(&mut bench, "503 Service Unavailable", "Retry-After: 60\n");
    assert_eq!(sent.len(), 2, "ACK, and the next target at once: {sent:?}");
    assert_eq!(next_target(&mut bench, 2), "10.0.0.3:5060");
    respond(&mut bench, "503 Service Unavailable", "Retry-After: 30\n");
    bench.words();
    assert!(bench.command(invite(3)).is_empty());
    let Some(Event::Refused { status, retry_after, .. }) = bench.events.last() else { panic!() };
    assert_eq!((*status, *retry_after), (StatusCode::SERVICE_UNAVAILABLE, Some(Duration::from_secs(30))));
    let Command::Invite(mut emergency) = invite(4) else { unreachable!() };
    emergency.called = "112".to_owned();
    assert_eq!(bench.command(Command::Invite(emergency)).len(), 1);
    bench.wait(Duration::from_secs(31));
    assert_eq!(next_target(&mut bench, 5), "10.0.0.3:5060");
    bench.wait(Duration::from_secs(30));
    assert_eq!(next_target(&mut bench, 6), "10.0.0.2:5060");
}

#[test]
fn a_500_takes_the_next_target_only_where_the_trunk_says_so() {
    for (listed, targets) in [(false, 1), (true, 2)] {
        let mut bench = Bench::with(|config| {
            two_targets(config);
            if listed {
                config.trunks[0].peering.failover_on = vec![StatusCode::SERVER_INTERNAL_ERROR];
            }
        });
        bench.command(invite(1));
        assert_eq!(respond(&mut bench, "500 Server Internal Error", "").len(), targets, "ACK, perhaps INVITE");
    }
}

// --- admission ---

#[test]
fn a_call_beyond_the_trunks_cap_is_503_with_retry_after_both_ways() {
    let mut bench = Bench::with(|config| {
        config.trunks[0].peering.calls_max = Some(1);
        config.trunks[0].peering.busy_retry_after = Duration::from_secs(7);
        config.emergency = vec!["112".to_owned()];
    });
    bench.say(&request("INVITE", 1, "b1", "", OFFER));
    let first = bench.invited();
    let second = request("INVITE", 1, "b2", "", OFFER).replace("c1", "c2");
    assert_eq!(bench.say(&second), ["SIP/2.0 503 Service Unavailable"]);
    assert_eq!(header(bench.last(), "Retry-After"), "7");
    assert!(bench.command(invite(1)).is_empty());
    assert_eq!(bench.words(), ["invited 1001", "refused 503"]);
    let Command::Invite(mut emergency) = invite(4) else { unreachable!() };
    emergency.called = "112".to_owned();
    assert_eq!(bench.command(Command::Invite(emergency)).len(), 1);
    bench.command(accept(first));
    let tag = to_tag(bench.last());
    assert_eq!(bench.say(&request("INFO", 2, "b3", &tag, "")), ["SIP/2.0 200 OK"], "the call goes on");
}

#[test]
fn calls_a_second_are_counted() {
    let mut bench = Bench::with(|config| config.trunks[0].peering.calls_per_second = Some(2));
    let invited = |bench: &mut Bench, count: usize| {
        let before = bench.events.len();
        for number in 0..count {
            let at = bench.sent.len();
            let text = request("INVITE", 1, &format!("x{at}"), "", OFFER).replace("c1", &format!("c{at}-{number}"));
            bench.say(&text);
        }
        bench.events.len() - before
    };
    assert_eq!(invited(&mut bench, 5), 2);
    bench.wait(Duration::from_millis(500));
    assert_eq!(invited(&mut bench, 5), 1);
}

// --- words that cross ---

#[test]
fn only_listed_headers_come_in() {
    let mut bench = Bench::with(|config| {
        config.trunks[0].peering.headers_in =
            vec!["X-Account".to_owned(), "User-to-User".to_owned(), "Route".to_owned()];
    });
    let more = "X-Account: 42\nX-Secret: 1\nUser-to-User: 00a1;encoding=hex\nRoute: <sip:evil;lr>\n\
        Diversion: <sip:1900@pbx>;reason=no-answer, <sip:1800@pbx>;reason=busy\nPrivacy: id\n";
    bench.say(&request("INVITE", 1, "b1", "", &format!("{more}{OFFER}")));
    let Event::Invited(invitation) = &bench.events[0] else { panic!() };
    assert_eq!(invitation.headers, [("X-Account".to_owned(), "42".to_owned())]);
    assert_eq!(invitation.user_to_user.as_deref(), Some("00a1;encoding=hex"));
    let diverted: Vec<&String> = invitation.diverted_from.iter().map(|party| party.user.expose()).collect();
    assert_eq!(diverted, ["1900", "1800"]);
    assert!(invitation.anonymous);
}

#[test]
fn history_info_tells_the_same_the_other_way_round() {
    let mut bench = Bench::new();
    let more = "History-Info: <sip:1800@pbx>;index=1, <sip:1900@pbx>;index=1.1, <sip:1001@pbx>;index=1.2\n";
    bench.say(&request("INVITE", 1, "b1", "", &format!("{more}{OFFER}")));
    let Event::Invited(invitation) = &bench.events[0] else { panic!() };
    let diverted: Vec<&String> = invitation.diverted_from.iter().map(|party| party.user.expose()).collect();
    assert_eq!(diverted, ["1900", "1800"]);
    assert!(!invitation.anonymous);
}

#[test]
fn an_asserted_identity_is_believed_where_the_trunk_is_trusted_with_it() {
    for (trusts, expected) in [(true, "4711"), (false, "2000")] {
        let mut bench = Bench::with(|config| config.trunks[0].trusts_identity = trusts);
        let more = format!("P-Asserted-Identity: \"Boss\" <sip:4711@pbx>\n{OFFER}");
        bench.say(&request("INVITE", 1, "b1", "", &more));
        let Event::Invited(invitation) = &bench.events[0] else { panic!() };
        assert_eq!(invitation.from.user.expose(), expected);
    }
}

fn outgoing(change: impl FnOnce(&mut crate::sip::OutgoingInvite)) -> Command {
    let Command::Invite(mut invite) = invite(1) else { unreachable!() };
    change(&mut invite);
    Command::Invite(invite)
}

#[test]
fn somebody_anonymous_is_named_to_a_trusted_trunk_alone() {
    for asserts in [true, false] {
        let mut bench = Bench::with(|config| config.trunks[0].peering.asserts_identity = asserts);
        bench.command(outgoing(|invite| invite.anonymous = true));
        let sent = bench.last();
        assert!(header(sent, "From").starts_with("\"Anonymous\" <sip:anonymous@anonymous.invalid>"), "{sent}");
        assert_eq!(header(sent, "Privacy"), "id");
        assert_eq!(sent.contains("P-Asserted-Identity: \"Ann"), asserts);
        assert_eq!(sent.contains("2000"), asserts, "{sent}");
    }
}

#[test]
fn only_listed_headers_go_out_and_none_twice() {
    let mut bench = Bench::with(|config| {
        config.trunks[0].peering.headers_out = vec!["X-Account".to_owned(), "Via".to_owned()];
    });
    bench.command(outgoing(|invite| {
        invite.headers = vec![
            ("X-Account".to_owned(), "42\r\nRoute: <sip:evil>".to_owned()),
            ("x-account".to_owned(), "43".to_owned()),
            ("X-Other".to_owned(), "1".to_owned()),
            ("Via".to_owned(), "SIP/2.0/UDP evil".to_owned()),
        ];
        invite.user_to_user = Some("00".to_owned());
    }));
    let sent = bench.last();
    assert_eq!(header(sent, "X-Account"), "42  Route: <sip:evil>");
    assert!(
        !sent.contains(": 43")
            && !sent.contains("X-Other")
            && !sent.contains("evil;")
            && !sent.contains("User-to-User")
    );
    assert_eq!(sent.matches("Via:").count(), 1);
}

#[test]
fn a_call_that_was_sent_on_says_whom_it_was_for_where_the_list_lets_it() {
    for list in [vec![], vec!["Diversion"], vec!["History-Info"]] {
        let mut bench = Bench::with(|config| {
            config.trunks[0].peering.headers_out = list.iter().map(|name| (*name).to_owned()).collect();
        });
        bench.command(outgoing(|invite| {
            let (user, status) = (Pii::new("600".to_owned()), StatusCode::new(302).unwrap());
            invite.diverted_from = Some(Diversion { user, status });
        }));
        let sent = bench.last();
        assert_eq!(sent.contains("Diversion: "), list.contains(&"Diversion"), "{sent}");
        assert_eq!(sent.contains("History-Info: "), list.contains(&"History-Info"), "{sent}");
        if list.contains(&"Diversion") {
            let value = header(sent, "Diversion");
            assert!(value.starts_with("<sip:600@") && value.ends_with(">;reason=unconditional;counter=1"), "{value}");
        }
        if list.contains(&"History-Info") {
            let value = header(sent, "History-Info");
            assert!(value.contains("?Reason=SIP%3Bcause%3D302>;index=1, <sip:"), "{value}");
            assert!(value.ends_with(">;index=1.1;mp=1"), "{value}");
        }
    }
}

#[test]
fn numbers_are_rewritten_at_the_trunks_edge() {
    let rule = |direction, prefix: &str, strip, prepend: &str| NumberRule {
        direction,
        number_of: NumberOf::Both,
        prefix: prefix.to_owned(),
        digits_min: 1,
        digits_max: 15,
        strip,
        prepend: prepend.to_owned(),
    };
    let mut bench = Bench::with(|config| {
        config.trunks[0].peering.numbers = vec![
            rule(Direction::In, "2", 0, "+49"),
            rule(Direction::Out, "+", 1, "00"),
            rule(Direction::Out, "2", 0, "0"),
        ];
    });
    bench.say(&request("INVITE", 1, "b1", "", OFFER));
    let Event::Invited(invitation) = &bench.events[0] else { panic!() };
    assert_eq!((invitation.from.user.expose().as_str(), invitation.called.as_str()), ("+492000", "1001"));
    bench.command(outgoing(|invite| {
        invite.called = "+44123".to_owned();
        invite.from.user = Pii::new("2000".to_owned());
        invite.offer = Some(Bytes::from_static(b"v=0"));
    }));
    assert!(bench.last().starts_with("INVITE sip:0044123@10.0.0.2:5060"));
    assert!(header(bench.last(), "From").contains("sip:02000@"));
}

#[test]
fn a_path_that_fails_takes_a_probed_target_down_at_once() {
    let mut bench = Bench::with(probed);
    bench.command(invite(1));
    let flow = bench.sent.last().unwrap().0;
    bench.feed(Input::FlowFailed { flow });
    assert!(!bench.agent.trunks()[0].targets[0].1);
}
