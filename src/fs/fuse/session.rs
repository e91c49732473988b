//! Mounting the tree and serving it. Whoever unmounts it, ends it.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread;

use fuser::{Config, MountOption, SessionACL};

use super::answers::Adaptor;
use crate::fs::line::Line;
use crate::fs::ops::Tree;
use crate::fs::process::device_of;

/// What is mounted where.
#[derive(Debug, Clone)]
pub struct Mount {
    pub point: PathBuf,
    /// Whether other users than the one who mounts may come in; the tree's permission bits decide what they may do.
    pub allow_other: bool,
    pub read_only: bool,
}

/// A mount that the kernel has, and that is served by [`Session::run`].
pub struct Session {
    inner: fuser::Session<Adaptor>,
}

/// Mounts the tree. When it returns, the kernel has the mount; it is answered once [`Session::run`] is called.
pub fn attach(tree: Arc<Tree>, mount: &Mount) -> io::Result<Session> {
    let mut connection = [0; 8];
    getrandom::fill(&mut connection).map_err(|error| io::Error::other(error.to_string()))?;
    let notifier = Arc::new(OnceLock::new());
    let (sweeper, mounted) = (tree.clone(), tree.clone());
    let adaptor = Adaptor {
        tree,
        connection,
        notifier: notifier.clone(),
        line: Line::start("kmsfs-change", move || sweeper.sweep())?,
        // INVAL_ENTRY takes the directory's lock, which a caller may hold whose request stands in the line.
        forgets: Arc::new(Line::start("kmsfs-forget", || {})?),
    };
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("kmsfs".into()),
        MountOption::Subtype("kmsfs".into()),
        MountOption::DefaultPermissions,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoExec,
        MountOption::NoAtime,
        if mount.read_only { MountOption::RO } else { MountOption::RW },
    ];
    config.acl = if mount.allow_other { SessionACL::All } else { SessionACL::Owner };
    // Two serve better than one even for one reader (measured).
    config.n_threads = Some(thread::available_parallelism().map_or(2, usize::from).max(2));
    let point = mount.point.canonicalize()?;
    let inner = fuser::Session::new(adaptor, &point, &config)?;
    match device_of(&point) {
        Some(device) => mounted.mounted_as(device),
        None => log::warn!("the mount is not in the kernel's table: files of other mounts may be taken for its own"),
    }
    let _ = notifier.set(inner.notifier());
    Ok(Session { inner })
}

impl Session {
    /// Serves until the mount is gone from the kernel.
    pub fn run(self) -> io::Result<()> {
        self.inner.run()
    }
}
