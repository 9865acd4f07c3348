//! How the room's plain data is written in JSON: bytes as hexadecimal, times as nanoseconds since 1970.

use serde::{Deserialize, Deserializer, Serializer};

/// Lower-case hexadecimal of `bytes`.
pub fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for digit in bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]) {
        text.extend(char::from_digit(u32::from(digit), 16));
    }
    text
}

/// The bytes of hexadecimal `text`, either case. None where it is not that.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok())).collect();
    let digits = digits?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

fn bytes_of<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<[u8; N], D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = from_hex(&text).and_then(|bytes| <[u8; N]>::try_from(bytes).ok());
    bytes.ok_or_else(|| serde::de::Error::custom(format_args!("expected {N} bytes in hexadecimal")))
}

/// For identifiers of sixteen bytes.
pub mod as_hex {
    use serde::{Deserializer, Serializer};

    use crate::ids::{NodeId, SessionId};

    /// An identifier of sixteen bytes.
    pub trait Sixteen: Sized {
        /// Its bytes.
        fn sixteen(&self) -> &[u8; 16];
        /// From its bytes.
        fn of_sixteen(bytes: [u8; 16]) -> Self;
    }

    impl Sixteen for NodeId {
        fn sixteen(&self) -> &[u8; 16] {
            self.as_bytes()
        }
        fn of_sixteen(bytes: [u8; 16]) -> Self {
            Self::from_bytes(bytes)
        }
    }

    impl Sixteen for SessionId {
        fn sixteen(&self) -> &[u8; 16] {
            self.as_bytes()
        }
        fn of_sixteen(bytes: [u8; 16]) -> Self {
            Self::from_bytes(bytes)
        }
    }

    /// See `serde(with)`.
    pub fn serialize<T: Sixteen, S: Serializer>(id: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::to_hex(id.sixteen()))
    }

    /// See `serde(with)`.
    pub fn deserialize<'de, T: Sixteen, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        super::bytes_of(deserializer).map(T::of_sixteen)
    }
}

/// For hashes of 32 bytes.
pub mod as_hex_32 {
    use super::{Deserializer, Serializer, bytes_of, to_hex};

    /// See `serde(with)`.
    pub fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_hex(bytes))
    }

    /// See `serde(with)`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        bytes_of(deserializer)
    }
}

/// For bytes of any number.
pub mod as_hex_vec {
    use super::{Deserialize, Deserializer, Serializer, from_hex, to_hex};

    /// See `serde(with)`.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_hex(bytes))
    }

    /// See `serde(with)`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        from_hex(&text).ok_or_else(|| serde::de::Error::custom("expected hexadecimal"))
    }
}

/// For wall times.
pub mod as_ns {
    use super::{Deserialize, Deserializer, Serializer};

    use crate::clock::WallTime;

    /// See `serde(with)`.
    pub fn serialize<S: Serializer>(time: &WallTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(time.0)
    }

    /// See `serde(with)`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<WallTime, D::Error> {
        u64::deserialize(deserializer).map(WallTime)
    }
}

/// For wall times that may be absent.
pub mod as_ns_option {
    use super::{Deserialize, Deserializer, Serializer};

    use crate::clock::WallTime;

    /// See `serde(with)`.
    pub fn serialize<S: Serializer>(time: &Option<WallTime>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.serialize_some(&time.0),
            None => serializer.serialize_none(),
        }
    }

    /// See `serde(with)`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<WallTime>, D::Error> {
        Option::<u64>::deserialize(deserializer).map(|time| time.map(WallTime))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_survives_the_way_there_and_back() {
        assert_eq!(to_hex(&[0, 0x1f, 0xff]), "001fff");
        assert_eq!(from_hex("001FfF"), Some(vec![0, 0x1f, 0xff]));
        assert_eq!(from_hex("001"), None);
        assert_eq!(from_hex("zz"), None);
    }
}
