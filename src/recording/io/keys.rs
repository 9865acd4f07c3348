//! Key files: text, one line that counts, `#` begins a comment.
//!
//! ```text
//! tandem-node-key-v1 <64 hexadecimal digits>          the Ed25519 seed with which the node signs (secret)
//! tandem-vault-private-key-v1 <64 hexadecimal digits>  the X25519 key that opens recordings (secret)
//! tandem-recipient-v1 <64 hexadecimal digits> [name]   an X25519 public key; a file may hold several
//! ```
//!
//! Secret files must belong to their owner alone: anything that group or others may do is refused.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::recording::chain::NodeKey;
use crate::recording::seal::{Recipient, VaultKey};
use crate::recording::serial::{from_hex, to_hex};

const NODE_KEY: &str = "tandem-node-key-v1";
const VAULT_KEY: &str = "tandem-vault-private-key-v1";
const RECIPIENT: &str = "tandem-recipient-v1";

/// Why a key file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("the key file {} cannot be read or written", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Group or others may read or write it.
    #[error("the key file {} has mode {mode:04o}: nobody but its owner may have access (chmod 600)", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It does not hold what it should.
    #[error("the key file {} holds no line `{expected} <64 hexadecimal digits>`", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The word that the line begins with.
        expected: &'static str,
    },
}

/// The node's signing key; made, with mode 0600, where the file does not exist.
pub fn load_or_generate_node_key(path: &Path, rng: &mut dyn CryptoRng) -> Result<NodeKey, KeyFileError> {
    let seed = load_or_generate(path, NODE_KEY, rng)?;
    NodeKey::of_seed(&seed).map_err(|_invalid| malformed(path, NODE_KEY))
}

/// Thirty-two secret bytes for another purpose, named by `word`; made, with mode 0600, where the file does not exist.
pub fn load_or_generate_secret(
    path: &Path,
    word: &'static str,
    rng: &mut dyn CryptoRng,
) -> Result<[u8; 32], KeyFileError> {
    load_or_generate(path, word, rng).map(|secret| *secret)
}

/// The vault's private key; made where the file does not exist. Its public half is written beside it, as `<file>.pub`.
pub fn load_or_generate_vault_key(path: &Path, rng: &mut dyn CryptoRng) -> Result<VaultKey, KeyFileError> {
    let mut bytes = load_or_generate(path, VAULT_KEY, rng)?;
    let key = VaultKey::of_bytes(&mut bytes).map_err(|_invalid| malformed(path, VAULT_KEY))?;
    let mut public = path.as_os_str().to_owned();
    public.push(".pub");
    write_recipient(Path::new(&public), key.recipient(), "vault")?;
    Ok(key)
}

/// The vault's private key.
pub fn load_vault_key(path: &Path) -> Result<VaultKey, KeyFileError> {
    let mut bytes = load_secret(path, VAULT_KEY)?;
    VaultKey::of_bytes(&mut bytes).map_err(|_invalid| malformed(path, VAULT_KEY))
}

/// The public keys of a recipients' file: at least one.
pub fn load_recipients(path: &Path) -> Result<Vec<Recipient>, KeyFileError> {
    let text = fs::read_to_string(path).map_err(|source| failed(path, source))?;
    let keys: Option<Vec<_>> =
        lines_of(&text, RECIPIENT).map(|key| Recipient::of_bytes(&from_hex(key)?).ok()).collect();
    keys.filter(|keys| !keys.is_empty()).ok_or_else(|| malformed(path, RECIPIENT))
}

/// Writes a recipient's file; one that exists is replaced.
pub fn write_recipient(path: &Path, recipient: &Recipient, name: &str) -> Result<(), KeyFileError> {
    let line = format!("{RECIPIENT} {} {name}\n", to_hex(&recipient.to_bytes()));
    fs::write(path, line).map_err(|source| failed(path, source))
}

fn load_or_generate(
    path: &Path,
    word: &'static str,
    rng: &mut dyn CryptoRng,
) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    if !path.exists() {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(secret.as_mut_slice());
        let line = Zeroizing::new(format!("{word} {}\n", to_hex(secret.as_slice())));
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        made.and_then(|mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_all()))
            .map_err(|source| failed(path, source))?;
    }
    load_secret(path, word)
}

fn load_secret(path: &Path, word: &'static str) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    let mode = fs::metadata(path).map_err(|source| failed(path, source))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(|source| failed(path, source))?);
    let bytes = lines_of(&text, word).next().and_then(from_hex).map(Zeroizing::new);
    let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
    bytes.map(Zeroizing::new).ok_or_else(|| malformed(path, word))
}

/// The second words of the lines that begin with `word`.
fn lines_of<'a>(text: &'a str, word: &'static str) -> impl Iterator<Item = &'a str> {
    text.lines().map(|line| line.split('#').next().unwrap_or_default()).filter_map(move |line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(word)).then(|| words.next()).flatten()
    })
}

fn failed(path: &Path, source: io::Error) -> KeyFileError {
    KeyFileError::Io { path: path.to_owned(), source }
}

fn malformed(path: &Path, expected: &'static str) -> KeyFileError {
    KeyFileError::Malformed { path: path.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_node_key_is_made_once_and_only_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        let first = load_or_generate_node_key(&path, &mut StdRng::seed_from_u64(1)).unwrap();
        let second = load_or_generate_node_key(&path, &mut StdRng::seed_from_u64(2)).unwrap();
        assert_eq!(first.node(), second.node());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vault.key");
        drop(load_or_generate_vault_key(&path, &mut StdRng::seed_from_u64(1)).unwrap());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load_vault_key(&path), Err(KeyFileError::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn recipients_are_read_with_comments_and_names() {
        let dir = tempfile::tempdir().unwrap();
        let vault = load_or_generate_vault_key(&dir.path().join("vault.key"), &mut StdRng::seed_from_u64(1)).unwrap();
        let text = fs::read_to_string(dir.path().join("vault.key.pub")).unwrap();
        let both = dir.path().join("both");
        fs::write(&both, format!("# two\n{text}{RECIPIENT} {} escrow # offline\n", "09".to_owned() + &"00".repeat(31)))
            .unwrap();
        let recipients = load_recipients(&both).unwrap();
        assert_eq!((recipients.len(), &recipients[0]), (2, vault.recipient()));
        fs::write(&both, "tandem-recipient-v1 xyz\n").unwrap();
        assert!(matches!(load_recipients(&both), Err(KeyFileError::Malformed { .. })));
    }
}
