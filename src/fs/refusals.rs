//! Why the last request of each user was refused: logged, and readable in `.kmsfs/last-error` by that user alone.

use std::num::NonZeroUsize;

use lru::LruCache;
use parking_lot::Mutex;
use serde_json::json;

use super::errno::Fault;
use super::inode::Ino;
use super::ops::Who;
use super::tree;

/// Users remembered; the one refused longest ago goes.
const USERS: NonZeroUsize = NonZeroUsize::new(1024).expect("1,024 is not zero");

/// What was refused: the request's verb, on which file or in which directory.
#[derive(Debug, Clone, Copy)]
pub struct Gesture {
    pub verb: &'static str,
    pub on: Option<Ino>,
    pub writes: bool,
}

impl Gesture {
    /// The KMS action that guards it, for the log.
    fn action(self) -> String {
        let row = self.on.and_then(|ino| tree::of(ino.kind));
        let making = self.on.and_then(|ino| tree::any_entry(ino.kind)).and_then(|row| row.write);
        let own = row.and_then(|row| if self.writes { row.write.or(row.read) } else { row.read });
        let action = if self.writes { making.or(own) } else { own };
        action.map_or_else(|| "-".to_owned(), |action| format!("{action:?}"))
    }
}

/// The last refusal of each user.
pub struct Refusals(Mutex<LruCache<u32, String>>);

impl Default for Refusals {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(USERS)))
    }
}

impl Refusals {
    /// Logs `fault`, and keeps it if a rule or the store said no. That a name is not there is no refusal.
    pub fn note(&self, who: Who, gesture: Gesture, fault: &Fault) {
        let request = request_id(who);
        let (verb, action) = (gesture.verb, gesture.action());
        // Names come from users: in the log they are one line, and nothing of them reaches a terminal as a command.
        let said = fault.to_string().escape_debug().to_string();
        if fault.is_failure() {
            log::error!("request={request} uid={} {action} {verb}: {said}", who.uid);
        } else if fault.refusal().is_some() || matches!(fault, Fault::PageCache) {
            log::info!("request={request} uid={} {action} {verb} refused: {said}", who.uid);
        } else {
            log::debug!("request={request} uid={} {action} {verb}: {said}", who.uid);
            return;
        }
        self.0.lock().put(who.uid, body(&request, fault));
    }

    /// The last refusal of `uid` as KMS writes errors, or an empty object.
    pub fn last(&self, uid: u32) -> String {
        self.0.lock().peek(&uid).cloned().unwrap_or_else(|| "{}\n".to_owned())
    }
}

/// The body of a KMS error, with what to do about it.
fn body(request: &str, fault: &Fault) -> String {
    let (status, code, hint) = match fault.refusal() {
        Some(refusal) => (refusal.http_status(), refusal.code(), refusal.hint()),
        None => (500, "InternalFailure", None),
    };
    let mut body = json!({ "HttpStatus": status, "Code": code, "Message": fault.to_string(), "RequestId": request });
    if let Some(hint) = hint {
        body["Recommend"] = hint.into();
    }
    format!("{body:#}\n")
}

/// The request's id as KMS writes them: a UUID's shape.
fn request_id(who: Who) -> String {
    let hex: String = who.op.0.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
