//! What a view shows: a part of the tree, to one principal.
//!
//! Pure: names in, an answer out. What of it is there, and who may do what with it, is asked in `ops`. Invariant: what is neither in the
//! part nor on the way to it has no name in a view.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::secret::{InstanceName, Refusal, SecretName, StageLabel};

/// A view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Whose rights all its callers have: `root`, `user/<name>` or `role/<name>`, also of another account.
    pub principal: String,
    /// What it shows, each with all that stands below it.
    pub only: Vec<Part>,
    /// The version that stands for the current one, where there is one at it.
    pub label: Option<StageLabel>,
    /// How it shows its part.
    pub layout: Layout,
}

/// How it shows that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Layout {
    /// As it stands in the tree, from the root on.
    #[default]
    Tree,
    /// Each secret as one file, which is its value.
    Flat,
}

/// An instance, or a name in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The instance.
    pub instance: InstanceName,
    /// A directory's or a secret's name there; none for all of it.
    pub name: Option<SecretName>,
}

/// How a name in the tree stands to a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// It is in it, whole.
    Whole,
    /// It leads to what is in it.
    Way,
    /// It is not there.
    Nothing,
}

impl View {
    /// How the name `name` of `instance`, or that itself, stands to it.
    pub fn shows(&self, instance: &str, name: Option<&str>) -> Shown {
        let each = self.only.iter().map(|part| part.shows(instance, name));
        each.min_by_key(|shown| *shown as u8).unwrap_or(Shown::Nothing)
    }

    /// Where it shows the value of the secret `name` of `instance`, below its mount point.
    pub fn path_of(&self, instance: &str, name: &SecretName) -> Option<PathBuf> {
        let part = self.only.iter().find(|part| part.shows(instance, Some(name.as_str())) == Shown::Whole)?;
        match self.layout {
            Layout::Tree => Some(Path::new(instance).join(name.as_str()).join("current")),
            Layout::Flat => part.file_name(name).map(PathBuf::from),
        }
    }

    /// Whether its callers find secrets as files in its root.
    pub fn is_flat(&self) -> bool {
        self.layout == Layout::Flat
    }
}

impl Part {
    /// Reads `prod`, or `prod/db/password`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let (instance, name) = match text.split_once('/') {
            Some((instance, name)) => (instance, Some(SecretName::parse(name)?)),
            None => (text, None),
        };
        Ok(Self { instance: InstanceName::parse(instance.as_bytes())?, name })
    }

    fn shows(&self, instance: &str, name: Option<&str>) -> Shown {
        if self.instance.as_str() != instance {
            return Shown::Nothing;
        }
        match (self.name.as_ref().map(SecretName::as_str), name) {
            (None, _) => Shown::Whole,
            (Some(_), None) => Shown::Way,
            (Some(part), Some(name)) if is_at_or_below(name, part) => Shown::Whole,
            (Some(part), Some(name)) if is_at_or_below(part, name) => Shown::Way,
            (Some(_), Some(_)) => Shown::Nothing,
        }
    }

    /// The file that a secret of it is in a flat view: what is below the part, with `%2F` for `/`; the part itself by its last component.
    pub fn file_name(&self, secret: &SecretName) -> Option<String> {
        let secret = secret.as_str();
        let below = match &self.name {
            None => secret,
            Some(part) if part.as_str() == secret => part.last(),
            Some(part) => secret.strip_prefix(part.as_str())?.strip_prefix('/')?,
        };
        Some(below.replace('/', "%2F"))
    }

    /// The secrets of it that the file `file` of a flat view could be: the part itself, and one below it.
    pub fn secrets_of(&self, file: &str) -> impl Iterator<Item = SecretName> {
        let below = file.replace("%2F", "/");
        let (itself, below) = match &self.name {
            None => (None, below),
            Some(part) => (Some(part.clone()).filter(|part| part.last() == file), format!("{}/{below}", part.as_str())),
        };
        itself.into_iter().chain(SecretName::parse(&below))
    }
}

/// Whether `name` is `above`, or stands below it.
fn is_at_or_below(name: &str, above: &str) -> bool {
    name.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.instance.as_str())?;
        self.name.iter().try_for_each(|name| write!(f, "/{}", name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(only: &[&str]) -> View {
        View {
            principal: "root".to_owned(),
            only: only.iter().map(|part| Part::parse(part).unwrap()).collect(),
            label: None,
            layout: Layout::Tree,
        }
    }

    #[test]
    fn what_is_in_it_is_there_and_what_leads_to_it() {
        let view = view(&["prod/db", "prod/web/tls", "test"]);
        for (instance, name, expected) in [
            ("prod", None, Shown::Way),
            ("prod", Some("db"), Shown::Whole),
            ("prod", Some("db/password"), Shown::Whole),
            ("prod", Some("dbx"), Shown::Nothing),
            ("prod", Some("d"), Shown::Nothing),
            ("prod", Some("web"), Shown::Way),
            ("prod", Some("web/tls"), Shown::Whole),
            ("prod", Some("web/other"), Shown::Nothing),
            ("test", None, Shown::Whole),
            ("test", Some("any/thing"), Shown::Whole),
            ("tes", None, Shown::Nothing),
            ("testing", Some("x"), Shown::Nothing),
        ] {
            assert_eq!(view.shows(instance, name), expected, "{instance} {name:?}");
        }
    }

    #[test]
    fn secrets_are_files_of_a_flat_view() {
        let name = |text: &str| SecretName::parse(text).unwrap();
        for (part, secret, expected) in [
            ("prod/db", "db/password", Some("password")),
            ("prod/db", "db/app/user", Some("app%2Fuser")),
            ("prod/db", "db", Some("db")),
            ("prod/web/db", "web/db", Some("db")),
            ("prod/db", "dbx", None),
            ("prod/db", "other", None),
            ("prod", "db/password", Some("db%2Fpassword")),
        ] {
            let part = Part::parse(part).unwrap();
            assert_eq!(part.file_name(&name(secret)).as_deref(), expected, "{part} {secret}");
            if let Some(file) = expected {
                assert!(part.secrets_of(file).any(|found| found == name(secret)), "{part} {file}");
            }
        }
        let found: Vec<_> = Part::parse("prod/db").unwrap().secrets_of("db").collect();
        assert_eq!(found, [name("db"), name("db/db")], "the part itself comes first");
        assert_eq!(Part::parse("prod/db").unwrap().secrets_of(".x").count(), 0);
    }

    #[test]
    fn parts_are_names() {
        for good in ["prod", "prod/db", "prod/db/password"] {
            assert_eq!(Part::parse(good).unwrap().to_string(), good);
        }
        for bad in ["", "/", "prod/", "/prod", "prod//db", "prod/.keys", "prod/db/current", "prod/../x"] {
            assert!(Part::parse(bad).is_err(), "{bad}");
        }
    }
}
