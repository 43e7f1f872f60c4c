//! Files of credentials: each path gets its own, and what has changed in a file counts without a restart.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_policy::Code;
use hallmark_policy::evidence::Observation;
use hallmark_registry::{Configuration, CredentialSource, Registry};

use crate::credentials::{authorization, challenge};
use crate::scripted::{Scripted, client_with};

/// A registry that lets in who has the password of now, and keeps what it was shown.
pub(crate) struct Locked {
    pub(crate) server: Scripted,
    password: Arc<Mutex<String>>,
    shown: Arc<Mutex<Vec<String>>>,
}

impl Locked {
    pub(crate) async fn by(password: &str) -> Self {
        let password = Arc::new(Mutex::new(password.to_owned()));
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (lock, log) = (Arc::clone(&password), Arc::clone(&shown));
        let server = Scripted::with(
            move |request| {
                let header = authorization(request.headers());
                log.lock().unwrap().extend(header.clone());
                let wanted = format!("Basic {}", STANDARD.encode(format!("ann:{}", lock.lock().unwrap())));
                (header != Some(wanted)).then(|| challenge(r#"Basic realm="r""#))
            },
            |_, response| response,
        )
        .await;
        Self { server, password, shown }
    }

    pub(crate) fn change_password(&self, password: &str) {
        password.clone_into(&mut self.password.lock().unwrap());
    }

    /// What it was shown since the last time.
    pub(crate) fn take_shown(&self) -> Vec<String> {
        std::mem::take(&mut *self.shown.lock().unwrap())
    }

    /// What becomes of a question about an image that is not there: `None` is an answer, and we were let in.
    pub(crate) async fn ask(&self, client: &Registry, rest: &str) -> Option<(Code, String)> {
        match client.resolve(&self.server.reference(rest)).await {
            Observation::Absent => None,
            Observation::Unknown(cause) => Some((cause.code(), cause.detail().to_owned())),
            Observation::Found(digest) => Some((Code::RegistryInconsistent, format!("`{digest}` is not there"))),
        }
    }
}

pub(crate) fn client_as(credentials: CredentialSource) -> Registry {
    client_with(Configuration { credentials, ..Configuration::default() })
}

fn code(answer: &Option<(Code, String)>) -> Option<Code> {
    answer.as_ref().map(|(code, _)| *code)
}

fn entry(scope: &str, password: &str) -> String {
    format!(r#"{{"auths": {{"{scope}": {{"auth": "{}"}}}}}}"#, STANDARD.encode(format!("ann:{password}")))
}

fn from(path: &Path) -> CredentialSource {
    CredentialSource::from_paths(&[path.to_owned()]).unwrap()
}

#[tokio::test]
async fn a_password_that_was_changed_in_the_file_counts_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let registry = Locked::by("old").await;
    fs::write(&path, entry(&registry.server.host, "old")).unwrap();
    let client = client_as(from(&path));
    assert_eq!(registry.ask(&client, "app:v1").await, None);
    registry.change_password("new");
    assert_eq!(code(&registry.ask(&client, "app:v1").await), Some(Code::RegistryUnauthorized));
    fs::write(&path, entry(&registry.server.host, "new")).unwrap();
    registry.server.take_log();
    assert_eq!(registry.ask(&client, "app:v1").await, None);
    assert!(registry.server.take_log().len() <= 2, "the old one once at most, then the new one");
}

#[tokio::test]
async fn a_secret_that_the_kubelet_swaps_counts_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Locked::by("two").await;
    for (version, password) in [("..1", "one"), ("..2", "two")] {
        fs::create_dir(folder.path().join(version)).unwrap();
        let path = folder.path().join(version).join(".dockerconfigjson");
        fs::write(path, entry(&registry.server.host, password)).unwrap();
    }
    std::os::unix::fs::symlink("..1", folder.path().join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/.dockerconfigjson", folder.path().join(".dockerconfigjson")).unwrap();
    let client = client_as(from(folder.path()));
    assert_eq!(code(&registry.ask(&client, "app:v1").await), Some(Code::RegistryUnauthorized));
    std::os::unix::fs::symlink("..2", folder.path().join("..new")).unwrap();
    fs::rename(folder.path().join("..new"), folder.path().join("..data")).unwrap();
    assert_eq!(registry.ask(&client, "app:v1").await, None);
}

#[tokio::test]
async fn must_not_send_one_team_s_password_for_another_team_s_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth.json");
    let registry = Locked::by("canary").await;
    fs::write(&path, entry(&format!("{}/team-a", registry.server.host), "canary")).unwrap();
    let client = client_as(from(&path));
    for other in ["team-b/app:v1", "team-ab/app:v1", "app:v1"] {
        assert_eq!(code(&registry.ask(&client, other).await), Some(Code::RegistryUnauthorized), "{other}");
        assert!(registry.take_shown().is_empty(), "{other}");
    }
    assert_eq!(registry.ask(&client, "team-a/app:v1").await, None);
    assert_eq!(registry.take_shown().len(), 1);
    // Having been let in there opens nothing else.
    assert_eq!(code(&registry.ask(&client, "team-b/app:v1").await), Some(Code::RegistryUnauthorized));
    assert!(registry.take_shown().is_empty());
}
