//! Where an image is copied to: a registry or a layout, behind the same few writes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use hallmark_policy::evidence::{Cause, Observation};
use hallmark_policy::image::{Descriptor, Digest, ImageReference, PinnedImage, Repository, Tag, media_type};
use std::sync::Arc;

use super::blob::Checked;
use super::source::Source;
use super::{Beside, CopyError, Document, Options, Progress};
use crate::attach::{ListKind, TagList, converge};
use crate::layout::{Addition, Layout, LayoutWriter};
use crate::push::PushError;
use crate::registry::Shared;
use crate::transport::{Outgoing, Slot};
use crate::upload::Begun;

/// Most times that one blob is sent: a connection that broke is no reason to give up a large image.
const MAX_ATTEMPTS: u32 = 3;
/// The pause before a blob is sent again, doubled each time.
const PAUSE: Duration = Duration::from_millis(250);

/// Where an image is copied to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A folder that is or becomes an OCI layout.
    Layout {
        /// The folder.
        path: PathBuf,
        /// The image's name in it; where there is none, it is listed by its digest.
        name: Option<String>,
        /// Whose tags the names of what is attached are: none for a layout of one repository.
        repository: Option<Repository>,
    },
    /// A repository.
    Registry {
        /// The repository.
        repository: Repository,
        /// The tag that is written at the end; none to copy by digest only.
        tag: Option<Tag>,
        /// The digest that the image must have.
        digest: Option<Digest>,
    },
}

/// What became of one blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlobOutcome {
    AlreadyThere,
    Copied,
    Mounted,
}

/// A destination that can be written to.
pub(crate) enum Target<'a> {
    Layout {
        writer: LayoutWriter,
        name: Option<String>,
        repository: Option<Repository>,
    },
    /// A layout that is not there yet, in a dry run.
    Nothing,
    Registry {
        shared: &'a Shared,
        repository: Repository,
        tag: Option<Tag>,
    },
}

impl<'a> Target<'a> {
    pub(crate) async fn open(shared: &'a Shared, destination: &Destination, dry_run: bool) -> Result<Self, CopyError> {
        match destination.clone() {
            Destination::Layout { path, .. } if dry_run && !LayoutWriter::is_there(&path) => Ok(Self::Nothing),
            Destination::Layout { path, name, repository } => {
                Ok(Self::Layout { writer: LayoutWriter::create(&path).await?, name, repository })
            }
            Destination::Registry { repository, tag, .. } => Ok(Self::Registry { shared, repository, tag }),
        }
    }

    /// Sees to it that a blob is there.
    pub(crate) async fn ensure_blob(
        &self,
        source: &Source<'_>,
        digest: Digest,
        size: u64,
        options: &Options,
    ) -> Result<BlobOutcome, CopyError> {
        match self {
            Self::Nothing => Ok(BlobOutcome::Copied),
            Self::Layout { writer, .. } => {
                if writer.has_blob(digest).await? {
                    return Ok(BlobOutcome::AlreadyThere);
                }
                if options.dry_run {
                    return Ok(BlobOutcome::Copied);
                }
                let mut blob = open(source, digest, size, &options.progress).await?;
                let mut file = writer.begin_blob(digest)?;
                while let Some(piece) = blob.next().await? {
                    file.write(&piece)?;
                }
                file.finish(&digest.encoded())?;
                Ok(BlobOutcome::Copied)
            }
            Self::Registry { shared, repository, .. } => {
                if shared.has_whole_blob(repository, digest, size, shared.deadline()).await? {
                    return Ok(BlobOutcome::AlreadyThere);
                }
                if options.dry_run {
                    return Ok(BlobOutcome::Copied);
                }
                let upload = Upload { shared, repository, source, digest, size, progress: &options.progress };
                upload.run().await
            }
        }
    }

    /// Whether a manifest is there.
    pub(crate) async fn has_manifest(&self, digest: Digest) -> Result<bool, CopyError> {
        match self {
            Self::Nothing => Ok(false),
            Self::Layout { writer, .. } => Ok(writer.has_blob(digest).await?),
            Self::Registry { shared, repository, .. } => {
                let image = PinnedImage { repository: repository.clone(), digest };
                match shared.head(&image.into(), shared.deadline()).await {
                    Observation::Found(_) => Ok(true),
                    Observation::Absent => Ok(false),
                    Observation::Unknown(cause) => Err(cause.into()),
                }
            }
        }
    }

    /// Writes a manifest by its digest. True when the target lists it as a referrer by itself.
    pub(crate) async fn write_manifest(&self, document: &Document) -> Result<bool, CopyError> {
        let digest = document.digest();
        match self {
            Self::Nothing => Ok(true),
            Self::Layout { writer, .. } => {
                writer.write_blob(digest, document.content.bytes()).await?;
                Ok(true)
            }
            Self::Registry { shared, repository, .. } => {
                let image = ImageReference::from(PinnedImage { repository: repository.clone(), digest });
                let (media_type, bytes) = (&document.media_type, document.content.bytes());
                let pushed = shared.push_manifest(&image, media_type, bytes, shared.deadline()).await?;
                Ok(pushed.subject.is_some() && pushed.subject == document.subject)
            }
        }
    }

    /// What the tag names now.
    pub(crate) async fn tagged(&self) -> Result<Option<Digest>, CopyError> {
        match self {
            Self::Nothing | Self::Registry { tag: None, .. } => Ok(None),
            Self::Layout { writer, name, .. } => match (writer.index()?, name) {
                (Some(_), Some(name)) => {
                    let layout = Layout::open(writer.path()).await?;
                    let name = crate::layout::LayoutName::Name(name.clone());
                    Ok(layout.resolve(Some(&name))?.map(|image| image.descriptor.digest))
                }
                _ => Ok(None),
            },
            Self::Registry { shared, repository, tag: Some(tag) } => {
                let image = ImageReference::tagged(repository.clone(), tag.clone());
                match shared.head(&image, shared.deadline()).await {
                    Observation::Found(descriptor) => Ok(Some(descriptor.digest)),
                    Observation::Absent => Ok(None),
                    Observation::Unknown(cause) => Err(cause.into()),
                }
            }
        }
    }

    /// Lists what is attached where the target does not do so by itself, and names the image at last.
    pub(crate) async fn list_and_name(&self, attached: Attached<'_>) -> Result<(), CopyError> {
        match self {
            Self::Nothing => Ok(()),
            Self::Layout { writer, name, repository } => {
                let mut additions = Vec::new();
                for (subject, entries) in &attached.unlisted {
                    let (name, existing) = (beside(repository.as_ref(), &subject.fallback_tag()), writer.index()?);
                    let existing = match existing {
                        Some(_) => existing_beside(writer, &name).await?,
                        None => None,
                    };
                    let mut list = TagList::with(ListKind::Manifests, subject.fallback_tag(), entries);
                    if let Some(written) = list.written(existing.as_deref())? {
                        let descriptor = Descriptor::of(&written.media_type, &written.bytes);
                        writer.write_blob(descriptor.digest, &written.bytes).await?;
                        additions.push(Addition { name: Some(name), descriptor });
                    }
                }
                additions.extend(attached.additions(name.clone(), repository.as_ref()));
                Ok(writer.add(additions).await?)
            }
            Self::Registry { shared, repository, tag } => {
                for (subject, entries) in &attached.unlisted {
                    let tag = subject.fallback_tag();
                    let index = ImageReference::tagged(repository.clone(), tag.clone());
                    let list = TagList::with(ListKind::Manifests, tag, entries);
                    converge(shared, &index, list, shared.deadline()).await?;
                }
                for (beside, document) in &attached.beside {
                    let image = ImageReference::tagged(repository.clone(), beside.tag.clone());
                    let bytes = document.content.bytes();
                    let list = TagList::like(beside.tag.clone(), &document.media_type, bytes)?;
                    converge(shared, &image, list, shared.deadline()).await?;
                }
                let Some(tag) = tag else { return Ok(()) };
                let image = ImageReference::tagged(repository.clone(), tag.clone());
                let (media_type, bytes) = (&attached.root.media_type, attached.root.content.bytes());
                shared.push_manifest(&image, media_type, bytes, shared.deadline()).await?;
                match self.tagged().await? {
                    Some(found) if found == Digest::of(bytes) || found == attached.root.digest() => Ok(()),
                    _ => Err(PushError::Missing { what: "manifest", digest: attached.root.digest() }.into()),
                }
            }
        }
    }
}

/// What is written when everything else is there.
pub(crate) struct Attached<'a> {
    pub(crate) root: &'a Document,
    /// Referrers that the target does not list by itself, by their subjects.
    pub(crate) unlisted: BTreeMap<Digest, Vec<Descriptor>>,
    /// Every manifest with a subject, for a layout's index.
    pub(crate) referrers: Vec<&'a Document>,
    pub(crate) beside: Vec<(&'a Beside, &'a Document)>,
}

impl Attached<'_> {
    /// The entries of a layout's index: what is attached, and the image.
    pub(crate) fn additions(&self, name: Option<String>, repository: Option<&Repository>) -> Vec<Addition> {
        let mut additions = vec![Addition { name, descriptor: plain(self.root) }];
        additions
            .extend(self.referrers.iter().map(|document| Addition { name: None, descriptor: document.described() }));
        additions.extend(
            self.beside.iter().map(|(one, document)| Addition {
                name: Some(beside(repository, &one.tag)),
                descriptor: plain(document),
            }),
        );
        additions
    }
}

fn plain(document: &Document) -> Descriptor {
    Descriptor { digest: document.digest(), ..Descriptor::of(&document.media_type, document.content.bytes()) }
}

/// The name of a tag beside an image.
pub(crate) fn beside(repository: Option<&Repository>, tag: &Tag) -> String {
    repository.map_or_else(|| tag.to_string(), |repository| format!("{repository}:{tag}"))
}

async fn existing_beside(writer: &LayoutWriter, name: &str) -> Result<Option<Vec<u8>>, CopyError> {
    let layout = Layout::open(writer.path()).await?;
    let name = crate::layout::LayoutName::Name(name.to_owned());
    let Some(image) = layout.resolve(Some(&name))? else { return Ok(None) };
    Ok(layout.manifest(image.descriptor.digest)?.map(|content| content.bytes().to_vec()))
}

/// A blob of the source, checked while it passes.
pub(crate) async fn open(
    source: &Source<'_>,
    digest: Digest,
    size: u64,
    progress: &Arc<Progress>,
) -> Result<Checked, CopyError> {
    let missing = || CopyError::MissingBlob { digest };
    let bytes = source.blob(digest, size).await?.ok_or_else(missing)?;
    Ok(Checked::new(bytes, digest, size, Arc::clone(progress)))
}

/// One blob on its way to a registry.
struct Upload<'a> {
    shared: &'a Shared,
    repository: &'a Repository,
    source: &'a Source<'a>,
    digest: Digest,
    size: u64,
    progress: &'a Arc<Progress>,
}

impl Upload<'_> {
    /// Sends until it is there. What broke off is begun again from the start; what is wrong is not tried again.
    async fn run(&self) -> Result<BlobOutcome, CopyError> {
        let mut attempt = 0;
        loop {
            let error = match self.send().await {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            attempt += 1;
            if attempt >= MAX_ATTEMPTS || !may_pass(&error) {
                return Err(error);
            }
            tokio::time::sleep(PAUSE * 2_u32.pow(attempt - 1)).await;
        }
    }

    async fn send(&self) -> Result<BlobOutcome, CopyError> {
        let deadline = self.shared.blob_deadline(self.size);
        let from = self.source.repository();
        let from = from.filter(|from| from.host() == self.repository.host() && *from != self.repository);
        let begun = self.shared.begin_upload(self.repository, self.digest, from, deadline).await?;
        let request = match begun {
            Begun::Upload(request) => *request,
            Begun::Mounted => return self.look().await.map(|()| BlobOutcome::Mounted),
        };
        let mut blob = open(self.source, self.digest, self.size, self.progress).await?;
        let (body, end) = if self.size == 0 {
            // Nobody asks for the pieces of an empty body, so that it is checked here.
            blob.next().await?;
            let pieces = Box::pin(futures_util::stream::empty());
            (Outgoing { size: 0, pieces }, Slot::with(Ok(())))
        } else {
            blob.into_body()
        };
        let sent = self.shared.send_upload(request, self.digest, body).await;
        // What was wrong with the source explains why the target saw an upload that broke off.
        let named = match (end.take(), sent) {
            (Some(Err(error)), _) => return Err(error),
            (_, Err(error)) => return Err(error.into()),
            (Some(Ok(())), Ok(named)) => named,
            (None, Ok(_)) => false,
        };
        if !named {
            self.look().await?;
        }
        Ok(BlobOutcome::Copied)
    }

    async fn look(&self) -> Result<(), CopyError> {
        let (digest, deadline) = (self.digest, self.shared.deadline());
        match self.shared.has_whole_blob(self.repository, digest, self.size, deadline).await? {
            true => Ok(()),
            false => Err(PushError::Missing { what: "blob", digest }.into()),
        }
    }
}

/// Whether the same may go well a moment later.
fn may_pass(error: &CopyError) -> bool {
    use hallmark_policy::Code;
    let passes = |cause: &Cause| matches!(cause.code(), Code::RegistryUnavailable | Code::RegistryThrottled);
    match error {
        CopyError::Push(PushError::Unknown(cause)) | CopyError::Unknown(cause) => passes(cause),
        // An upload that the registry has forgotten, or that a proxy cut off.
        CopyError::Push(PushError::Refused { status, .. }) => matches!(status, 404 | 408 | 416),
        _ => false,
    }
}

/// The media type of a layout's own documents.
pub(crate) const LAYOUT_INDEX: &str = media_type::OCI_INDEX;
