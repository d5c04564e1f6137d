//! The key that `--dev` creates in the data directory; `tether token` and the demo sign with it.

use crate::caller::Role;
use crate::config;
use crate::data_dir::write_private;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rand::RngCore;
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The issuer of tokens from `tether token`.
pub const DEV_ISSUER: &str = "tether-dev";
/// The audience of tokens from `tether token`.
pub const DEV_AUDIENCE: &str = "tether";
const DEV_KEY_FILE: &str = "dev-signing.key";
/// The PKCS #8 prefix of an Ed25519 seed (RFC 8410).
const PKCS8_ED25519: [u8; 16] = [
    0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
];

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    role: &'a str,
    iss: &'a str,
    aud: &'a str,
    exp: u64,
}

/// Signs tokens with the key that `--dev` created.
pub struct DevSigner {
    pub(super) seed: [u8; 32],
}

impl DevSigner {
    /// Reads the key in the data directory. With `create`, a missing key is created, readable only by its owner.
    ///
    /// # Errors
    /// The file cannot be read or written, or it is missing and `create` is false.
    pub fn open(data_dir: &Path, create: bool) -> Result<Self, config::Error> {
        let path = data_dir.join(DEV_KEY_FILE);
        let file = |cause| config::Error::File {
            setting: "data_dir",
            path: path.clone(),
            cause,
        };
        if create && !path.exists() {
            let mut seed = [0; 32];
            rand::rng().fill_bytes(&mut seed);
            write_private(&path, URL_SAFE_NO_PAD.encode(seed).as_bytes()).map_err(file)?;
        }
        if !path.exists() {
            return Err(config::Error::Rule(format!(
                "data_dir = {}: there is no key of `tether serve --dev` in it ({DEV_KEY_FILE}). Start that first, or give its folder \
                 with --data-dir",
                data_dir.display()
            )));
        }
        let text = std::fs::read_to_string(&path).map_err(file)?;
        let seed = URL_SAFE_NO_PAD
            .decode(text.trim())
            .ok()
            .and_then(|bytes| bytes.try_into().ok());
        let seed =
            seed.ok_or_else(|| config::Error::Rule(format!("{} is damaged: remove it", path.display())))?;
        Ok(Self { seed })
    }

    /// Signs a token.
    ///
    /// # Errors
    /// Does not occur in practice.
    pub fn sign(
        &self,
        subject: &str,
        group: Option<&str>,
        role: Role,
        life: Duration,
    ) -> Result<String, config::Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let claims = Claims {
            sub: subject,
            group,
            role: role.as_str(),
            iss: DEV_ISSUER,
            aud: DEV_AUDIENCE,
            exp: (now + life).as_secs(),
        };
        let key = EncodingKey::from_ed_der(&[&PKCS8_ED25519[..], &self.seed].concat());
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &key)
            .map_err(|error| config::Error::Rule(format!("cannot sign with the dev key: {error}")))
    }

    /// The JWKS with the public key.
    #[must_use]
    pub fn jwks(&self) -> String {
        let public = ed25519_dalek::SigningKey::from_bytes(&self.seed).verifying_key();
        serde_json::json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(public.as_bytes())}]})
            .to_string()
    }
}
