//! What was signed, what was there already, and what is left.

use serde::Serialize;

use crate::output::{Style, Text};

/// What became of several images.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SigningReport {
    version: &'static str,
    key_id: String,
    dry_run: bool,
    /// Every signature that was asked for is attached now (in a dry run: could be).
    complete: bool,
    images: Vec<ImageSigned>,
}

/// What became of one image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImageSigned {
    /// As it was asked for.
    pub(crate) image: String,
    /// What was signed, once that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pinned: Option<String>,
    /// One for each format.
    pub(crate) signatures: Vec<SignatureReport>,
}

/// What became of one signature.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SignatureReport {
    /// Its format.
    pub(crate) format: &'static str,
    /// What became of it.
    pub(crate) status: Status,
    /// The manifest that carries it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) artifact: Option<String>,
    /// Where it is listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<&'static str>,
    /// What was or would be signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payload: Option<serde_json::Value>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

/// What became of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Status {
    /// The same key has signed the same before.
    AlreadySigned,
    /// It is in the registry now.
    Attached,
    /// It is not in the registry; running the command again completes the work.
    Left,
    /// A dry run: it could be attached.
    WouldAttach,
}

impl SigningReport {
    /// The report about some images.
    pub(crate) fn new(key_id: String, dry_run: bool, images: Vec<ImageSigned>) -> Self {
        let complete = images.iter().flat_map(|image| &image.signatures).all(|one| one.status != Status::Left);
        Self { version: "hallmark.dev/signing/v1", key_id, dry_run, complete, images }
    }

    /// Lines for people.
    pub(crate) fn text(&self) -> Text {
        let mut text = Text::new();
        for image in &self.images {
            text.styled(Style::Strong, &image.image);
            if let Some(pinned) = &image.pinned {
                text.line(format!("  digest    {pinned}"));
            }
            for signature in &image.signatures {
                signature.tell(&mut text, &self.key_id);
            }
        }
        if !self.complete {
            text.styled(Style::Bad, "not everything is signed; left to do:");
            for image in &self.images {
                for signature in image.signatures.iter().filter(|one| one.status == Status::Left) {
                    let name = image.pinned.as_ref().unwrap_or(&image.image);
                    text.line(format!("  {name} ({})", signature.format));
                }
            }
            text.styled(
                Style::Faint,
                "hint: mend what is said above and run the same command again; what is attached is not attached twice",
            );
        }
        text
    }
}

impl SignatureReport {
    fn tell(&self, text: &mut Text, key_id: &str) {
        let format = self.format;
        let place = self.place.map(|place| format!(", listed by the {place}")).unwrap_or_default();
        let artifact = self.artifact.as_deref().unwrap_or_default();
        match self.status {
            Status::Attached => text
                .parts([(Style::Good, "  signed".to_owned()), (Style::Plain, format!("    {format} by key {key_id}"))]),
            Status::AlreadySigned => text.parts([
                (Style::Good, "  already signed".to_owned()),
                (Style::Plain, format!(" by this key: {format} {key_id}")),
            ]),
            Status::WouldAttach => text.line(format!("  would sign as {format} by key {key_id}")),
            Status::Left => text.parts([
                (Style::Bad, "  not signed".to_owned()),
                (Style::Plain, format!(" ({format}): {}", self.message.as_deref().unwrap_or_default())),
            ]),
        }
        if !artifact.is_empty() {
            text.line(format!("            {artifact}{place}"));
        }
        if let Some(payload) = &self.payload {
            text.line(format!("            {payload}"));
        }
        if let Some(hint) = &self.hint {
            text.styled(Style::Faint, format!("  hint: {hint}"));
        }
    }
}
