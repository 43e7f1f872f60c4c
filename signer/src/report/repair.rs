//! What was wrong with fallback indexes, and what became of it.

use hallmark_registry::{ChangeKind, Repaired, RepairedIndex};
use serde::Serialize;

use crate::error::Failure;
use crate::output::{Style, Text};

/// What became of several repositories.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RepairReport {
    version: &'static str,
    dry_run: bool,
    /// Everything could be looked at, and every index is right now (in a dry run: was right).
    complete: bool,
    repositories: Vec<RepositoryRepaired>,
}

/// What became of one repository.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RepositoryRepaired {
    /// As it was asked for.
    repository: String,
    indexes: Vec<IndexReport>,
    /// Tags that could not be looked at: what they name might be missing in an index.
    not_looked_at: Vec<NotLookedAt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct IndexReport {
    tag: String,
    subject: String,
    status: IndexStatus,
    changes: Vec<ChangeReport>,
    /// Entries that could not be looked at, and stay as they are.
    unknown: Vec<NotLookedAt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum IndexStatus {
    Left,
    Repaired,
    Right,
    WouldRepair,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ChangeReport {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
    why: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NotLookedAt {
    name: String,
    why: String,
}

impl IndexReport {
    fn new(index: RepairedIndex, dry_run: bool) -> Self {
        let status = match (&index.problem, index.changes.is_empty()) {
            (Some(_), _) => IndexStatus::Left,
            (None, true) => IndexStatus::Right,
            (None, false) if dry_run => IndexStatus::WouldRepair,
            (None, false) => IndexStatus::Repaired,
        };
        let changes = index.changes.into_iter().map(|change| ChangeReport {
            kind: match change.kind {
                ChangeKind::Added => "added",
                ChangeKind::Corrected => "corrected",
                ChangeKind::Dropped => "dropped",
            },
            manifest: change.manifest.map(|manifest| manifest.to_string()),
            why: change.why,
        });
        let unknown = index.unknown.into_iter().map(|(name, why)| NotLookedAt { name: name.to_string(), why });
        Self {
            tag: index.tag.to_string(),
            subject: index.subject.to_string(),
            status,
            changes: changes.collect(),
            unknown: unknown.collect(),
            message: index.problem,
        }
    }
}

impl RepositoryRepaired {
    /// A repository that was looked at.
    pub(crate) fn new(name: &str, repaired: Repaired, dry_run: bool) -> Self {
        let unknown = repaired.not_looked_at.into_iter().map(|(tag, why)| NotLookedAt { name: tag.to_string(), why });
        Self {
            repository: name.to_owned(),
            indexes: repaired.indexes.into_iter().map(|index| IndexReport::new(index, dry_run)).collect(),
            not_looked_at: unknown.collect(),
            message: None,
            hint: None,
        }
    }

    /// A repository that could not be looked at.
    pub(crate) fn left(name: &str, failure: &Failure) -> Self {
        Self {
            repository: name.to_owned(),
            indexes: Vec::new(),
            not_looked_at: Vec::new(),
            message: Some(failure.message.clone()),
            hint: failure.hint.clone(),
        }
    }

    fn tell(&self, text: &mut Text) {
        text.styled(Style::Strong, &self.repository);
        if let Some(message) = &self.message {
            text.styled(Style::Bad, format!("  {message}"));
        }
        if let Some(hint) = &self.hint {
            text.styled(Style::Faint, format!("  hint: {hint}"));
        }
        let right = self.indexes.iter().filter(|index| index.status == IndexStatus::Right).count();
        if self.message.is_none() {
            let word = if self.indexes.len() == 1 { "fallback index" } else { "fallback indexes" };
            text.line(format!("  {} {word}, {right} right", self.indexes.len()));
        }
        for index in self.indexes.iter().filter(|index| index.status != IndexStatus::Right || !index.unknown.is_empty())
        {
            let (style, status) = match index.status {
                IndexStatus::Left => (Style::Bad, "left"),
                IndexStatus::Repaired => (Style::Good, "repaired"),
                IndexStatus::Right => (Style::Plain, "right"),
                IndexStatus::WouldRepair => (Style::Doubt, "would repair"),
            };
            text.parts([(style, format!("  {status}")), (Style::Plain, format!(" {}", index.tag))]);
            for change in &index.changes {
                let manifest = change.manifest.as_deref().unwrap_or("the index itself");
                text.line(format!("    {:<9} {manifest}: {}", change.kind, change.why));
            }
            for entry in &index.unknown {
                text.styled(Style::Doubt, format!("    kept      {}: {}", entry.name, entry.why));
            }
            if let Some(message) = &index.message {
                text.line(format!("    {message}"));
            }
        }
        for tag in &self.not_looked_at {
            text.styled(Style::Doubt, format!("  not looked at {}: {}", tag.name, tag.why));
        }
    }
}

impl RepairReport {
    /// The report about some repositories.
    pub(crate) fn new(dry_run: bool, repositories: Vec<RepositoryRepaired>) -> Self {
        let mut report = Self { version: "hallmark.dev/repair/v1", dry_run, complete: false, repositories };
        let is_right = |index: &IndexReport| matches!(index.status, IndexStatus::Right | IndexStatus::Repaired);
        report.complete = !report.has_unknown()
            && report.repositories.iter().all(|one| one.message.is_none() && one.indexes.iter().all(is_right));
        report
    }

    /// Something could not be looked at.
    pub(crate) fn has_unknown(&self) -> bool {
        let unknown = |one: &RepositoryRepaired| {
            !one.not_looked_at.is_empty() || one.indexes.iter().any(|index| !index.unknown.is_empty())
        };
        self.repositories.iter().any(unknown)
    }

    /// Something is wrong and was not made right.
    pub(crate) fn has_problems(&self) -> bool {
        self.repositories.iter().flat_map(|one| &one.indexes).any(|index| index.status == IndexStatus::Left)
    }

    /// Lines for people.
    pub(crate) fn text(&self) -> Text {
        let mut text = Text::new();
        for repository in &self.repositories {
            repository.tell(&mut text);
        }
        text
    }
}
