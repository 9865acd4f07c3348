//! A message's bytes in JSON: as `text` where they are one, else as `base64`. JSON of PostgreSQL holds no NUL.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::Error as _;

#[derive(Serialize, Deserialize)]
enum Message {
    #[serde(rename = "text")]
    Text(String),
    #[serde(rename = "base64")]
    Base64(String),
}

pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    let message = match text {
        Some(text) => Message::Text(text.to_owned()),
        None => Message::Base64(STANDARD.encode(bytes)),
    };
    message.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    match Message::deserialize(deserializer)? {
        Message::Text(text) => Ok(text.into_bytes()),
        Message::Base64(text) => STANDARD.decode(text).map_err(D::Error::custom),
    }
}
