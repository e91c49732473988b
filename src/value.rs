//! The one holder of plaintext.
//!
//! A secret's bytes live in a [`Value`] and nowhere else, for as short as can be: it has no `Debug`, `Clone` or `Serialize`,
//! never lets an allocation grow in place (the old bytes would stay on the heap), and is wiped when dropped. The pages are
//! locked process-wide (`daemon::harden`), so no allocator of its own is needed here.

use std::fmt;

use zeroize::Zeroize;

/// The bytes of one secret value, byte-exact.
pub struct Value {
    /// Never reallocated by `Vec` itself: [`Value::grow`] moves and wipes.
    bytes: Vec<u8>,
}

impl Value {
    /// A value without bytes, as a draft begins.
    pub const fn empty() -> Self {
        Self { bytes: Vec::new() }
    }

    /// A copy of `bytes`; the caller wipes its own.
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec() }
    }

    /// Takes `bytes` over without a copy.
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// The plaintext.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Puts `data` at `offset`, filling a gap with zeros, as pwrite(2) does to a file.
    pub fn write_at(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if end > self.bytes.len() {
            self.resize(end);
        }
        self.bytes[offset..end].copy_from_slice(data);
    }

    /// What stands from `from` on, to be written in place.
    pub fn tail(&mut self, from: usize) -> &mut [u8] {
        &mut self.bytes[from..]
    }

    /// Cuts or fills with zeros to exactly `len` bytes; what is cut off is wiped.
    pub fn resize(&mut self, len: usize) {
        if len > self.bytes.capacity() {
            self.grow(len);
        }
        if len < self.bytes.len() {
            self.bytes[len..].zeroize();
        }
        self.bytes.resize(len, 0);
    }

    /// The part of the value that a read of `size` bytes at `offset` returns; empty past the end.
    pub fn slice(&self, offset: u64, size: usize) -> &[u8] {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes.len());
        let to = from.saturating_add(size).min(self.bytes.len());
        &self.bytes[from..to]
    }

    /// Moves to an allocation of at least `capacity` bytes and wipes the former one.
    fn grow(&mut self, capacity: usize) {
        let mut larger = Vec::with_capacity(capacity.max(2 * self.bytes.capacity()).next_power_of_two());
        larger.extend_from_slice(&self.bytes);
        self.bytes.zeroize();
        self.bytes = larger;
    }
}

/// Texts that are made piece by piece stand here, and nowhere else, while they are made.
impl fmt::Write for Value {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write_at(self.len(), text.as_bytes());
        Ok(())
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_like_a_file() {
        let mut value = Value::empty();
        value.write_at(2, b"cd");
        assert_eq!(value.as_bytes(), b"\0\0cd");
        value.write_at(0, b"ab");
        value.resize(3);
        assert_eq!(value.as_bytes(), b"abc");
        value.resize(5);
        assert_eq!(value.as_bytes(), b"abc\0\0", "what was cut off does not come back");
        assert_eq!(value.slice(1, 2), b"bc");
        assert_eq!(value.slice(9, 2), b"");
        assert_eq!(value.slice(u64::MAX, usize::MAX), b"");
    }
}
