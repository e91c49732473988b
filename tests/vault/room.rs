//! A secret whose store is an engine that a test directs.

use std::sync::Arc;

use kmsfs::crypto::{KdfParams, Source};
use kmsfs::id::{NodeId, OpId};
use kmsfs::secret::{Component, InstanceName};
use kmsfs::value::Value;
use kmsfs::vault::{Caller, Draft, Loaded, Owner, Vault, init, unlock};

use crate::engine::Engine;

/// A vault with the instance `prod` and, in it, the directory `password` with a secret of one version.
pub struct Room {
    pub engine: Arc<Engine>,
    pub vault: Arc<Vault>,
    pub instance: NodeId,
    pub directory: Arc<Loaded>,
    pub secret: NodeId,
}

/// Root, under a request of its own.
pub fn caller() -> Caller {
    let mut op = [0; 16];
    getrandom::fill(&mut op).unwrap();
    Caller { uid: 0, gid: 0, tid: 0, op: OpId(op), gesture: "test", account: None, by: Default::default() }
}

/// The directory's name.
pub fn name() -> Component {
    Component::parse(b"password").unwrap()
}

impl Room {
    pub fn new() -> Self {
        let engine = Arc::new(Engine::default());
        init(&*engine, &Source::KeyFile(&[1; 32]), KdfParams::LEAST, Owner { uid: 0, gid: 0 }).unwrap();
        let vault = open(&engine);
        let instance = vault.make_instance(caller(), InstanceName::parse(b"prod").unwrap(), 0o755).unwrap().id();
        let directory = vault.make_directory(caller(), instance, &name(), 0o750).unwrap();
        let secret = vault.secret_of(&directory).unwrap().id();
        let room = Self { engine, vault, instance, directory, secret };
        room.put(b"one");
        room
    }

    /// The same store, of which nothing has been read yet.
    pub fn reopen(&mut self) {
        self.vault = open(&self.engine);
    }

    pub fn put(&self, bytes: &[u8]) {
        let value = Value::copy_of(bytes);
        let draft = Draft::of(&value);
        self.vault.put_value(caller(), self.secret, draft).unwrap();
    }

    /// The ids of the stored versions.
    pub fn versions(&self) -> Vec<String> {
        let loaded = self.vault.node(self.secret).unwrap().unwrap();
        loaded.as_secret().unwrap().secret.versions.iter().map(|version| version.id.as_str().to_owned()).collect()
    }
}

fn open(engine: &Arc<Engine>) -> Arc<Vault> {
    Arc::new(unlock(engine.clone(), &Source::KeyFile(&[1; 32])).unwrap())
}
