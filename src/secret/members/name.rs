//! Names of members that a file can have.

use crate::secret::Refusal;

/// Longest name of a member that is shown, in bytes: that of a file.
const NAME_MAX: usize = 255;

/// A member's name under which it stands in `fields/`. A member may have any other name in the value; that one is kept as it is
/// and shown nowhere but there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberName(String);

impl MemberName {
    /// Parses a file's name.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let bad = |what| Refusal::BadMemberName { what };
        let text = std::str::from_utf8(bytes).map_err(|_| bad("bytes that are no text"))?;
        match defect(text) {
            None => Ok(Self(text.to_owned())),
            Some(_) if text.len() > NAME_MAX => Err(Refusal::NameTooLong),
            Some(what) => Err(bad(what)),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a member named `name` is shown.
pub(super) fn is_shown(name: &str) -> bool {
    defect(name).is_none()
}

/// What keeps `name` from being a file's.
fn defect(name: &str) -> Option<&'static str> {
    if name.len() > NAME_MAX {
        return Some("more than 255 bytes");
    }
    match name.chars().next() {
        None => Some("no character"),
        Some('.') => Some("a leading dot"),
        Some(_) if name.contains('/') => Some("a slash"),
        Some(_) if name.contains(char::is_control) => Some("a control character"),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_names_are_no_files() {
        for good in ["a", "db host", "caf\u{e9}", "-", "a=b", "a.b", "\u{a0}", &"x".repeat(255)] {
            assert_eq!(MemberName::parse(good.as_bytes()).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", ".a", "a/b", "/", "a\0", "a\nb", "\u{7f}", "\u{85}"] {
            assert!(matches!(MemberName::parse(bad.as_bytes()), Err(Refusal::BadMemberName { .. })), "{bad:?}");
        }
        assert!(matches!(MemberName::parse(b"\xff"), Err(Refusal::BadMemberName { .. })));
        assert_eq!(MemberName::parse("x".repeat(256).as_bytes()), Err(Refusal::NameTooLong));
    }
}
