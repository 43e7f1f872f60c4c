//! What was signed, what was there already, and what is left.

use hallmark_policy::signature::Format;
use hallmark_policy::sigstore::{Identity, Signer};
use serde::Serialize;

use crate::output::{Style, Text};
use crate::progress::Line;

/// More images than this are told in one line each.
const MAX_IMAGES_IN_FULL: usize = 12;

/// What became of several images.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SigningReport {
    version: &'static str,
    /// Where one key signed; each signature has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    dry_run: bool,
    /// Every signature that was asked for is attached now (in a dry run: could be).
    complete: bool,
    summary: Summary,
    images: Vec<ImageSigned>,
}

/// How many signatures became what.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    /// Images, each of an index counted by itself.
    images: usize,
    attached: usize,
    already_signed: usize,
    would_attach: usize,
    left: usize,
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
    /// One for each key and format.
    pub(crate) signatures: Vec<SignatureReport>,
}

/// What became of one signature.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SignatureReport {
    /// Its format.
    pub(crate) format: &'static str,
    /// The key, once that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_id: Option<String>,
    /// Who signed, where no key did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<SignedAs>,
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

/// Who signed keyless: what everybody can see.
#[derive(Debug, Serialize)]
pub(crate) struct SignedAs {
    issuer: String,
    subject: String,
}

impl SignedAs {
    /// The identity of a certificate.
    pub(crate) fn new(identity: &Identity) -> Self {
        let subject = identity.subjects().first().map(|(_, subject)| subject.clone());
        Self { issuer: identity.issuer().unwrap_or_default().to_owned(), subject: subject.unwrap_or_default() }
    }
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
    pub(crate) fn new(key_ids: &[String], dry_run: bool, images: Vec<ImageSigned>) -> Self {
        let key_id = if let [one] = key_ids { Some(one.clone()) } else { None };
        let summary = Summary::of(&images);
        let complete = summary.left == 0;
        Self { version: "hallmark.dev/signing/v1", key_id, dry_run, complete, summary, images }
    }

    /// Lines for people.
    pub(crate) fn text(&self) -> Text {
        let mut text = Text::new();
        for image in &self.images {
            if self.images.len() > MAX_IMAGES_IN_FULL {
                let line = image.summary();
                text.styled(if line.is_bad { Style::Bad } else { Style::Plain }, line.text);
                continue;
            }
            text.styled(Style::Strong, &image.image);
            if let Some(pinned) = &image.pinned {
                text.line(format!("  digest    {pinned}"));
            }
            for signature in &image.signatures {
                signature.tell(&mut text);
            }
        }
        if self.images.is_empty() {
            text.line("nothing to sign: no image there carries a signature of the old key");
        }
        if self.images.len() > 1 {
            text.line(self.summary.sentence());
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

impl Summary {
    fn of(images: &[ImageSigned]) -> Self {
        let mut summary = Self { images: images.len(), ..Self::default() };
        for signature in images.iter().flat_map(|image| &image.signatures) {
            let count = match signature.status {
                Status::AlreadySigned => &mut summary.already_signed,
                Status::Attached => &mut summary.attached,
                Status::Left => &mut summary.left,
                Status::WouldAttach => &mut summary.would_attach,
            };
            *count += 1;
        }
        summary
    }

    fn sentence(&self) -> String {
        let mut parts = vec![format!("{} images", self.images)];
        for (count, what) in [
            (self.attached, "signed"),
            (self.already_signed, "signed already"),
            (self.would_attach, "would be signed"),
            (self.left, "left"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        parts.join(", ")
    }
}

impl ImageSigned {
    /// One line about it, for runs with many images.
    pub(crate) fn summary(&self) -> Line {
        let name = self.pinned.as_ref().unwrap_or(&self.image);
        let one = |signature: &SignatureReport| match (&signature.status, &signature.message) {
            (Status::Left, Some(message)) => format!("{} not signed: {message}", signature.format),
            (status, _) => format!("{} {}", signature.format, status.as_str()),
        };
        let signatures: Vec<String> = self.signatures.iter().map(one).collect();
        let is_bad = self.signatures.iter().any(|signature| signature.status == Status::Left);
        Line { text: format!("{name}: {}", signatures.join("; ")), is_bad }
    }
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::AlreadySigned => "signed already",
            Self::Attached => "signed",
            Self::Left => "not signed",
            Self::WouldAttach => "would be signed",
        }
    }
}

impl SignatureReport {
    /// A report that says nothing else yet.
    pub(crate) fn new(format: Format, status: Status) -> Self {
        Self {
            format: format.as_str(),
            key_id: None,
            identity: None,
            status,
            artifact: None,
            place: None,
            payload: None,
            message: None,
            hint: None,
        }
    }

    /// The same, by whoever signed.
    pub(crate) fn of(self, signer: &Signer) -> Self {
        match signer {
            Signer::Identity(identity) => Self { identity: Some(SignedAs::new(identity)), ..self },
            Signer::Key(key) => Self { key_id: Some(key.to_string()), ..self },
        }
    }

    fn tell(&self, text: &mut Text) {
        let by = match (&self.identity, &self.key_id) {
            (Some(identity), _) => format!("{} ({})", identity.subject, identity.issuer),
            (None, Some(key_id)) => format!("key {key_id}"),
            (None, None) => "whomever the token names".to_owned(),
        };
        let format = self.format;
        let place = self.place.map(|place| format!(", listed by the {place}")).unwrap_or_default();
        let artifact = self.artifact.as_deref().unwrap_or_default();
        match self.status {
            Status::Attached => {
                text.parts([(Style::Good, "  signed".to_owned()), (Style::Plain, format!("    {format} by {by}"))])
            }
            Status::AlreadySigned => text.parts([
                (Style::Good, "  already signed".to_owned()),
                (
                    Style::Plain,
                    format!(" by this {}: {format} {}", self.kind_of_signer(), by.trim_start_matches("key ")),
                ),
            ]),
            Status::WouldAttach => text.line(format!("  would sign as {format} by {by}")),
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
        if let (Status::Attached, Some(message)) = (self.status, &self.message) {
            text.styled(Style::Doubt, format!("  {message}"));
        }
        if let Some(hint) = &self.hint {
            text.styled(Style::Faint, format!("  hint: {hint}"));
        }
    }

    fn kind_of_signer(&self) -> &'static str {
        if self.identity.is_some() { "identity" } else { "key" }
    }
}
