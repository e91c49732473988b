//! The head: what the store held at its last commit, so that a row which is missing, or an old one, is found.
//!
//! `head = u64le counter || u32le next node || u64le records || u64le values || u64le wraps || digest[32] || slot mark[16] x 8`
//! ` || u64le audited`

use super::CryptoError;

/// The state of the whole store, rewritten by every commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Commits so far.
    pub counter: u64,
    /// The node number that comes next.
    pub next_node: u32,
    /// Records, without header, slots and the head itself.
    pub records: u64,
    /// Sealed values: one for each version.
    pub values: u64,
    /// Wrapped keys: those of instances, of key versions and of values.
    pub wraps: u64,
    /// Over all records and wraps.
    pub digest: SetDigest,
    /// Of the unlock slots, by number: one that was removed and put back has not the mark that stands here.
    pub slots: [SlotMark; SLOTS],
    /// Number of the audit's last record that was on the disk before this commit; 0 where there never was one. A chain that ends
    /// before it was cut off.
    pub audited: u64,
}

/// The most unlock slots a store has: few, so that trying all of them costs little.
pub const SLOTS: usize = 8;

/// A keyed hash of an unlock slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotMark([u8; MARK_LEN]);

impl SlotMark {
    /// Of a slot that is not in use.
    pub const NONE: SlotMark = SlotMark([0; MARK_LEN]);

    /// The first bytes of the hash.
    pub(super) fn from_hash(hash: &[u8; 32]) -> Self {
        Self(*hash.first_chunk().expect("32 bytes begin with 16"))
    }

    /// The mark's bytes.
    pub fn as_bytes(&self) -> &[u8; MARK_LEN] {
        &self.0
    }
}

/// A sum of keyed hashes modulo 2^256, least significant byte first: a set's digest that takes a change in constant time.
/// Without the key nobody can make two sets of one digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetDigest([u8; DIGEST_LEN]);

/// What one row adds to a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetElement([u8; DIGEST_LEN]);

const DIGEST_LEN: usize = 32;
const MARK_LEN: usize = 16;
const SLOTS_AT: usize = 8 + 4 + 3 * 8 + DIGEST_LEN;
const AUDITED_AT: usize = SLOTS_AT + SLOTS * MARK_LEN;
const HEAD_LEN: usize = AUDITED_AT + 8;

impl SetElement {
    pub(super) fn from_bytes(bytes: [u8; DIGEST_LEN]) -> Self {
        Self(bytes)
    }
}

impl SetDigest {
    /// The digest of nothing.
    pub const EMPTY: SetDigest = SetDigest([0; DIGEST_LEN]);

    /// Takes a row in.
    pub fn add(&mut self, element: &SetElement) {
        let mut carry = false;
        for (sum, byte) in self.0.iter_mut().zip(element.0) {
            let (more, first) = sum.overflowing_add(byte);
            let (more, second) = more.overflowing_add(u8::from(carry));
            *sum = more;
            carry = first || second;
        }
    }

    /// Takes a row out again.
    pub fn remove(&mut self, element: &SetElement) {
        let mut borrow = false;
        for (sum, byte) in self.0.iter_mut().zip(element.0) {
            let (less, first) = sum.overflowing_sub(byte);
            let (less, second) = less.overflowing_sub(u8::from(borrow));
            *sum = less;
            borrow = first || second;
        }
    }

    /// The digest's bytes.
    pub fn as_bytes(&self) -> &[u8; DIGEST_LEN] {
        &self.0
    }
}

impl Head {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_LEN);
        bytes.extend_from_slice(&self.counter.to_le_bytes());
        bytes.extend_from_slice(&self.next_node.to_le_bytes());
        for count in [self.records, self.values, self.wraps] {
            bytes.extend_from_slice(&count.to_le_bytes());
        }
        bytes.extend_from_slice(&self.digest.0);
        bytes.extend(self.slots.iter().flat_map(|mark| mark.0));
        bytes.extend_from_slice(&self.audited.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, CryptoError> {
        let malformed = || CryptoError::Malformed { what: "the head" };
        if bytes.len() != HEAD_LEN {
            return Err(malformed());
        }
        let long = |at: usize| -> Result<u64, CryptoError> {
            Ok(u64::from_le_bytes(bytes[at..at + 8].try_into().map_err(|_| malformed())?))
        };
        Ok(Self {
            counter: long(0)?,
            next_node: u32::from_le_bytes(bytes[8..12].try_into().map_err(|_| malformed())?),
            records: long(12)?,
            values: long(20)?,
            wraps: long(28)?,
            digest: SetDigest(bytes[36..SLOTS_AT].try_into().map_err(|_| malformed())?),
            slots: std::array::from_fn(|at| {
                let mut mark = SlotMark::NONE;
                mark.0.copy_from_slice(&bytes[SLOTS_AT + at * MARK_LEN..][..MARK_LEN]);
                mark
            }),
            audited: long(AUDITED_AT)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_added_can_be_taken_out_in_any_order(a: [u8; 32], b: [u8; 32], c: [u8; 32]) {
            let (a, b, c) = (SetElement(a), SetElement(b), SetElement(c));
            let mut digest = SetDigest::EMPTY;
            for element in [&a, &b, &c] {
                digest.add(element);
            }
            digest.remove(&b);
            let mut other = SetDigest::EMPTY;
            other.add(&c);
            other.add(&a);
            prop_assert_eq!(digest, other);
            digest.remove(&a);
            digest.remove(&c);
            prop_assert_eq!(digest, SetDigest::EMPTY);
        }
    }

    #[test]
    fn the_sum_carries() {
        let mut digest = SetDigest([0xff; 32]);
        let mut one = [0; 32];
        one[0] = 1;
        digest.add(&SetElement(one));
        assert_eq!(digest, SetDigest::EMPTY);
    }

    #[test]
    fn a_head_reads_back() {
        let mut slots = [SlotMark::NONE; SLOTS];
        slots[7] = SlotMark([9; MARK_LEN]);
        let digest = SetDigest([7; 32]);
        let head = Head { counter: 1, next_node: 64, records: 2, values: 3, wraps: 4, digest, slots, audited: 5 };
        assert_eq!(Head::from_bytes(&head.to_bytes()), Ok(head));
        assert!(Head::from_bytes(&[0; HEAD_LEN - 1]).is_err());
    }
}
