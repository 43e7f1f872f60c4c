//! A trust root that a TUF repository vouches for.

use hallmark_policy::Timestamp;
use hallmark_policy::image::Digest;
use hallmark_verifier::trust_root::RefreshedRoot;
use serde::Serialize;

use crate::output::{Style, Text};

/// The answer of `trust-root update`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UpdatedRootReport {
    version: &'static str,
    root: String,
    mirror: String,
    digest: String,
    /// Whether it is another one than was kept before; so is the first.
    is_new: bool,
    refreshed_at: Timestamp,
    fresh_until: Timestamp,
    tuf_root_version: u64,
    tuf_timestamp_version: u64,
}

impl UpdatedRootReport {
    /// What is told about a root that was asked for.
    pub(crate) fn new(name: &str, mirror: &str, updated: &RefreshedRoot, before: Option<Digest>) -> Self {
        let digest = updated.root.digest();
        Self {
            version: "hallmark.dev/trust-root-update/v1",
            root: name.to_owned(),
            mirror: mirror.to_owned(),
            digest: digest.to_string(),
            is_new: before != Some(digest),
            refreshed_at: updated.refreshed_at,
            fresh_until: updated.fresh_until,
            tuf_root_version: updated.root_version,
            tuf_timestamp_version: updated.timestamp_version,
        }
    }

    /// Lines for people.
    pub(crate) fn text(&self) -> Text {
        let mut text = Text::new();
        let news = if self.is_new { "a new root is kept" } else { "nothing has changed" };
        text.parts([(Style::Strong, format!("trust root {}: ", self.root)), (Style::Good, news.to_owned())]);
        text.styled(Style::Faint, format!("  digest       {}", self.digest));
        text.styled(Style::Faint, format!("  repository   {}", self.mirror));
        text.styled(Style::Faint, format!("  fresh until  {}", self.fresh_until));
        let (root, timestamp) = (self.tuf_root_version, self.tuf_timestamp_version);
        text.styled(Style::Faint, format!("  TUF          root {root}, timestamp {timestamp}"));
        text
    }
}
