//! Unlock slots: what trying them costs is bounded, and one that was removed is gone: who keeps the old key and gets the files
//! afterwards cannot open them with it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kmsfs::crypto::{KdfParams, Source, slot_work};
use kmsfs::id::{NodeId, OpId};
use kmsfs::sealed::Sealed;
use kmsfs::secret::InstanceName;
use kmsfs::store::{Expect, Index, MemoryStore, Op, Place, SqliteStore, Store};
use kmsfs::vault::{Caller, Owner, UnlockError, init, unlock};
use sha2::{Digest, Sha256};

/// Whether a piece of `bytes` long enough not to be chance is in one of the files.
fn is_in_a_file(dir: &Path, bytes: &[u8]) -> bool {
    let files = fs::read_dir(dir).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    files.into_iter().any(|file| bytes.chunks_exact(24).any(|piece| file.windows(24).any(|found| found == piece)))
}

/// A store made with the key file of ones, and `costly` in the slots beside it.
fn with_costly_slots(costly: &[(u8, KdfParams)]) -> (Arc<MemoryStore>, Vec<u64>) {
    let store = Arc::new(MemoryStore::new());
    init(&*store, &Source::KeyFile(&[1; 32]), KdfParams::LEAST, Owner { uid: 0, gid: 0 }).unwrap();
    let mut work = Vec::new();
    for (number, kdf) in costly {
        let id = NodeId(NodeId::FIRST_SLOT.0 + u32::from(*number));
        let sealed = Sealed::from_bytes(forged(*number, *kdf));
        work.push(slot_work(&sealed).unwrap());
        let index = Index([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, id.0 as u8]);
        let place = Place { scope: NodeId(0), parent: NodeId(0), index };
        let op = Op::PutRecord { id, place, sealed, expect: Expect::Absent };
        store.commit(&[op], OpId([100 + number; 16]), None).unwrap();
    }
    (store, work)
}

/// A slot that is sound but for the key in it, which nobody has: whoever writes to the disk can make one.
fn forged(number: u8, kdf: KdfParams) -> Vec<u8> {
    let mut slot = [&b"slot"[..], &[number, 2]].concat();
    for cost in [kdf.m_kib, kdf.t, kdf.p] {
        slot.extend(cost.to_le_bytes());
    }
    slot.resize(143, 0x5a);
    let check = Sha256::digest(&slot);
    slot.extend(&check[..8]);
    slot
}

/// What a wrong passphrase may cost is bounded over all slots, not for each.
#[test]
fn costly_slots_are_not_all_tried() {
    let most = KdfParams::MOST;
    let costly = [(1, most), (2, most), (3, most), (4, KdfParams::LEAST)];
    let (store, work) = with_costly_slots(&costly);
    assert!(work[0] + work[3] > most.work(), "none of the costly ones fits beside the cheap one");
    let begun = Instant::now();
    let unlocked = unlock(store.clone(), &Source::Passphrase(b"wrong")).err().unwrap();
    assert!(matches!(unlocked, UnlockError::SlotTooCostly(1)), "{unlocked}");
    assert!(begun.elapsed() < Duration::from_secs(5), "a costly slot takes longer alone: {:?}", begun.elapsed());
    // A key file costs nothing to try, and removes them.
    let vault = unlock(store.clone(), &Source::KeyFile(&[1; 32])).unwrap();
    let refused = vault.add_slot(&Source::Passphrase(b"new"), KdfParams::LEAST).unwrap_err().to_string();
    assert!(refused.contains("cost too much"), "{refused}");
    for number in [1, 2, 3] {
        vault.remove_slot(number).unwrap();
    }
    assert_eq!(vault.add_slot(&Source::Passphrase(b"new"), KdfParams::LEAST).unwrap(), 1);
    assert!(unlock(store, &Source::Passphrase(b"new")).is_ok());
}

/// Who can write to the files puts the row of a removed slot back: its key opens the store no longer, and it is named.
#[test]
fn a_slot_that_is_put_back_opens_nothing() {
    let (old, new) = (Source::KeyFile(&[1; 32]), Source::KeyFile(&[2; 32]));
    let store = Arc::new(MemoryStore::new());
    init(&*store, &old, KdfParams::LEAST, Owner { uid: 0, gid: 0 }).unwrap();
    let vault = unlock(store.clone(), &old).unwrap();
    let before = vault.anchor();
    assert_eq!(vault.add_slot(&new, KdfParams::LEAST).unwrap(), 1);
    let removed = store.get(NodeId::FIRST_SLOT).unwrap().unwrap();
    vault.remove_slot(0).unwrap();
    assert_eq!(vault.anchor().counter, before.counter + 2, "an older copy of the whole store is known by its anchor");
    let op = Op::PutRecord { id: removed.id, place: removed.place, sealed: removed.sealed, expect: Expect::Absent };
    store.commit(&[op], OpId([7; 16]), None).unwrap();
    assert!(matches!(unlock(store.clone(), &old).err(), Some(UnlockError::SlotPutBack(0))));
    let vault = unlock(store.clone(), &new).unwrap();
    let problems = vault.verify().unwrap().problems;
    assert_eq!(problems, ["unlock slot 0 is none that the store has: an older one was put back"]);
    assert!(
        vault.remove_slot(1).unwrap_err().to_string().contains("is the last one"),
        "a slot put back does not count"
    );
    // The key may have a slot of its own again.
    assert_eq!(vault.add_slot(&old, KdfParams::LEAST).unwrap_err().to_string(), "this key opens unlock slot 0 already");
    vault.remove_slot(0).unwrap();
    assert_eq!(vault.verify().unwrap().problems, [] as [&str; 0]);
    assert_eq!(vault.add_slot(&old, KdfParams::LEAST).unwrap(), 0);
    assert!(unlock(store, &old).is_ok());
}

#[test]
fn a_removed_slot_is_in_no_file() {
    for instances in 0..12u8 {
        let scratch = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::create(scratch.path()).unwrap());
        let first = Source::KeyFile(&[1; 32]);
        init(&*store, &first, KdfParams::LEAST, Owner { uid: 0, gid: 0 }).unwrap();
        let vault = unlock(store.clone(), &first).unwrap();
        for n in 0..instances {
            let caller = Caller {
                uid: 0,
                gid: 0,
                tid: 0,
                op: OpId([n + 1; 16]),
                gesture: "test",
                account: None,
                by: Default::default(),
            };
            vault.make_instance(caller, InstanceName::parse(format!("i{n}").as_bytes()).unwrap(), 0o755).unwrap();
        }
        let others: Vec<[u8; 32]> = (2..9).map(|n| [n; 32]).collect();
        for key in &others {
            vault.add_slot(&Source::KeyFile(key), KdfParams::LEAST).unwrap();
        }
        let stored: Vec<_> = (0..8)
            .map(|number| {
                let slot = store.get(NodeId(NodeId::FIRST_SLOT.0 + number)).unwrap().unwrap().sealed;
                slot.as_bytes()[50..143].to_vec()
            })
            .collect();
        assert!(stored.iter().all(|slot| is_in_a_file(scratch.path(), slot)));
        for number in [3, 0, 7, 1] {
            vault.remove_slot(number).unwrap();
            assert!(
                !is_in_a_file(scratch.path(), &stored[usize::from(number)]),
                "{instances} instances, slot {number}"
            );
        }
    }
}
