//! One refresh: the workflow of a TUF client (specification, section 5), and what is ours after it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use hallmark_policy::Timestamp;
use hallmark_policy::sigstore::TrustedRoot;
use sigstore_tuf::transport::FetchFuture;
use sigstore_tuf::{Error, MetadataStore, Repository, Updater};

use super::kept::{Generation, TrustRootFolder, Turn};
use super::{RefreshedRoot, RootSource, TARGET, bounds, chain};

/// Why a refresh gave no root. What was good before is still.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefreshError {
    /// Another process is at it, and does not end.
    #[error("another process has been refreshing this trust root for more than a minute")]
    Busy,
    /// The repository's word is too old: it is not kept any more, or somebody holds newer words back (a freeze attack).
    #[error("what the TUF repository says has expired: {problem}")]
    Expired {
        /// Which part, and when.
        problem: String,
    },
    /// It is older than what was seen before: somebody serves an old copy (a rollback attack).
    #[error("the TUF repository says something older than before: {problem}")]
    RolledBack {
        /// Which part, and which versions.
        problem: String,
    },
    /// It is not signed by enough of those who may, or its parts do not belong together.
    #[error("the TUF repository cannot be believed: {problem}")]
    Untrusted {
        /// What is wrong.
        problem: String,
    },
    /// It cannot be read, or too much comes.
    #[error("the TUF repository cannot be read: {problem}")]
    Unreachable {
        /// What is wrong.
        problem: String,
    },
    /// What it vouches for is no trusted root that this version can use.
    #[error("the trusted root of the TUF repository cannot be used: {problem}")]
    Unusable {
        /// What is wrong.
        problem: String,
    },
}

impl RefreshError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Busy => "wait for it, or end it; what was good before stays in use",
            Self::Expired { .. } => {
                "check this machine's clock; else the repository or its mirror is not kept any more: ask whoever runs it"
            }
            Self::RolledBack { .. } => {
                "ask whoever runs the mirror why it is behind; what was good before stays in use"
            }
            Self::Untrusted { .. } => {
                "check that address and root belong to one repository; what was good before stays in use"
            }
            Self::Unreachable { .. } => "check the address and the way to it; what was good before stays in use",
            Self::Unusable { .. } => "a newer version of this program may know it; what was good before stays in use",
        }
    }

    fn of(error: &Error) -> Self {
        let problem = chain(error);
        match error {
            Error::Expired { .. } => Self::Expired { problem },
            Error::Rollback { .. } => Self::RolledBack { problem },
            Error::Transport { .. } | Error::Io { .. } => Self::Unreachable { problem },
            _ => Self::Untrusted { problem },
        }
    }
}

/// Asks a repository for its trusted root, and keeps what is good in the folder, when there is one.
///
/// # Errors
/// [`RefreshError`]; the folder's last good root is untouched then.
pub async fn refresh(
    source: &RootSource,
    folder: Option<&TrustRootFolder>,
    now: Timestamp,
) -> Result<RefreshedRoot, RefreshError> {
    refresh_after(source, folder, &mut Remembered::default(), now).await
}

/// The same, by a process that has asked before: nothing older than what it remembers is believed. What is verified now is
/// remembered, also when the refresh then fails.
pub(super) async fn refresh_after(
    source: &RootSource,
    folder: Option<&TrustRootFolder>,
    remembered: &mut Remembered,
    now: Timestamp,
) -> Result<RefreshedRoot, RefreshError> {
    let _turn = turn(source, folder).await?;
    let repository = source.mirror().open().map_err(|error| RefreshError::of(&error))?;
    let before = remembered.clone();
    let seen = Arc::new(Seen { files: Mutex::default(), folder: folder.map(|folder| folder.of(source)), before });
    let refreshed = refresh_seen(source, folder, repository, &seen, now).await;
    let files = seen.files.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // Lists that are delegated to, and documents, are no floor: they are looked up from those that are.
    let is_floor = |name: &str| {
        matches!(name, "timestamp.json" | "snapshot.json" | "targets.json") || name.starts_with("root_history/")
    };
    remembered.extend(files.into_iter().filter(|(name, _)| is_floor(name)));
    refreshed
}

async fn turn(source: &RootSource, folder: Option<&TrustRootFolder>) -> Result<Option<Turn>, RefreshError> {
    match folder {
        Some(folder) => folder.turn(source).await.map(Some).ok_or(RefreshError::Busy),
        None => Ok(None),
    }
}

/// The same, from anything that can be read.
#[cfg(test)]
pub(super) async fn refresh_from(
    source: &RootSource,
    folder: Option<&TrustRootFolder>,
    repository: impl Repository + 'static,
    now: Timestamp,
) -> Result<RefreshedRoot, RefreshError> {
    let _turn = turn(source, folder).await?;
    refresh_in_turn(source, folder, repository, now).await
}

/// The same, by whoever has the turn.
#[cfg(test)]
pub(super) async fn refresh_in_turn(
    source: &RootSource,
    folder: Option<&TrustRootFolder>,
    repository: impl Repository + 'static,
    now: Timestamp,
) -> Result<RefreshedRoot, RefreshError> {
    let folder_of = folder.map(|folder| folder.of(source));
    let seen = Arc::new(Seen { files: Mutex::default(), folder: folder_of, before: Remembered::default() });
    refresh_seen(source, folder, repository, &seen, now).await
}

async fn refresh_seen(
    source: &RootSource,
    folder: Option<&TrustRootFolder>,
    repository: impl Repository + 'static,
    seen: &Arc<Seen>,
    now: Timestamp,
) -> Result<RefreshedRoot, RefreshError> {
    let updater = Updater::new(repository, source.entry()).map_err(|error| RefreshError::of(&error))?;
    let mut updater = updater.with_config(bounds()).with_store(Arc::clone(seen));
    let document = walk(&mut updater, now).await.map_err(|error| RefreshError::of(&error))?;
    let root = TrustedRoot::parse(&document).map_err(|error| RefreshError::Unusable { problem: chain(&error) })?;
    let refreshed = describe(&updater, root, document.clone(), now);
    if let Some(folder) = folder {
        let mut files = seen.files.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // The newest root is in its history, and the document stands beside.
        files.retain(|name, _| name != "root.json" && !name.starts_with("targets/"));
        let generation = Generation { refreshed_at: now, files, document };
        // It is kept only as it will be believed again.
        let kept = verify(source, &generation).and_then(|_| folder.keep(source, &generation));
        if let Err(problem) = kept {
            tracing::warn!(root = source.name(), problem, "the trusted root is in use, but is not kept on disk");
        }
    }
    Ok(refreshed)
}

async fn walk(updater: &mut Updater, now: Timestamp) -> Result<Vec<u8>, Error> {
    updater.refresh(now).await?;
    updater.get_target(TARGET, now).await
}

fn describe(updater: &Updater, root: TrustedRoot, document: Vec<u8>, at: Timestamp) -> RefreshedRoot {
    let trusted = updater.trusted();
    let timestamp = trusted.timestamp();
    RefreshedRoot {
        root,
        document,
        refreshed_at: at,
        fresh_until: timestamp.map_or(at, |timestamp| timestamp.expires),
        root_version: trusted.root().version,
        timestamp_version: timestamp.map_or(0, |timestamp| timestamp.version),
    }
}

/// Verifies what was kept, from the same root and with every signature, as of the time at which it was fresh.
pub(super) fn verify(source: &RootSource, generation: &Generation) -> Result<RefreshedRoot, String> {
    let updater = Updater::new(Kept(generation.clone()), source.entry()).map_err(|error| chain(&error))?;
    let mut updater = updater.with_config(bounds());
    // Nothing is waited for: everything is in memory.
    let document = walk(&mut updater, generation.refreshed_at).now_or_never();
    let document = document.ok_or("it waits for something")?.map_err(|error| chain(&error))?;
    let root = TrustedRoot::parse(&document).map_err(|error| chain(&error))?;
    Ok(describe(&updater, root, document, generation.refreshed_at))
}

/// What one refresh has verified: remembered to be kept together, and each written down at once, so that nothing older is
/// believed later, even if this refresh fails.
struct Seen {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    folder: Option<super::kept::Metadata>,
    /// What the process remembers, for where the folder has nothing.
    before: Remembered,
}

/// The newest metadata that a process has verified, by the names under which `sigstore-tuf` stores it.
pub(super) type Remembered = BTreeMap<String, Vec<u8>>;

impl MetadataStore for Seen {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = files.get(name) {
            return Ok(Some(bytes.clone()));
        }
        let kept = self.folder.as_ref().map_or(Ok(None), |folder| folder.read(name));
        let bytes = match (kept, self.before.get(name)) {
            (Ok(Some(kept)), _) => kept,
            (_, Some(before)) => before.clone(),
            (nothing, None) => return nothing,
        };
        files.insert(name.to_owned(), bytes.clone());
        Ok(Some(bytes))
    }

    fn store(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        // The same bytes are stored under a name without the version as well.
        if is_versioned_list(name) {
            return Ok(());
        }
        self.files.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), bytes.to_vec());
        self.folder.as_ref().map_or(Ok(()), |folder| folder.write(name, bytes))
    }
}

fn is_versioned_list(name: &str) -> bool {
    name.strip_suffix(".snapshot.json").is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What was kept, as a repository that can be read.
struct Kept(Generation);

impl Kept {
    fn metadata(&self, name: &str) -> Option<Vec<u8>> {
        let files = &self.0.files;
        if name.ends_with(".root.json") {
            return files.get(&format!("root_history/{name}")).cloned();
        }
        let unversioned = || name.split_once('.').and_then(|(_, name)| files.get(name));
        files.get(name).or_else(unversioned).cloned()
    }
}

impl Repository for Kept {
    fn fetch_metadata<'a>(&'a self, name: &'a str, max_length: u64) -> FetchFuture<'a> {
        let bytes = self.metadata(name).filter(|bytes| fits(bytes, max_length));
        Box::pin(std::future::ready(Ok(bytes)))
    }

    fn fetch_target<'a>(&'a self, _path: &'a str, max_length: u64) -> FetchFuture<'a> {
        let document = Some(self.0.document.clone()).filter(|bytes| fits(bytes, max_length));
        Box::pin(std::future::ready(Ok(document)))
    }
}

fn fits(bytes: &[u8], most: u64) -> bool {
    u64::try_from(bytes.len()).is_ok_and(|length| length <= most)
}
