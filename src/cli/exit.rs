//! The exit codes: one table, from which help, docs and tests read. Scripts rely on it, so a number never changes its meaning.

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// A rule or the machine said no; also whatever has no code of its own.
    Refused = 1,
    /// Nothing was tried. As in other programs of the shell.
    Usage = 2,
    /// Another mount point, /dev/fuse or fusermount3 would help; the store was not touched.
    MountPoint = 10,
    /// Worth another try when the other process has ended.
    InUse = 11,
    /// The store may be sound: another key opens it, or none that is left.
    WrongKey = 20,
    /// Told apart from a wrong key, since this key may well be the right one: another slot may still open.
    SlotDamaged = 21,
    /// What is stored fails its checks; a backup is called for.
    StoreDamaged = 22,
    /// Everything in it is sound and old. Only with --accept-rollback does it go on.
    RolledBack = 23,
    /// Nothing was written to it.
    Newer = 24,
    /// The store may be sound; what its audit says is not to be relied on.
    AuditUnsound = 25,
}

/// Every exit code and what it says.
pub const EXITS: [(Exit, &str); 11] = [
    (Exit::Done, "done"),
    (Exit::Refused, "refused or failed"),
    (Exit::Usage, "the command line cannot be understood"),
    (Exit::MountPoint, "the mount point, or what mounting takes, is not as it should be"),
    (Exit::InUse, "the store is in use by another process"),
    (Exit::WrongKey, "the key or passphrase does not open the store"),
    (Exit::SlotDamaged, "an unlock slot of the store is damaged"),
    (Exit::StoreDamaged, "the store is damaged"),
    (Exit::RolledBack, "the store was rolled back or replaced by an older copy"),
    (Exit::Newer, "the store was written by a newer kmsfs"),
    (Exit::AuditUnsound, "the audit is not as it was written"),
];

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The exit with the number `code`; what no table knows is a failure.
    pub fn from_code(code: u8) -> Self {
        EXITS.iter().map(|(exit, _)| *exit).find(|exit| exit.code() == code).unwrap_or(Exit::Refused)
    }
}

/// The table as help shows it.
pub fn exit_table() -> String {
    let line = |(exit, meaning): &(Exit, &str)| format!("  {:>2}  {meaning}\n", exit.code());
    format!("Exit codes:\n{}", EXITS.iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_again() {
        for (exit, _) in EXITS {
            assert_eq!(Exit::from_code(exit.code()), exit);
        }
        assert_eq!(Exit::from_code(99), Exit::Refused);
    }
}
