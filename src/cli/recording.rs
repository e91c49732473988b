//! The options that say where decisions are recorded.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::keys::NO_ANCHOR as NONE;
use super::places;
use super::report::CliError;
use crate::audit::{SEGMENT, WitnessKind};
use crate::daemon::Recording;

/// Where decisions are recorded.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// The directory in which all decisions are recorded, one directory for each store; outside of the store's own [default:
    /// /var/log/kmsfs-audit for root, $XDG_STATE_HOME/kmsfs/audit else]
    #[arg(long, value_name = "DIR|none")]
    audit: Option<PathBuf>,
    /// Also tell journald or syslog; one that takes a record is enough
    #[arg(long, value_name = "SINK", value_parser = ["journald", "syslog"])]
    audit_to: Option<String>,
    /// What happens to a request whose record nobody takes: it fails (closed), or is let and counted (open)
    #[arg(long, value_name = "HOW", value_parser = ["closed", "open"], default_value = "closed")]
    audit_fail: String,
    /// Another socket of the second sink
    #[arg(long, value_name = "FILE", hide = true)]
    audit_socket: Option<PathBuf>,
    /// Bytes of a segment
    #[arg(long, value_name = "BYTES", hide = true, default_value_t = SEGMENT)]
    audit_segment: u64,
}

impl AuditArgs {
    /// What they say.
    pub fn recording(&self) -> Result<Recording, CliError> {
        let dir = match &self.audit {
            Some(dir) if dir.as_os_str() == NONE => None,
            Some(dir) => Some(places::absolute(dir)?),
            None => Some(places::audit()?),
        };
        Ok(Recording {
            dir,
            witness: self.audit_to.as_deref().and_then(WitnessKind::named),
            socket: self.audit_socket.clone(),
            fails_open: self.audit_fail == "open",
            segment: self.audit_segment,
        })
    }
}

/// The same in arguments.
pub fn to_args(recording: &Recording) -> Vec<OsString> {
    let dir = recording.dir.as_ref().map_or_else(|| NONE.into(), |dir| dir.clone().into_os_string());
    let mut args: Vec<OsString> = vec!["--audit".into(), dir];
    if let Some(witness) = &recording.witness {
        args.extend(["--audit-to".into(), witness.to_string().into()]);
    }
    if let Some(socket) = &recording.socket {
        args.extend(["--audit-socket".into(), socket.into()]);
    }
    if recording.fails_open {
        args.extend(["--audit-fail".into(), "open".into()]);
    }
    args.extend(["--audit-segment".into(), recording.segment.to_string().into()]);
    args
}
