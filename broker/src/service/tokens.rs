//! Tokens: made, found by hash, kept only sealed.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};

use super::Error;
use crate::store::StoreError;

const NONCE_LEN: usize = 24;

/// A token's text: 256 random bits as 64 lower-case hex digits.
pub(super) fn fresh() -> Result<String, Error> {
    let mut bytes = [0u8; 32];
    fill(&mut bytes)?;
    Ok(hex(&bytes))
}

/// What a token is found by.
pub(super) fn hash(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

/// What of a token may be seen where tokens are not revealed.
pub(super) fn prefix(token: &str) -> String {
    format!("{}...", token.get(..8).unwrap_or_default())
}

/// Seals and unseals tokens with the data directory's key.
pub(super) struct Seal(XChaCha20Poly1305);

impl Seal {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(&key.into()))
    }

    /// The sealed form: base64 of nonce and ciphertext.
    pub(super) fn seal(&self, token: &str) -> Result<String, Error> {
        let mut nonce = [0u8; NONCE_LEN];
        fill(&mut nonce)?;
        let sealed = self.0.encrypt(XNonce::from_slice(&nonce), token.as_bytes());
        let mut out = nonce.to_vec();
        out.extend(sealed.map_err(|_| Error::Unavailable)?);
        Ok(STANDARD.encode(out))
    }

    /// The text of a sealed token.
    pub(super) fn unseal(&self, sealed: &str) -> Result<String, Error> {
        self.open(sealed).ok_or_else(|| {
            let text = "a sealed token cannot be read: it was sealed with another key, or changed";
            Error::Store(StoreError::Corrupt(Arc::from(text)))
        })
    }

    fn open(&self, sealed: &str) -> Option<String> {
        let bytes = STANDARD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        let token = self.0.decrypt(XNonce::from_slice(nonce), sealed).ok()?;
        String::from_utf8(token).ok()
    }
}

fn fill(bytes: &mut [u8]) -> Result<(), Error> {
    use rand::TryRngCore as _;
    OsRng.try_fill_bytes(bytes).map_err(|_| Error::Unavailable)
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        hex.push(digit(byte >> 4));
        hex.push(digit(byte & 15));
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_64_lower_case_hex_digits_and_never_the_same() {
        let (one, two) = (fresh().unwrap(), fresh().unwrap());
        assert_eq!(one.len(), 64);
        assert!(one.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
        assert_ne!(one, two);
    }

    #[test]
    fn a_sealed_token_opens_with_its_key_only_and_only_unchanged() {
        let seal = Seal::new([7; 32]);
        let sealed = seal.seal("secret").unwrap();
        assert_eq!(seal.unseal(&sealed).unwrap(), "secret");
        assert_ne!(seal.seal("secret").unwrap(), sealed, "each has its own nonce");
        assert!(Seal::new([8; 32]).unseal(&sealed).is_err());
        let mut bytes = STANDARD.decode(&sealed).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert!(seal.unseal(&STANDARD.encode(&bytes)).is_err(), "byte {at}");
            bytes[at] ^= 1;
        }
        assert!(seal.unseal("AAAA").is_err());
    }

    #[test]
    fn the_hash_is_the_published_one_of_abc() {
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_prefix_shows_eight_characters() {
        assert_eq!(prefix("0123456789"), "01234567...");
    }
}
