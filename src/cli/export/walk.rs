//! Reading a tree for an export: what is there, in order, and what could not be read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value as Json;

use super::document::{Document, FORMAT, FORMAT_VERSION};
use crate::cli::progress::Progress;
use crate::cli::reading;
use crate::cli::subtree::Subtree;
use crate::secret::{RESERVED, Tags, VALUE_MAX};
use crate::time::Timestamp;
use crate::value::Value;

/// What could not be read.
pub struct Unread {
    pub path: PathBuf,
    pub error: io::Error,
}

/// Reads trees into a document.
pub struct Reader<'a> {
    document: Document<'a, File>,
    current_only: bool,
    count: usize,
    unread: Vec<Unread>,
    begun: bool,
}

/// One version as it was read.
struct Version {
    id: String,
    created: SystemTime,
    stages: Vec<String>,
    value: Value,
}

/// One secret as it was read.
struct Secret {
    description: String,
    tags: Vec<(String, String)>,
    versions: Vec<Version>,
}

/// Longest text of an entry.
const TEXT_MAX: usize = 64 * 1024;
/// How often a secret is read whose versions change meanwhile.
const TRIES: usize = 5;
/// Secrets found below a path, before they are read.
type Names = Vec<(String, String)>;

impl<'a> Reader<'a> {
    pub fn new(document: Document<'a, File>, current_only: bool) -> Self {
        Self { document, current_only, count: 0, unread: Vec::new(), begun: false }
    }

    /// Writes all that can be read below `target`.
    ///
    /// # Errors
    /// Of writing alone.
    pub fn below(&mut self, target: &Subtree) -> io::Result<()> {
        self.begin()?;
        let mut names = Names::new();
        let instances = match &target.instance {
            Some(instance) => vec![instance.clone()],
            None => self.list(&target.root, |name| !name.starts_with('.')),
        };
        for instance in &instances {
            self.find(target, instance, &mut names);
        }
        let progress = Progress::of_things("exporting", names.len());
        for (instance, name) in names {
            self.secret(target, &instance, &name)?;
            progress.add(1);
        }
        for instance in &instances {
            self.scheduled(target, instance)?;
        }
        Ok(())
    }

    /// Ends the document; how many secrets are in it, and what could not be read.
    pub fn finish(mut self) -> io::Result<(usize, Vec<Unread>)> {
        self.begin()?;
        self.document.close(b']')?;
        self.document.close(b'}')?;
        self.document.finish()?;
        Ok((self.count, self.unread))
    }

    fn begin(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        self.document.open(b'{')?;
        self.document.text("format", FORMAT)?;
        self.document.name("version")?;
        self.document.number(FORMAT_VERSION)?;
        self.document.name("secrets")?;
        self.document.open(b'[')
    }

    /// The names in a directory that are wanted, in order.
    fn list(&mut self, dir: &Path, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let listed = fs::read_dir(dir).and_then(|entries| {
            let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
            entries.map(name).collect::<io::Result<Vec<_>>>()
        });
        match listed {
            Ok(mut names) => {
                names.retain(|name| wanted(name));
                names.sort();
                names
            }
            Err(error) => {
                self.unread.push(Unread { path: dir.to_owned(), error });
                Vec::new()
            }
        }
    }

    /// The names below `target` in `instance`, each of which may be a secret's.
    fn find(&mut self, target: &Subtree, instance: &str, names: &mut Names) {
        let mut folders = vec![target.name.clone()];
        while let Some(folder) = folders.pop() {
            if !folder.is_empty() {
                names.push((instance.to_owned(), folder.clone()));
            }
            let dir = target.directory(instance, &folder);
            let is_name = |name: &str| {
                !name.starts_with('.')
                    && !RESERVED.contains(&name)
                    && dir.join(name).symlink_metadata().is_ok_and(|meta| meta.is_dir())
            };
            let below = self.list(&dir, is_name);
            let full = |name: String| if folder.is_empty() { name } else { format!("{folder}/{name}") };
            folders.extend(below.into_iter().rev().map(full));
        }
    }

    fn secret(&mut self, target: &Subtree, instance: &str, name: &str) -> io::Result<()> {
        let dir = target.directory(instance, name);
        let mut tried = 0;
        let read = loop {
            tried += 1;
            match self.read(&dir) {
                // A version has rolled away since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound && tried < TRIES => {}
                read => break read,
            }
        };
        let secret = match read {
            Ok(Some(secret)) => secret,
            Ok(None) => return Ok(()),
            Err(error) => {
                self.unread.push(Unread { path: dir, error });
                return Ok(());
            }
        };
        self.head(instance, name, &secret.description, &secret.tags)?;
        let document = &mut self.document;
        document.name("versions")?;
        document.open(b'[')?;
        for version in &secret.versions {
            document.open(b'{')?;
            document.text("id", &version.id)?;
            document.text("created", &Timestamp::from_system(version.created).to_string())?;
            document.name("stages")?;
            document.open(b'[')?;
            version.stages.iter().try_for_each(|stage| document.string(stage))?;
            document.close(b']')?;
            document.value(&version.value)?;
            document.close(b'}')?;
        }
        document.close(b']')?;
        document.close(b'}')
    }

    /// What both a secret and a scheduled one have; their object stays open.
    fn head(&mut self, instance: &str, name: &str, description: &str, tags: &[(String, String)]) -> io::Result<()> {
        self.count += 1;
        self.document.open(b'{')?;
        self.document.text("instance", instance)?;
        self.document.text("name", name)?;
        self.document.text("description", description)?;
        self.document.name("tags")?;
        self.document.open(b'{')?;
        for (key, value) in tags {
            self.document.text(key, value)?;
        }
        self.document.close(b'}')
    }

    /// The secret in `dir`; `None` where it has no version.
    fn read(&self, dir: &Path) -> io::Result<Option<Secret>> {
        let mut labels = BTreeMap::<String, Vec<String>>::new();
        for entry in fs::read_dir(dir.join("stages"))? {
            let entry = entry?;
            if let Some(id) = entry.path().read_link()?.file_name() {
                let label = entry.file_name().to_string_lossy().into_owned();
                labels.entry(id.to_string_lossy().into_owned()).or_default().push(label);
            }
        }
        let is_current =
            |id: &str| labels.get(id).is_some_and(|labels| labels.iter().any(|label| label == "ACSCurrent"));
        let mut versions = Vec::new();
        for entry in fs::read_dir(dir.join("versions"))? {
            let id = entry?.file_name().to_string_lossy().into_owned();
            if id.starts_with('.') || self.current_only && !is_current(&id) {
                continue;
            }
            let path = dir.join("versions").join(&id);
            let created = path.metadata()?.modified()?;
            let value = reading::read_file(&path, VALUE_MAX)?;
            let mut stages = labels.get(&id).cloned().unwrap_or_default();
            stages.sort();
            versions.push(Version { id, created, stages, value });
        }
        if versions.is_empty() {
            return Ok(None);
        }
        versions.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        let text = |name: &str| -> io::Result<String> {
            let text = reading::read_file(&dir.join(name), TEXT_MAX)?;
            Ok(String::from_utf8_lossy(text.as_bytes()).into_owned())
        };
        let description = text("description")?;
        let description = description.strip_suffix('\n').unwrap_or(&description).to_owned();
        let tags = Tags::parse_file(text("tags")?.as_bytes()).map_err(io::Error::other)?;
        let tags = tags.iter().map(|(key, value)| (key.as_str().to_owned(), value.as_str().to_owned())).collect();
        Ok(Some(Secret { description, tags, versions }))
    }

    /// Those that wait for their purge: nobody can read their values.
    fn scheduled(&mut self, target: &Subtree, instance: &str) -> io::Result<()> {
        let trash = target.root.join(instance).join(".deleted");
        for escaped in self.list(&trash, |_| true) {
            let name = escaped.replace("%2F", "/");
            let is_below = name.strip_prefix(&target.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            if !target.name.is_empty() && !is_below {
                continue;
            }
            let path = trash.join(&escaped).join("info");
            let info = reading::read_file(&path, TEXT_MAX)
                .and_then(|text| serde_json::from_slice::<Json>(text.as_bytes()).map_err(io::Error::from));
            let info = match info {
                Ok(info) => info,
                Err(error) => {
                    self.unread.push(Unread { path, error });
                    continue;
                }
            };
            let member = |json: &Json, name: &str| json[name].as_str().unwrap_or_default().to_owned();
            let tags = info["Tags"]["Tag"].as_array().into_iter().flatten();
            let tags: Vec<_> = tags.map(|tag| (member(tag, "TagKey"), member(tag, "TagValue"))).collect();
            self.head(instance, &name, &member(&info, "Description"), &tags)?;
            self.document.name("deletion")?;
            self.document.open(b'{')?;
            self.document.text("planned", &member(&info, "PlannedDeleteTime"))?;
            self.document.close(b'}')?;
            self.document.close(b'}')?;
        }
        Ok(())
    }
}
