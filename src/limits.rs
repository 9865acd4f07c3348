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
/// A host name must resolve within this time.
pub const SIP_RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Messages received and not yet handled; a datagram beyond it is dropped, a stream waits.
pub const SIP_INBOUND: usize = 4_096;
/// Bytes that the kernel may hold for one UDP socket while the SIP task is busy.
pub const SIP_UDP_RECEIVE_BUFFER_BYTES: usize = 4 << 20;

// --- SDP ---
/// Bytes of one session description.
pub const SDP_BYTES_MAX: usize = 32_768;
/// Media lines of one session description.
pub const SDP_MEDIA_MAX: usize = 32;

// --- media ---
/// Bytes of one RTP or RTCP datagram that we read.
pub const RTP_DATAGRAM_BYTES_MAX: usize = 2_048;
/// Samples of one frame at 8 kHz: 60 ms, the longest ptime that we take.
pub const FRAME_SAMPLES_MAX: usize = 480;
/// Longest run of concealed audio after a loss, in milliseconds.
pub const CONCEALMENT_MS_MAX: u32 = 100;
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
/// Legs of one session at once: a parallel group of eight, a trunk leg, and replacements.
pub const SESSION_LEGS_MAX: usize = 16;
/// DTLS handshakes that wait for their turn at one worker: one begins a turn. More are dropped, and retransmitted.
pub const DEFERRED_HANDSHAKES_MAX: usize = 256;

// --- mailboxes ---
/// Messages waiting for one call.
pub const CALL_MAILBOX: usize = 64;
/// Call records of different calls that wait for a database that is away.
pub const CALL_RECORDS_WAITING: usize = 100_000;
/// Changed call records on their way to the task that keeps them.
pub const CALL_RECORDS_QUEUE: usize = 4_096;
/// Commands waiting for one worker.
pub const WORKER_COMMANDS: usize = 1_024;
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
