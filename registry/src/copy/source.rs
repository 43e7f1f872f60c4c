//! Where an image is copied from: a registry or a layout, behind the same questions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join;
use hallmark_policy::Code;
use hallmark_policy::evidence::Cause;
use hallmark_policy::image::{Descriptor, Digest, ImageReference, Repository, Tag};
use hallmark_policy::limits::MAX_MANIFEST_BYTES;

use super::{CopyError, Document};
use crate::layout::{Layout, LayoutName, Section};
use crate::listing::Bounds;
use crate::read::{Answer, ManifestName, contradiction, manifest_name};
use crate::registry::Shared;
use crate::transport::{Failure, Incoming};

/// A blob may take so long for each of these many bytes, beside the time of one operation: 100 KiB a second.
const SLOWEST_BYTES_PER_SECOND: u64 = 100 * 1024;

/// Where an image is copied from.
#[derive(Clone)]
pub enum Origin {
    /// A layout, and what is meant in it; the only image where nothing is said.
    Layout(Arc<Layout>, Option<LayoutName>),
    /// An image in a registry.
    Registry(ImageReference),
}

/// An origin that can be asked.
#[derive(Clone)]
pub(crate) struct Source<'a> {
    pub(crate) shared: &'a Shared,
    origin: &'a Origin,
    /// The name in the layout, to find what is beside it.
    name: Option<String>,
}

impl<'a> Source<'a> {
    /// The origin, which was not asked yet. Where the images of a name are kept elsewhere, that is asked.
    pub(crate) fn of(shared: &'a Shared, origin: &'a Origin) -> Self {
        let shared = match origin {
            Origin::Registry(image) => shared.origin(image.repository()),
            Origin::Layout(..) => shared,
        };
        Self { shared, origin, name: None }
    }

    /// The origin, and the image itself.
    pub(crate) async fn open(shared: &'a Shared, origin: &'a Origin) -> Result<(Self, Document), CopyError> {
        let mut source = Self::of(shared, origin);
        let root = match origin {
            Origin::Registry(image) => source
                .fetch(image.repository(), manifest_name(image), image.digest(), None)
                .await?
                .ok_or_else(|| CopyError::Absent { what: format!("image `{image}`") })?,
            Origin::Layout(layout, name) => {
                let absent = || CopyError::AbsentFromLayout { what: described(name.as_ref()) };
                let image = layout.resolve(name.as_ref())?.ok_or_else(absent)?;
                source.name = image.name;
                source.read(layout, &image.descriptor)?.ok_or_else(absent)?
            }
        };
        Ok((source, root))
    }

    /// The repository, for mounting blobs from it.
    pub(crate) fn repository(&self) -> Option<&'a Repository> {
        match self.origin {
            Origin::Registry(image) => Some(image.repository()),
            Origin::Layout(..) => None,
        }
    }

    /// A manifest that a list names; `None` when it is not there.
    pub(crate) async fn manifest(&self, listed: &Descriptor) -> Result<Option<Document>, CopyError> {
        match self.origin {
            Origin::Registry(image) => {
                let name = ManifestName::Digest(listed.digest);
                self.fetch(image.repository(), name, Some(listed.digest), Some(&listed.media_type)).await
            }
            Origin::Layout(layout, _) => self.read(layout, listed),
        }
    }

    /// Everything that refers to a manifest: by the referrers API, and by the fallback tag.
    pub(crate) async fn referrers(&self, subject: Digest) -> Result<Vec<Digest>, CopyError> {
        match self.origin {
            Origin::Registry(image) => {
                let (image, deadline) = (image.pin(subject), self.shared.deadline());
                let api = async {
                    self.shared
                        .list_referrers_within(&image, Bounds::COPY, deadline)
                        .await
                        .whole(image.repository.host())
                };
                let fallback = async {
                    self.shared
                        .list_fallback_within(&image, Bounds::COPY, deadline)
                        .await
                        .whole(image.repository.host())
                };
                let (mut listed, more) = try_join(api, fallback).await?;
                for entry in more {
                    if !listed.contains(&entry) {
                        listed.push(entry);
                    }
                }
                Ok(listed)
            }
            Origin::Layout(layout, _) => {
                let mut listed: Vec<Digest> = layout.referrers(subject).iter().map(|entry| entry.digest).collect();
                if let Some(index) = layout.beside(self.name.as_deref(), &subject.fallback_tag())
                    && let Some(index) = self.read(layout, &index)?
                {
                    for entry in index.children {
                        if !listed.contains(&entry.digest) {
                            listed.push(entry.digest);
                        }
                    }
                }
                Ok(listed)
            }
        }
    }

    /// What a tag beside the image names; `None` when there is none.
    pub(crate) async fn tagged(&self, tag: &Tag) -> Result<Option<Document>, CopyError> {
        match self.origin {
            Origin::Registry(image) => self.fetch(image.repository(), ManifestName::Tag(tag), None, None).await,
            Origin::Layout(layout, _) => match layout.beside(self.name.as_deref(), tag) {
                Some(descriptor) => self.read(layout, &descriptor),
                None => Ok(None),
            },
        }
    }

    /// A blob's bytes, unchecked; `None` when it is not there.
    pub(crate) async fn blob(&self, digest: Digest, size: u64) -> Result<Option<Bytewise>, CopyError> {
        let untrue = |found: u64| CopyError::Untrue {
            digest,
            problem: format!("it has {found} bytes, and {size} were announced"),
        };
        match self.origin {
            Origin::Registry(image) => {
                let deadline = self.shared.blob_deadline(size);
                let Some((incoming, length)) = self.shared.open_blob(image.repository(), digest, deadline).await?
                else {
                    return Ok(None);
                };
                match length.filter(|length| *length != size) {
                    Some(length) => Err(untrue(length)),
                    None => Ok(Some(Bytewise::Remote(incoming, image.repository().host().to_owned()))),
                }
            }
            Origin::Layout(layout, _) => match layout.blob(digest)? {
                Some(section) if section.length() != size => Err(untrue(section.length())),
                section => Ok(section.map(Bytewise::File)),
            },
        }
    }

    async fn fetch(
        &self,
        repository: &Repository,
        name: ManifestName<'_>,
        digest: Option<Digest>,
        listed_as: Option<&str>,
    ) -> Result<Option<Document>, CopyError> {
        let host = repository.host();
        let served = match self.shared.read_manifest(repository, name, MAX_MANIFEST_BYTES, self.shared.deadline()).await
        {
            Answer::Found(served) => served,
            Answer::Absent => return Ok(None),
            Answer::Unknown(cause) => return Err(cause.into()),
            Answer::TooLarge { limit } => {
                let problem = format!("`{}` has more than {limit} bytes", name.path());
                return Err(contradiction(host, &problem).into());
            }
        };
        let claimed = served.media_type.clone();
        let checked = match digest {
            Some(digest) => served.check(digest),
            None => served.name_by_itself(),
        };
        let content = checked.map_err(|problem| CopyError::Unknown(problem.cause(host)))?;
        let digest = content.digest();
        let parsed = Document::parse(content, claimed.as_deref().or(listed_as));
        parsed.map(Some).map_err(|problem| CopyError::Unsupported { digest, problem })
    }

    fn read(&self, layout: &Layout, listed: &Descriptor) -> Result<Option<Document>, CopyError> {
        let digest = listed.digest;
        let Some(content) = layout.manifest(digest)? else { return Ok(None) };
        let parsed = Document::parse(content, Some(&listed.media_type));
        parsed.map(Some).map_err(|problem| CopyError::Unsupported { digest, problem })
    }
}

impl Shared {
    /// When a blob of this size has taken too long.
    pub(crate) fn blob_deadline(&self, size: u64) -> Instant {
        let allowed = Duration::from_secs(size / SLOWEST_BYTES_PER_SECOND);
        self.deadline().checked_add(allowed).unwrap_or_else(|| self.deadline())
    }
}

/// A blob's bytes as they come.
pub(crate) enum Bytewise {
    File(Section),
    Remote(Incoming, String),
}

impl Bytewise {
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, CopyError> {
        match self {
            Self::File(section) => Ok(section.next().await?),
            Self::Remote(incoming, host) => match incoming.next().await {
                Ok(piece) => Ok(piece),
                Err(failure) => Err(broken_off(host, &failure).into()),
            },
        }
    }
}

fn broken_off(host: &str, failure: &Failure) -> Cause {
    match failure {
        Failure::Connection(problem) | Failure::Tls(problem) => {
            Cause::new(Code::RegistryUnavailable, format!("`{host}` broke off within a blob: {problem}"))
        }
        Failure::Deadline => Cause::new(Code::DeadlineExceeded, format!("`{host}` sends a blob too slowly")),
        _ => Cause::new(Code::RegistryUnavailable, format!("`{host}` fell silent within a blob")),
    }
}

fn described(name: Option<&LayoutName>) -> String {
    match name {
        Some(LayoutName::Name(name)) => format!("image `{name}` of the layout"),
        Some(LayoutName::Digest(digest)) => format!("image `{digest}` of the layout"),
        None => "an image in the layout".to_owned(),
    }
}
