use serde_json::json as object;

use super::*;

fn masked(message: &str) -> String {
    let masked = sip(message.as_bytes());
    assert_eq!(masked.len(), message.len(), "lengths stay");
    String::from_utf8(masked).unwrap()
}

#[test]
fn a_digest_shows_who_and_where_and_never_the_proof() {
    let message = "REGISTER sip:pbx SIP/2.0\r\nAuthorization: Digest username=\"1001\", realm=\"pbx, \\\"a\\\"\", nonce=\"n,once\",\r\n \
                   response=\"0123456789abcdef\",cnonce = \"c\\\"n\" , nc=00000001, qop=auth, opaque=raw\r\nVia: x\r\n\r\n";
    let masked = masked(message);
    for shown in ["username=\"1001\"", "realm=\"pbx, \\\"a\\\"\"", "nc=00000001", "qop=auth", "Via: x\r\n"] {
        assert!(masked.contains(shown), "{shown} in {masked}");
    }
    for secret in ["n,once", "0123456789abcdef", "c\\\"n", "raw"] {
        assert!(!masked.contains(secret), "{secret} in {masked}");
    }
}

#[test]
fn credentials_of_another_scheme_are_masked_whole() {
    let masked = masked("INVITE sip:1@h SIP/2.0\r\nproxy-authorization : Bearer ey.J9\r\n\trest\r\nTo: a\r\n\r\n");
    assert!(masked.contains("Bearer*") && !masked.contains("ey.J9") && !masked.contains("rest"), "{masked}");
    assert!(masked.ends_with("To: a\r\n\r\n"));
}

#[test]
fn what_a_server_proves_is_masked_and_its_challenge_is_not() {
    let message = "SIP/2.0 200 OK\r\nAuthentication-Info: rspauth=\"beef\", qop=auth\r\nWWW-Authenticate: Digest nonce=\"open\"\r\n\r\n";
    let masked = masked(message);
    assert!(!masked.contains("beef") && masked.contains("qop=auth") && masked.contains("nonce=\"open\""), "{masked}");
}

#[test]
fn keys_of_sdes_and_ice_passwords_are_masked_in_every_body() {
    let message = "INVITE sip:1@h SIP/2.0\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\
                   a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4;INLINE:second\r\n\
                   a=ice-pwd:asd88fgpdd777uzjYhagZg\r\nk=clear:password\r\na=fingerprint:sha-256 AA:BB\r\n";
    let masked = masked(message);
    for secret in ["WVNf", "second", "asd88", "clear:password"] {
        assert!(!masked.contains(secret), "{secret} in {masked}");
    }
    for shown in ["a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:*", "|2^20|1:4;INLINE:******\r\n", "sha-256 AA:BB"] {
        assert!(masked.contains(shown), "{shown} in {masked}");
    }
}

#[test]
fn digits_are_masked_in_every_form() {
    let relay =
        masked("INFO sip:1@h SIP/2.0\r\nContent-Type: application/dtmf-relay\r\n\r\nSignal= 5\r\nDuration=160\r\n");
    assert!(relay.ends_with("Signal=**\r\nDuration=160\r\n"), "{relay}");
    let bare = masked("INFO sip:1@h SIP/2.0\r\nc: application/dtmf;x=1\r\n\r\n159#0\r\n");
    assert!(bare.ends_with("\r\n\r\n*****\r\n"), "{bare}");
    let kpml = masked("NOTIFY sip:1@h SIP/2.0\r\n\r\n<kpml-response code=\"200\" digits=\"159#0\" tag=\"d\"/>");
    assert!(kpml.contains("code=\"200\" digits=\"*****\" tag"), "{kpml}");
    let dialled = masked("INVITE tel:+4930;postd=pp159 SIP/2.0\r\nTo: <sip:1;postd=22@h>\r\n\r\n");
    assert!(dialled.contains("postd=*****") && dialled.contains("postd=**@h"), "{dialled}");
}

#[test]
fn passwords_in_uris_are_masked_and_ports_are_not() {
    let message = "INVITE sip:bob:s3c;ret@h:5060 SIP/2.0\r\nContact: <sip:a@h:5070>, <sips:c:pw@h>\r\n\
                   Refer-To: <sip:x@h?Authorization=Digest%20abc&Subject=y>\r\n\r\n";
    let masked = masked(message);
    assert!(masked.starts_with("INVITE sip:bob:*******@h:5060"), "{masked}");
    assert!(masked.contains("<sip:a@h:5070>, <sips:c:**@h>"), "{masked}");
    assert!(!masked.contains("abc") && masked.contains("&Subject=y"), "{masked}");
}

#[test]
fn a_message_cut_anywhere_is_masked_too() {
    let whole = "INVITE sip:a:secretword@h SIP/2.0\r\nAuthorization: Digest response=\"secretword\"\r\nContent-Type: application/sdp\r\n\r\n\
                 a=crypto:1 X inline:secretword\r\na=ice-pwd:secretword\r\n";
    for cut in 30..whole.len() {
        let masked = sip(&whole.as_bytes()[..cut]);
        assert_eq!(masked.len(), cut);
        let text = String::from_utf8(masked).unwrap();
        assert!(!text.contains("secr"), "{text}");
    }
}

#[test]
fn bytes_that_are_no_text_pass() {
    let message = [&b"INVITE sip:1@h SIP/2.0\r\nX: \xff\0\r\n\r\n"[..], &[0, 159, 146, 150]].concat();
    assert_eq!(sip(&message), message);
}

#[test]
fn signalling_json_loses_digits_tokens_and_passwords_at_any_depth() {
    let masked = json(object!({
        "call_id": "7", "digits": "159#0", "list": [{"token": "ey.x", "credential": 5}], "to": "600",
        "sdp": "v=0\r\na=ice-ufrag:abc\r\na=ice-pwd:secret\r\n", "seq": 4
    }));
    assert_eq!(masked["digits"], "*****");
    assert_eq!(masked["list"][0], object!({"token": "****", "credential": "*"}));
    assert_eq!(masked["sdp"], "v=0\r\na=ice-ufrag:abc\r\na=ice-pwd:******\r\n");
    assert_eq!((&masked["to"], &masked["seq"]), (&object!("600"), &object!(4)));
}
