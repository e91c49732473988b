//! What an import will do, secret by secret, checked whole before anything is done.
//!
//! Invariant: a plan changes nothing; and made again over what it has done in part, it says what is left.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use super::found::{CURRENT, Found, PREVIOUS, Version};
use super::shelf::Shelf;
use crate::cli::subtree::Subtree;
use crate::secret::{DESCRIPTION_MAX, InstanceName, SecretName, StageLabel, TAGS_MAX, Tags, VALUE_MAX, VersionId};

/// What is done where a secret is there with another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// That is refused.
    Refuse,
    /// Its new value is put beside the others, and becomes current.
    Overwrite,
    /// It stays as it is.
    Skip,
}

/// What becomes of one secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// It is not there.
    Create,
    /// A part of it is there.
    GoOn,
    /// Another value of it is there.
    Overwrite,
    /// All of it is there.
    Nothing,
    /// It is there, and stays.
    Skip,
    /// It cannot be had; the problems say why.
    Refuse,
}

impl Act {
    /// The word for it, in tables and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Act::Create => "create",
            Act::GoOn => "go on",
            Act::Overwrite => "overwrite",
            Act::Nothing => "unchanged",
            Act::Skip => "skip",
            Act::Refuse => "refused",
        }
    }
}

/// One secret of the plan.
pub struct Planned {
    pub found: Found,
    /// Its instance and name here.
    pub instance: String,
    pub name: String,
    /// Its directory.
    pub at: PathBuf,
    pub act: Act,
    /// The lines of its tags that can be had.
    pub tags: String,
    /// Why it cannot be had.
    pub problem: Option<String>,
}

/// How to plan.
pub struct Planner<'a> {
    pub target: &'a Subtree,
    pub shelf: &'a Shelf,
    pub existing: Existing,
    /// What stands for what in names, in order.
    pub renames: &'a [(String, String)],
}

impl Planner<'_> {
    /// Plans for all of `found`.
    pub fn plan(&self, found: Vec<Found>) -> Vec<Planned> {
        let mut taken = BTreeMap::<PathBuf, String>::new();
        let mut plan = Vec::with_capacity(found.len());
        for found in found {
            let mut planned = self.one(found);
            if planned.problem.is_none()
                && let Some(from) = taken.insert(planned.at.clone(), planned.found.from.clone())
            {
                planned.act = Act::Refuse;
                planned.problem = Some(format!("{from} has a secret of this name, too"));
            }
            plan.push(planned);
        }
        plan
    }

    fn one(&self, mut found: Found) -> Planned {
        let mut name = found.name.clone();
        for (from, to) in self.renames {
            name = name.replace(from.as_str(), to);
        }
        if name != found.name {
            found.notes.push(format!("it was called {}", found.name));
        }
        if !self.target.name.is_empty() {
            name = format!("{}/{name}", self.target.name);
        }
        let instance = self.target.instance.clone().or_else(|| found.instance.clone()).unwrap_or_default();
        let at = self.target.directory(&instance, &name);
        let tags = tag_lines(&mut found);
        let checked = check(&mut found, &instance, &name);
        let mut planned = Planned { found, instance, name, at, act: Act::Refuse, tags, problem: None };
        match checked.and_then(|()| self.act(&planned)) {
            Ok(act) => planned.act = act,
            Err(problem) => planned.problem = Some(problem),
        }
        planned
    }

    /// What is to be done of a secret that can be had, by what is there.
    fn act(&self, planned: &Planned) -> Result<Act, String> {
        let unread = |error: io::Error| format!("what is there cannot be read: {error}");
        if self.shelf.is_scheduled(&self.target.root.join(&planned.instance), &planned.name) {
            return Err("it is there and scheduled for deletion: restore or purge it first".to_owned());
        }
        let Some(there) = self.shelf.versions(&planned.at).map_err(unread)? else { return Ok(Act::Create) };
        if self.existing == Existing::Skip {
            return Ok(Act::Skip);
        }
        let ours = &planned.found.versions;
        let mut stored = 0;
        for version in ours {
            let id = version.id.as_deref();
            if id.is_some_and(|id| !there.iter().any(|there| there == id)) {
                continue;
            }
            if self.shelf.value(&planned.at, id).map_err(unread)?.as_bytes() == version.value.as_bytes() {
                stored += 1;
            } else if let Some(id) = id {
                return Err(format!("its version {id} is there with another value, and versions do not change"));
            }
        }
        let known = |id: &String| ours.iter().any(|version| version.id.as_deref().is_none_or(|own| own == id));
        let only_ours = there.iter().all(known);
        if stored == ours.len() && self.is_as_found(planned).map_err(unread)? {
            Ok(Act::Nothing)
        } else if only_ours && (stored > 0 || ours.iter().all(|version| version.id.is_some())) {
            Ok(Act::GoOn)
        } else if self.existing == Existing::Overwrite {
            Ok(Act::Overwrite)
        } else {
            Err("it is there with another value".to_owned())
        }
    }

    /// Whether all but the values is there as well.
    fn is_as_found(&self, planned: &Planned) -> io::Result<bool> {
        let (shelf, at) = (self.shelf, planned.at.as_path());
        for version in &planned.found.versions {
            let Some(id) = version.id.as_deref() else { continue };
            for label in &version.stages {
                if shelf.label(at, label)?.as_deref() != Some(id) {
                    return Ok(false);
                }
            }
        }
        // Without labels the last one is to be current.
        let last = planned.found.versions.last().and_then(|version| version.id.clone());
        if last.is_some_and(|last| shelf.current(at).is_ok_and(|current| current != last)) {
            return Ok(false);
        }
        let description = &planned.found.description;
        if !description.is_empty() && shelf.text(at, "description")?.strip_suffix('\n') != Some(description) {
            return Ok(false);
        }
        let there = Tags::parse_file(shelf.text(at, "tags")?.as_bytes());
        let ours = Tags::parse_file(planned.tags.as_bytes());
        let (Ok(there), Ok(ours)) = (there, ours) else { return Ok(false) };
        Ok(ours.iter().all(|(key, value)| there.iter().any(|other| other == (key, value))))
    }
}

/// The lines of the tags that can be had. Others are left out, with a note.
fn tag_lines(found: &mut Found) -> String {
    let mut lines = String::new();
    for (key, value) in std::mem::take(&mut found.tags) {
        let line = format!("{key} {value}\n");
        let plain = !key.contains(['\n', ' ', '\t']) && !value.contains(['\n', ' ', '\t']);
        match Tags::parse_file(line.as_bytes()) {
            Ok(tags) if plain && tags.iter().count() == 1 => {
                lines += &line;
                found.tags.push((key, value));
            }
            Ok(_) | Err(_) => found.notes.push(format!("its tag {key} is left out: no tag can be so")),
        }
    }
    lines
}

/// Whether names, sizes and counts are such as can be had.
fn check(found: &mut Found, instance: &str, name: &str) -> Result<(), String> {
    InstanceName::parse(instance.as_bytes()).map_err(|refusal| format!("the instance {instance:?}: {refusal}"))?;
    SecretName::parse(name).map_err(|refusal| refusal.to_string())?;
    if found.description.len() > DESCRIPTION_MAX {
        return Err(format!("its description is longer than {DESCRIPTION_MAX} bytes"));
    }
    if found.tags.len() > TAGS_MAX {
        return Err(format!("it has {} tags, {TAGS_MAX} are the most", found.tags.len()));
    }
    let mut ids = Vec::new();
    for Version { id, stages, value } in &mut found.versions {
        if value.is_empty() {
            return Err("its value is empty, and a value has at least one byte".to_owned());
        }
        if value.len() > VALUE_MAX {
            return Err(format!("its value is longer than {VALUE_MAX} bytes"));
        }
        if let Some(id) = id {
            VersionId::parse(id.as_bytes()).map_err(|refusal| format!("the version {id:?}: {refusal}"))?;
            if ids.contains(id) {
                return Err(format!("it has two versions {id}"));
            }
            ids.push(id.clone());
        }
        let notes = &mut found.notes;
        stages.retain(|label| {
            let can_be = StageLabel::parse(label.as_bytes()).is_ok();
            if !can_be {
                notes.push(format!("its label {label} is left out: no label can be so"));
            }
            can_be
        });
    }
    if ids.is_empty() && found.versions.len() > 1 || !ids.is_empty() && ids.len() < found.versions.len() {
        return Err("it has several versions, and not all of them have ids".to_owned());
    }
    Ok(())
}

/// Labels that are given by the order of writing.
pub fn is_built_in(label: &str) -> bool {
    label == CURRENT || label == PREVIOUS
}
