//! SIP messages (RFC 3261 7): framing, URIs, headers, building, admission.
