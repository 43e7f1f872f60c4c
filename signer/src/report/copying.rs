//! What was copied, saved or loaded, and what is left.

use std::path::Path;

use hallmark_registry::{AttachedItem, Copied, Destination, SavedImage};
use serde::Serialize;

use crate::error::Failure;
use crate::output::{Style, Text};

/// More images than this are told in one line each.
const MAX_IMAGES_IN_FULL: usize = 12;

/// What became of several images.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CopyReport {
    version: &'static str,
    verb: &'static str,
    dry_run: bool,
    /// Every image is where it should be, with everything that is attached (in a dry run: could be).
    complete: bool,
    images: Vec<ImageCopied>,
}

/// What became of one image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImageCopied {
    /// As it was asked for.
    source: String,
    /// Where it is now.
    target: String,
    status: CopyStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// What the target's name named before, where that was another image.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifests: Option<Counts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blobs: Option<Counts>,
    /// Bytes of blobs that had to pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    attached: Vec<Attached>,
    /// Layers that are got from elsewhere, and were not copied.
    foreign: Vec<String>,
    /// What the source names and does not have; left out with `--allow-missing`.
    pub(crate) missing: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// What became of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CopyStatus {
    /// It was there with everything, under the same name.
    AlreadyThere,
    /// It is there now.
    Copied,
    /// The target's name was not written.
    Left,
    /// A dry run: it could be copied.
    WouldCopy,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    copied: usize,
    mounted: usize,
    already_there: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Attached {
    digest: String,
    subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
}

impl From<AttachedItem> for Attached {
    fn from(item: AttachedItem) -> Self {
        Self {
            digest: item.digest.to_string(),
            subject: item.subject.to_string(),
            artifact_type: item.artifact_type,
            tag: item.tag,
        }
    }
}

impl From<hallmark_registry::Counts> for Counts {
    fn from(counts: hallmark_registry::Counts) -> Self {
        Self { copied: counts.copied, mounted: counts.mounted, already_there: counts.already_there }
    }
}

impl ImageCopied {
    /// An image that is at its target.
    pub(crate) fn new(source: &str, destination: &Destination, copied: Copied, dry_run: bool) -> Self {
        let digest = copied.digest;
        let (target, has_name) = match destination {
            Destination::Registry { repository, tag, .. } => {
                let tag_text = tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
                (format!("{repository}{tag_text}@{digest}"), tag.is_some())
            }
            Destination::Layout { path, name, .. } => {
                let name_text = name.as_ref().map_or_else(|| format!("@{digest}"), |name| format!(":{name}"));
                (format!("oci:{}{name_text}", path.display()), name.is_some())
            }
        };
        let is_named = !has_name || copied.named_before == Some(digest);
        let nothing_new = copied.manifests.copied + copied.blobs.copied + copied.blobs.mounted == 0;
        let status = match (dry_run, is_named && nothing_new) {
            (_, true) => CopyStatus::AlreadyThere,
            (true, false) => CopyStatus::WouldCopy,
            (false, false) => CopyStatus::Copied,
        };
        Self {
            source: source.to_owned(),
            target,
            status,
            digest: Some(digest.to_string()),
            replaced: copied.named_before.filter(|before| *before != digest).map(|before| before.to_string()),
            manifests: Some(copied.manifests.into()),
            blobs: Some(copied.blobs.into()),
            bytes: Some(copied.bytes),
            attached: copied.attached.into_iter().map(Attached::from).collect(),
            foreign: copied.foreign.iter().map(|layer| layer.digest.to_string()).collect(),
            missing: copied.missing.iter().map(ToString::to_string).collect(),
            message: None,
            hint: None,
        }
    }

    /// An image that is in a tar file.
    pub(crate) fn saved(path: &Path, image: SavedImage, dry_run: bool) -> Self {
        let all = |copied| Some(Counts { copied, mounted: 0, already_there: 0 });
        Self {
            target: format!("oci:{}:{}", path.display(), image.name),
            source: image.name,
            status: if dry_run { CopyStatus::WouldCopy } else { CopyStatus::Copied },
            digest: Some(image.digest.to_string()),
            replaced: None,
            manifests: all(image.manifests),
            blobs: all(image.blobs),
            bytes: Some(image.bytes),
            attached: image.attached.into_iter().map(Attached::from).collect(),
            foreign: image.foreign.iter().map(|layer| layer.digest.to_string()).collect(),
            missing: image.missing.iter().map(ToString::to_string).collect(),
            message: None,
            hint: None,
        }
    }

    /// An image that is not at its target.
    pub(crate) fn left(source: &str, target: &str, failure: &Failure) -> Self {
        Self {
            source: source.to_owned(),
            target: target.to_owned(),
            status: CopyStatus::Left,
            digest: None,
            replaced: None,
            manifests: None,
            blobs: None,
            bytes: None,
            attached: Vec::new(),
            foreign: Vec::new(),
            missing: Vec::new(),
            message: Some(failure.message.clone()),
            hint: failure.hint.clone(),
        }
    }

    /// One line about it.
    pub(crate) fn line(&self) -> String {
        match &self.message {
            Some(message) => format!("{} -> {}: left: {message}", self.source, self.target),
            None => format!("{} -> {}: {}", self.source, self.target, self.status.as_str()),
        }
    }

    fn tell(&self, text: &mut Text) {
        text.styled(Style::Strong, &self.source);
        let style = if self.status == CopyStatus::Left { Style::Bad } else { Style::Good };
        text.parts([(style, format!("  {:<13}", self.status.as_str())), (Style::Plain, format!(" {}", self.target))]);
        if let Some(message) = &self.message {
            text.line(format!("  {message}"));
        }
        if let Some(replaced) = &self.replaced {
            text.line(format!("  replaced      {replaced}"));
        }
        if let (Some(manifests), Some(blobs)) = (self.manifests, self.blobs) {
            let bytes = self.bytes.unwrap_or(0);
            let verb = if self.status == CopyStatus::WouldCopy { "to copy" } else { "copied" };
            text.line(format!("  manifests     {}", manifests.sentence(verb)));
            text.line(format!("  blobs         {}; {bytes} bytes", blobs.sentence(verb)));
        }
        for item in &self.attached {
            let kind = item.tag.as_deref().or(item.artifact_type.as_deref()).unwrap_or("of no type");
            text.line(format!("  attached      {} ({kind})", item.digest));
        }
        for layer in &self.foreign {
            text.styled(Style::Doubt, format!("  not copied    {layer}: a layer that is got from elsewhere"));
        }
        for digest in &self.missing {
            text.styled(Style::Doubt, format!("  missing       {digest}: the source names it and does not have it"));
        }
        if let Some(hint) = &self.hint {
            text.styled(Style::Faint, format!("  hint: {hint}"));
        }
    }
}

impl CopyReport {
    /// The report about some images.
    pub(crate) fn new(verb: &'static str, dry_run: bool, images: Vec<ImageCopied>) -> Self {
        let complete = images.iter().all(|image| image.status != CopyStatus::Left && image.missing.is_empty());
        Self { version: "hallmark.dev/copy/v1", verb, dry_run, complete, images }
    }

    /// Lines for people.
    pub(crate) fn text(&self) -> Text {
        let mut text = Text::new();
        for image in &self.images {
            match self.images.len() > MAX_IMAGES_IN_FULL {
                true => text.line(image.line()),
                false => image.tell(&mut text),
            }
        }
        if self.images.len() > 1 {
            let left = self.images.iter().filter(|image| image.status == CopyStatus::Left).count();
            text.line(format!("{} images, {left} left", self.images.len()));
        }
        text
    }
}

impl CopyStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyThere => "already there",
            Self::Copied => "copied",
            Self::Left => "left",
            Self::WouldCopy => "would copy",
        }
    }
}

impl Counts {
    fn sentence(self, verb: &str) -> String {
        let mut parts = vec![format!("{} {verb}", self.copied)];
        if self.mounted > 0 {
            parts.push(format!("{} mounted", self.mounted));
        }
        parts.push(format!("{} there already", self.already_there));
        parts.join(", ")
    }
}
