//! Identifiers: what the store, the envelope and the inode numbers agree on. Plain numbers, each a type of its own.

use serde::{Deserialize, Serialize};

/// One record of the store: an instance, a key, a directory, a secret. Given once, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeId(pub u32);

impl NodeId {
    /// The store's header: identity and format, readable without a key.
    pub const HEADER: NodeId = NodeId(1);
    /// The head record: counter, counts and set digest, rewritten by every commit.
    pub const HEAD: NodeId = NodeId(2);
    /// The first unlock slot; slot `i` is `FIRST_SLOT + i`.
    pub const FIRST_SLOT: NodeId = NodeId(8);
    /// The root of the tree, parent and scope of the instances.
    pub const ROOT: NodeId = NodeId(16);
    /// The first number given to anything that a user makes.
    pub const FIRST_FREE: NodeId = NodeId(64);
}

/// A version's number within its secret, from 1, never reused; 24 bits, as an inode number has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VersionNo(pub u32);

impl VersionNo {
    /// The highest number an inode can carry.
    pub const MAX: VersionNo = VersionNo((1 << 24) - 1);
}

/// A store, made at init; binds every sealed byte to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreId(pub [u8; 16]);

/// A request that changes something; a commit that comes twice under one id happens once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OpId(pub [u8; 16]);

impl OpId {
    /// As KMS writes the ids of requests: a UUID's shape.
    pub fn request_id(self) -> String {
        let hex: String = self.0.iter().map(|byte| format!("{byte:02X}")).collect();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}
