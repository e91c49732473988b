//! Following what happens, through `.kmsfs/events`.

use std::sync::Arc;
use std::time::Instant;

use super::{Tree, Who};
use crate::fs::errno::Fault;
use crate::fs::follow::{Followed, Follower};
use crate::fs::identity::identity_of;
use crate::fs::inode::{Handle, Ino};
use crate::fs::opens::Held;
use crate::secret::{Action, Refusal};

/// A read of events.
#[derive(Debug, Clone, Copy)]
pub struct Follow {
    /// Of which open file.
    pub handle: Handle,
    /// From where on.
    pub offset: u64,
    /// Most bytes.
    pub size: usize,
    /// Whether it shall not wait: O_NONBLOCK.
    pub hurries: bool,
}

impl Tree {
    /// Has `bell` called whenever there may be something new to read. It must not wait.
    pub fn on_event(&self, bell: impl Fn() + Send + Sync + 'static) {
        self.vault.on_event(bell);
    }

    /// Opens `ino`, which is `events`, for what can be listed by whoever opens it.
    ///
    /// # Errors
    /// Where its user has as many open as one may have.
    pub(super) fn open_events(&self, who: Who, ino: Ino) -> Result<Handle, Fault> {
        self.refuse_guest(who, Action::ListSecrets)?;
        let share = self.shared.followers.take(who.uid).ok_or(Refusal::TooManyFollowers)?;
        let serial = self.shared.opens.next_serial();
        let follower = Follower::new(serial, (who.uid, share), identity_of(who), &self.vault);
        follower.leave(&self.estate);
        Ok(self.shared.opens.add(serial, ino, who.opener(), Held::Events(Arc::new(follower))))
    }

    /// What a read of events gets that has just come.
    pub fn follow(&self, read: Follow) -> Result<Followed, Fault> {
        self.follower(read.handle)?.read((&self.vault, &self.estate), read.offset, read.size, read.hurries)
    }

    /// What it gets some time later; it waits until `until` at most.
    pub fn follow_on(&self, read: Follow, until: Instant) -> Result<Followed, Fault> {
        self.follower(read.handle)?.read_again((&self.vault, &self.estate), read.offset, read.size, until)
    }

    fn follower(&self, handle: Handle) -> Result<Arc<Follower>, Fault> {
        match self.shared.opens.get(handle.serial()).map(|open| open.held) {
            Some(Held::Events(follower)) => Ok(follower),
            Some(
                Held::Version(_) | Held::Text(_) | Held::Draft(_) | Held::Scratch | Held::Talk(_) | Held::Snapshot(_),
            )
            | None => Err(Fault::BadHandle),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::crypto::{KdfParams, Source};
    use crate::fs::Options;
    use crate::id::OpId;
    use crate::secret::Tags;
    use crate::store::MemoryStore;
    use crate::vault::{Caller, Owner, Vault, VaultError, init, unlock};

    const KEY: [u8; 32] = [1; 32];

    fn who(op: u64) -> Who {
        let tid = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let mut id = [0; 16];
        id[..8].copy_from_slice(&op.to_le_bytes());
        Who { uid, gid, tid, op: OpId(id), gesture: "test", account: None, by: Default::default() }
    }

    fn events(tree: &Tree) -> Ino {
        let control = tree.lookup(who(0), Ino::ROOT, b".kmsfs").unwrap().attr.ino;
        tree.lookup(who(0), control, b"events").unwrap().attr.ino
    }

    fn vault() -> Arc<Vault> {
        let store = Arc::new(MemoryStore::new());
        init(&*store, &Source::KeyFile(&KEY), KdfParams::LEAST, Owner { uid: 0, gid: 0 }).unwrap();
        Arc::new(unlock(store, &Source::KeyFile(&KEY)).unwrap())
    }

    #[test]
    fn who_reads_too_slowly_is_told_how_much_was_lost() {
        let vault = vault();
        let tree = Tree::new(vault.clone(), Options::default());
        let instance = tree.make_directory(who(1), Ino::ROOT, b"prod", 0o755).unwrap().attr.ino;
        let directory = tree.make_directory(who(2), instance, b"s", 0o755).unwrap().attr.ino;
        let secret = tree.lookup(who(0), directory, b"tags").unwrap().attr.ino.node;
        let handle = tree.open_to_read(who(3), events(&tree)).unwrap();
        const CHANGES: u64 = 6_000;
        for n in 0..CHANGES {
            let Who { uid, gid, tid, op, gesture, .. } = who(10 + n);
            let caller = Caller { uid, gid, tid, op, gesture, account: None, by: Default::default() };
            vault.set_tags(caller, secret, Tags::parse_file(format!("n={n}\n").as_bytes()).unwrap()).unwrap();
        }
        // Who does not read makes nobody keep more than a little of it, however often it looks.
        let shown = || tree.attr(who(0), events(&tree)).unwrap().size;
        let size = shown();
        assert!((1..20_000).contains(&size) && shown() == size, "{size}");
        let (mut offset, mut lines) = (0, Vec::new());
        loop {
            let read = Follow { handle, offset, size: 128 * 1024, hurries: true };
            let Followed::Bytes(bytes) = tree.follow(read).unwrap() else { panic!("one that hurries is answered") };
            if bytes.is_empty() {
                break;
            }
            offset += bytes.len() as u64;
            lines.extend(String::from_utf8(bytes).unwrap().lines().map(str::to_owned));
        }
        let lost: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(lost["what"], "lost");
        let told = lines.iter().filter(|line| line.contains("\"tags\"")).count() as u64;
        assert_eq!(told + lost["count"].as_u64().unwrap(), CHANGES);
        assert!(told > 1000 && lines.len() as u64 == told + 1, "{told}");
        tree.release(who(4), handle);
        assert!(tree.shared.opens.counts().iter().all(|(_, count)| *count == 0));
    }

    #[test]
    fn a_user_has_so_many_open_and_no_more() {
        let tree = Tree::new(vault(), Options::default());
        let (of_other, events) = (|op| Who { uid: 4321, ..who(op) }, events(&tree));
        let handles: Vec<_> = (1..=64).map(|op| tree.open_to_read(of_other(op), events).unwrap()).collect();
        let refused = tree.open_to_read(of_other(65), events);
        assert!(matches!(refused, Err(Fault::Vault(VaultError::Refused(Refusal::TooManyFollowers)))));
        tree.open_to_read(Who { uid: 4322, ..who(66) }, events).unwrap();
        tree.release(of_other(67), handles[0]);
        tree.open_to_read(of_other(68), events).unwrap();
    }
}
