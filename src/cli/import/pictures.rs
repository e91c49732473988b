//! A finding as text, for the tests of those who read sources.

use super::found::Finding;

/// `name [description] key=value <id labels value>`, a line each; what was skipped as `-name: why`.
pub fn picture(finding: &Finding) -> String {
    let mut text = String::new();
    for found in &finding.secrets {
        let tags: String = found.tags.iter().map(|(key, value)| format!("{key}={value} ")).collect();
        let version = |version: &super::found::Version| {
            let value = match std::str::from_utf8(version.value.as_bytes()) {
                Ok(value) => value.replace('\n', "\\n"),
                Err(_) => version.value.as_bytes().escape_ascii().to_string(),
            };
            format!("<{} {} {value}>", version.id.as_deref().unwrap_or(""), version.stages.join(","))
        };
        let versions: Vec<String> = found.versions.iter().map(version).collect();
        text += &format!("{} [{}] {tags}{}\n", found.name, found.description, versions.join(" "));
    }
    for skipped in &finding.skipped {
        text += &format!("-{}: {}\n", skipped.what, skipped.why);
    }
    text
}
