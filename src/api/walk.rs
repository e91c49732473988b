//! All secrets of an instance that who asks may list, in an order that stays: each directory's own secret first, then what
//! stands below it by age; the scheduled ones at the end.
//!
//! Nothing is loaded whole: a walk holds the way to where it is, and can be taken up again there.

use std::collections::VecDeque;
use std::sync::Arc;

use super::permit::access_of;
use super::{ApiError, Asked};
use crate::id::NodeId;
use crate::secret::{Access, Action, Grant, Right, SecretName};
use crate::vault::{Loaded, Needs, Vault, VaultError, trash_list};

/// Nodes read at a time.
pub const PAGE: usize = 256;
/// Deeper than a name of 192 bytes can go.
const DEPTH_MAX: usize = 128;

/// Where a walk is: the lists that it reads, from the outermost.
pub struct Walk {
    way: Vec<Step>,
    /// What each secret that is met is decided on.
    action: Action,
}

/// One list.
struct Step {
    list: NodeId,
    /// The last of it that the walk has met.
    after: NodeId,
    /// Those that were read and not yet met.
    read: VecDeque<Arc<Loaded>>,
    /// Whether there may be others behind them.
    more: bool,
    /// Whether who asks can list it by the bits of all of the way. Else it is gone through for the secrets whose policies say that they
    /// may be found.
    open: bool,
}

impl Step {
    fn new(list: NodeId, after: NodeId, open: bool) -> Self {
        Self { list, after, read: VecDeque::new(), more: true, open }
    }

    /// The next of the list.
    fn next(&mut self, vault: &Vault) -> Result<Option<Arc<Loaded>>, ApiError> {
        if self.read.is_empty() && self.more {
            let page = vault.children(self.list, self.after, PAGE)?;
            self.more = page.next.is_some();
            self.read = page.nodes.into();
        }
        let next = self.read.pop_front();
        if let Some(node) = &next {
            self.after = node.id();
        }
        Ok(next)
    }
}

impl Walk {
    /// At the beginning of `instance`.
    pub fn of(instance: &Loaded, action: Action) -> Self {
        Self { way: begins(instance).map(|list| Step::new(list, NodeId(0), true)).into(), action }
    }

    /// Where [`Walk::token`] was. A directory that has gone, or is closed by now, is left.
    pub fn at(asked: &Asked<'_>, instance: &Loaded, token: &str, action: Action) -> Result<Self, ApiError> {
        let number = |text: &str| u32::from_str_radix(text, 16).ok().map(NodeId);
        let step = |text: &str| {
            let (list, after) = text.split_once('.')?;
            Some(Step::new(number(list)?, number(after)?, true))
        };
        let way: Option<Vec<_>> = token.split('-').take(DEPTH_MAX).map(step).collect();
        let mut way = way.ok_or(ApiError::BadToken)?;
        if !way.iter().zip(begins(instance)).all(|(step, begin)| step.list == begin) {
            return Err(ApiError::BadToken);
        }
        for at in 2..way.len() {
            let directory = asked.vault.node(way[at].list)?;
            let stays = |node: &&Arc<Loaded>| node.place().parent == way[at - 1].list && leads_on(asked, node);
            let Some(directory) = directory.as_ref().filter(stays) else {
                way.truncate(at);
                break;
            };
            way[at].open = way[at - 1].open && is_open(asked, directory);
        }
        Ok(Self { way, action })
    }

    /// Where to go on; `None` at the end.
    pub fn token(&self) -> Option<String> {
        let steps: Vec<String> = self.way.iter().map(|step| format!("{:x}.{:x}", step.list.0, step.after.0)).collect();
        (!steps.is_empty()).then(|| steps.join("-"))
    }

    /// Goes on to the next secret that `asked` may list. `leads` says of a directory's name whether anything below it may be
    /// wanted.
    pub fn next(
        &mut self,
        asked: &Asked<'_>,
        leads: &dyn Fn(&SecretName) -> bool,
    ) -> Result<Option<Arc<Loaded>>, ApiError> {
        let action = self.action;
        while let Some(step) = self.way.last_mut() {
            let Some(node) = step.next(asked.vault)? else {
                self.way.pop();
                continue;
            };
            let open = step.open;
            if let Some(directory) = node.as_directory() {
                if leads_on(asked, &node) && leads(&directory.name) && self.way.len() < DEPTH_MAX {
                    self.way.push(Step::new(node.id(), NodeId(0), open && is_open(asked, &node)));
                }
            } else if is_listed(asked, &node, open, action)? {
                return Ok(Some(node));
            }
        }
        Ok(None)
    }
}

/// The lists that a walk begins with, the last first.
fn begins(instance: &Loaded) -> [NodeId; 2] {
    [trash_list(instance.id()), instance.id()]
}

/// Whether who asks can list the directory `node` and pass through it.
fn is_open(asked: &Asked<'_>, node: &Loaded) -> bool {
    let allows = |access: Access, right| access.allows(asked.asker.identity, right);
    node.as_directory().is_some_and(|of| allows(of.access, Right::Read) && allows(of.access, Right::Pass))
}

/// Whether there may be something in the directory `node` that who asks may find.
fn leads_on(asked: &Asked<'_>, node: &Loaded) -> bool {
    node.passages() > 0 || is_open(asked, node)
}

/// Whether `node` is a secret, and who asks may describe it; where its list is not `open`, by its policy.
fn is_listed(asked: &Asked<'_>, node: &Loaded, open: bool, action: Action) -> Result<bool, ApiError> {
    let Some(secret) = node.as_secret().filter(|secret| !secret.secret.is_draft()) else { return Ok(false) };
    let access = match secret.access {
        Some(access) => Some(access),
        // A directory that has gone meanwhile has taken its secret along.
        None => asked.vault.node(node.place().parent)?.map(|directory| access_of(&directory)).transpose()?,
    };
    if secret.secret.policy.is_none() && asked.asker.caller.account.is_none() {
        return Ok(open && access.is_some_and(|access| access.allows(asked.asker.identity, Right::Read)));
    }
    match asked.vault.may(asked.asking(), action, node, Needs::Directory(Right::Read)) {
        Ok(grant) => Ok(open || grant != Grant::Mode),
        Err(VaultError::Refused(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
