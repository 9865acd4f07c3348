//! Every bound of the house that no configuration key sets, with its unit and its reason.

use std::time::Duration;

// --- SIP ---
/// Bytes of one UDP datagram that we read: the largest that IPv4 can carry.
pub const SIP_DATAGRAM_BYTES_MAX: usize = 65_535;
/// Bytes of one SIP message on a stream; more is 513 (RFC 3261 21.5.8) and the connection closes.
pub const SIP_MESSAGE_BYTES_MAX: usize = 65_536;
/// Header fields of one message; more is 400.
pub const SIP_HEADERS_MAX: usize = 256;
/// Via values of one message; more is 400. Max-Forwards starts at 70, so an honest path stays below.
pub const SIP_VIAS_MAX: usize = 71;
/// Requests above this size leave by a congestion-controlled transport (RFC 3261 18.1.1).
pub const SIP_UDP_REQUEST_BYTES_MAX: usize = 1_300;
/// Transactions alive at once; a request beyond it is 503 with Retry-After.
pub const SIP_TRANSACTIONS_MAX: usize = 20_000;
/// How long the ACK of a 2xx that brought an offer waits for the call room's answer: below T2's third repetition.
pub const SIP_LATE_ANSWER: Duration = Duration::from_secs(8);
/// Early dialogs of one INVITE that are told apart: forks beyond it count as the last.
pub const SIP_EARLY_DIALOGS_MAX: usize = 16;
/// Reliable provisional responses of one INVITE that wait for the PRACK of the one before; one more replaces the last.
pub const SIP_RELIABLE_PROVISIONALS_MAX: usize = 8;
/// Bytes of a REFER's Referred-By that goes on with the INVITE which it makes us send; a longer one stays behind.
pub const SIP_REFERRED_BY_BYTES_MAX: usize = 1_024;
/// Times that an offer is sent again after 491, or 500 with Retry-After.
pub const SIP_OFFER_RETRIES_MAX: u32 = 5;
/// Contacts of a 3xx that are looked at.
pub const SIP_REDIRECTS_MAX: usize = 8;
/// How long an UPDATE of the peer's waits for the call room's answer.
pub const SIP_UPDATE_ANSWER: Duration = Duration::from_secs(8);
/// Nonces of ours, and calls with wrong answers, that are remembered at once; beyond it the oldest counts as stale.
pub const SIP_NONCES_MAX: usize = 4_096;
/// Lines that register, over all trunks.
pub const SIP_LINES_MAX: usize = 10_000;
/// Challenges that are remembered of one trunk, one a line and server that asked.
pub const SIP_DIGEST_SESSIONS_MAX: usize = 20_000;
/// Longest Retry-After of a target that is honoured: a peer may not shut itself out for a day.
pub const SIP_RETRY_AFTER_MAX: Duration = Duration::from_mins(10);
/// Names that a header allow-list may hold, and values of one message that pass it.
pub const SIP_PASSED_HEADERS_MAX: usize = 32;
/// How long the REGISTERs that take our lines away may hold up a shutdown.
pub const SIP_UNREGISTER_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes waiting to be written to one stream connection; a peer that does not read is closed.
pub const SIP_STREAM_QUEUE_BYTES_MAX: usize = 1 << 20;
/// Stream connections at once over all trunks.
pub const SIP_STREAM_CONNECTIONS_MAX: usize = 1_024;
/// A stream that has begun a message must end it within this time.
pub const SIP_STREAM_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream with no traffic and no call is closed after this time.
pub const SIP_STREAM_IDLE_TIMEOUT: Duration = Duration::from_mins(10);
/// A write to a stream that makes no progress for this long closes it.
pub const SIP_STREAM_WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Stream connections at once from hosts outside every trunk's networks: enough to tell them 403.
pub const SIP_STREAM_STRANGERS_MAX: usize = 16;
/// Messages waiting to be written to one stream connection.
pub const SIP_STREAM_QUEUE: usize = 1_024;
/// Opening a stream to a trunk must end within this time, so that failover stays within 4 s.
pub const SIP_STREAM_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A TLS handshake must end within this time, counted from the accepted connection.
pub const SIP_TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the files of certificates and keys are looked at for a change.
pub const SIP_TLS_RELOAD_INTERVAL: Duration = Duration::from_secs(10);
/// An idle trunk connection is sent a ping this often, a fifth sooner or later by chance (RFC 5626 4.4.1).
pub const SIP_STREAM_KEEP_ALIVE: Duration = Duration::from_secs(30);
/// A peer that answered pings before answers the next within this time (RFC 5626 4.4.1).
pub const SIP_STREAM_PONG_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the connections that calls live on are marked, so that they do not idle out.
pub const SIP_STREAM_HOLD_INTERVAL: Duration = Duration::from_secs(30);
/// A host name must resolve within this time.
pub const SIP_RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Addresses that one name may have; more are left.
pub const SIP_RESOLVE_TARGETS_MAX: usize = 16;
/// A name whose answer bears no time to live is asked again after this time.
pub const SIP_RESOLVE_INTERVAL: Duration = Duration::from_mins(1);
/// A name is asked no more often than this, whatever its time to live.
pub const SIP_RESOLVE_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// A name is asked at least this often, whatever its time to live.
pub const SIP_RESOLVE_INTERVAL_MAX: Duration = Duration::from_hours(1);
/// A name that was not found is asked again after this time.
pub const SIP_RESOLVE_RETRY: Duration = Duration::from_secs(10);
/// Messages received and not yet handled; a datagram beyond it is dropped, a stream waits.
pub const SIP_INBOUND: usize = 4_096;
/// Messages to ourselves that wait for the SIP task, which takes one by turns with what the sockets bring; one more is
/// lost, and its transaction repeats it or gives up.
pub const SIP_MEMORY: usize = 4_096;
/// Bytes that the kernel may hold for one UDP socket while the SIP task is busy.
pub const SIP_UDP_RECEIVE_BUFFER_BYTES: usize = 4 << 20;

// --- SDP ---
/// Bytes of one session description.
pub const SDP_BYTES_MAX: usize = 32_768;
/// Media lines of one session description.
pub const SDP_MEDIA_MAX: usize = 32;

/// `a=crypto` lines of one stream that we read.
pub const SDP_CRYPTO_MAX: usize = 16;

// --- media ---
/// Bytes of one RTP or RTCP datagram that we read.
pub const RTP_DATAGRAM_BYTES_MAX: usize = 2_048;
/// Samples of one frame at 8 kHz: 60 ms, the longest ptime that we take.
pub const FRAME_SAMPLES_MAX: usize = 480;
/// Longest run of concealed audio after a loss, in milliseconds.
pub const CONCEALMENT_MS_MAX: u32 = 100;
/// SRTP sources under one key: a peer may change its SSRC so often before it must re-key. None is forgotten, as its
/// packets could be replayed then.
pub const SRTP_SOURCES_MAX: usize = 256;
/// Log lines a second about dropped media, over all workers.
pub const MEDIA_LOG_LINES_PER_SECOND: u64 = 10;
/// Time between two digits that leave by SIP INFO.
pub const DTMF_INFO_INTERVAL: Duration = Duration::from_millis(250);
/// Bytes of the hold music's samples: ten minutes of 16 bits at 8 kHz.
pub const HOLD_MUSIC_BYTES_MAX: usize = 9_600_000;
/// Digits waiting to be sent on one leg.
pub const DTMF_QUEUE_MAX: usize = 64;

// --- browsers ---
/// Bytes of one text on a data channel.
pub const DATA_MESSAGE_BYTES_MAX: usize = 65_536;
/// Synchronisation sources that one browser may use without announcing them.
pub const PEER_SOURCES_MAX: usize = 8;
/// Addresses bound to one browser at once; the longest unused makes room.
pub const PEER_ADDRESSES_MAX: usize = 8;
/// A browser's address that sent nothing for this long is forgotten.
pub const PEER_ADDRESS_EXPIRY: Duration = Duration::from_mins(1);
/// Sessions of one worker beyond its share of the node's calls: an emergency call finds a place on a full node.
pub const EMERGENCY_SESSIONS_MAX: usize = 16;
/// How long a shutdown whose drain is over still waits for emergency calls. Nobody may hang up on them but the two who
/// talk; a process that waits for ever because of a lost BYE helps nobody either.
pub const EMERGENCY_DRAIN_TIMEOUT: Duration = Duration::from_mins(30);
/// Browsers that ring at once for one call; further members of a group ring when these have had their time.
pub const RING_PARALLEL_MAX: usize = 8;
/// Members of one ring group.
pub const GROUP_MEMBERS_MAX: usize = 64;
/// Trunk legs that one call may have had, by transfers of the other side; one more transfer is refused.
pub const CALL_TRUNK_LEGS_MAX: usize = 16;
/// Agents whose last call is remembered, for the longest idle; beyond it the longest idle are forgotten, and stay so.
pub const IDLE_AGENTS_MAX: usize = 16_384;
/// Legs of one session at once: a parallel group of eight, a trunk leg, and replacements.
pub const SESSION_LEGS_MAX: usize = 16;
/// DTLS handshakes that wait for their turn at one worker: one begins a turn. More are dropped, and retransmitted.
pub const DEFERRED_HANDSHAKES_MAX: usize = 256;

/// A call that is joined to another one has no agent to hang it up. Where both parties are gone and neither PBX says so, a
/// hold that hides it would keep the call for ever.
pub const JOINED_CALL_MAX: Duration = Duration::from_hours(12);
/// A page that was reloaded has this long to bring the transport of its call up.
pub const REATTACH_MAX: Duration = Duration::from_secs(30);

// --- mailboxes ---
/// Messages waiting for one call.
pub const CALL_MAILBOX: usize = 64;
/// What calls ask of the registry, waiting: a few words for each of those that are being joined.
pub const CALL_ASKS: usize = 1_024;
/// Call records of different calls that wait for a database that is away.
pub const CALL_RECORDS_WAITING: usize = 100_000;
/// Changed call records on their way to the task that keeps them.
pub const CALL_RECORDS_QUEUE: usize = 4_096;
/// Commands waiting for one worker.
pub const WORKER_COMMANDS: usize = 1_024;
/// Packets of joined calls waiting for one worker: 100 ms of 200 calls.
pub const WORKER_CROSSINGS: usize = 1_024;
/// Events waiting to leave one worker.
pub const WORKER_EVENTS: usize = 4_096;
/// Commands waiting for the SIP task.
pub const SIP_COMMANDS: usize = 1_024;
/// Events of the SIP task that wait for room in the call room's channel; beyond it nothing more is read.
pub const SIP_EVENTS_WAITING: usize = 4_096;
/// Frames in one worker's ring to the recorder: 2 s of 200 calls with two channels of 20 ms.
pub const TAP_RING_FRAMES: usize = 40_960;

// --- signalling ---
/// Bytes of one WebSocket message.
pub const SIGNALING_MESSAGE_BYTES_MAX: usize = 65_536;
/// WebSocket messages a second from one session; the burst is the same.
pub const SIGNALING_MESSAGES_PER_SECOND: u32 = 50;
/// Messages waiting to be sent to one browser; a slow client is closed with 1013.
pub const SIGNALING_QUEUE: usize = 256;
/// Calls at once of one session, where the configuration says nothing else.
pub const SIGNALING_CALLS_MAX: usize = 8;
/// Sessions at once over all users, where the configuration says nothing else.
pub const SIGNALING_SESSIONS_MAX: usize = 10_000;
/// Sockets that have not opened a session yet; one more is refused.
pub const SIGNALING_OPENING_MAX: usize = 1_000;
/// Requests of one session that wait for their answer; one more is refused.
pub const SIGNALING_PENDING_MAX: usize = 256;
/// Requests that may wait for the answer to the same thing, as a client that reconnects repeats them.
pub const SIGNALING_REPEATS_MAX: usize = 4;
/// Calls that a session remembers after their end, so that a late hang-up is no error.
pub const SIGNALING_ENDED_CALLS: usize = 64;
/// Notifications kept for a resumption.
pub const SIGNALING_REPLAY_MAX: usize = 256;
/// How long a notification is kept for a resumption.
pub const SIGNALING_REPLAY_AGE: Duration = Duration::from_secs(30);
/// How long a session lives without a socket, where the configuration says nothing else.
pub const SIGNALING_RESUME_GRACE: Duration = Duration::from_mins(1);
/// A write to a browser that makes no progress for this long closes its socket.
pub const SIGNALING_WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Characters of a dialled number.
pub const SIGNALING_NUMBER_CHARS_MAX: usize = 128;
/// Digits of one `call.dtmf`.
pub const SIGNALING_DTMF_MAX: usize = 32;
/// `session.open` must arrive within this time, or the socket closes with 4401.
pub const SIGNALING_OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between the server's WebSocket pings.
pub const SIGNALING_PING_INTERVAL: Duration = Duration::from_secs(15);

// --- login ---
/// Bytes of a login request's body.
pub const LOGIN_BODY_BYTES_MAX: usize = 4_096;
/// Characters of a user name.
pub const USER_NAME_CHARS_MAX: usize = 64;
/// Bytes of a password: a directory takes no more, and a hash is not to be fed megabytes.
pub const PASSWORD_BYTES_MAX: usize = 512;
/// Users whose budget of binds is remembered at once; beyond it the least suspect is forgotten.
pub const LOCKOUT_USERS_MAX: usize = 16_384;
/// Ended sessions that are remembered by name; beyond it the oldest logins are refused altogether.
pub const REVOCATIONS_MAX: usize = 16_384;
/// Bytes of a session or signalling token.
pub const TOKEN_BYTES_MAX: usize = 4_096;
/// Groups of one person that are read from the directory.
pub const LDAP_GROUPS_MAX: usize = 512;

// --- call traces ---
/// Entries of one call's trace; what comes later is counted.
pub const TRACE_ENTRIES_MAX: usize = 500;
/// Bytes of one SIP message, or one text, that a trace keeps.
pub const TRACE_ENTRY_BYTES_MAX: usize = 8_192;
/// Bytes of one call's trace.
pub const TRACE_CALL_BYTES_MAX: usize = 262_144;
/// Bytes of every live call's trace together.
pub const TRACE_BYTES_MAX: usize = 64 << 20;
/// Calls traced at once.
pub const TRACE_CALLS_MAX: usize = 10_000;
/// SIP dialogs of one call: legs, forks, transfers.
pub const TRACE_DIALOGS_MAX: usize = 16;
/// SIP messages that wait for their call to begin: an INVITE is seen before the call room knows it.
pub const TRACE_PENDING_MAX: usize = 256;
/// How long after its end a call's trace still takes messages: the answer to the last BYE.
pub const TRACE_LINGER: Duration = Duration::from_secs(2);
/// Observations on their way to the collector; one more is lost, and counted.
pub const TRACE_OBSERVATIONS: usize = 2_048;
/// Finished traces that wait for the database; one more is lost, and counted.
pub const TRACE_QUEUE: usize = 256;

// --- HTTP ---
/// A request's head and body must arrive, and its answer begin, within this time.
pub const HTTP_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a recording's audio that are read at a time.
pub const HTTP_AUDIO_READ_BYTES: u64 = 65_536;

// --- database ---
/// Longest wait for one statement, a connection for it included.
pub const DATABASE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a connection: shorter, so that a database that cannot be reached is told from one that hangs.
pub const DATABASE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(3);
/// Time between two looks at the database's health.
pub const DATABASE_PROBE_INTERVAL: Duration = Duration::from_secs(2);
