//! Carrying a plan out, one secret after the other, until one fails.

use std::io;

use super::plan::{Act, Planned, is_built_in};
use super::shelf::Shelf;
use crate::cli::progress::Progress;

/// What came of it.
#[derive(Default)]
pub struct Carried {
    pub done: usize,
    pub unchanged: usize,
    /// Those that were to stay, and those that cannot be had.
    pub skipped: usize,
    /// The secret at which it stopped, and why.
    pub stopped: Option<(String, io::Error)>,
    /// Those that were not imported, the one at which it stopped among them.
    pub left: Vec<String>,
}

impl Carried {
    /// A line for people, and one for each secret that is left.
    pub fn summary(&self) -> String {
        let mut text = format!("imported {}, unchanged {}, skipped {}", self.done, self.unchanged, self.skipped);
        for left in &self.left {
            text += &format!("\nnot imported: {left}");
        }
        text
    }
}

/// Does what the plan says.
pub fn carry_out(plan: &[Planned], shelf: &Shelf) -> Carried {
    let mut carried = Carried::default();
    let progress = Progress::of_things("importing", plan.len());
    for planned in plan {
        progress.add(1);
        match planned.act {
            Act::Nothing => carried.unchanged += 1,
            Act::Skip | Act::Refuse => carried.skipped += 1,
            Act::Create | Act::GoOn | Act::Overwrite => {
                let name = format!("{}/{}", planned.instance, planned.name);
                if carried.stopped.is_some() {
                    carried.left.push(name);
                    continue;
                }
                match put(planned, shelf) {
                    Ok(()) => carried.done += 1,
                    Err(error) => {
                        carried.left.push(name.clone());
                        carried.stopped = Some((name, error));
                    }
                }
            }
        }
    }
    carried
}

/// Each step leaves alone what is there already, so that all of them can come again. The values come last: until the first of them
/// is there, there is no secret.
fn put(planned: &Planned, shelf: &Shelf) -> io::Result<()> {
    let at = &planned.at;
    shelf.make(at)?;
    if !planned.tags.is_empty() {
        shelf.tag(at, &planned.tags)?;
    }
    if !planned.found.description.is_empty() {
        shelf.describe(at, &planned.found.description)?;
    }
    for version in &planned.found.versions {
        shelf.put(at, version.id.as_deref(), &version.value)?;
    }
    for version in &planned.found.versions {
        let Some(id) = &version.id else { continue };
        for label in version.stages.iter().filter(|label| !is_built_in(label)) {
            shelf.put_label(at, label, id)?;
        }
    }
    // Where a part was there, the last one may have been written before the others.
    if let Some(last) = planned.found.versions.last().and_then(|version| version.id.as_deref()) {
        let before = planned.found.versions.iter().rev().nth(1).and_then(|version| version.id.as_deref());
        if shelf.current(at)? != last {
            if let Some(before) = before {
                shelf.put_label(at, "ACSCurrent", before)?;
            }
            shelf.put_label(at, "ACSCurrent", last)?;
        }
    }
    Ok(())
}
