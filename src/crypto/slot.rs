//! Unlock slots: the master key, sealed under what an operator has.
//!
//! ```text
//! ikm       = the key file's 32 bytes, or Argon2id(passphrase, salt, m, t, p; 32 bytes)
//! KEK || C  = HKDF-SHA256(salt, ikm, "kmsfs/0/slot" || store id || u8 number || u8 kind, 64 bytes)
//! slot      = header || C[32] || seal(KEK, AAD("slot": store, header), master key) || SHA-256 of all before, 8 bytes
//! header    = "slot" || u8 number || u8 kind || u32le m || u32le t || u32le p || salt[32]
//! ```
//!
//! C commits to the key: AES-GCM opens one ciphertext under two keys for who can choose both, so C is compared, in constant
//! time, before anything is decrypted. That also tells a wrong key from a damaged slot.

use argon2::{Algorithm, Argon2, Params, Version};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::aad::Aad;
use super::envelope::{KEY_LEN, SEAL_OVERHEAD, open, random, seal};
use super::{CryptoError, MasterKey};
use crate::id::StoreId;
use crate::sealed::Sealed;

/// What an operator unlocks with.
pub enum Source<'a> {
    /// The bytes of a key file or a credential.
    KeyFile(&'a [u8; KEY_LEN]),
    /// A passphrase without its newline, in any encoding: its bytes are what counts.
    Passphrase(&'a [u8]),
}

/// What opens a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotKind {
    /// 32 random bytes, which need no costly derivation.
    KeyFile,
    /// What somebody remembers: Argon2id stands in front of it.
    Passphrase,
}

/// What Argon2id costs: memory in KiB, passes, lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfParams {
    /// Memory in KiB.
    pub m_kib: u32,
    /// Passes over the memory.
    pub t: u32,
    /// Lanes.
    pub p: u32,
}

impl KdfParams {
    /// RFC 9106's second choice: 64 MiB, 3 passes, 4 lanes; some 0.2 s.
    pub const DEFAULT: KdfParams = KdfParams { m_kib: 64 * 1024, t: 3, p: 4 };
    /// The least that is taken, which tests use too: 19 MiB, one pass.
    pub const LEAST: KdfParams = KdfParams { m_kib: 19 * 1024, t: 1, p: 1 };

    /// The most that is taken: 1 GiB, 10 passes, 16 lanes; some 10 s.
    pub const MOST: KdfParams = KdfParams { m_kib: 1024 * 1024, t: 10, p: 16 };

    /// What a derivation costs in time, roughly: KiB filled, over all passes.
    pub fn work(self) -> u64 {
        u64::from(self.m_kib) * u64::from(self.t)
    }

    /// Parameters come from the disk: they are bounded before any memory is taken for them.
    fn check(self) -> Result<Self, CryptoError> {
        let most = Self::MOST;
        let sound = (Self::LEAST.m_kib..=most.m_kib).contains(&self.m_kib)
            && (1..=most.t).contains(&self.t)
            && (1..=most.p).contains(&self.p);
        if sound { Ok(self) } else { Err(CryptoError::Cost) }
    }
}

/// Why a slot did not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// Its shape or its check sum is wrong, or what it holds does not open under the key that it commits to.
    #[error("the slot is damaged")]
    Damaged,
    /// The slot is sound, and commits to another key, or to this one in another store.
    #[error("the key is not this slot's")]
    WrongKey,
    /// A passphrase for the slot of a key file, or the other way round: nothing was tried.
    #[error("the slot is for another kind of key")]
    OtherKind,
}

const MAGIC: &[u8; 4] = b"slot";
const SALT_LEN: usize = 32;
const HEADER_LEN: usize = 4 + 1 + 1 + 3 * 4 + SALT_LEN;
const COMMITMENT_LEN: usize = 32;
const CHECK_LEN: usize = 8;
const SLOT_LEN: usize = HEADER_LEN + COMMITMENT_LEN + SEAL_OVERHEAD + KEY_LEN + CHECK_LEN;

struct Header {
    number: u8,
    kind: SlotKind,
    kdf: KdfParams,
    salt: [u8; SALT_LEN],
}

impl Header {
    fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4] = self.number;
        bytes[5] = match self.kind {
            SlotKind::KeyFile => 1,
            SlotKind::Passphrase => 2,
        };
        for (at, number) in [(6, self.kdf.m_kib), (10, self.kdf.t), (14, self.kdf.p)] {
            bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        bytes[18..].copy_from_slice(&self.salt);
        bytes
    }

    /// Reads a slot's header once the checksum over the whole slot holds.
    fn read(slot: &[u8]) -> Result<Self, SlotError> {
        if slot.len() != SLOT_LEN || !slot.starts_with(MAGIC) {
            return Err(SlotError::Damaged);
        }
        let (body, check) = slot.split_at(SLOT_LEN - CHECK_LEN);
        if Sha256::digest(body)[..CHECK_LEN] != *check {
            return Err(SlotError::Damaged);
        }
        let number = |at: usize| u32::from_le_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
        let kind = match body[5] {
            1 => SlotKind::KeyFile,
            2 => SlotKind::Passphrase,
            _ => return Err(SlotError::Damaged),
        };
        let salt = body[18..HEADER_LEN].try_into().map_err(|_| SlotError::Damaged)?;
        let kdf = KdfParams { m_kib: number(6), t: number(10), p: number(14) };
        Ok(Self { number: body[4], kind, kdf, salt })
    }
}

/// Seals `master` for `source` in slot `number`.
pub fn seal_slot(
    store: StoreId,
    number: u8,
    source: &Source<'_>,
    kdf: KdfParams,
    master: &MasterKey,
) -> Result<Sealed, CryptoError> {
    let (kind, kdf) = match source {
        Source::KeyFile(_) => (SlotKind::KeyFile, KdfParams { m_kib: 0, t: 0, p: 0 }),
        Source::Passphrase(_) => (SlotKind::Passphrase, kdf.check()?),
    };
    let header = Header { number, kind, kdf, salt: random()? };
    let keys = derive(store, &header, source)?;
    let (kek, commitment) = halves(&keys);
    let head = header.to_bytes();
    let mut slot = Vec::with_capacity(SLOT_LEN);
    slot.extend_from_slice(&head);
    slot.extend_from_slice(commitment);
    slot.extend_from_slice(&seal(kek, &aad(store, &head), master.bytes())?);
    let check = Sha256::digest(&slot);
    slot.extend_from_slice(&check[..CHECK_LEN]);
    Ok(Sealed::from_bytes(slot))
}

/// Opens slot `number` with `source`.
pub fn open_slot(store: StoreId, number: u8, sealed: &Sealed, source: &Source<'_>) -> Result<MasterKey, SlotError> {
    let slot = sealed.as_bytes();
    let header = Header::read(slot)?;
    if header.number != number {
        return Err(SlotError::Damaged);
    }
    match (header.kind, source) {
        (SlotKind::KeyFile, Source::KeyFile(_)) | (SlotKind::Passphrase, Source::Passphrase(_)) => {}
        (SlotKind::KeyFile, Source::Passphrase(_)) | (SlotKind::Passphrase, Source::KeyFile(_)) => {
            return Err(SlotError::OtherKind);
        }
    }
    let keys = derive(store, &header, source).map_err(|_| SlotError::Damaged)?;
    let (kek, commitment) = halves(&keys);
    let (head, rest) = slot.split_at(HEADER_LEN);
    let (stored, rest) = rest.split_at(COMMITMENT_LEN);
    if !bool::from(commitment.ct_eq(stored)) {
        return Err(SlotError::WrongKey);
    }
    let sealed = &rest[..rest.len() - CHECK_LEN];
    let master = open(kek, &aad(store, head), sealed, "a slot").map_err(|_| SlotError::Damaged)?;
    MasterKey::from_slice(&master).map_err(|_| SlotError::Damaged)
}

/// What opens the slot.
pub fn slot_kind(sealed: &Sealed) -> Result<SlotKind, SlotError> {
    Header::read(sealed.as_bytes()).map(|header| header.kind)
}

/// What trying a passphrase on the slot costs, as [`KdfParams::work`]; nothing where it is for a key file.
pub fn slot_work(sealed: &Sealed) -> Result<u64, SlotError> {
    let header = Header::read(sealed.as_bytes())?;
    match header.kind {
        SlotKind::KeyFile => Ok(0),
        SlotKind::Passphrase => header.kdf.check().map(KdfParams::work).map_err(|_| SlotError::Damaged),
    }
}

fn aad(store: StoreId, header: &[u8]) -> Aad {
    Aad::new("slot", store).field(1, header)
}

/// `KEK || C`.
fn derive(store: StoreId, header: &Header, source: &Source<'_>) -> Result<Zeroizing<[u8; 2 * KEY_LEN]>, CryptoError> {
    let mut stretched = Zeroizing::new([0; KEY_LEN]);
    let ikm: &[u8] = match source {
        Source::KeyFile(bytes) => bytes.as_slice(),
        Source::Passphrase(passphrase) => {
            let KdfParams { m_kib, t, p } = header.kdf.check()?;
            let params = Params::new(m_kib, t, p, Some(KEY_LEN)).map_err(|_| CryptoError::Cost)?;
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password_into(passphrase, &header.salt, stretched.as_mut_slice())
                .map_err(|_| CryptoError::Cost)?;
            stretched.as_slice()
        }
    };
    let kind = header.to_bytes()[5];
    let mut keys = Zeroizing::new([0; 2 * KEY_LEN]);
    Hkdf::<Sha256>::new(Some(&header.salt), ikm)
        .expand_multi_info(&[b"kmsfs/0/slot", &store.0, &[header.number, kind]], keys.as_mut_slice())
        .expect("64 bytes are far below HKDF's limit");
    Ok(keys)
}

fn halves(keys: &[u8; 2 * KEY_LEN]) -> (&[u8; KEY_LEN], &[u8; KEY_LEN]) {
    let (kek, commitment) = keys.split_first_chunk().expect("64 bytes begin with 32");
    (kek, commitment.try_into().expect("64 bytes less 32 are 32"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: StoreId = StoreId([9; 16]);

    fn slot(source: &Source<'_>) -> Sealed {
        seal_slot(STORE, 2, source, KdfParams::LEAST, &MasterKey::generate().unwrap()).unwrap()
    }

    fn why(store: StoreId, number: u8, sealed: &Sealed, source: &Source<'_>) -> Option<SlotError> {
        open_slot(store, number, sealed, source).err()
    }

    #[test]
    fn wrong_keys_are_told_from_damage() {
        for (right, wrong, other) in [
            (Source::KeyFile(&[1; 32]), Source::KeyFile(&[2; 32]), Source::Passphrase(b"p")),
            (Source::Passphrase(b"p"), Source::Passphrase(b"q"), Source::KeyFile(&[1; 32])),
        ] {
            let sealed = slot(&right);
            assert_eq!(why(STORE, 2, &sealed, &right), None);
            assert_eq!(why(STORE, 2, &sealed, &wrong), Some(SlotError::WrongKey));
            assert_eq!(why(STORE, 2, &sealed, &other), Some(SlotError::OtherKind));
            assert_eq!(why(STORE, 3, &sealed, &right), Some(SlotError::Damaged), "a slot that was moved");
            assert_eq!(why(StoreId([8; 16]), 2, &sealed, &right), Some(SlotError::WrongKey), "another store's");
        }
    }

    #[test]
    fn any_altered_byte_is_damage() {
        let right = Source::KeyFile(&[1; 32]);
        let sealed = slot(&right);
        for at in 0..sealed.as_bytes().len() {
            let mut altered = sealed.as_bytes().to_vec();
            altered[at] ^= 0x10;
            assert_eq!(why(STORE, 2, &Sealed::from_bytes(altered), &right), Some(SlotError::Damaged), "byte {at}");
        }
    }

    #[test]
    fn costs_from_the_disk_are_bounded() {
        let right = Source::Passphrase(b"p");
        for kdf in [
            KdfParams { m_kib: 1, ..KdfParams::DEFAULT },
            KdfParams { m_kib: u32::MAX, ..KdfParams::DEFAULT },
            KdfParams { t: 0, ..KdfParams::DEFAULT },
            KdfParams { t: 11, ..KdfParams::DEFAULT },
            KdfParams { p: 17, ..KdfParams::DEFAULT },
        ] {
            let master = MasterKey::generate().unwrap();
            assert_eq!(seal_slot(STORE, 2, &right, kdf, &master).err(), Some(CryptoError::Cost));
            let mut slot = slot(&right).as_bytes().to_vec();
            slot[6..10].copy_from_slice(&kdf.m_kib.to_le_bytes());
            slot[10..14].copy_from_slice(&kdf.t.to_le_bytes());
            slot[14..18].copy_from_slice(&kdf.p.to_le_bytes());
            let body = SLOT_LEN - CHECK_LEN;
            let check = Sha256::digest(&slot[..body]);
            slot[body..].copy_from_slice(&check[..CHECK_LEN]);
            assert_eq!(why(STORE, 2, &Sealed::from_bytes(slot), &right), Some(SlotError::Damaged));
        }
    }
}
