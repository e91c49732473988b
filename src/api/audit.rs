//! The record of all decisions, for root and the daemon's own user: actions that KMS has not.

use serde_json::Value as Json;

use super::lists::wrap;
use super::members::Members;
use super::{ApiError, Asked, Body, object};
use crate::secret::{Action, InstanceName, Refusal};
use crate::vault::Wanted;

/// The action's name.
pub const LIST: &str = "ListAuditRecords";
/// Records of a page, unless asked otherwise.
const USUAL_PAGE: usize = 100;
/// Most records of a page.
const PAGE_MAX: usize = 1_000;

/// ListAuditRecords: those behind number `After`, in order, of one instance or secret if one is named. `NextToken` is the number to go
/// on after; who asks with one later gets what has come since.
pub fn list(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::ReadAudit;
    let after = request.number("NextToken", 0..=usize::MAX)?;
    let limit = request.number("MaxResults", 1..=PAGE_MAX)?.unwrap_or(USUAL_PAGE);
    let secret = request.text("SecretName")?.map(|name| asked.secret_name(&name)).transpose()?;
    let instance = request.text("DKMSInstanceId")?.map(|name| InstanceName::parse(name.as_bytes())).transpose()?;
    asked.end(request, action)?;
    administers(asked, action)?;
    let wanted = Wanted {
        after: after.unwrap_or(0) as u64,
        limit,
        instance: instance.map(String::from),
        secret: secret.map(String::from),
    };
    let records = asked.vault.audit_records(&wanted)?;
    // Whoever follows it asks again and again, and each record of that would be the next one's answer.
    asked.told.set(asked.asker.follows_audit);
    let last = records.last().and_then(|record| record["seq"].as_u64()).unwrap_or(wanted.after);
    Ok(Body::Json(object! { "NextToken": last.to_string(), "AuditRecords": wrap("AuditRecord", records) }))
}

/// VerifyAuditRecords: walks over the whole chain, and names the first record that is not as it was written.
pub fn verify(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::ReadAudit;
    asked.end(request, action)?;
    administers(asked, action)?;
    let found = asked.vault.audit_verify()?;
    let defect = found.defect.map_or(Json::Null, |defect| {
        Json::from(object! {
            "Segment": defect.segment,
            "Line": defect.line,
            "Seq": defect.seq,
            "Message": format!("record {} {}", defect.seq, defect.what.words()),
        })
    });
    Ok(Body::Json(object! {
        "Sound": defect.is_null(),
        "Records": found.records,
        "FirstSeq": found.first,
        "LastSeq": found.last,
        "Segments": found.segments,
        "Defect": defect,
    }))
}

fn administers(asked: &Asked<'_>, action: Action) -> Result<(), ApiError> {
    if asked.vault.is_administered_by(asked.asker.identity, asked.asker.caller.account) {
        return Ok(());
    }
    Err(Refusal::NotPermitted { action: action.name(), on: "the audit".to_owned() }.into())
}
