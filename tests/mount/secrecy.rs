//! What is on the disk tells a thief nothing.

use serde_json::json;

use crate::api::refused;
use crate::harness::{Mount, errno, run};

/// Words that stand for each kind of thing that must not be read off the disk.
const WORDS: [&str; 8] = [
    "instancename",
    "secretname",
    "nestedname",
    "versionname",
    "labelname",
    "tagkeyname",
    "tagvaluetext",
    "descriptiontext",
];
/// All that a store's directory may hold. A copy of it carries nothing else along.
const FILES: [&str; 6] = ["ballast", "control", "store.db", "store.db-shm", "store.db-wal", "store.lock"];
const VALUE: &str = "plaintextvalue-plaintextvalue";

fn find_words(mount: &Mount) {
    let files: Vec<_> = std::fs::read_dir(mount.store()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.iter().any(|file| file.ends_with("store.db")), "{files:?}");
    assert!(files.iter().all(|file| FILES.iter().any(|name| file.ends_with(name))), "{files:?}");
    // The socket holds nothing.
    for file in files.into_iter().filter(|file| file.is_file()) {
        for encoding in ["-es", "-el", "-eb"] {
            let text = run(std::process::Command::new("strings").args(["-a", "-n", "6", encoding]).arg(&file));
            for word in WORDS.iter().chain([&VALUE]) {
                assert!(!text.contains(word), "{} holds `{word}`", file.display());
            }
        }
        let bytes = std::fs::read(&file).unwrap();
        let encoded = ["cGxhaW50ZXh0dmFsdWUt", "706c61696e7465787476616c7565"];
        assert!(encoded.iter().all(|text| !bytes.windows(text.len()).any(|part| part == text.as_bytes())));
    }
}

#[test]
fn the_stores_files_hold_no_word() {
    let mut mount = Mount::new();
    mount.ok(&format!(
        "mkdir -p instancename/secretname/nestedname; cd instancename/secretname/nestedname; \
         printf %s {VALUE} > versions/versionname; ln -s ../versions/versionname stages/labelname; \
         echo tagkeyname=tagvaluetext > tags; echo descriptiontext > description; printf %s {VALUE}2 > current; \
         printf %s {VALUE} > .scratchfile; cp -r . ../other 2> /dev/null; rm -r ../../secretname; true"
    ));
    find_words(&mount);
    mount.stop();
    find_words(&mount);
    mount.start();
    mount.ok("echo purge > instancename/.deleted/secretname%2Fnestedname/state");
    find_words(&mount);
}

#[test]
fn the_stores_files_are_their_owners() {
    let mount = Mount::new();
    let modes = mount.ok("cd $OUT; stat -c '%a %F' store key; find store -type f -printf '%m\\n' | sort -u");
    assert_eq!(modes, "700 directory\n600 regular file\n600\n");
}

/// Nothing of what was written may be seen in the log.
#[test]
fn the_log_holds_no_value() {
    let mount = Mount::with(&[]);
    mount.ok(&format!("mkdir prod/s; printf %s {VALUE} > prod/s/current; echo {VALUE} > prod/s/tags; cat prod/s/current > /dev/null; true"));
    let log = mount.log();
    assert!(log.contains("no tag"), "{log}");
    assert!(!log.contains(VALUE), "{log}");
}

#[test]
fn damage_is_said_and_never_read() {
    let mut mount = Mount::new();
    mount.secret("prod/s", "value");
    mount.secret("prod/whole", "other");
    mount.stop();
    let script = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\n\
        node, = db.execute('SELECT min(node) FROM value').fetchone()\n\
        sealed, = db.execute('SELECT sealed FROM value WHERE node = ?', (node,)).fetchone()\n\
        db.execute('UPDATE value SET sealed = ? WHERE node = ?', (sealed[:-1] + bytes([sealed[-1] ^ 1]), node))\n\
        db.commit()";
    run(std::process::Command::new("python3").args(["-c", script]).arg(mount.store().join("store.db")));
    mount.start();
    assert_eq!(errno(std::fs::read(mount.path("prod/s/current"))), libc::EBADMSG);
    assert_eq!(mount.last_code(), "InternalFailure");
    assert_eq!(refused(&mount, json!({ "Action": "GetSecretValue", "SecretName": "s" })), "InternalFailure");
    assert_eq!(mount.status()["health"], "damaged");
    assert_eq!(mount.read("prod/whole/current"), "other", "nobody else's");
}
