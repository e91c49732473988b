//! What a walk over all records has met of that which other records count, and what those say.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Loaded, Node, Vault, VaultError};
use crate::id::NodeId;
use crate::secret::Account;

/// What was met, and what is said of it, each with the name that people have for who says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Secrets under a key.
    uses: Side<u64>,
    /// Keys whose users nobody counts.
    defaults: HashSet<NodeId>,
    /// Names and secrets of a directory that lead to a policy which lets somebody come.
    passages: Side<u32>,
    /// Entries that say that a secret is rotated by a function.
    rotations: Side<u64>,
    /// Other accounts that policies let into an instance.
    guests: Side<BTreeMap<Account, u64>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Side<T> {
    met: HashMap<NodeId, T>,
    said: Vec<(NodeId, T, String)>,
}

impl<T> Default for Side<T> {
    fn default() -> Self {
        Self { met: HashMap::new(), said: Vec::new() }
    }
}

impl<T: Default + PartialEq> Side<T> {
    /// Takes note of what the record `id` says. One that says nothing of the kind is not kept: most are.
    fn say(&mut self, id: NodeId, said: T, called: String) {
        if said != T::default() {
            self.said.push((id, said, called));
        }
    }

    /// The same without those that say nothing.
    fn of_those_who_say(mut self) -> Vec<(NodeId, String, T, T)> {
        let say: HashSet<NodeId> = self.said.iter().map(|(id, ..)| *id).collect();
        self.met.retain(|id, _| say.contains(id));
        self.differing()
    }

    /// Those of whom something else was met than they say: what was, and what they say.
    fn differing(self) -> Vec<(NodeId, String, T, T)> {
        let Self { mut met, said } = self;
        let said = said.into_iter().map(|(id, said, called)| (id, called, met.remove(&id).unwrap_or_default(), said));
        let mut all: Vec<_> = said.collect();
        all.extend(met.into_iter().map(|(id, met)| (id, format!("record {}", id.0), met, T::default())));
        all.retain(|(_, _, met, said)| met != said);
        all
    }
}

impl Counted {
    /// One line for each record that counts wrong.
    pub fn problems(self) -> Vec<String> {
        let Self { uses, defaults, passages, rotations, guests } = self;
        // What was under a key that was destroyed is under none that could count.
        let uses = uses.of_those_who_say().into_iter().filter(|(id, ..)| !defaults.contains(id));
        let uses =
            uses.map(|(_, called, met, said)| format!("{called}: {met} secrets are under the key, it counts {said}"));
        let passages = passages.differing().into_iter().map(|(_, called, met, said)| {
            format!("{called}: policies let somebody come by {met} ways, it counts {said}")
        });
        let guests = guests.differing().into_iter().map(|(_, called, met, said)| {
            format!("{called}: policies let {} other accounts in, it counts {}", met.len(), said.len())
        });
        let rotations = rotations.differing().into_iter().map(|(_, called, met, said)| {
            format!("{called}: {met} entries say that it is rotated by a function, {said} should")
        });
        uses.chain(passages).chain(rotations).chain(guests).collect()
    }
}

impl Vault {
    /// Takes note of what `loaded`, which people call `called`, counts, and what it counts for.
    pub(super) fn count_in(&self, counted: &mut Counted, loaded: &Loaded, called: String) -> Result<(), VaultError> {
        let (id, parent) = (loaded.id(), loaded.place().parent);
        for account in self.let_in(Some(&loaded.node))? {
            *counted.guests.met.entry(loaded.instance_id()).or_default().entry(account).or_default() += 1;
        }
        if let Some(directory) = self.opens_way(Some(&loaded.node), Some(parent))? {
            *counted.passages.met.entry(directory).or_default() += 1;
        }
        if loaded.passages() > 0 && id != NodeId::ROOT {
            *counted.passages.met.entry(parent).or_default() += 1;
        }
        match &loaded.node {
            Node::Root(root) => counted.passages.say(id, root.passages, called),
            Node::Directory(directory) => counted.passages.say(id, directory.passages, called),
            Node::Instance(instance) => {
                counted.defaults.insert(instance.default_key);
                counted.passages.say(id, instance.passages, called.clone());
                counted.guests.say(id, instance.guests.clone(), called);
            }
            Node::Key(key) => counted.uses.said.push((id, key.uses, called)),
            Node::Secret(node) => {
                *counted.uses.met.entry(node.secret.key).or_default() += 1;
                counted.rotations.say(id, u64::from(node.secret.rotation.is_some()), called);
            }
            Node::Rotation(entry) => *counted.rotations.met.entry(entry.secret).or_default() += 1,
        }
        Ok(())
    }
}
