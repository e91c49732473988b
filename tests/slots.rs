//! An unlock slot that was removed is gone: who keeps the old key and gets the files afterwards cannot open them with it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use kmsfs::crypto::{KdfParams, Source};
use kmsfs::id::{NodeId, OpId};
use kmsfs::secret::InstanceName;
use kmsfs::store::{SqliteStore, Store};
use kmsfs::vault::{Caller, Owner, init, unlock};

/// Whether a piece of `bytes` long enough not to be chance is in one of the files.
fn is_in_a_file(dir: &Path, bytes: &[u8]) -> bool {
    let files = fs::read_dir(dir).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    files.into_iter().any(|file| bytes.chunks_exact(24).any(|piece| file.windows(24).any(|found| found == piece)))
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
            let caller = Caller { uid: 0, gid: 0, op: OpId([n + 1; 16]) };
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
