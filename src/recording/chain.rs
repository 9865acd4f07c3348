//! Tamper evidence: the hash chain over chunks, the Merkle tree over their hashes, the node's signatures.

use std::fmt;

use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::ids::NodeId;

/// A SHA-256.
pub type Hash = [u8; 32];

/// SHA-256 over `parts`, one after the other.
pub fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    finish(context)
}

fn finish(context: digest::Context) -> Hash {
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    hash
}

/// SHA-256 of bytes that come piece by piece.
pub struct Hasher(digest::Context);

impl Default for Hasher {
    fn default() -> Self {
        Self(digest::Context::new(&SHA256))
    }
}

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all.
    pub fn finish(self) -> Hash {
        finish(self.0)
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

/// A Merkle tree (RFC 6962 2.1) that grows leaf by leaf and remembers only its right edge.
#[derive(Debug, Clone, Default)]
pub struct MerkleTree {
    /// Roots of perfect subtrees, the largest first, with their heights.
    edge: Vec<(u32, Hash)>,
    leaves: u64,
}

impl MerkleTree {
    /// Adds a leaf: SHA-256(0x00 | `entry`).
    pub fn push(&mut self, entry: &Hash) {
        let mut node = (0, sha256(&[&[0], entry]));
        while let Some((height, left)) = self.edge.pop_if(|(height, _)| *height == node.0) {
            node = (height + 1, sha256(&[&[1], &left, &node.1]));
        }
        self.edge.push(node);
        self.leaves += 1;
    }

    /// Leaves so far.
    pub const fn leaves(&self) -> u64 {
        self.leaves
    }

    /// The root; of no leaves, SHA-256 of nothing.
    pub fn root(&self) -> Hash {
        let mut from_right = self.edge.iter().rev().map(|(_, hash)| *hash);
        let Some(last) = from_right.next() else { return sha256(&[]) };
        from_right.fold(last, |right, left| sha256(&[&[1], &left, &right]))
    }
}

/// The node's signing key (Ed25519). Its `Debug` shows the node only.
pub struct NodeKey {
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

impl NodeKey {
    /// From the 32 bytes of its seed (RFC 8032 5.1.5).
    pub fn of_seed(seed: &[u8; 32]) -> Result<Self, InvalidKey> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_rejected| InvalidKey)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_length| InvalidKey)?;
        Ok(Self { pair, public })
    }

    /// The public key.
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The node that this key makes.
    pub fn node(&self) -> NodeId {
        node_of(&self.public)
    }

    /// Signs.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature = self.pair.sign(message);
        let mut bytes = [0; 64];
        for (to, from) in bytes.iter_mut().zip(signature.as_ref()) {
            *to = *from;
        }
        bytes
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.node())
    }
}

/// Bytes that make no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes make no valid key")]
pub struct InvalidKey;

/// The node of a public signing key: the first 16 bytes of its SHA-256.
pub fn node_of(public: &[u8; 32]) -> NodeId {
    let [first, _second] = split(sha256(&[public]));
    NodeId::from_bytes(first)
}

/// Two halves of a hash.
pub fn split(hash: Hash) -> [[u8; 16]; 2] {
    let (halves, _none) = hash.as_chunks::<16>();
    [halves.first().copied().unwrap_or_default(), halves.get(1).copied().unwrap_or_default()]
}

/// Whether `signature` is `public`'s over `message`.
pub fn is_signed_by(public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::serial::to_hex;

    /// RFC 6962 2.1, by its recursive definition.
    fn root_by_definition(entries: &[Hash]) -> Hash {
        match entries {
            [] => sha256(&[]),
            [one] => sha256(&[&[0], one]),
            many => {
                let half = many.len().next_power_of_two() / 2;
                sha256(&[&[1], &root_by_definition(&many[..half]), &root_by_definition(&many[half..])])
            }
        }
    }

    #[test]
    fn the_growing_tree_has_the_root_of_rfc_6962() {
        let entries: Vec<Hash> = (0..70_u8).map(|n| sha256(&[&[n]])).collect();
        let mut tree = MerkleTree::default();
        for (count, entry) in entries.iter().enumerate() {
            assert_eq!(tree.root(), root_by_definition(&entries[..count]), "{count} leaves");
            tree.push(entry);
        }
        assert_eq!(tree.leaves(), 70);
    }

    #[test]
    fn the_signature_is_that_of_rfc_8032_test_1() {
        let seed: [u8; 32] =
            crate::recording::serial::from_hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
                .unwrap()
                .try_into()
                .unwrap();
        let key = NodeKey::of_seed(&seed).unwrap();
        assert_eq!(to_hex(key.public()), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let signature = key.sign(b"");
        assert!(to_hex(&signature).starts_with("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"));
        assert!(is_signed_by(key.public(), b"", &signature));
        assert!(!is_signed_by(key.public(), b"x", &signature));
    }
}
