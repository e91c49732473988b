//! Versions: written once, named by whoever writes them, numbered by us.

use serde::{Deserialize, Serialize};

use super::name::{SHORT_NAME_MAX, name};
use super::{Fields, Refusal};
use crate::id::VersionNo;
use crate::time::Timestamp;

/// Longest value in bytes.
pub const VALUE_MAX: usize = 30_720;
/// Ids `v<n>` are numbered below here; what a user names past it is a name like any other. Whole numbers up to 2^53 come
/// through every reader of JSON.
pub(super) const AUTOMATIC_END: u64 = 1 << 53;
/// Most versions a secret keeps; above that the oldest without a label goes.
pub const VERSIONS_MAX: usize = 10;

name!(
    /// A version's id, unique within its secret.
    VersionId,
    SHORT_NAME_MAX
);

impl VersionId {
    /// The id `v<n>` that a write to `current` takes.
    pub fn automatic(n: u64) -> Self {
        Self(format!("v{n}"))
    }

    /// The n of an id that [`VersionId::automatic`] could have made.
    pub fn automatic_number(&self) -> Option<u64> {
        let digits = self.0.strip_prefix('v')?;
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
        let number = if plain { digits.parse().ok() } else { None };
        number.filter(|n| *n < AUTOMATIC_END)
    }
}

/// What KMS calls SecretDataType.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataType {
    /// UTF-8, which KMS passes on as it is.
    Text,
    /// Anything else, which KMS passes on in base64.
    Binary,
}

impl DataType {
    /// Valid UTF-8 is text, all else is binary.
    pub fn of(bytes: &[u8]) -> Self {
        if std::str::from_utf8(bytes).is_ok() { DataType::Text } else { DataType::Binary }
    }

    /// As KMS spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            DataType::Text => "text",
            DataType::Binary => "binary",
        }
    }
}

/// What is known of a version without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its number, by which values and inodes know it.
    pub no: VersionNo,
    /// Its name, by which users know it.
    pub id: VersionId,
    /// When it was stored; no two versions of a secret have one moment.
    pub created: Timestamp,
    /// Told from the bytes when they came.
    pub kind: DataType,
    /// Length of the value in bytes.
    pub len: u32,
    /// Its members, where it has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Fields>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_to_the_grammar() {
        for good in ["v1", "2024-01-01", "a@b", &"x".repeat(64)] {
            assert!(VersionId::parse(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".v", "a/b", "a b", "é"] {
            assert!(matches!(VersionId::parse(bad.as_bytes()), Err(Refusal::BadName { .. })), "{bad}");
        }
        assert_eq!(VersionId::parse("x".repeat(65).as_bytes()), Err(Refusal::NameTooLong));
    }

    #[test]
    fn automatic_ids_are_told_from_others() {
        for (id, n) in [
            ("v1", Some(1)),
            ("v10", Some(10)),
            ("v", None),
            ("v01", None),
            ("v0", None),
            ("v1a", None),
            ("V1", None),
            ("v18446744073709551616", None),
            ("v9007199254740992", None),
            ("v9007199254740991", Some(9_007_199_254_740_991)),
        ] {
            assert_eq!(VersionId::parse(id.as_bytes()).unwrap().automatic_number(), n, "{id}");
        }
    }
}
