//! Docker's `config.json` and Podman's `auth.json` (containers-auth.json(5)).
//!
//! Keys of `auths` are hosts, URLs of hosts as old Docker versions wrote them, or hosts with a path (Podman). An entry
//! speaks for its own host and for repositories at or below its path, and for nothing else (CVE-2019-10214).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hallmark_policy::image::Repository;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Credential, Secret};
use crate::configuration::normal_host;

/// Most entries of one file.
const MAX_ENTRIES: usize = 10_000;
/// Docker writes the padding, other programs leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One file of credentials.
#[derive(Clone)]
pub(super) struct DockerConfig {
    /// Where it came from, for messages.
    pub(super) name: String,
    entries: Vec<Scoped>,
    /// Helpers of single hosts.
    host_helpers: BTreeMap<String, String>,
    /// The helper of all hosts.
    default_helper: Option<String>,
}

#[derive(Clone)]
struct Scoped {
    host: String,
    path: String,
    credential: Credential,
}

/// What a file says of a repository.
#[derive(Clone)]
pub(super) enum Entry {
    Credential(Credential),
    Helper(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    auths: Option<BTreeMap<String, AuthEntry>>,
    #[serde(default)]
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct AuthEntry {
    auth: Option<Secret>,
    username: Option<Secret>,
    password: Option<Secret>,
    identitytoken: Option<Secret>,
}

impl DockerConfig {
    /// Parses a file. The problem never repeats content, which may be secret.
    pub(super) fn parse(name: &str, bytes: &[u8]) -> Result<Self, String> {
        // Without this, a JSON array would be read as the fields of the document in their order.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err("it is not a JSON object".to_owned());
        }
        let document: Document = serde_json::from_slice(bytes)
            .map_err(|error| format!("line {}, column {}: not the expected JSON", error.line(), error.column()))?;
        let auths = document.auths.unwrap_or_default();
        if auths.len() > MAX_ENTRIES {
            return Err(format!("it has {} entries, and the limit is {MAX_ENTRIES}", auths.len()));
        }
        let mut entries = Vec::new();
        for (key, entry) in auths {
            // Keys that name no host (such as a helper's own bookkeeping) speak for no registry.
            let Some((host, path)) = split_key(&key) else { continue };
            let problem = |problem: &str| format!("the entry `{key}` {problem}");
            if let Some(credential) = entry.credential().map_err(problem)? {
                entries.push(Scoped { host, path, credential });
            }
        }
        let helpers = document.cred_helpers.unwrap_or_default();
        let host_helpers = helpers.into_iter().filter_map(|(key, helper)| Some((split_key(&key)?.0, helper))).collect();
        let default_helper = document.creds_store.filter(|helper| !helper.is_empty());
        Ok(Self { name: name.to_owned(), entries, host_helpers, default_helper })
    }

    /// A file with one entry.
    pub(super) fn with_password(scope: &str, username: &str, password: &str) -> Self {
        let credential = Credential::Basic {
            username: Secret::new(username.to_owned()),
            password: Secret::new(password.to_owned()),
        };
        let entries = split_key(scope).map(|(host, path)| Scoped { host, path, credential });
        Self {
            name: "password".to_owned(),
            entries: entries.into_iter().collect(),
            host_helpers: BTreeMap::new(),
            default_helper: None,
        }
    }

    /// The entry with the longest path that covers a repository; a helper where there is none.
    pub(super) fn find(&self, repository: &Repository) -> Option<Entry> {
        if let Some(helper) = self.host_helpers.get(repository.host()) {
            return Some(Entry::Helper(helper.clone()));
        }
        let covering = self.entries.iter().filter(|entry| entry.covers(repository));
        match covering.max_by_key(|entry| entry.path.len()) {
            Some(entry) => Some(Entry::Credential(entry.credential.clone())),
            None => self.default_helper.clone().map(Entry::Helper),
        }
    }
}

impl Scoped {
    fn covers(&self, repository: &Repository) -> bool {
        self.host == repository.host()
            && (self.path.is_empty()
                || repository
                    .path()
                    .strip_prefix(self.path.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }
}

impl AuthEntry {
    /// The credential of an entry; `None` for the empty entries that `docker login` leaves beside a helper.
    fn credential(self) -> Result<Option<Credential>, &'static str> {
        if let Some(token) = self.identitytoken.filter(|token| !token.expose().is_empty()) {
            return Ok(Some(Credential::IdentityToken(token)));
        }
        if let Some(auth) = self.auth.filter(|auth| !auth.expose().is_empty()) {
            let bytes = BASE64.decode(auth.expose().trim()).map_err(|_| "has an `auth` that is not base64")?;
            let bytes = Zeroizing::new(bytes);
            let text = std::str::from_utf8(&bytes).map_err(|_| "has an `auth` that is not text")?;
            let (username, password) = text.split_once(':').ok_or("has an `auth` without a colon")?;
            // Some versions of Docker pad the password with zero bytes.
            let password = password.trim_end_matches('\0');
            return Ok(Some(Credential::Basic {
                username: Secret::new(username.to_owned()),
                password: Secret::new(password.to_owned()),
            }));
        }
        match (self.username, self.password) {
            (Some(username), Some(password)) if !username.expose().is_empty() => {
                Ok(Some(Credential::Basic { username, password }))
            }
            _ => Ok(None),
        }
    }
}

/// Host and path of a key: `registry.example.com/team`, `https://index.docker.io/v1/`.
fn split_key(key: &str) -> Option<(String, String)> {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let was_url = bare.is_some();
    let bare = bare.unwrap_or(key).trim_end_matches('/');
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    // The version of the registry's API is part of the old URLs, not of a repository's path.
    let path = if was_url && matches!(path, "v1" | "v2") { "" } else { path };
    Some((normal_host(host).ok()?, path.trim_matches('/').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(file: &DockerConfig, repository: &str) -> String {
        match file.find(&repository.parse().unwrap()) {
            None => "none".to_owned(),
            Some(Entry::Helper(helper)) => format!("helper {helper}"),
            Some(Entry::Credential(Credential::Basic { username, password })) => {
                format!("{}:{}", username.expose(), password.expose())
            }
            Some(Entry::Credential(Credential::IdentityToken(token))) => format!("token {}", token.expose()),
        }
    }

    #[test]
    fn the_longest_path_decides_and_other_hosts_get_nothing() {
        let file = DockerConfig::parse(
            "test",
            br#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "aHViOnNlY3JldA=="},
                "r.example": {"auth": "aG9zdDpwYXNz"},
                "r.example/team-a": {"username": "a", "password": "1"},
                "r.example/team-a/app": {"username": "app", "password": "2"},
                "https://r.example:5000/v2/": {"auth": "cG9ydDpwOnc"},
                "acr.example": {"auth": "MDAwOg==", "identitytoken": "refresh"},
                "empty.example": {},
                "not a host": {"auth": "eDp5"}
            }, "HttpHeaders": {"User-Agent": "x"}}"#,
        )
        .unwrap();
        for (repository, expected) in [
            ("nginx", "hub:secret"),
            ("r.example/x", "host:pass"),
            ("r.example/team-a", "a:1"),
            ("r.example/team-a/lib", "a:1"),
            ("r.example/team-a/app/x", "app:2"),
            ("r.example/team-ab", "host:pass"),
            ("r.example/team-a/app2", "a:1"),
            ("r.example:5000/x", "port:p:w"),
            ("r.example:5001/x", "none"),
            ("r.example.evil.example/x", "none"),
            ("acr.example/x", "token refresh"),
            ("empty.example/x", "none"),
        ] {
            assert_eq!(name(&file, repository), expected, "{repository}");
        }
    }

    #[test]
    fn a_helper_is_named_and_not_passed_over_in_silence() {
        let file = DockerConfig::parse(
            "test",
            br#"{"auths": {"r.example": {}, "plain.example": {"auth": "YTpi"}}, "credsStore": "desktop",
                 "credHelpers": {"gcr.example": "gcloud"}}"#,
        )
        .unwrap();
        assert_eq!(name(&file, "r.example/x"), "helper desktop");
        assert_eq!(name(&file, "plain.example/x"), "a:b");
        assert_eq!(name(&file, "gcr.example/x"), "helper gcloud");
    }

    #[test]
    fn must_not_read_what_is_not_a_file_of_credentials() {
        for text in [
            "",
            "[]",
            "{\"auths\": []}",
            r#"{"auths": {"r.example": {"auth": "!"}}}"#,
            r#"{"auths": {"r.example": {"auth": "bm9jb2xvbg=="}}}"#,
        ] {
            assert!(DockerConfig::parse("test", text.as_bytes()).is_err(), "{text}");
        }
        assert!(DockerConfig::parse("test", b"{}").is_ok());
        assert!(DockerConfig::parse("test", br#"{"auths": null}"#).is_ok());
    }
}
