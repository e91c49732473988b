//! One seal: AES-256-GCM over padded bytes.
//!
//! `seal = u8 algorithm || nonce[12] || ciphertext || tag[16]`, where the plaintext of values and records is
//! `u32le length || bytes || zeros` up to a bucket, so that a size tells little.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use zeroize::Zeroizing;

use super::CryptoError;
use super::aad::{AES_256_GCM, Aad};

/// Bytes of a key.
pub const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
/// What a seal adds to its plaintext.
pub const SEAL_OVERHEAD: usize = 1 + NONCE_LEN + TAG_LEN;
const LENGTH_LEN: usize = 4;
/// Up to here a bucket is a power of two; above, Padmé's (at most 12 % more).
const SMALL_BUCKETS: std::ops::RangeInclusive<usize> = 64..=2048;

/// Random bytes for a key or a nonce.
pub fn random<const N: usize>() -> Result<[u8; N], CryptoError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| CryptoError::Random)?;
    Ok(bytes)
}

/// Seals `plain` as it is.
pub fn seal(key: &[u8; KEY_LEN], aad: &Aad, plain: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let nonce = random::<NONCE_LEN>()?;
    let mut sealed = Vec::with_capacity(SEAL_OVERHEAD + plain.len());
    sealed.push(AES_256_GCM);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plain);
    let body = &mut sealed[1 + NONCE_LEN..];
    let tag = cipher(key)
        .encrypt_inout_detached(&Nonce::from(nonce), aad.as_bytes(), body.into())
        .map_err(|_| CryptoError::Malformed { what: "a plaintext" })?;
    sealed.extend_from_slice(&tag);
    Ok(sealed)
}

/// Opens what [`seal`] made under the same key and associated data. `what` names it in errors.
pub fn open(
    key: &[u8; KEY_LEN],
    aad: &Aad,
    sealed: &[u8],
    what: &'static str,
) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let malformed = CryptoError::Malformed { what };
    if sealed.len() < SEAL_OVERHEAD || sealed[0] != AES_256_GCM {
        return Err(malformed);
    }
    let (nonce, rest) = sealed[1..].split_at(NONCE_LEN);
    let (body, tag) = rest.split_at(rest.len() - TAG_LEN);
    let nonce = <[u8; NONCE_LEN]>::try_from(nonce).map_err(|_| malformed.clone())?;
    let tag = <[u8; TAG_LEN]>::try_from(tag).map_err(|_| malformed)?;
    let mut plain = Zeroizing::new(body.to_vec());
    cipher(key)
        .decrypt_inout_detached(&Nonce::from(nonce), aad.as_bytes(), plain.as_mut_slice().into(), &Tag::from(tag))
        .map_err(|_| CryptoError::Altered { what })?;
    Ok(plain)
}

/// `bytes` behind their length, filled with zeros to the bucket.
pub fn pad(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let len = u32::try_from(bytes.len()).expect("values and records are far below 4 GiB");
    let mut padded = Zeroizing::new(Vec::with_capacity(bucket(LENGTH_LEN + bytes.len())));
    padded.extend_from_slice(&len.to_le_bytes());
    padded.extend_from_slice(bytes);
    padded.resize(bucket(LENGTH_LEN + bytes.len()), 0);
    padded
}

/// The bytes that [`pad`] was given, in place.
pub fn unpad(mut padded: Zeroizing<Vec<u8>>, what: &'static str) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let malformed = CryptoError::Malformed { what };
    let Some((head, rest)) = padded.split_first_chunk::<LENGTH_LEN>() else { return Err(malformed) };
    let len = usize::try_from(u32::from_le_bytes(*head)).map_err(|_| malformed.clone())?;
    if len > rest.len() || rest[len..].iter().any(|byte| *byte != 0) || padded.len() != bucket(LENGTH_LEN + len) {
        return Err(malformed);
    }
    padded.copy_within(LENGTH_LEN..LENGTH_LEN + len, 0);
    padded[len..].fill(0);
    padded.truncate(len);
    Ok(padded)
}

/// The padded size of `len` bytes: 64, 128 ... 2,048, then Padmé, which keeps the top bits of a length and rounds up the
/// rest.
pub fn bucket(len: usize) -> usize {
    if len <= *SMALL_BUCKETS.end() {
        return len.next_power_of_two().max(*SMALL_BUCKETS.start());
    }
    let exponent = len.ilog2();
    let kept = exponent.ilog2() + 1;
    let mask = (1 << (exponent - kept)) - 1;
    (len + mask) & !mask
}

fn cipher(key: &[u8; KEY_LEN]) -> Aes256Gcm {
    Aes256Gcm::new(key.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::StoreId;

    #[test]
    fn buckets_hide_sizes() {
        for (len, padded) in [(0, 64), (64, 64), (65, 128), (2048, 2048), (2049, 2176), (30_724, 30_720 + 1024)] {
            assert_eq!(bucket(len), padded, "{len}");
        }
        for len in 0..40_000 {
            assert!(bucket(len) >= len && bucket(bucket(len)) == bucket(len), "{len}");
            assert!(len <= 2048 || bucket(len) - len <= len / 8, "{len}");
        }
    }

    #[test]
    fn any_altered_bit_is_found() {
        let (key, aad) = ([3; KEY_LEN], Aad::new("test", StoreId([1; 16])));
        let sealed = seal(&key, &aad, b"plaintext").unwrap();
        assert_eq!(open(&key, &aad, &sealed, "it").unwrap().as_slice(), b"plaintext");
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key, &aad, &altered, "it").is_err(), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(open(&key, &aad, &sealed[..len], "it").is_err(), "cut to {len}");
        }
        assert!(open(&[4; KEY_LEN], &aad, &sealed, "it").is_err());
        assert!(open(&key, &Aad::new("test", StoreId([2; 16])), &sealed, "it").is_err());
    }

    #[test]
    fn padding_is_checked() {
        for len in [0, 1, 60, 61, 5000] {
            let bytes = vec![0xa5; len];
            assert_eq!(unpad(pad(&bytes), "it").unwrap().as_slice(), bytes);
        }
        let mut stray = pad(b"abc");
        stray[63] = 1;
        assert!(unpad(stray, "it").is_err());
        assert!(unpad(Zeroizing::new(vec![0xff; 64]), "it").is_err(), "a length past the end");
        assert!(unpad(Zeroizing::new(vec![0; 128]), "it").is_err(), "a bucket too large");
        assert!(unpad(Zeroizing::new(vec![]), "it").is_err());
    }
}
