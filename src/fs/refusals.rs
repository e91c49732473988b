//! Why the last request of each user was refused: logged, and readable in `.kmsfs/last-error` by that user alone.

use std::num::NonZeroUsize;

use lru::LruCache;
use parking_lot::Mutex;
use serde_json::json;

use super::errno::Fault;
use super::inode::Ino;
use super::ops::Who;
use super::tree;
use crate::api::ApiError;
use crate::estate::{Estate, Key};
use crate::secret::Action;
use crate::value::Value;

/// Users remembered; the one refused longest ago goes.
const USERS: NonZeroUsize = NonZeroUsize::new(1024).expect("1,024 is not zero");

/// What was refused: the request's verb, on which file or in which directory.
#[derive(Debug, Clone, Copy)]
pub struct Gesture {
    /// What was asked, in a word or two for the log.
    pub verb: &'static str,
    /// The file, or the directory that the name is in; `None` for a number that stands for nothing.
    pub on: Option<Ino>,
    /// Whether it was to change something, so that the log names the action that guards that.
    pub writes: bool,
}

impl Gesture {
    /// The KMS action that guards it.
    pub fn action(self) -> Option<Action> {
        let row = self.on.and_then(|ino| tree::of(ino.kind));
        let making = self.on.and_then(|ino| tree::any_entry(ino.kind)).and_then(|row| row.write);
        let own = row.and_then(|row| if self.writes { row.write.or(row.read) } else { row.read });
        if self.writes { making.or(own) } else { own }
    }

    /// Whether `fault` is more than that nothing is there: a rule or the store has said no.
    pub fn is_told(self, fault: &Fault) -> bool {
        fault.is_failure() || fault.refusal().is_some() || matches!(fault, Fault::PageCache)
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
    /// Logs `fault`, and keeps it if a rule or the store said no, for the next worker too. That a name is not there is no refusal.
    /// Without an estate it is logged alone.
    pub fn note(&self, who: Who, gesture: Gesture, fault: &Fault, estate: Option<&Estate>) {
        let request = who.op.request_id();
        let (verb, action) = (gesture.verb, gesture.action().map_or("-", Action::name));
        if fault.is_failure() {
            log::error!("request={request} uid={} {action} {verb}: {fault}", who.uid);
        } else if gesture.is_told(fault) {
            log::info!("request={request} uid={} {action} {verb} refused: {fault}", who.uid);
        } else {
            log::debug!("request={request} uid={} {action} {verb}: {fault}", who.uid);
            return;
        }
        if let Some(estate) = estate {
            self.keep(who.uid, body(&request, fault), estate);
        }
    }

    fn keep(&self, uid: u32, body: String, estate: &Estate) {
        let mut changes = vec![(Key::Refusal(uid), Some(body.as_bytes()))];
        // Kept while it is told, so that no older one is told later.
        let mut last = self.0.lock();
        if let Some((forgotten, _)) = last.push(uid, body.clone()).filter(|(other, _)| *other != uid) {
            changes.push((Key::Refusal(forgotten), None));
        }
        estate.change(None, &changes);
    }

    /// Logs the `error` that a request to the api was answered with, and keeps the answer. A value is in none.
    pub fn note_answer(&self, who: Who, gesture: Gesture, error: &ApiError, body: &Value, estate: &Estate) {
        let (request, verb) = (who.op.request_id(), gesture.verb);
        match error {
            ApiError::Vault(cause) if cause.is_failure() => {
                log::error!("request={request} uid={} api {verb}: {error}", who.uid);
            }
            _ => log::info!("request={request} uid={} api {verb} refused: {error}", who.uid),
        }
        self.keep(who.uid, String::from_utf8_lossy(body.as_bytes()).into_owned(), estate);
    }

    /// Takes over what an earlier worker has kept of `uid`.
    pub fn inherit(&self, uid: u32, body: &[u8]) {
        self.0.lock().put(uid, String::from_utf8_lossy(body).into_owned());
    }

    /// The last refusal of `uid` as KMS writes errors, or an empty object.
    pub fn last(&self, uid: u32) -> String {
        self.0.lock().peek(&uid).cloned().unwrap_or_else(|| "{}\n".to_owned())
    }
}

/// The body of a KMS error, with what to do about it.
fn body(request: &str, fault: &Fault) -> String {
    let (status, hint) = match fault.refusal() {
        Some(refusal) => (refusal.http_status(), refusal.hint()),
        None => (500, None),
    };
    let mut body =
        json!({ "HttpStatus": status, "Code": fault.code(), "Message": fault.to_string(), "RequestId": request });
    if let Some(hint) = hint {
        body["Recommend"] = hint.into();
    }
    format!("{body:#}\n")
}
