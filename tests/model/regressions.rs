//! Each sequence that was once found to fail, shrunk, and what it proves.

use std::sync::Arc;

use kmsfs::crypto::{KdfParams, Source};
use kmsfs::id::OpId;
use kmsfs::secret::{InstanceName, RecoveryWindow};
use kmsfs::store::MemoryStore;
use kmsfs::vault::{Caller, Owner, init, unlock};

use crate::harness::{Engine, Harness};
use crate::op::{Data, Op, append, path, put};
use crate::reference::Flags;
use crate::verbs::Turn;

const TRUNCATES: Flags = Flags { reads: false, truncates: true, appends: false, exclusive: false };
const APPENDS: Flags = Flags { reads: false, truncates: false, appends: true, exclusive: false };

/// An instance and a directory, then `steps`.
fn holds(steps: &[Vec<Op>]) {
    let mut ops = vec![Op::Mkdir(path("p"), 0o777), Op::Mkdir(path("p/a"), 0o777)];
    ops.extend(steps.iter().flatten().cloned());
    crate::run(&ops, Engine::Memory).unwrap_or_else(|error| panic!("{error}"));
}

fn write(name: &str, bytes: &'static [u8]) -> Vec<Op> {
    put(path(name), Data::Bytes(bytes))
}

fn unlink(name: &str) -> Vec<Op> {
    vec![Op::Unlink(path(name))]
}

fn rename(from: &str, to: &str) -> Vec<Op> {
    vec![Op::Rename(path(from), path(to), false)]
}

/// A member that came to be of the name of a file in memory was listed beside it.
#[test]
fn a_member_hides_a_file_in_memory() {
    let temporary = Flags { reads: true, truncates: false, appends: false, exclusive: true };
    let made = vec![Op::Create(path("p/a/fields/user"), temporary)];
    holds(&[write("p/a/current", b"a"), made, write("p/a/current", b"{\"user\":\"m\"}")]);
}

/// The attributes of `.kmsfs` were kept for an hour, though they change whenever an instance is made.
#[test]
fn kmsfs_changes_with_the_root() {
    holds(&[vec![Op::Mkdir(path("q"), 0o777)]]);
}

/// A text of a scheduled secret could be opened to be written, and only the close said no, which bash does not report.
#[test]
fn a_scheduled_secrets_texts_are_refused_at_open() {
    holds(&[write("p/a/current", b"a"), unlink("p/a/current"), vec![Op::Create(path("p/a/tags"), TRUNCATES)]]);
}

/// A scratch file could be given a name by rename that it could not be made with.
#[test]
fn a_scratch_file_keeps_to_its_names_when_renamed() {
    let to = |name: &[u8]| vec![Op::Rename(path("p/a/.s"), path("p/a").join(&[name]), false)];
    holds(&[write("p/a/.s", b"a"), to(b".n\n"), to(b".\xff"), to(b".t")]);
}

/// `..` was taken as the name of a link in memory.
#[test]
fn dots_are_no_names() {
    holds(&[vec![Op::Symlink(path("p/a/stages/."), b"../versions/v1".to_vec())]]);
}

/// `>> versions/v1` forgot that it appends, and wrote where the kernel guessed the end to be.
#[test]
fn a_new_version_is_appended_to() {
    let two = vec![Op::Write(0, 0, Data::Bytes(b"a")), Op::Write(0, 0, Data::Bytes(b"b")), Op::Flush(0)];
    holds(&[vec![Op::Create(path("p/a/versions/v1"), APPENDS)], two]);
}

/// ftruncate(2) by an appending writer replaced the present content with zeros.
#[test]
fn truncating_while_appending_keeps_what_is_there() {
    let cut = vec![Op::OpenToWrite(path("p/a/current"), APPENDS), Op::Truncate(0, 2), Op::Read(0), Op::Flush(0)];
    holds(&[write("p/a/current", b"abc"), cut]);
}

/// After a purge the kernel went on for an hour with `versions` and `stages` of the secret that is gone.
#[test]
fn a_purge_gives_the_directory_other_entries() {
    let purge = write("p/.deleted/a/state", b"purge\n");
    holds(&[write("p/a/current", b"a"), unlink("p/a/current"), purge, write("p/a/versions/v1", b"b")]);
}

/// The table says EEXIST (`Duplicate.TagKey`).
#[test]
fn a_key_given_twice_is_eexist() {
    holds(&[write("p/a/tags", b"a=1\na=2\n")]);
}

/// Restore and put went under one request's id, so the engine left out the second: the value was lost, what was kept in
/// memory named one that was never stored, and every later change was refused.
#[test]
fn a_rename_onto_a_deleted_current_restores_and_puts() {
    let deleted = [write("p/a/current", b"a"), unlink("p/a/current")].concat();
    holds(&[deleted, write("p/a/.s", b"b"), rename("p/a/.s", "p/a/current"), write("p/a/current", b"c")]);
}

/// What is refused changes nothing: an empty file renamed onto a deleted `current` restored it all the same.
#[test]
fn a_refused_rename_restores_nothing() {
    let deleted = [write("p/a/current", b"a"), unlink("p/a/current")].concat();
    holds(&[deleted, vec![Op::Create(path("p/a/.s"), TRUNCATES)], rename("p/a/.s", "p/a/current")]);
}

/// Of two who write one new version the second was told only at its close.
#[test]
fn the_second_writer_of_a_version_is_told_at_its_write() {
    let open = |name| vec![Op::Create(path(name), TRUNCATES)];
    let first = vec![Op::Write(0, 0, Data::Bytes(b"a")), Op::Flush(0)];
    holds(&[open("p/a/versions/v2"), open("p/a/versions/v2"), first, vec![Op::Write(1, 0, Data::Bytes(b"b"))]]);
}

/// A directory and a link could be made under the name of a file in memory, and hid it.
#[test]
fn a_file_in_memory_holds_its_name() {
    let link = vec![Op::Symlink(path("p/a/stages/.s"), b"../versions/v1".to_vec())];
    holds(&[
        write("p/a/current", b"a"),
        write("p/a/w", b"b"),
        vec![Op::Mkdir(path("p/a/w"), 0o777)],
        link.clone(),
        link,
    ]);
}

/// A restore hid a file in memory that has its name by now.
#[test]
fn a_restore_does_not_hide_a_file_in_memory() {
    let nested = [vec![Op::Mkdir(path("p/a/b"), 0o777)], write("p/a/b/current", b"b")].concat();
    let gone = [unlink("p/a/b/current"), vec![Op::Rmdir(path("p/a/b"))]].concat();
    let back = rename("p/.deleted/a%2Fb", "p/a/b");
    holds(&[write("p/a/current", b"a"), nested, gone, write("p/a/b", b"x"), back.clone(), unlink("p/a/b"), back]);
}

/// What was appended to `tags` and stored was stored again by the next close, over what others had written, and a key
/// that came again was refused.
#[test]
fn tags_that_were_appended_are_not_appended_again() {
    let line = |bytes| vec![Op::Write(0, 0, Data::Bytes(bytes)), Op::Sync(0)];
    let open = vec![Op::OpenToWrite(path("p/a/tags"), APPENDS)];
    holds(&[write("p/a/tags", b"x=1\n"), open, line(b"a=1\n"), line(b"a=2\n")]);
}

/// The version that rolls away is the oldest by its creation, not the one whose writer opened it first.
#[test]
fn the_oldest_version_rolls_away_first() {
    let slow = vec![Op::Create(path("p/a/versions/slow"), TRUNCATES)];
    let done = vec![Op::Write(0, 0, Data::Bytes(b"s")), Op::Flush(0), Op::Release(0)];
    let values = |count: usize| (0..count).flat_map(|_| write("p/a/current", b"v")).collect::<Vec<_>>();
    holds(&[slow, values(5), done, values(7)]);
}

/// A backup that was moved back made a version of the bytes that were current anyway.
#[test]
fn a_backup_that_is_moved_back_is_no_version() {
    let (away, back) = (rename("p/a/current", "p/a/current~"), rename("p/a/current~", "p/a/current"));
    holds(&[write("p/a/current", b"a"), away.clone(), back.clone()]);
    holds(&[write("p/a/current", b"a"), away.clone(), write("p/a/current", b"b"), back.clone()]);
    holds(&[write("p/a/current", b"a"), away, append(path("p/a/current~"), Data::Bytes(b"b")), back]);
}

/// Appending to a version that is there is a write of other bytes.
#[test]
fn a_version_is_not_appended_to() {
    holds(&[write("p/a/versions/v1", b"a"), append(path("p/a/versions/v1"), Data::Bytes(b"b"))]);
}

/// A truncation past the limit was refused after it had made the present content the writer's own.
#[test]
fn a_refused_truncation_takes_nothing_in() {
    let open = vec![Op::OpenToWrite(path("p/a/current"), Flags::default()), Op::Truncate(0, 30_721)];
    let read = vec![Op::Read(0), Op::Truncate(0, 1), Op::Flush(0)];
    holds(&[write("p/a/current", b"a"), open, write("p/a/current", b"b"), read]);
}

/// A request that comes again is left out by the engine; what was kept in memory took it for written, and every later
/// change was refused with EAGAIN.
#[test]
fn a_request_that_comes_again_stops_no_later_one() {
    let key = Source::KeyFile(&[7; 32]);
    let store = Arc::new(MemoryStore::new());
    init(&*store, &key, KdfParams::LEAST, Owner { uid: 0, gid: 0 }).unwrap();
    let vault = unlock(store, &key).unwrap();
    let caller = |request| Caller {
        uid: 0,
        gid: 0,
        tid: 0,
        op: OpId([request; 16]),
        gesture: "test",
        account: None,
        by: Default::default(),
    };
    let instance = vault.make_instance(caller(1), InstanceName::parse(b"p").unwrap(), 0o755).unwrap().id();
    for (request, days, found) in [(2, "8", 8), (2, "9", 8), (3, "10", 10)] {
        let window = RecoveryWindow::parse(days.as_bytes()).unwrap();
        vault.set_recovery_window(caller(request), instance, window).unwrap();
        let loaded = vault.node(instance).unwrap().unwrap();
        assert_eq!(loaded.as_instance().unwrap().recovery_window.days(), found);
    }
    assert_eq!(vault.verify().unwrap().problems, Vec::<String>::new());
}

/// RENAME_NOREPLACE took a label away from under another on the same version, which has the same inode number.
#[test]
fn a_label_is_not_replaced_where_that_is_asked() {
    let label = vec![Op::Symlink(path("p/a/stages/l1"), b"../versions/v1".to_vec())];
    let rename = vec![Op::Rename(path("p/a/stages/l1"), path("p/a/stages/ACSCurrent"), true)];
    holds(&[write("p/a/current", b"a"), label, rename]);
}

/// Whoever had the `state` of a secret open could go on writing it after the purge, as if it were still scheduled.
#[test]
fn a_purged_secret_has_no_state() {
    let open = vec![Op::OpenToWrite(path("p/.deleted/a/state"), APPENDS)];
    let late = vec![Op::Write(0, 0, Data::Bytes(b"a"))];
    let purge = write("p/.deleted/a/state", b"purge\n");
    holds(&[write("p/a/current", b"a"), unlink("p/a/current"), open, purge, late]);
}

/// rename(2) does nothing where both names have one inode, and the kernel does not even ask: `ln -sfn ../versions/v1
/// stages/ACSCurrent` where that is so already leaves its temporary `Cu??????` behind, which is a label here and for good.
#[test]
fn labels_on_one_version_are_two_files() {
    let mut harness = Harness::new(Engine::Memory);
    let link = Op::Symlink(path("p/a/stages/CuXyZ789"), b"../versions/v1".to_vec());
    let steps =
        [vec![Op::Mkdir(path("p"), 0o777), Op::Mkdir(path("p/a"), 0o777)], write("p/a/current", b"a"), vec![link]];
    for op in steps.iter().flatten() {
        harness.step(op).unwrap();
    }
    let numbers = ["ACSCurrent", "CuXyZ789"].map(|label| harness.number(&path(&format!("p/a/stages/{label}"))));
    assert!(numbers[0].is_some() && numbers[1].is_some());
    assert_ne!(numbers[0], numbers[1]);
}

/// bash moves a descriptor before it writes, and so closes it once: where the daemon does not see its callers that looked like
/// the last close of an empty file, and every write of the shell was refused.
#[test]
fn a_first_close_of_an_empty_file_spoils_nothing() {
    let create = vec![Op::Create(path("p/a/versions/v1"), TRUNCATES), Op::Flush(0)];
    let rest = vec![Op::Write(0, 0, Data::Bytes(b"a")), Op::Flush(0), Op::Release(0)];
    holds(&[create, rest]);
}

/// A draft whose directory was removed could not be read through its own handle: the audit did not know what to call it.
#[test]
fn a_draft_is_read_though_its_name_is_gone() {
    let reads = Flags { reads: true, ..TRUNCATES };
    let open = vec![Op::Create(path("p/a/current"), reads), Op::Write(0, 0, Data::Bytes(b"a"))];
    holds(&[open, vec![Op::Rmdir(path("p/a")), Op::Read(0)]]);
}

/// Two who made one version held one promised number. When the first one's version had rolled away, the second one's got the
/// number again, though numbers are given once.
#[test]
fn a_promised_number_is_given_once() {
    let create = || Op::Create(path("p/a/versions/v7"), TRUNCATES);
    let store = |byte| vec![Op::Write(0, 0, Data::Bytes(byte)), Op::Flush(0), Op::Release(0)];
    let rotations = (0..11).flat_map(|n| put(path("p/a/current"), Data::Many(40 + n, 3)));
    holds(&[write("p/a/current", b"a"), vec![create(), create()], store(b"b"), rotations.collect(), store(b"c")]);
}

/// One member is written, appended to, moved onto and removed; and a removed directory `fields/` comes again under another number.
#[test]
fn members_are_written_and_come_again() {
    let object = write("p/a/current", b"{\"n\":5432,\"user\":\"u\"}");
    let user = || path("p/a/fields/user");
    let moved = vec![
        Op::Create(path("p/a/fields/.s"), TRUNCATES),
        Op::Write(0, 0, Data::Bytes(b"m")),
        Op::Rename(path("p/a/fields/.s"), path("p/a/fields/n"), false),
    ];
    let removed = vec![Op::Unlink(path("p/a/current")), Op::Unlink(path("p/a/dotenv")), Op::Rmdir(path("p/a/fields"))];
    let again = vec![Op::Rename(path("p/.deleted/a"), path("p/a"), false), Op::Unlink(user()), Op::OpenToRead(user())];
    let held = vec![Op::OpenToRead(user())];
    holds(&[object, held, put(user(), Data::Bytes(b"w")), append(user(), Data::Bytes(b"x")), moved, removed, again]);
}

/// `{ echo every=7d; echo function=random; } > rotation` was refused at its first line, which the second one completes.
#[test]
fn a_plan_is_written_line_by_line() {
    let create = vec![Op::Create(path("p/a/rotation"), TRUNCATES)];
    let lines = vec![Op::Write(0, 0, Data::Bytes(b"every=7d\n")), Op::Write(0, 9, Data::Bytes(b"function=random\n"))];
    holds(&[write("p/a/current", b"a"), create, lines, vec![Op::Flush(0), Op::Release(0)]]);
    let begun = vec![Op::Rotate(path("p/a"), Turn::Begin(None)), Op::Create(path("p/a/rotation"), TRUNCATES)];
    let lines = vec![Op::Write(0, 0, Data::Bytes(b"\n")), Op::Write(0, 1, Data::Bytes(b"function=random\n"))];
    let plan = write("p/a/rotation", b"function=random\n");
    holds(&[write("p/a/current", b"a"), plan, begun, lines, vec![Op::Flush(0), Op::Release(0)]]);
}

/// A purge by time told the tree nothing: the kernel went on for an hour with `versions` and `stages` of the secret that is gone.
#[test]
fn a_purge_by_time_gives_the_directory_other_entries() {
    let ends = vec![Op::Unlink(path("p/a/current")), Op::Pass(720), Op::KeepUp];
    holds(&[write("p/a/current", b"a"), write("p/a/versions/.s", b"a"), ends, write("p/a/versions/v1", b"b")]);
}
