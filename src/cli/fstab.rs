//! `mount.kmsfs`: what mount(8) calls for a line of fstab. The program under that name, a link, takes
//! `mount.kmsfs STORE M [-o OPT,...]`, where options that name files stand among the others:
//!
//! ```text
//! /var/lib/kmsfs  /run/secrets  kmsfs  key-file=/etc/kmsfs/master.key,ro,x-systemd.automount  0  0
//! ```

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

/// The name of the link.
const NAME: &str = "mount.kmsfs";
/// Options of `kmsfs mount` that fstab has among those of `-o`.
const WITH_VALUE: [&str; 10] = [
    "key-file",
    "passphrase-file",
    "credential",
    "anchor",
    "log",
    "audit",
    "audit-to",
    "audit-fail",
    "functions",
    "views",
];
/// Flags of mount(8) that say nothing to us: fake, sloppy, no mtab, verbose.
const IGNORED_FLAGS: [&str; 4] = ["-f", "-s", "-n", "-v"];
/// Flags of mount(8) with a value that says nothing to us: the namespace it has entered already, the type.
const IGNORED_PAIRS: [&str; 2] = ["-N", "-t"];

/// Whether the program was called by that name.
pub fn is_called_as(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some(OsStr::new(NAME))
}

/// The arguments of `kmsfs mount` that do what mount(8) asks for with `args`.
pub fn to_mount_args(args: &[OsString]) -> Vec<OsString> {
    let (mut places, mut words) = (Vec::new(), Vec::new());
    let mut rest = args.iter().skip(1);
    while let Some(arg) = rest.next() {
        if arg == "-o" {
            words.extend(rest.next().into_iter().flat_map(|options| options.as_bytes().split(|byte| *byte == b',')));
        } else if IGNORED_PAIRS.iter().any(|flag| arg == flag) {
            rest.next();
        } else if IGNORED_FLAGS.iter().all(|flag| arg != flag) {
            places.push(arg.clone());
        }
    }
    let mut mount: Vec<OsString> = ["kmsfs", "mount"].map(OsString::from).to_vec();
    let mut options: Vec<&[u8]> = Vec::new();
    for word in words {
        let (name, value) = word.split_at(word.iter().position(|byte| *byte == b'=').unwrap_or(word.len()));
        match WITH_VALUE.iter().find(|known| known.as_bytes() == name) {
            Some(known) => {
                let value = value.strip_prefix(b"=").unwrap_or_default().to_vec();
                mount.extend([format!("--{known}").into(), OsString::from_vec(value)]);
            }
            None => options.push(word),
        }
    }
    if !options.is_empty() {
        mount.extend(["-o".into(), OsString::from_vec(options.join(&b','))]);
    }
    let mut places = places.into_iter();
    if let Some(store) = places.next() {
        mount.extend(["--store".into(), store]);
    }
    mount.push("--".into());
    mount.extend(places);
    mount
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_fstab_becomes_a_command() {
        for (given, expected) in [
            ("mount.kmsfs /s /M", "kmsfs mount --store /s -- /M"),
            (
                "mount.kmsfs /s /M -s -o rw,key-file=/k,ro,x-systemd.automount,log=/l=1",
                "kmsfs mount --key-file /k --log /l=1 -o rw,ro,x-systemd.automount --store /s -- /M",
            ),
            ("/sbin/mount.kmsfs /s /M -t kmsfs -v -o credential=key", "kmsfs mount --credential key --store /s -- /M"),
            ("mount.kmsfs", "kmsfs mount --"),
        ] {
            let args: Vec<OsString> = given.split(' ').map(OsString::from).collect();
            let expected: Vec<OsString> = expected.split(' ').map(OsString::from).collect();
            assert_eq!(to_mount_args(&args), expected, "{given}");
            assert!(is_called_as(&args[0]) && !is_called_as(&expected[0]));
        }
    }
}
