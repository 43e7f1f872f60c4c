//! Files of credentials, read again when they change: after `docker login`, and when the kubelet swaps the links of a
//! mounted Secret.
//!
//! What was read last stays in force while a file cannot be read or is being written. An entry goes when its file goes,
//! unless the file was named: then somebody is told, and nothing else changes.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use zeroize::Zeroizing;

use super::docker_config::DockerConfig;
use super::error::CredentialError;
use super::limits::{LOOK_EVERY, MAX_FILE_BYTES, MAX_FILES};

/// The name of a file of the older form.
const DOCKERCFG: &str = ".dockercfg";
/// The key of a Secret of the type `kubernetes.io/dockerconfigjson`.
const DOCKERCONFIGJSON: &str = ".dockerconfigjson";

/// A file, or a directory of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) is_named: bool,
}

/// What is in some files, as of the last look.
#[derive(Clone, Default)]
pub(super) struct Files {
    pub(super) files: Vec<Arc<DockerConfig>>,
    /// Counts the changes.
    pub(super) generation: u64,
}

/// Files that are looked at.
pub(super) struct Watched {
    places: Vec<Place>,
    state: Mutex<State>,
}

struct State {
    now: Arc<Files>,
    read: BTreeMap<PathBuf, ReadFile>,
    /// What was wrong at the last look: said once, and not at every look.
    problems: Vec<CredentialError>,
    looked_at: Instant,
}

/// A file as it was read.
#[derive(Clone)]
struct ReadFile {
    stamp: Stamp,
    /// The index of its place, for the order of files.
    place: usize,
    config: Arc<DockerConfig>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watched {
    /// Reads every place.
    pub(super) fn open(places: Vec<Place>) -> Result<Self, CredentialError> {
        let mut read = BTreeMap::new();
        for (index, place) in places.iter().enumerate() {
            let paths = match list(place) {
                // Nobody has named it, and this user may not be meant to see it: somebody else's home.
                Err(error) if !place.is_named && !place.path.is_dir() => {
                    tracing::warn!(%error, hint = error.hint(), "a usual place of credentials is left out");
                    Vec::new()
                }
                listed => listed?,
            };
            for path in paths {
                let file = read_file(&path)?.map(|(stamp, config)| ReadFile { stamp, place: index, config });
                read.extend(file.map(|file| (path, file)));
            }
        }
        let now = Arc::new(Files { files: in_order(&read), generation: 0 });
        Ok(Self { places, state: Mutex::new(State { now, read, problems: Vec::new(), looked_at: Instant::now() }) })
    }

    /// What was read last.
    pub(super) fn now(&self) -> Arc<Files> {
        Arc::clone(&self.lock().now)
    }

    /// What is there, as of a short time ago.
    pub(super) async fn look(self: &Arc<Self>) -> Arc<Files> {
        if self.lock().looked_at.elapsed() < LOOK_EVERY { self.now() } else { self.look_now().await }
    }

    /// What is there now.
    pub(super) async fn look_now(self: &Arc<Self>) -> Arc<Files> {
        // The others do not wait: they use what was there.
        self.lock().looked_at = Instant::now();
        let this = Arc::clone(self);
        let _ = tokio::task::spawn_blocking(move || this.read_again()).await;
        self.now()
    }

    fn read_again(&self) {
        let before = self.lock().read.clone();
        let (mut read, mut problems) = (BTreeMap::new(), Vec::new());
        for (index, place) in self.places.iter().enumerate() {
            let paths = list(place).unwrap_or_else(|error| {
                problems.push(error);
                before.iter().filter(|(_, file)| file.place == index).map(|(path, _)| path.clone()).collect()
            });
            for path in paths {
                let known = before.get(&path);
                let file = again(&path, index, known).unwrap_or_else(|error| {
                    problems.push(error);
                    known.map(|known| ReadFile { stamp: stamp(&path).unwrap_or(known.stamp), ..known.clone() })
                });
                // A file that was named does not go: `list` has complained of it.
                let file = file.or_else(|| known.filter(|_| place.is_named && !place.path.exists()).cloned());
                read.extend(file.map(|file| (path, file)));
            }
        }
        let is_same = before.len() == read.len()
            && before.iter().zip(&read).all(|((a, one), (b, other))| a == b && Arc::ptr_eq(&one.config, &other.config));
        let mut state = self.lock();
        if !is_same {
            let generation = state.now.generation.wrapping_add(1);
            state.now = Arc::new(Files { files: in_order(&read), generation });
            tracing::info!(files = read.len(), "credentials of registries have changed");
        }
        for problem in problems.iter().filter(|problem| !state.problems.contains(problem)) {
            tracing::warn!(error = %problem, hint = problem.hint(), "credentials of registries stay as they were");
        }
        state.read = read;
        state.problems = problems;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock can leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file at a later look: as it was, as it is now, or gone.
fn again(path: &Path, place: usize, known: Option<&ReadFile>) -> Result<Option<ReadFile>, CredentialError> {
    match known {
        Some(known) if stamp(path) == Some(known.stamp) => Ok(Some(known.clone())),
        _ => Ok(read_file(path)?.map(|(stamp, config)| ReadFile { stamp, place, config })),
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata))
}

fn in_order(read: &BTreeMap<PathBuf, ReadFile>) -> Vec<Arc<DockerConfig>> {
    let mut files: Vec<_> = read.values().collect();
    // Stable: within a place, in the order of names.
    files.sort_by_key(|file| file.place);
    files.into_iter().map(|file| Arc::clone(&file.config)).collect()
}

/// The files of a place: itself, or what a directory and its directories hold that is a file of credentials by name.
fn list(place: &Place) -> Result<Vec<PathBuf>, CredentialError> {
    let path = &place.path;
    match fs::metadata(path) {
        // Only what is gone is gone: what cannot be looked at stays as it was.
        Err(error) if !place.is_named && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(error) => Err(CredentialError::Unreadable { path: path.clone(), problem: error.to_string() }),
        Ok(metadata) if metadata.is_dir() => {
            let mut found = Vec::new();
            gather(path, 1, &mut found)?;
            found.sort();
            Ok(found)
        }
        Ok(_) => Ok(vec![path.clone()]),
    }
}

fn gather(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), CredentialError> {
    let unreadable = |problem: String| CredentialError::Unreadable { path: folder.to_owned(), problem };
    for entry in fs::read_dir(folder).map_err(|error| unreadable(error.to_string()))? {
        let entry = entry.map_err(|error| unreadable(error.to_string()))?;
        let (name, path) = (entry.file_name(), entry.path());
        let Some(name) = name.to_str() else { continue };
        // The kubelet's own: `..data` and what it leads to, which the files' links lead to, too.
        if name.starts_with("..") {
            continue;
        }
        let is_ours = matches!(name, DOCKERCFG | DOCKERCONFIGJSON) || name.ends_with(".json");
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() && depth > 0 => gather(&path, depth - 1, found)?,
            Ok(metadata) if metadata.is_file() && is_ours => found.push(path),
            _ => {}
        }
        if found.len() > MAX_FILES {
            return Err(unreadable(format!("it has more than {MAX_FILES} files")));
        }
    }
    Ok(())
}

/// All of a file, however much there is; its size is only what somebody says of it.
pub(super) fn read_bounded(file: &fs::File, size: u64) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size.min(MAX_FILE_BYTES)).unwrap_or(0) + 1));
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= MAX_FILE_BYTES => Ok(bytes),
        _ => Err(format!("it has more than {MAX_FILE_BYTES} bytes")),
    }
}

/// A file's content; `None` when it is not there.
fn read_file(path: &Path) -> Result<Option<(Stamp, Arc<DockerConfig>)>, CredentialError> {
    let unreadable = |problem: String| CredentialError::Unreadable { path: path.to_owned(), problem };
    let system = |error: std::io::Error| unreadable(error.to_string());
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(system)?,
    };
    let stamp = Stamp::of(&file.metadata().map_err(system)?);
    let bytes = read_bounded(&file, stamp.length).map_err(unreadable)?;
    let name = path.display().to_string();
    let parsed = match path.file_name().is_some_and(|name| name == DOCKERCFG) {
        true => DockerConfig::parse_dockercfg(&name, &bytes),
        false => DockerConfig::parse(&name, &bytes),
    };
    let config = parsed.map_err(|problem| CredentialError::Malformed { path: path.to_owned(), problem })?;
    Ok(Some((stamp, Arc::new(config))))
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path, is_named: bool) -> Watched {
        Watched::open(vec![Place { path: path.to_owned(), is_named }]).unwrap()
    }

    fn file(host: &str) -> String {
        format!(r#"{{"auths": {{"{host}": {{"username": "u", "password": "p"}}}}}}"#)
    }

    fn knows(watched: &Watched, host: &str) -> bool {
        let repository = format!("{host}/x").parse().unwrap();
        watched.now().files.iter().any(|file| file.covering(&repository).next().is_some())
    }

    #[test]
    fn the_links_that_the_kubelet_swaps_are_followed_and_each_secret_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("team-a");
        for (version, host) in [("..1", "one.example"), ("..2", "two.example")] {
            fs::create_dir_all(secret.join(version)).unwrap();
            fs::write(secret.join(version).join(DOCKERCONFIGJSON), file(host)).unwrap();
        }
        std::os::unix::fs::symlink("..1", secret.join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/.dockerconfigjson", secret.join(DOCKERCONFIGJSON)).unwrap();
        fs::write(secret.join("notes.txt"), "not credentials").unwrap();
        let watched = open(folder.path(), true);
        assert_eq!(watched.now().files.len(), 1);
        assert!(knows(&watched, "one.example") && !knows(&watched, "two.example"));
        watched.read_again();
        assert_eq!(watched.now().generation, 0, "nothing changed");
        std::os::unix::fs::symlink("..2", secret.join("..new")).unwrap();
        fs::rename(secret.join("..new"), secret.join("..data")).unwrap();
        watched.read_again();
        assert!(knows(&watched, "two.example") && !knows(&watched, "one.example"));
        assert_eq!(watched.now().generation, 1);
        fs::create_dir(folder.path().join("team-b")).unwrap();
        fs::write(folder.path().join("team-b/.dockercfg"), r#"{"old.example": {"auth": "YTpi"}}"#).unwrap();
        watched.read_again();
        assert!(knows(&watched, "two.example") && knows(&watched, "old.example"));
        fs::remove_dir_all(&secret).unwrap();
        watched.read_again();
        assert!(!knows(&watched, "two.example") && knows(&watched, "old.example"), "a deleted Secret is gone");
    }

    #[test]
    fn must_not_forget_what_a_file_said_because_it_is_damaged_or_a_named_one_is_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs::write(&path, file("r.example")).unwrap();
        let (named, usual) = (open(&path, true), open(&path, false));
        for text in ["", "{", "{\"auths\": []}", &"x".repeat(1024 * 1024 + 1)] {
            fs::write(&path, text).unwrap();
            for watched in [&named, &usual] {
                watched.read_again();
                assert!(knows(watched, "r.example"));
            }
        }
        fs::remove_file(&path).unwrap();
        named.read_again();
        usual.read_again();
        assert!(knows(&named, "r.example"), "it was named");
        assert!(!knows(&usual, "r.example"), "after `docker logout`");
        fs::write(&path, file("s.example")).unwrap();
        for watched in [&named, &usual] {
            watched.read_again();
            assert!(knows(watched, "s.example") && !knows(watched, "r.example"));
        }
    }

    #[test]
    fn must_not_forget_what_a_usual_file_said_because_its_folder_cannot_be_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let (home, away) = (folder.path().join("home"), folder.path().join("away"));
        fs::create_dir(&home).unwrap();
        let path = home.join("config.json");
        fs::write(&path, file("r.example")).unwrap();
        let watched = open(&path, false);
        fs::rename(&home, &away).unwrap();
        std::os::unix::fs::symlink(&home, &home).unwrap();
        watched.read_again();
        assert!(knows(&watched, "r.example"));
        // Whoever begins now knows nothing, and begins.
        assert!(!knows(&open(&path, false), "r.example"));
        fs::remove_file(&home).unwrap();
        watched.read_again();
        assert!(!knows(&watched, "r.example"), "a folder that is gone is gone");
        fs::rename(&away, &home).unwrap();
        watched.read_again();
        assert!(knows(&watched, "r.example"));
    }

    #[test]
    fn files_are_in_the_order_of_their_places_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| Place { path: folder.path().join(name), is_named: true };
        for (name, user) in [("b.json", "b"), ("a.json", "a")] {
            let text = format!(r#"{{"auths": {{"r.example": {{"username": "{user}", "password": "p"}}}}}}"#);
            fs::write(folder.path().join(name), text).unwrap();
        }
        let names = |places: Vec<Place>| {
            let files = Watched::open(places).unwrap().now();
            files
                .files
                .iter()
                .map(|file| file.path.as_ref().unwrap().rsplit('/').next().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(vec![place("b.json"), place("a.json")]), ["b.json", "a.json"]);
        assert_eq!(names(vec![place("")]), ["a.json", "b.json"]);
        let many = tempfile::tempdir().unwrap();
        for number in 0..MAX_FILES {
            fs::write(many.path().join(format!("{number}.json")), "{}").unwrap();
        }
        assert!(Watched::open(vec![Place { path: many.path().to_owned(), is_named: true }]).is_ok());
        fs::write(many.path().join("more.json"), "{}").unwrap();
        assert!(Watched::open(vec![Place { path: many.path().to_owned(), is_named: true }]).is_err());
        assert!(Watched::open(vec![place("missing.json")]).is_err());
        assert!(Watched::open(vec![Place { is_named: false, ..place("missing.json") }]).is_ok());
    }
}
