//! Names of things that live longer than one message: calls, legs, recordings, nodes.
//!
//! Every identifier is drawn from a random generator that the caller passes in, so that a seed replays.

use std::fmt;
use std::sync::Arc;

use rand::RngCore;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Builds a `UUIDv7` (RFC 9562 5.7) from the wall clock and ten random bytes.
fn uuid_v7(unix_ms: u64, rng: &mut dyn RngCore) -> Uuid {
    let mut random = [0_u8; 10];
    rng.fill_bytes(&mut random);
    uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid()
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new identifier: a `UUIDv7` of `unix_ms` (milliseconds since 1970, UTC) and chance.
            pub fn generate(unix_ms: u64, rng: &mut dyn RngCore) -> Self {
                Self(uuid_v7(unix_ms, rng))
            }

            /// Wraps an identifier that somebody else made.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The bare UUID, for storage and the wire.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id! {
    /// One call through this gateway; the `call_id` of the signalling protocol. Not SIP's Call-ID.
    CallId
}
uuid_id! {
    /// One leg of a call: an INVITE usage towards a trunk, or a peer connection towards a browser.
    LegId
}
uuid_id! {
    /// One agent's participation in a call, as recorded.
    RecordingId
}
uuid_id! {
    /// One signalling session: a browser's WebSocket and its resumptions.
    SignalingId
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Wraps the sixteen bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The sixteen bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", u128::from_be_bytes(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

hex_id! {
    /// Our half of a Session-ID (RFC 7989 4.1): 32 hexadecimal digits that follow a call through every leg and log.
    SessionId
}
hex_id! {
    /// A node of the gateway: the first 16 bytes of SHA-256 over its public signing key.
    NodeId
}

impl SessionId {
    /// A new Session-ID half, drawn from chance.
    pub fn generate(rng: &mut dyn RngCore) -> Self {
        let mut bytes = [0_u8; 16];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// Our half where a trunk calls us: the leg's own name, so that both ends of the house can find it.
    pub fn of_leg(leg: LegId) -> Self {
        Self(*leg.as_uuid().as_bytes())
    }
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps the name as it stands.
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), &*self.0)
            }
        }
    };
}

name_id! {
    /// A trunk, by its key in the configuration.
    TrunkName
}
impl TrunkName {
    /// The name of the trunk that leads back into this gateway; no trunk of the configuration may bear it.
    pub const INTERNAL: &str = "internal";

    /// Whether it is the trunk that leads back into this gateway.
    pub fn is_internal(&self) -> bool {
        self.as_str() == Self::INTERNAL
    }
}

name_id! {
    /// The number under which an agent is reached, such as `1001`.
    Extension
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn identifiers_sort_by_the_time_of_their_making() {
        let mut rng = StdRng::seed_from_u64(1);
        let early = CallId::generate(1_000, &mut rng);
        let late = CallId::generate(2_000, &mut rng);
        assert!(early < late);
        assert_eq!(late.as_uuid().get_version_num(), 7);
    }

    #[test]
    fn a_seed_replays_the_same_session_id() {
        let first = SessionId::generate(&mut StdRng::seed_from_u64(7));
        let second = SessionId::generate(&mut StdRng::seed_from_u64(7));
        assert_eq!(first, second);
        assert_eq!(first.to_string().len(), 32);
    }
}
