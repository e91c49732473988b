//! The command line as scripts and people meet it: golden sessions, and each exit code of the table.
//!
//! The sessions stand in `tests/cli/*.trycmd`; `TRYCMD=overwrite cargo test --test cli` writes them anew.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod room;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use kmsfs::cli::EXITS;
use room::Room;
use rusqlite::Connection;

/// Where the first unlock slot stands.
const FIRST_SLOT: u32 = 8;

#[test]
fn sessions() {
    let cases = trycmd::TestCases::new();
    cases.env("NO_COLOR", "1").case("tests/cli/*.trycmd");
}

fn database(room: &Room) -> Connection {
    Connection::open(room.at("store/store.db")).unwrap()
}

/// Flips a bit in the middle of the record `id`.
fn damage_record(room: &Room, id: u32) {
    let database = database(room);
    let mut sealed: Vec<u8> =
        database.query_row("SELECT sealed FROM record WHERE id = ?1", [id], |row| row.get(0)).unwrap();
    let middle = sealed.len() / 2;
    sealed[middle] ^= 1;
    database.execute("UPDATE record SET sealed = ?1 WHERE id = ?2", (sealed, id)).unwrap();
}

const VERIFY: &str = "verify --store store --key-file key";

#[test]
fn a_wrong_key_is_20() {
    let room = Room::new();
    room.init();
    fs::write(room.at("wrong"), [7; 32]).unwrap();
    fs::set_permissions(room.at("wrong"), fs::Permissions::from_mode(0o600)).unwrap();
    room.kmsfs("verify --store store --key-file wrong").refused(20, "does not open any unlock slot");
    room.kmsfs_fed("verify --store store --passphrase-file -", "hello\n").refused(20, "no unlock slot for this kind");
    room.kmsfs(VERIFY).expect(0);
}

#[test]
fn a_damaged_slot_is_21_and_another_one_still_opens() {
    let room = Room::new();
    room.init();
    room.kmsfs("rekey add-key-file --store store --anchor anchor --key-file key second").expect(0);
    damage_record(&room, FIRST_SLOT);
    room.kmsfs(VERIFY).refused(21, "unlock slot 0 of the store is damaged");
    assert!(room.kmsfs("rekey list --store store").expect(0).out.contains("0     damaged"));
    let said = room.kmsfs("verify --store store --key-file second").expect(22);
    assert!(said.out.contains("problem: unlock slot 0 is damaged"), "{said:#?}");
    room.kmsfs("rekey remove --store store --anchor anchor --key-file second 0").expect(0);
    room.kmsfs("verify --store store --key-file second").expect(0);
}

#[test]
fn a_damaged_store_is_22() {
    let room = Room::new();
    room.init();
    // The root's record: the store opens, the verification finds it.
    damage_record(&room, 16);
    let said = room.kmsfs(VERIFY).refused(22, "found 2 problems");
    assert!(said.out.contains("problem: record 16: "), "{said:#?}");
    let said = room.kmsfs(&format!("{VERIFY} --json")).expect(22);
    let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(json["sound"], false);
    // The head: nothing opens without it.
    damage_record(&room, 2);
    room.kmsfs(VERIFY).refused(22, "the store is damaged: the head");
    fs::write(room.at("store/store.db"), vec![b'x'; 8192]).unwrap();
    let said = room.kmsfs(VERIFY).refused(22, "no database of kmsfs");
    assert!(!said.err.contains("kmsfs verify"), "the hint goes in a circle: {said:#?}");
    let said = room.kmsfs(&format!("{VERIFY} --json")).expect(22);
    let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(json["problems"].as_array().unwrap().len(), 1);
    fs::write(room.at("store/store.db"), b"").unwrap();
    room.kmsfs(VERIFY).refused(22, "shorter than its header");
}

#[test]
fn a_newer_format_is_24_and_nothing_is_written() {
    let room = Room::new();
    room.init();
    database(&room).pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(room.at("store/store.db")).unwrap();
    room.kmsfs(VERIFY).refused(24, "has format 99");
    assert_eq!(fs::read(room.at("store/store.db")).unwrap(), before);
}

#[test]
fn a_store_in_use_is_11() {
    let room = Room::new();
    room.init();
    let lock = fs::File::open(room.at("store/store.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    fs::create_dir(room.at("M")).unwrap();
    for verb in [VERIFY, "rekey list --store store", "mount --store store --key-file key --anchor none --log log M"] {
        room.kmsfs(verb).refused(11, "in use by another process");
    }
    drop(lock);
    room.kmsfs(VERIFY).expect(0);
}

#[test]
fn a_passphrase_opens_beside_a_key_file() {
    let room = Room::new();
    room.init();
    room.kmsfs_fed("rekey add-passphrase --store store --anchor anchor --key-file key", "correct horse\nnot this\n")
        .expect(0);
    room.kmsfs_fed("verify --store store --passphrase-file -", "correct horse").expect(0);
    room.kmsfs_fed("verify --store store --passphrase-file -", "correct cow\n").refused(20, "does not open");
    room.kmsfs_fed("verify --store store --passphrase-file -", "\n").expect(1);
    fs::write(room.at("pass"), "correct horse\n").unwrap();
    fs::set_permissions(room.at("pass"), fs::Permissions::from_mode(0o640)).unwrap();
    room.kmsfs("verify --store store --passphrase-file pass").refused(1, "its mode is 0640");
    fs::set_permissions(room.at("pass"), fs::Permissions::from_mode(0o400)).unwrap();
    room.kmsfs("verify --store store --passphrase-file pass").expect(0);
}

#[test]
fn a_full_slot_table_leaves_no_key_behind() {
    let room = Room::new();
    room.init();
    let add =
        |file: &str| room.kmsfs(&format!("rekey add-key-file --store store --anchor anchor --key-file key {file}"));
    for number in 1..8 {
        add(&format!("key{number}")).expect(0);
    }
    let said = add("new").expect(1);
    assert!(said.err.contains("all 8 unlock slots are in use"), "{said:#?}");
    assert!(!room.at("new").exists());
    // A file that was there before stays.
    fs::copy(room.at("key"), room.at("mine")).unwrap();
    room.kmsfs("rekey remove --store store --anchor anchor --key-file key 1").expect(0);
    let said = add("mine").expect(1);
    assert!(said.err.contains("this key opens unlock slot 0 already") && room.at("mine").exists(), "{said:#?}");
    add("key1").expect(0);
}

#[test]
fn a_key_takes_one_slot() {
    let room = Room::new();
    room.init();
    let said = room.kmsfs("rekey add-key-file --store store --anchor anchor --key-file key key").expect(1);
    assert!(said.err.contains("this key opens unlock slot 0 already"), "{said:#?}");
    let add = "rekey add-passphrase --store store --anchor anchor --key-file key";
    room.kmsfs_fed(add, "correct horse\n").expect(0);
    let said = room.kmsfs_fed(add, "correct horse\n").expect(1);
    assert!(said.err.contains("this passphrase opens unlock slot 1 already"), "{said:#?}");
}

#[test]
fn init_and_mount_leave_no_half_of_a_pair() {
    let room = Room::new();
    fs::create_dir(room.at("M")).unwrap();
    room.init();
    room.kmsfs("mount --init --store store --key-file none --log log M").refused(1, "but no key file");
    room.kmsfs("mount --init --store none --key-file key --log log M").refused(1, "but no store");
    assert!(!room.at("none").exists());
    // A store that cannot be made leaves no key behind.
    fs::write(room.at("file"), b"").unwrap();
    room.kmsfs("init --store file/store --key-file fresh").expect(1);
    assert!(!room.at("fresh").exists());
}

/// Rounds of a race, each with another outcome perhaps.
const ROUNDS: usize = 40;

/// Whoever is first makes the pair of store and key; the other says so, and spoils nothing.
#[test]
fn of_two_who_make_a_store_one_does() {
    for _ in 0..ROUNDS {
        let room = Room::new();
        let started = [(); 2].map(|()| room.start("init --store store --key-file key"));
        let said = started.map(room::Started::end);
        let lost: Vec<_> = said.iter().filter(|said| said.code != 0).collect();
        assert_eq!(lost.len(), 1, "{said:#?}");
        let known = [(11, "in use by another process"), (1, "there is a store in")];
        assert!(known.iter().any(|(code, words)| lost[0].code == *code && lost[0].err.contains(words)), "{said:#?}");
        room.kmsfs(VERIFY).expect(0);
    }
}

/// Its key is there, and its store not yet.
#[test]
fn a_store_in_the_making_is_11() {
    let room = Room::new();
    room.init();
    fs::create_dir(room.at("made")).unwrap();
    let lock = fs::File::create(room.at("made/store.lock")).unwrap();
    let init = "init --store made --key-file key";
    let mount = "mount --init --store made --key-file key --anchor none --log log M";
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    for verb in [init, mount] {
        room.kmsfs(verb).refused(11, "in use by another process");
    }
    drop(lock);
    room.kmsfs(mount).refused(1, "but no store");
    room.kmsfs(init).expect(0);
}

#[test]
fn completions_are_scripts_of_their_shells() {
    let room = Room::new();
    fs::create_dir(room.at("M")).unwrap();
    for (shell, word) in [("bash", "complete -F _kmsfs"), ("zsh", "#compdef kmsfs"), ("fish", "complete -c kmsfs")] {
        let said = room.kmsfs(&format!("completions {shell}")).expect(0);
        assert!(said.out.contains(word) && said.out.contains("umount"), "{shell}");
        assert!(!said.out.contains("serve"), "{shell} offers what is not for people");
    }
}

/// A copy of the store from before a rekey, put in its place, would let the removed key in again.
#[test]
fn an_older_copy_does_not_bring_a_removed_key_back() {
    let room = Room::new();
    room.init();
    room.kmsfs("rekey add-key-file --store store --anchor anchor --key-file key second").expect(0);
    room::copy_dir(&room.at("store"), &room.at("older"));
    room.kmsfs("rekey remove --store store --anchor anchor --key-file second 0").expect(0);
    room.kmsfs("verify --store store --key-file key").refused(20, "does not open any unlock slot");
    fs::remove_dir_all(room.at("store")).unwrap();
    fs::rename(room.at("older"), room.at("store")).unwrap();
    let rekey = room.kmsfs("rekey add-key-file --store store --anchor anchor --key-file key third");
    rekey.refused(23, "the store was rolled back, from change 3 to change 2");
    assert!(!room.at("third").exists());
}

/// The anchor refuses an older state, also one that was restored, until somebody says that it is meant.
#[test]
fn an_older_backup_is_what_the_anchor_refuses() {
    let room = Room::new();
    let mount = "mount --init --store store --key-file key --anchor anchor --log log M";
    room.kmsfs(mount).expect(0);
    room.kmsfs("backup out M").expect(0);
    fs::create_dir(room.at("M/later")).unwrap();
    room.kmsfs("umount M").expect(0);
    let again = |more: &str| {
        fs::remove_dir_all(room.at("store")).unwrap();
        room.kmsfs(&format!("restore-backup --store store --key-file key --anchor anchor {more} out")).expect(0)
    };
    let said = again("");
    for words in ["the next mount is refused: the store was rolled back", "mount once with --accept-rollback"] {
        assert!(said.err.contains(words), "{said:#?}");
    }
    room.kmsfs(mount).refused(23, "the store was rolled back");
    assert!(!again("--accept-rollback").err.contains("refused"));
    room.kmsfs(mount).expect(0);
    assert!(!room.at("M/later").exists());
    room.kmsfs("umount M").expect(0);
    let said = room.kmsfs("restore-backup --store other --key-file key --anchor anchor --json out").expect(0);
    let said: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&said["restored"], &said["verified"]), (&true.into(), &true.into()));
}

#[test]
fn every_verb_has_a_man_page() {
    let room = Room::new();
    room.kmsfs("man pages").expect(0);
    for verb in ["", "-init", "-mount", "-umount", "-status", "-verify", "-rekey", "-completions", "-man"] {
        let page = fs::read_to_string(room.at(&format!("pages/kmsfs{verb}.1"))).unwrap();
        assert!(page.contains(".TH kmsfs"), "{verb}");
        // The tables are the program's own, on every page.
        for (exit, meaning) in EXITS {
            assert!(page.contains(&format!(".TP\n\\fB{}\\fR\n{meaning}\n", exit.code())), "{verb}: {meaning}\n{page}");
        }
        for section in ["EXIT STATUS", "FILES", "ENVIRONMENT"] {
            assert!(
                page.contains(&format!(".SH \"{section}\"")) || page.contains(&format!(".SH {section}\n")),
                "{verb}: {section}"
            );
        }
        for word in ["/etc/kmsfs/master.key", "KMSFS_LOG"] {
            assert!(page.contains(word), "{verb}: {word}");
        }
    }
    let page = fs::read_to_string(room.at("pages/kmsfs.1")).unwrap();
    assert!(!page.contains("EXTRA"), "{page}");
}

/// A device as it is on most systems: for everybody. Here it may be root's alone.
const OPEN_DEVICE: &str = "rm -f device; mknod -m 666 device c 10 229; mount --bind device /dev/fuse";
const MOUNT: &str = "kmsfs mount --store s --key-file k --anchor none --log log";

/// A room of the user's with a mount point of `owner`'s.
fn room_with_point(owner: u32) -> Room {
    let room = Room::of_user();
    fs::create_dir(room.at("M")).unwrap();
    std::os::unix::fs::chown(room.at("M"), Some(owner), None).unwrap();
    room
}

#[test]
fn a_machine_without_the_device_says_so() {
    let room = room_with_point(room::USER);
    let gone = "mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3";
    let useless = "rm -f device; touch device; mount --bind device /dev/fuse";
    for hide in [gone, useless] {
        for user in [0, room::USER] {
            room.apart(hide, user, &format!("{MOUNT} M")).refused(10, "there is no /dev/fuse");
        }
    }
    let closed = "rm -f device; mknod -m 600 device c 10 229; mount --bind device /dev/fuse";
    room.apart(closed, room::USER, &format!("{MOUNT} M")).refused(10, "/dev/fuse cannot be opened");
}

#[test]
fn a_user_without_the_helper_is_told() {
    assert!(Path::new("/usr/bin/fusermount3").exists(), "this test needs Debian's fuse3");
    let room = room_with_point(room::USER);
    let hide = format!("{OPEN_DEVICE}; mount --bind /dev/null /usr/bin/fusermount3");
    room.apart(&hide, room::USER, &format!("{MOUNT} M")).refused(10, "fusermount3 is not to be found");
    let closed = format!("{OPEN_DEVICE}; echo \\#user_allow_other > conf; mount --bind conf /etc/fuse.conf");
    let shared = format!("{MOUNT} -o allow_other M");
    room.apart(&closed, room::USER, &shared).refused(10, "does not let users mount for others");
}

#[test]
fn a_user_may_not_cover_anothers_directory() {
    room_with_point(0).apart(OPEN_DEVICE, room::USER, &format!("{MOUNT} M")).refused(10, "you may not write");
}
