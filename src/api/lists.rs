//! ListSecrets and ListSecretVersionIds.

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::describe::{GENERIC, instance_name, planned, tag_list};
use super::members::{Members, invalid};
use super::page::Page;
use super::values::stage_list;
use super::walk::Walk;
use super::{ApiError, Asked, Body, object};
use crate::secret::{Action, Right, Secret, SecretName};
use crate::vault::Loaded;

/// Rows of a page of ListSecrets, unless asked otherwise.
const SECRETS_PAGE: usize = 10;
/// Rows of a page of ListSecretVersionIds, unless asked otherwise.
const VERSIONS_PAGE: usize = 20;
/// Most rows of a page by token.
const RESULTS_MAX: usize = 1_000;
/// Most filters, and most values of one.
const FILTERS_MAX: usize = 10;

/// ListSecrets: those that who asks may describe, also scheduled ones. `MaxResults` and `NextToken`, which KMS has not here, read
/// a long list on without counting it each time.
pub fn secrets(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::ListSecrets;
    let tags = request.flag("FetchTags")?;
    let filters = Filters::take(request)?;
    let (token, most) = (request.text("NextToken")?, request.number("MaxResults", 1..=RESULTS_MAX)?);
    let page = Page::take(request, SECRETS_PAGE)?;
    let instance = asked.instance(request.text("DKMSInstanceId")?.or_else(|| filters.instance()).as_deref(), action)?;
    asked.end(request, action)?;
    asked.waits()?;
    asked.allow_at(&instance, Right::Read, action)?;
    let leads = |name: &SecretName| filters.leads(name);
    if token.is_none() && most.is_none() {
        let (mut walk, mut filling) = (Walk::of(&instance, action), page.fill());
        while let Some(node) = walk.next(asked, &leads)? {
            if filters.fit(asked, &node)? {
                filling.pass(|| row(asked, &node, tags))?;
            }
        }
        // Last of all, since who may not wait for a disk asks again from the beginning.
        asked.reads(&instance, action)?;
        let (rows, mut told) = filling.end();
        told.insert("SecretList".to_owned(), wrap("Secret", rows));
        return Ok(Body::Json(told));
    }
    let mut walk = match token {
        Some(token) => Walk::at(asked, &instance, &token, action)?,
        None => Walk::of(&instance, action),
    };
    let mut rows = Vec::new();
    while rows.len() < most.unwrap_or(SECRETS_PAGE) {
        let Some(node) = walk.next(asked, &leads)? else { break };
        if filters.fit(asked, &node)? {
            rows.push(row(asked, &node, tags)?);
        }
    }
    asked.reads(&instance, action)?;
    Ok(Body::Json(object! {
        "NextToken": walk.token().unwrap_or_default(),
        "SecretList": wrap("Secret", rows),
    }))
}

/// One secret of the list; the members from `CurrentVersionId` on are not of KMS.
fn row(asked: &Asked<'_>, node: &Loaded, tags: bool) -> Result<Json, ApiError> {
    let secret = record(node)?;
    let mut row = object! {
        "SecretName": secret.name.as_str(),
        "SecretType": GENERIC,
        "CreateTime": secret.created.to_string(),
        "UpdateTime": secret.updated.to_string(),
        "PlannedDeleteTime": planned(secret),
        "DKMSInstanceId": instance_name(asked.vault, node)?,
        "CurrentVersionId": secret.current().map_or("", |version| version.id.as_str()),
        "VersionCount": secret.versions.len(),
        "LastRotationDate": secret.rotated.to_string(),
    };
    if let Some(read) = asked.vault.last_read(node) {
        row.insert("LastReadTime".to_owned(), read.at.to_string().into());
        row.insert("LastReader".to_owned(), read.uid.to_string().into());
    }
    if tags {
        row.insert("Tags".to_owned(), tag_list(&secret.tags));
    }
    Ok(row.into())
}

/// ListSecretVersionIds, the newest first. Without IncludeDeprecated only those with a label.
pub fn versions(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::ListSecretVersionIds;
    let found = asked.named(request, action)?;
    let deprecated = request.flag("IncludeDeprecated")?;
    let page = Page::take(request, VERSIONS_PAGE)?;
    asked.end(request, action)?;
    found.allow(asked, Right::Read, action)?;
    asked.reads(&found.secret, action)?;
    let mut filling = page.fill();
    let mut versions = found.record.versions.clone();
    versions.sort_by_key(|version| std::cmp::Reverse(version.created));
    for version in versions {
        if !deprecated && found.record.stages.of(version.no).is_empty() {
            continue;
        }
        filling.pass(|| {
            Ok(Json::from(object! {
                "VersionId": version.id.as_str(),
                "CreateTime": version.created.to_string(),
                "VersionStages": stage_list(&found, &version),
                "SecretDataType": version.kind.as_str(),
            }))
        })?;
    }
    let (rows, told) = filling.end();
    let mut members = object! { "SecretName": found.record.name.as_str() };
    members.extend(told);
    members.insert("VersionIds".to_owned(), wrap("VersionId", rows));
    Ok(Body::Json(members))
}

/// `{"Secret":[...]}`: KMS wraps each list in an object.
pub fn wrap(name: &str, rows: Vec<Json>) -> Json {
    Json::Object(Map::from_iter([(name.to_owned(), Json::Array(rows))]))
}

fn record(node: &Loaded) -> Result<&Secret, ApiError> {
    let unreadable = crate::vault::VaultError::Unreadable { node: node.id() };
    Ok(&node.as_secret().ok_or(unreadable)?.secret)
}

/// What a filter looks at. Names and descriptions fit where they begin so, all else where it is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum FilterKey {
    SecretName,
    Description,
    TagKey,
    TagValue,
    DKMSInstanceId,
    SecretType,
    Creator,
}

/// One filter: any of its values fits.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Filter {
    key: FilterKey,
    #[serde(default)]
    values: Vec<String>,
}

/// All of them must fit.
struct Filters(Vec<Filter>);

impl Filters {
    fn take(request: &mut Members<'_>) -> Result<Self, ApiError> {
        let shape = "[{\"Key\":\"SecretName\",\"Values\":[\"...\"]}]";
        let filters: Vec<Filter> = request.json("Filters", shape)?.unwrap_or_default();
        if filters.len() > FILTERS_MAX {
            return Err(invalid("Filters", "has more than 10 elements"));
        }
        if filters.iter().any(|filter| filter.values.len() > FILTERS_MAX) {
            return Err(invalid("Filters", "has more than 10 values for a key"));
        }
        Ok(Self(filters))
    }

    /// The instance, where a filter leaves only one.
    fn instance(&self) -> Option<String> {
        let of = |filter: &&Filter| filter.key == FilterKey::DKMSInstanceId && filter.values.len() == 1;
        self.0.iter().find(of).map(|filter| filter.values[0].clone())
    }

    /// Whether a secret at or below the name can fit.
    fn leads(&self, directory: &SecretName) -> bool {
        let below = format!("{}/", directory.as_str());
        let leads = |value: &String| {
            below.starts_with(value.as_str()) || value.starts_with(&below) || value == directory.as_str()
        };
        self.0.iter().filter(|filter| filter.key == FilterKey::SecretName).all(|filter| filter.values.iter().any(leads))
    }

    fn fit(&self, asked: &Asked<'_>, node: &Loaded) -> Result<bool, ApiError> {
        for filter in &self.0 {
            if !filter.fits(asked, node)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Filter {
    fn fits(&self, asked: &Asked<'_>, node: &Loaded) -> Result<bool, ApiError> {
        let secret = record(node)?;
        let begins = |text: &str| self.values.iter().any(|value| text.starts_with(value.as_str()));
        let is = |text: &str| self.values.iter().any(|value| value == text);
        Ok(match self.key {
            FilterKey::SecretName => begins(secret.name.as_str()),
            FilterKey::Description => begins(&secret.description),
            FilterKey::TagKey => secret.tags.iter().any(|(key, _)| is(key.as_str())),
            FilterKey::TagValue => secret.tags.iter().any(|(_, value)| is(value.as_str())),
            FilterKey::DKMSInstanceId => is(&instance_name(asked.vault, node)?),
            FilterKey::SecretType => is(GENERIC),
            FilterKey::Creator => match asked.vault.placed(node.id())? {
                Some(placed) => is(&placed.access.uid.to_string()),
                None => false,
            },
        })
    }
}
