//! Names: of a secret, of the directories it is nested in, of instances and keys.

use serde::{Deserialize, Serialize};

use super::Refusal;

/// Longest name of a secret in bytes, slashes included.
pub const NAME_MAX: usize = 192;
/// Longest name of an instance or a key in bytes.
pub const SHORT_NAME_MAX: usize = 64;
/// The entries of a secret's directory: no secret can be named so below another.
pub const RESERVED: [&str; 11] =
    ["current", "versions", "stages", "fields", "dotenv", "tags", "policy", "description", "cmk", "info", "rotation"];
/// Names below this component belong to managed secrets.
const MANAGED: &str = "acs/";

/// Whether `bytes` is 1 to `max` characters of the alphabet shared by all names, not beginning with a dot.
pub(super) fn grammar(bytes: &[u8], max: usize) -> Result<&str, Refusal> {
    let bad = |what| Err(Refusal::BadName { what, max });
    if bytes.is_empty() {
        return bad("no character");
    }
    if bytes[0] == b'.' {
        return bad("a leading dot");
    }
    if !bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_+=.@-".contains(byte)) {
        return bad("another character");
    }
    if bytes.len() > max {
        return Err(Refusal::NameTooLong);
    }
    std::str::from_utf8(bytes).or(bad("bytes that are no text"))
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Parses a name as a user wrote it.
            pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
                crate::secret::name::grammar(bytes, $max).map(|text| Self(text.to_owned()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = Refusal;
            fn try_from(text: String) -> Result<Self, Refusal> {
                Self::parse(text.as_bytes())
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }
    };
}
pub(super) use name;

name!(
    /// An instance's name.
    InstanceName,
    SHORT_NAME_MAX
);
name!(
    /// A key's name within its instance.
    KeyName,
    SHORT_NAME_MAX
);

impl KeyName {
    /// The key that every instance is made with.
    pub fn default_key() -> Self {
        Self("default".to_owned())
    }
}

/// One component of a secret's name: the name of one directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Component(String);

impl Component {
    /// Parses a directory's name as a user wrote it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let text = grammar(bytes, NAME_MAX)?;
        if RESERVED.contains(&text) {
            return Err(Refusal::ReservedName(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A secret's full name: components joined by `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

impl SecretName {
    /// Parses a full name such as `db/password`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        for component in text.split('/') {
            Component::parse(component.as_bytes())?;
        }
        Self::checked(text.to_owned())
    }

    /// The name of a secret directly below its instance.
    pub fn top(component: Component) -> Result<Self, Refusal> {
        Self::checked(component.0)
    }

    /// The name of a secret below this one.
    pub fn join(&self, component: &Component) -> Result<Self, Refusal> {
        Self::checked(format!("{}/{}", self.0, component.0))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component.
    pub fn last(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The name of the directory it is in; `None` directly below the instance.
    pub fn parent(&self) -> Option<SecretName> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.to_owned()))
    }

    /// The names of the directories above it, from the outermost.
    pub fn above(&self) -> impl Iterator<Item = SecretName> {
        self.0.match_indices('/').map(|(at, _)| Self(self.0[..at].to_owned()))
    }

    /// The name as one component, as `.deleted/` shows it: `/` is `%2F`, which no name holds.
    pub fn escaped(&self) -> String {
        self.0.replace('/', "%2F")
    }

    /// The name that [`SecretName::escaped`] wrote.
    pub fn from_escaped(bytes: &[u8]) -> Result<Self, Refusal> {
        let bad = Refusal::BadName { what: "bytes that are no text", max: NAME_MAX };
        Self::parse(&std::str::from_utf8(bytes).map_err(|_| bad)?.replace("%2F", "/"))
    }

    fn checked(text: String) -> Result<Self, Refusal> {
        if text.len() > NAME_MAX {
            return Err(Refusal::NameTooLong);
        }
        if text.starts_with(MANAGED) {
            return Err(Refusal::ManagedName);
        }
        Ok(Self(text))
    }
}

impl TryFrom<String> for SecretName {
    type Error = Refusal;
    fn try_from(text: String) -> Result<Self, Refusal> {
        Self::parse(&text)
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> String {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_keep_to_the_alphabet() {
        for good in ["a", "A9_+=.@-", "a.b", "-", "acs", &"x".repeat(192)] {
            assert_eq!(Component::parse(good.as_bytes()).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", ".a", "a b", "a/b", "a%2Fb", "ä", "a\n", "a\0", "\x7f", "a\\b", "a:b"] {
            assert!(matches!(Component::parse(bad.as_bytes()), Err(Refusal::BadName { .. })), "{bad:?}");
        }
        assert_eq!(Component::parse("x".repeat(193).as_bytes()), Err(Refusal::NameTooLong));
        for entry in RESERVED {
            assert!(matches!(Component::parse(entry.as_bytes()), Err(Refusal::ReservedName(_))), "{entry}");
        }
    }

    #[test]
    fn full_names_nest_up_to_192_bytes() {
        let top = SecretName::top(Component::parse("x".repeat(190).as_bytes()).unwrap()).unwrap();
        assert_eq!(top.join(&Component::parse(b"y").unwrap()).unwrap().as_str().len(), 192);
        assert_eq!(top.join(&Component::parse(b"yy").unwrap()), Err(Refusal::NameTooLong));
        assert_eq!(SecretName::parse("acs/x"), Err(Refusal::ManagedName));
        assert!(SecretName::parse("a/acs/x").is_ok());
        for bad in ["", "/a", "a/", "a//b", "a/current", "a/.b"] {
            assert!(SecretName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn escaping_can_be_undone() {
        let name = SecretName::parse("a/b-c/d").unwrap();
        assert_eq!(name.escaped(), "a%2Fb-c%2Fd");
        assert_eq!(SecretName::from_escaped(name.escaped().as_bytes()), Ok(name.clone()));
        assert_eq!((name.last(), name.parent().unwrap().as_str()), ("d", "a/b-c"));
        assert_eq!(SecretName::parse("a").unwrap().parent(), None);
        assert_eq!(name.above().map(String::from).collect::<Vec<_>>(), ["a", "a/b-c"]);
    }
}
