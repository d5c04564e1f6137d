//! Seals secrets for the database with a key that is not in the database.
//!
//! XChaCha20-Poly1305 (RustCrypto) with a random 24-byte nonce: safe for any number of messages under one
//! key. The envelope is `key id (8 bytes of the key's BLAKE3) ‖ nonce ‖ ciphertext`; the key id says which of
//! several keys opens it, so keys can be rotated. The owner of a secret is authenticated with it: a sealed
//! token that is copied into another row does not open there.

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use rand::RngCore;
use secrecy::{ExposeSecret, SecretSlice};

const KEY_BYTES: usize = 32;
const ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 24;

/// Why a secret could not be opened. Messages never contain the secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key is not 32 bytes in base64.
    #[error("a sealing key must be 32 bytes in base64; make one with: head -c32 /dev/urandom | base64")]
    BadKey,
    /// No key is configured.
    #[error("no sealing key is configured: set secrets.keys (or TETHER__SECRETS__KEYS)")]
    NoKey,
    /// The key that sealed it is no longer configured.
    #[error("sealed with key {0}, which is not among the configured secrets.keys")]
    UnknownKey(String),
    /// The envelope is damaged, or was copied from another row.
    #[error("a sealed secret does not open: it was damaged or belongs to another row")]
    Damaged,
}

/// Seals with the first key, opens with any of the keys.
#[derive(Clone)]
pub struct Sealer {
    keys: std::sync::Arc<Vec<([u8; ID_BYTES], XChaCha20Poly1305)>>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("keys", &self.keys.len()).finish()
    }
}

impl Sealer {
    /// A sealer with these keys in base64; it seals with the first one.
    ///
    /// # Errors
    /// There is no key, or one is not 32 bytes in base64.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        use base64::Engine as _;
        let mut parsed = Vec::new();
        for key in keys {
            let key = base64::engine::general_purpose::STANDARD
                .decode(key.trim())
                .map_err(|_| Error::BadKey)?;
            let key: SecretSlice<u8> = key.into();
            if key.expose_secret().len() != KEY_BYTES {
                return Err(Error::BadKey);
            }
            let cipher = XChaCha20Poly1305::new_from_slice(key.expose_secret()).map_err(|_| Error::BadKey)?;
            let mut id = [0; ID_BYTES];
            id.copy_from_slice(
                &blake3::derive_key("tether sealing key id v1", key.expose_secret())[..ID_BYTES],
            );
            parsed.push((id, cipher));
        }
        if parsed.is_empty() {
            return Err(Error::NoKey);
        }
        Ok(Self {
            keys: std::sync::Arc::new(parsed),
        })
    }

    /// Generates a key in base64.
    #[must_use]
    pub fn generate_key() -> String {
        use base64::Engine as _;
        let mut key = [0; KEY_BYTES];
        rand::rng().fill_bytes(&mut key);
        base64::engine::general_purpose::STANDARD.encode(key)
    }

    /// Seals `secret` for its owner, such as a row's key: [`open`](Self::open) needs the same `belongs_to`.
    ///
    /// # Errors
    /// None in practice: the cipher refuses only messages of over 256 GiB.
    pub fn seal(&self, belongs_to: &str, secret: &[u8]) -> Result<Vec<u8>, Error> {
        let (id, cipher) = self.keys.first().ok_or(Error::NoKey)?;
        let mut nonce = [0; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        let sealed = cipher
            .encrypt(
                XNonce::from_slice(&nonce),
                Payload {
                    msg: secret,
                    aad: belongs_to.as_bytes(),
                },
            )
            .map_err(|_| Error::Damaged)?;
        Ok([id.as_slice(), &nonce, &sealed].concat())
    }

    /// Opens an envelope that was sealed for `belongs_to`.
    ///
    /// # Errors
    /// The key is not configured, or the envelope is damaged or was sealed for another owner.
    pub fn open(&self, belongs_to: &str, envelope: &[u8]) -> Result<SecretSlice<u8>, Error> {
        if envelope.len() < ID_BYTES + NONCE_BYTES {
            return Err(Error::Damaged);
        }
        let (id, rest) = envelope.split_at(ID_BYTES);
        let (nonce, sealed) = rest.split_at(NONCE_BYTES);
        let (_, cipher) = self
            .keys
            .iter()
            .find(|(known, _)| known == id)
            .ok_or_else(|| Error::UnknownKey(id.iter().map(|b| format!("{b:02x}")).collect()))?;
        let opened = cipher
            .decrypt(
                XNonce::from_slice(nonce),
                Payload {
                    msg: sealed,
                    aad: belongs_to.as_bytes(),
                },
            )
            .map_err(|_| Error::Damaged)?;
        Ok(opened.into())
    }

    /// Whether the sealer has the key of this id.
    #[must_use]
    pub fn knows(&self, key_id: &str) -> bool {
        self.keys.iter().any(|(id, _)| key_id_of(id) == key_id)
    }

    /// The id of the key that seals, which is stored beside sealed secrets.
    #[must_use]
    pub fn key_id(&self) -> String {
        self.keys
            .first()
            .map(|(id, _)| id.iter().map(|b| format!("{b:02x}")).collect())
            .unwrap_or_default()
    }
}

/// The id of the key that sealed an envelope.
#[must_use]
pub fn key_id_of(envelope: &[u8]) -> String {
    let id = envelope.get(..ID_BYTES).unwrap_or_default();
    id.iter().map(|b| format!("{b:02x}")).collect()
}

/// The `belongs_to` of the PKCE verifier of a browser login.
#[must_use]
pub fn verifier_of(state_hash: &crate::domain::AuthorizationHash) -> String {
    state_hash.as_str().to_owned()
}

/// The `belongs_to` of the callback of a browser login that waits for its confirmation.
#[must_use]
pub fn callback_of(state_hash: &crate::domain::AuthorizationHash) -> String {
    format!("callback\n{}", state_hash.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_where_it_belongs_and_with_its_key() {
        let (old, new) = (Sealer::generate_key(), Sealer::generate_key());
        let first = Sealer::new([old.as_str()]).unwrap();
        let sealed = first.seal("credentials/1", b"token").unwrap();
        assert!(!sealed.windows(5).any(|w| w == b"token"));
        assert_eq!(
            first.open("credentials/1", &sealed).unwrap().expose_secret(),
            b"token"
        );
        assert!(matches!(
            first.open("credentials/2", &sealed),
            Err(Error::Damaged)
        ));
        let rotated = Sealer::new([new.as_str(), old.as_str()]).unwrap();
        assert_eq!(
            rotated.open("credentials/1", &sealed).unwrap().expose_secret(),
            b"token"
        );
        assert!(matches!(
            Sealer::new([new.as_str()])
                .unwrap()
                .open("credentials/1", &sealed),
            Err(Error::UnknownKey(_))
        ));
        let mut damaged = sealed.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert!(matches!(
            first.open("credentials/1", &damaged),
            Err(Error::Damaged)
        ));
        assert!(matches!(
            first.open("credentials/1", b"short"),
            Err(Error::Damaged)
        ));
        assert!(matches!(Sealer::new(["AAAA"]), Err(Error::BadKey)));
        assert!(matches!(Sealer::new([]), Err(Error::NoKey)));
    }
}
