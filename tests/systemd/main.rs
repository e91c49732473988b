//! The unit and the mount helper on a real systemd, booted over a throw-away copy of this machine's root.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const KMSFS: &str = env!("CARGO_BIN_EXE_kmsfs");
/// One boot, in a mount namespace of its own, so that whatever happens nothing stays mounted. $1 is a directory that is there,
/// $2 the program, $3 this package. It prints what the check said; what the container said goes to stderr.
const BOOT: &str = r#"
set -eu
mount -t tmpfs none "$1"
cd "$1"
mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
install -m 755 "$2" root/usr/local/bin/kmsfs
ln -sf /usr/local/bin/kmsfs root/sbin/mount.kmsfs
units=root/etc/systemd/system
rm -rf root/etc/systemd/system root/var/lib/kmsfs root/etc/kmsfs root/etc/fstab root/var/log/journal
mkdir -p $units/kmsfs.service.d root/var/log/journal
install -m 644 "$3"/dist/kmsfs.service $units/
printf '[Service]\nWatchdogSec=2\n' > $units/kmsfs.service.d/test.conf
rm -rf root/kmsfs-check
mkdir root/kmsfs-check
install -m 755 "$3"/tests/systemd/check.sh root/kmsfs-check/run
cat > $units/check.service <<'UNIT'
[Unit]
FailureAction=poweroff-force
SuccessAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/kmsfs-check/run
StandardOutput=file:/kmsfs-check/out
StandardError=file:/kmsfs-check/out
TimeoutStartSec=120
UNIT
printf '[Unit]\nRequires=check.service basic.target\nAfter=check.service\n' > $units/default.target
timeout 150 systemd-nspawn -q -b -D root --register=no --keep-unit --capability=all --bind=/dev/fuse >boot.out 2>&1 ||
    echo "systemd-nspawn ended with $?" >&2
cat boot.out >&2
journalctl -D root/var/log/journal --no-pager >&2 || true
cat root/kmsfs-check/out
"#;
/// How often a container may fail to begin the check before that is this machine's fault, and the test's.
const BOOTS: usize = 3;

#[test]
fn the_unit_and_the_mount_helper_keep_what_they_promise() {
    assert!(rustix::process::geteuid().is_root(), "this test boots a container: it must be run by root");
    assert!(Path::new("/usr/bin/systemd-nspawn").exists(), "systemd-nspawn is not there; see scripts/test-packages");
    let mut reports = String::new();
    for _ in 0..BOOTS {
        let (said, container) = boot();
        if said.ends_with("all steps done\n") {
            return;
        }
        // What the check itself found wrong is kmsfs's, and is not tried again.
        assert!(!said.contains("step: "), "{said}\n{container}");
        reports.push_str(&said);
        reports.push_str(&container);
    }
    panic!("the container never began the check:\n{reports}");
}

/// What the check said, and what the container did.
fn boot() -> (String, String) {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["-m", "bash", "-c", BOOT, "boot"])
        .arg(dir.path())
        .args([KMSFS, env!("CARGO_MANIFEST_DIR")])
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "something stayed mounted");
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}
