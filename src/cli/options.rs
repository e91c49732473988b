//! What `-o` takes: the options of this mount, and those words of fstab that say nothing to it.

use crate::secret::Account;

/// The options of a mount, as far as they were given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountOptions {
    pub read_only: bool,
    pub trim_newline: bool,
    /// `None` where nothing was said.
    pub allow_other: Option<bool>,
    /// The account of its callers, where that is not the store's.
    pub account: Option<Account>,
}

/// Words that mount(8), systemd and fstab read, or that hold for every mount of kmsfs anyway (nosuid, nodev, noexec). The ones
/// that would loosen it are refused like any other unknown word.
const IGNORED: [&str; 17] = [
    "rw", "defaults", "auto", "noauto", "nofail", "_netdev", "user", "users", "nouser", "owner", "group", "nosuid",
    "nodev", "noexec", "atime", "noatime", "relatime",
];
/// Such words with a beginning in common: `x-systemd.requires=...`, `comment=...`.
const IGNORED_PREFIXES: [&str; 2] = ["x-", "comment="];

impl MountOptions {
    /// Reads `ro,trim-newline,...`.
    ///
    /// # Errors
    /// The word that means nothing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut options = Self::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            match word {
                "ro" => options.read_only = true,
                "trim-newline" => options.trim_newline = true,
                "allow_other" => options.allow_other = Some(true),
                "noallow_other" => options.allow_other = Some(false),
                other if IGNORED.contains(&other) => {}
                other if other.starts_with(ACCOUNT) => {
                    let digits = &other[ACCOUNT.len()..];
                    let account = Account::parse(digits);
                    options.account = Some(account.ok_or("an account is a number of 16 digits")?);
                }
                other if IGNORED_PREFIXES.iter().any(|prefix| other.starts_with(prefix)) => {}
                other => {
                    return Err(format!("there is no option `{other}`; known are {KNOWN}, and fstab's own words"));
                }
            }
        }
        Ok(options)
    }

    /// Both; where they differ, `later` counts.
    pub fn and(self, later: Self) -> Self {
        Self {
            read_only: self.read_only || later.read_only,
            trim_newline: self.trim_newline || later.trim_newline,
            allow_other: later.allow_other.or(self.allow_other),
            account: later.account.or(self.account),
        }
    }

    /// As `-o` takes them; `allow_other` is what has been decided.
    pub fn to_text(self, allow_other: bool) -> String {
        let mut words = vec![if self.read_only { "ro" } else { "rw" }];
        words.extend(self.trim_newline.then_some("trim-newline"));
        words.push(if allow_other { "allow_other" } else { "noallow_other" });
        let account = self.account.map(|account| format!("{ACCOUNT}{}", account.as_str()));
        words.extend(account.as_deref());
        words.join(",")
    }
}

/// The options, for a message.
const KNOWN: &str = "ro, rw, trim-newline, allow_other, noallow_other, account=NUMBER";
/// What stands before an account's number.
const ACCOUNT: &str = "account=";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_known_ignored_or_refused() {
        let none = MountOptions::default();
        for (text, expected) in [
            ("", Some(none)),
            ("ro", Some(MountOptions { read_only: true, ..none })),
            ("rw,noauto,nofail,_netdev,user,x-systemd.automount,comment=a b", Some(none)),
            ("ro,trim-newline", Some(MountOptions { read_only: true, trim_newline: true, ..none })),
            ("allow_other", Some(MountOptions { allow_other: Some(true), ..none })),
            ("allow_other,noallow_other", Some(MountOptions { allow_other: Some(false), ..none })),
            ("account=1000000000000002", Some(MountOptions { account: Account::parse("1000000000000002"), ..none })),
            ("account=1", None),
            ("account=", None),
            ("suid", None),
            ("dev", None),
            ("exec", None),
            ("trim_newline", None),
            ("RO", None),
        ] {
            assert_eq!(MountOptions::parse(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn options_read_back() {
        for text in ["rw,noallow_other", "ro,trim-newline,allow_other", "rw,allow_other,account=1000000000000002"] {
            let options = MountOptions::parse(text).unwrap();
            assert_eq!(options.to_text(options.allow_other.unwrap()), text);
        }
    }
}
