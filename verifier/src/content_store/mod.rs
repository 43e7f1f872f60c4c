//! Content that was fetched, in memory and on disk.
//!
//! Content is named by its digest, so it never goes stale; what may be read on which day is decided by listings, which
//! are asked of the registry. The disk is untrusted: every byte that comes from it is checked again, and when it
//! cannot be read or written, content is fetched as if it had never been kept.

mod disk;

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hallmark_policy::evidence::{Evidence, Record};
use hallmark_policy::image::{Content, Digest};
use hallmark_registry::{ContentCache, Partition};
use moka::sync::Cache;

use crate::pipeline::Subject;

use disk::Disk;
pub use disk::DiskCounts;

/// Where content is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentLimits {
    /// Most bytes in memory.
    pub memory_bytes: u64,
    /// A folder for what shall outlive the process; nothing is written without one.
    pub directory: Option<PathBuf>,
    /// Most bytes in the folder.
    pub disk_bytes: u64,
}

impl ContentLimits {
    /// 64 MiB in memory; 1 GiB on disk, when there is a folder.
    pub const STANDARD: Self = Self { memory_bytes: 64 * 1024 * 1024, directory: None, disk_bytes: 1024 * 1024 * 1024 };
}

/// Bytes that an entry costs in memory beside its content.
const ENTRY_OVERHEAD_BYTES: usize = 256;
/// Domain of the names of content.
const CONTENT: &[u8] = b"hallmark content v1";
/// Domain of the names of evidence.
const EVIDENCE: &[u8] = b"hallmark evidence v1";
/// Length of the check before the text of a record: a SHA-256 in hex.
const CHECK_CHARS: usize = 64;

/// Content by digest, and the last complete evidence about images; each for one partition.
pub struct ContentStore {
    salt: [u8; 32],
    memory: Cache<(Partition, Digest), Content>,
    disk: Option<Arc<Disk>>,
}

impl ContentStore {
    /// A store within limits. A folder that cannot be used is left alone, with a warning: the store then keeps content
    /// in memory only.
    #[must_use]
    pub fn open(limits: &ContentLimits) -> Self {
        let weigh = |_: &(Partition, Digest), content: &Content| {
            u32::try_from(content.bytes().len().saturating_add(ENTRY_OVERHEAD_BYTES)).unwrap_or(u32::MAX)
        };
        let memory = Cache::builder().max_capacity(limits.memory_bytes).weigher(weigh).build();
        let disk = limits.directory.as_ref().and_then(|path| match Disk::open(path, limits.disk_bytes) {
            Ok(disk) => Some(disk),
            Err(problem) => {
                tracing::warn!(
                    directory = %path.display(),
                    %problem,
                    "evidence is kept in memory only; give a folder on a writable disk that belongs to this user"
                );
                None
            }
        });
        // In memory nothing is named by the salt that anybody could read: a system without random bytes loses nothing.
        let salt = disk.as_ref().map_or_else(|| disk::random().unwrap_or_default(), |(_, salt)| *salt);
        Self { salt, memory, disk: disk.map(|(disk, _)| Arc::new(disk)) }
    }

    /// What happened on disk; `None` while content is kept in memory only.
    #[must_use]
    pub fn disk_counts(&self) -> Option<DiskCounts> {
        self.disk.as_ref().map(|disk| disk.counts())
    }

    /// Waits until what was given to be kept is on disk, or cannot be.
    pub async fn flush(&self) {
        if let Some(disk) = self.disk.clone() {
            // A task that panicked has written what it could.
            let _ = tokio::task::spawn_blocking(move || disk.flush()).await;
        }
    }

    /// Keeps complete evidence on disk, with everything that it rests on.
    pub(crate) fn keep_evidence(&self, image: &Subject, evidence: &Evidence) {
        let Some(disk) = &self.disk else { return };
        let partition = image.partition;
        for content in evidence.contents() {
            disk.write(self.content_name(partition, content.digest()), content.bytes().to_vec());
        }
        let name = self.evidence_name(image);
        // A record that cannot be written as JSON would be a bug, and is not kept.
        if let Ok(text) = serde_json::to_string(&Record::of(evidence)) {
            disk.replace(name, format!("{}{text}", self.check(name, text.as_bytes())).into_bytes());
        }
    }

    /// The last complete evidence about an image that is on disk. Every content has its digest, and the record is the
    /// one that was written for this image and partition; how old it is, it says itself.
    pub(crate) async fn find_evidence(&self, image: &Subject) -> Option<Evidence> {
        let disk = Arc::clone(self.disk.as_ref()?);
        let name = self.evidence_name(image);
        if !disk.has(&name) {
            return None;
        }
        let salt = self.salt;
        let partition = image.partition;
        let image = image.image.clone();
        let restore = move || {
            let bytes = disk.read(&name)?;
            let evidence = restore(&disk, &salt, partition, name, &bytes).filter(|evidence| {
                evidence.image.pinned().as_ref() == Some(&image) && evidence.resolution.found() == Some(&image.digest)
            });
            if evidence.is_none() {
                disk.discard(&name);
            }
            evidence
        };
        tokio::task::spawn_blocking(restore).await.ok().flatten()
    }

    fn content_name(&self, partition: Partition, digest: Digest) -> Digest {
        content_name(&self.salt, partition, digest)
    }

    fn evidence_name(&self, image: &Subject) -> Digest {
        let about = image.image.to_string();
        // What was gathered about the image alone has the name that it always had.
        let scope = if image.scope.is_image() { String::new() } else { format!("{:?}", image.scope) };
        let partition = image.partition.name();
        let mut parts = vec![EVIDENCE, partition.as_bytes(), about.as_bytes()];
        parts.extend((!scope.is_empty()).then_some(scope.as_bytes()));
        name(&self.salt, &parts)
    }

    fn check(&self, name: Digest, text: &[u8]) -> String {
        check(&self.salt, name, text)
    }
}

impl ContentCache for ContentStore {
    fn salt(&self) -> [u8; 32] {
        self.salt
    }

    fn find(&self, partition: Partition, digest: Digest) -> BoxFuture<'_, Option<Content>> {
        async move {
            if let Some(content) = self.memory.get(&(partition, digest)) {
                return Some(content);
            }
            let disk = Arc::clone(self.disk.as_ref()?);
            let name = self.content_name(partition, digest);
            if !disk.has(&name) {
                return None;
            }
            let content = tokio::task::spawn_blocking(move || read_content(&disk, name, digest)).await.ok()??;
            self.remember(partition, &content);
            Some(content)
        }
        .boxed()
    }

    fn keep(&self, partition: Partition, content: &Content) {
        self.remember(partition, content);
        if let Some(disk) = &self.disk {
            disk.write(self.content_name(partition, content.digest()), content.bytes().to_vec());
        }
    }
}

impl ContentStore {
    /// The cache lets go of what is too much only now and then, a few hundred entries late. These may have 4 MiB each.
    fn remember(&self, partition: Partition, content: &Content) {
        self.memory.insert((partition, content.digest()), content.clone());
        self.memory.run_pending_tasks();
    }
}

fn restore(disk: &Disk, salt: &[u8; 32], partition: Partition, name: Digest, bytes: &[u8]) -> Option<Evidence> {
    let (written, text) = bytes.split_at_checked(CHECK_CHARS)?;
    if written != check(salt, name, text).as_bytes() {
        return None;
    }
    let record: Record = serde_json::from_slice(text).ok()?;
    let content = |digest: &Digest| {
        let content = read_content(disk, content_name(salt, partition, *digest), *digest)?;
        Some(content.bytes().to_vec())
    };
    record.restore(content).ok()
}

/// Reads content and checks it again; what is not the content that was kept goes.
fn read_content(disk: &Disk, name: Digest, digest: Digest) -> Option<Content> {
    match Content::check(digest, disk.read(&name)?) {
        Ok(content) => Some(content),
        Err(_) => {
            disk.discard(&name);
            None
        }
    }
}

fn content_name(salt: &[u8; 32], partition: Partition, digest: Digest) -> Digest {
    name(salt, &[CONTENT, partition.name().as_bytes(), digest.to_string().as_bytes()])
}

/// What a record must begin with. A file that was damaged, or put in another's place, has another check.
fn check(salt: &[u8; 32], written_as: Digest, text: &[u8]) -> String {
    name(salt, &[b"hallmark record v1", written_as.encoded().as_bytes(), text]).encoded()
}

/// A name that gives nothing away of what it names: file names are made of such digests only, never of remote text.
fn name(salt: &[u8; 32], parts: &[&[u8]]) -> Digest {
    let mut hashed = salt.to_vec();
    for part in parts {
        hashed.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hashed.extend(*part);
    }
    Digest::of(&hashed)
}
