//! What somebody watches, and which events are about it.

use std::io;
use std::path::{Path, PathBuf};

use super::stream::{Event, LOST};
use crate::cli::address::Address;
use crate::cli::places;
use crate::cli::report::CliError;

/// What the current value of a secret can be another one by: it was rotated, or is there again.
const ROTATIONS: [&str; 2] = ["rotated", "restored"];

/// One path that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// The mount it is in.
    pub mount: PathBuf,
    instance: Option<String>,
    secret: Option<String>,
    /// Whether the path is the secret's directory, and so of all that is below it.
    below: bool,
}

/// What is told to who watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The secret's directory, or what else it is about.
    pub path: PathBuf,
    pub what: String,
    pub version: Option<String>,
}

impl Watched {
    /// What `path` leads to: a secret by its directory or any file in it, an instance, or all of a mount.
    pub fn new(path: &Path) -> Result<Self, CliError> {
        let Address { mount, instance, secret, entry: _ } = Address::of(path)?;
        let path = places::absolute(path)?;
        let below = secret.as_ref().is_some_and(|secret| path.ends_with(secret));
        Ok(Self { mount, instance, secret, below })
    }

    /// The news that `event` of its mount is, if it is about this; about its current value, or with `any` about whatever it is.
    pub fn news(&self, event: &Event, any: bool) -> Option<News> {
        if event.what == LOST {
            // It may have been about this.
            let parts = [&self.instance, &self.secret];
            return Some(self.told(parts.map(|part| part.as_deref()), event));
        }
        let about = [event.instance.as_deref(), event.secret.as_deref()];
        let is_about =
            self.instance.is_none() || self.instance == event.instance && self.holds(event.secret.as_deref());
        (is_about && (any || ROTATIONS.contains(&event.what.as_str()))).then(|| self.told(about, event))
    }

    /// Whether it stands in a directory that can be listed: nobody is told of what cannot be.
    pub fn is_listed(&self) -> io::Result<()> {
        let mut path = self.mount.clone();
        path.extend([&self.instance, &self.secret].into_iter().flatten());
        let lists = if path == self.mount { &path } else { path.parent().unwrap_or(&path) };
        std::fs::read_dir(lists).map(drop)
    }

    fn holds(&self, name: Option<&str>) -> bool {
        let Some(secret) = &self.secret else { return true };
        let below = |name: &str| name.strip_prefix(secret.as_str()).is_some_and(|rest| rest.starts_with('/'));
        name.is_some_and(|name| name == secret || self.below && below(name))
    }

    fn told(&self, about: [Option<&str>; 2], event: &Event) -> News {
        let mut path = self.mount.clone();
        path.extend(about.into_iter().flatten());
        News { path, what: event.what.clone(), version: event.version.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_to_those_whom_they_concern() {
        let watched = |instance: Option<&str>, secret: Option<&str>, below| Watched {
            mount: "/m".into(),
            instance: instance.map(str::to_owned),
            secret: secret.map(str::to_owned),
            below,
        };
        let event = |what: &str, secret: &str| {
            Event::parse(&format!(
                r#"{{"time":"t","instance":"prod","secret":"{secret}","what":"{what}","version":"v1"}}"#
            ))
        };
        for (watched, event, any, expected) in [
            (watched(None, None, false), event("rotated", "a"), false, Some("/m/prod/a")),
            (watched(Some("prod"), None, false), event("restored", "a/b"), false, Some("/m/prod/a/b")),
            (watched(Some("test"), None, false), event("rotated", "a"), false, None),
            (watched(Some("prod"), Some("a"), true), event("rotated", "a"), false, Some("/m/prod/a")),
            (watched(Some("prod"), Some("a"), true), event("rotated", "a/b"), false, Some("/m/prod/a/b")),
            (watched(Some("prod"), Some("a"), false), event("rotated", "a/b"), false, None),
            (watched(Some("prod"), Some("a"), true), event("rotated", "ab"), false, None),
            (watched(Some("prod"), Some("a"), true), event("version-added", "a"), false, None),
            (watched(Some("prod"), Some("a"), true), event("tags", "a"), true, Some("/m/prod/a")),
            (watched(Some("prod"), Some("a"), true), event("tags", "b"), true, None),
        ] {
            let news = watched.news(&event, any);
            assert_eq!(news.as_ref().map(|news| news.path.to_str().unwrap()), expected, "{watched:?} {event:?}");
        }
        let lost = Event::parse(r#"{"time":"t","what":"lost"}"#);
        let news = watched(Some("prod"), Some("a"), true).news(&lost, false).unwrap();
        assert_eq!((news.path, news.what.as_str()), (PathBuf::from("/m/prod/a"), "lost"));
        let window = Event::parse(r#"{"time":"t","instance":"prod","what":"window"}"#);
        assert!(watched(Some("prod"), None, false).news(&window, true).is_some());
        assert!(watched(Some("prod"), Some("a"), true).news(&window, true).is_none());
    }
}
