//! The exit codes: one table, from which help, docs and tests read. Scripts rely on it, so a number never changes its meaning.

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Refused = 1,
    Usage = 2,
    MountPoint = 10,
    InUse = 11,
    WrongKey = 20,
    SlotDamaged = 21,
    StoreDamaged = 22,
    RolledBack = 23,
    Newer = 24,
}

/// Every exit code and what it says.
pub const EXITS: [(Exit, &str); 10] = [
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
