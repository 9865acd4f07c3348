//! Each quirk changes what it says, and says so; without it nothing is changed and nothing said.

use std::time::Duration;

use super::bench::Bench;
use super::bench::HOLD;
use super::bench::OFFER;
use super::bench::accept;
use super::bench::header;
use super::bench::request;
use super::bench::response;
use super::bench::response_with;
use super::bench::to_tag;
use super::invite;
use super::leg;
use crate::sip::Command;
use crate::sip::StatusCode;
use crate::sip::dialog::terms::ReliableProvisionals;
use crate::sip::dialog::terms::SessionTimerPolicy;
use crate::sip::quirk::Quirk;
use crate::sip::quirk::Quirks;

fn with(quirks: &[Quirk]) -> Bench {
    Bench::with(|config| config.trunks[0].terms.quirks = quirks.iter().copied().collect())
}

/// What fired since the last look, each with its Call-ID.
fn fired(bench: &mut Bench) -> Vec<String> {
    bench.fired.drain(..).map(|fired| format!("{} {}: {}", fired.sip_call_id, fired.quirk, fired.detail)).collect()
}

/// Where the last message went.
fn last_to(bench: &Bench) -> String {
    bench.sent.last().unwrap().0.remote.to_string()
}

#[test]
fn force_rport_answers_to_the_source_port_and_says_so() {
    let from_nat = request("INVITE", 1, "b1", "", OFFER);
    let mut strict = with(&[]);
    strict.say_from("10.0.0.2:40000", &from_nat);
    assert_eq!(last_to(&strict), "10.0.0.2:5060");
    assert!(strict.fired.is_empty());

    let mut bench = with(&[Quirk::ForceRport]);
    bench.say_from("10.0.0.2:40000", &from_nat);
    assert_eq!(last_to(&bench), "10.0.0.2:40000");
    assert_eq!(fired(&mut bench), ["c1 force_rport: INVITE is answered to 10.0.0.2:40000, not to 10.0.0.2:5060"]);
    bench.say_from("10.0.0.2:40000", &from_nat);
    assert!(bench.fired.is_empty(), "a retransmission is no news");
    let asked = request("OPTIONS", 1, "b2", "", "").replace(";branch", ";rport;branch");
    bench.say_from("10.0.0.2:40000", &asked);
    assert_eq!(last_to(&bench), "10.0.0.2:40000");
    assert!(bench.fired.is_empty(), "it asked for what it got");
}

#[test]
fn contact_from_source_sends_requests_where_the_peer_speaks_from_and_says_so() {
    for (quirks, to) in [(&[][..], "10.0.0.2:9"), (&[Quirk::ContactFromSource], "10.0.0.2:5060")] {
        let mut bench = with(quirks);
        bench.command(invite(1));
        let sent = bench.last().to_owned();
        bench.say(&response(&sent, "200 OK", "a").replace("<sip:a@10.0.0.2>", "<sip:a@10.0.0.2:9>"));
        assert_eq!(last_to(&bench), to, "ACK");
        bench.command(Command::Bye { leg: leg(1), reason: None });
        assert_eq!(last_to(&bench), to, "BYE");
        let call = header(&sent, "Call-ID").to_owned();
        let says =
            |method: &str| format!("{call} contact_from_source: {method} goes to 10.0.0.2:5060, not to 10.0.0.2:9");
        let expected = if quirks.is_empty() { Vec::new() } else { vec![says("ACK"), says("BYE")] };
        assert_eq!(fired(&mut bench), expected);
    }
}

#[test]
fn contact_from_source_says_nothing_where_the_contact_is_right() {
    let mut bench = with(&[Quirk::ContactFromSource]);
    let (leg, _) = bench.talking();
    bench.command(Command::Bye { leg, reason: None });
    assert_eq!(last_to(&bench), "10.0.0.2:5060");
    assert!(bench.fired.is_empty());
}

#[test]
fn no_100rel_leaves_it_out_of_our_invite_and_says_so() {
    let mut bench = with(&[]);
    bench.command(invite(1));
    assert_eq!(header(bench.last(), "Supported"), "100rel, replaces, timer");
    assert!(bench.fired.is_empty());
    let mut bench = with(&[Quirk::No100rel]);
    bench.command(invite(1));
    assert_eq!(header(bench.last(), "Supported"), "replaces, timer");
    let call = header(bench.last(), "Call-ID").to_owned();
    assert_eq!(fired(&mut bench), [format!("{call} no_100rel: INVITE does not offer 100rel")]);
}

#[test]
fn no_100rel_rings_reliably_only_where_it_must() {
    for (header_line, is_reliable) in [("Supported: 100rel\n", false), ("Require: 100rel\n", true)] {
        let mut bench = Bench::with(|config| {
            config.trunks[0].terms.reliable_provisionals = ReliableProvisionals::Offered;
            config.trunks[0].terms.quirks = Quirks::from_iter([Quirk::No100rel]);
        });
        bench.say(&request("INVITE", 1, "b1", "", &format!("{header_line}{OFFER}")));
        let leg = bench.invited();
        bench.command(Command::Provisional { leg, status: StatusCode::RINGING, body: None });
        assert_eq!(bench.last().contains("Require: 100rel"), is_reliable, "{header_line}");
        let expected: &[&str] = if is_reliable { &[] } else { &["c1 no_100rel: 180 is sent without 100rel"] };
        assert_eq!(fired(&mut bench), expected);
    }
}

#[test]
fn no_update_refreshes_by_reinvite_and_says_so() {
    for (quirks, method) in [(&[][..], "UPDATE"), (&[Quirk::NoUpdate], "INVITE")] {
        let mut bench = Bench::with(|config| {
            config.trunks[0].terms.session_timer = SessionTimerPolicy::Require;
            config.trunks[0].terms.quirks = quirks.iter().copied().collect();
        });
        bench.command(invite(1));
        let sent = bench.last().to_owned();
        let rest = "Allow: INVITE, UPDATE\nSupported: timer\nSession-Expires: 600;refresher=uac\n\
                    Content-Type: application/sdp\n\nv=0 theirs";
        bench.say(&response_with(&sent, "200 OK", rest));
        let lines = bench.wait(Duration::from_mins(5));
        assert!(lines[0].starts_with(method), "{lines:?}");
        let call = header(&sent, "Call-ID");
        let says = format!("{call} no_update: the session is refreshed by re-INVITE, not UPDATE");
        let expected = if quirks.is_empty() { Vec::new() } else { vec![says] };
        assert_eq!(fired(&mut bench), expected);
    }
}

#[test]
fn no_update_keeps_early_offers_back_and_says_so() {
    let early = "Require: 100rel\nRSeq: 7\nAllow: INVITE, UPDATE\nContent-Type: application/sdp\n\nv=0 theirs";
    for (quirks, is_sent) in [(&[][..], true), (&[Quirk::NoUpdate], false)] {
        let mut bench = with(quirks);
        bench.command(invite(1));
        let sent = bench.last().to_owned();
        bench.say(&response_with(&sent, "183 Session Progress", early));
        let prack = bench.last().to_owned();
        bench.say(&response_with(&prack, "200 OK", ""));
        bench.words();
        let lines = bench.command(Command::Reinvite { leg: leg(1), sdp: "v=0 ours".into() });
        assert_eq!(lines.iter().any(|line| line.starts_with("UPDATE")), is_sent);
        let call = header(&sent, "Call-ID");
        let says = format!("{call} no_update: no offer leaves before the call is answered");
        assert_eq!(fired(&mut bench), if is_sent { Vec::new() } else { vec![says] });
        let words: &[&str] = if is_sent { &[] } else { &["renegotiation failed 491"] };
        assert_eq!(bench.words(), words);
    }
}

#[test]
fn lax_cseq_serves_a_request_whose_number_did_not_grow_and_says_so() {
    let mut bench = with(&[]);
    let (_, tag) = bench.talking();
    assert_eq!(bench.say(&request("BYE", 1, "b9", &tag, "")), ["SIP/2.0 500 Server Internal Error"]);
    assert!(bench.fired.is_empty());

    let mut bench = with(&[Quirk::LaxCseq]);
    let (leg, tag) = bench.talking();
    bench.say(&request("INVITE", 1, "b8", &tag, HOLD));
    assert_eq!(bench.words(), ["reinvited"]);
    bench.command(Command::AcceptReinvite { leg, sdp: "v=0 held".into() });
    assert_eq!(to_tag(bench.last()), tag);
    bench.say(&request("ACK", 1, "b7", &tag, ""));
    assert_eq!(bench.say(&request("BYE", 1, "b9", &tag, "")), ["SIP/2.0 200 OK"]);
    let says = |method: &str| format!("c1 lax_cseq: {method} is served though its CSeq did not grow");
    assert_eq!(fired(&mut bench), [says("INVITE"), says("BYE")]);
}

#[test]
fn user_phone_marks_numbers_and_only_numbers_and_says_so() {
    let mut bench = with(&[Quirk::UserPhone]);
    bench.command(invite(1));
    let sent = bench.last().to_owned();
    assert!(sent.starts_with("INVITE sip:1001@10.0.0.2:5060;user=phone SIP/2.0"), "{sent}");
    assert!(header(&sent, "From").contains(";user=phone>") && header(&sent, "To").contains(";user=phone>"), "{sent}");
    assert!(!header(&sent, "Contact").contains("user=phone"), "{sent}");
    let call = header(&sent, "Call-ID").to_owned();
    assert_eq!(fired(&mut bench), [format!("{call} user_phone: INVITE says user=phone")]);

    let mut bench = with(&[Quirk::UserPhone]);
    let Command::Invite(mut name) = invite(2) else { unreachable!() };
    name.called = "alice".to_owned();
    name.from.user = crate::pii::Pii::new("bob".to_owned());
    bench.command(Command::Invite(name));
    assert!(!bench.last().contains("user=phone") && bench.fired.is_empty(), "{}", bench.last());
}

#[test]
fn an_answered_call_without_quirks_says_nothing() {
    let mut bench = with(&Quirk::ALL);
    bench.say(&request("INVITE", 1, "b1", "", OFFER));
    let leg = bench.invited();
    bench.command(accept(leg));
    assert!(bench.fired.is_empty(), "{:?}", bench.fired);
}
