//! Docker's `config.json`, Podman's `auth.json` (containers-auth.json(5)), and Kubernetes' Secrets of the types
//! `kubernetes.io/dockerconfigjson` and `kubernetes.io/dockercfg`.
//!
//! Keys of `auths` and `credHelpers` are hosts, URLs of hosts as old Docker versions wrote them, hosts with a path
//! (Podman), or patterns of hosts (Kubernetes). An entry speaks for its own scope, and for nothing else (CVE-2019-10214).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hallmark_policy::image::Repository;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::docker_helper::is_helper_name;
use super::limits::MAX_ENTRIES;
use super::scope::{Narrowness, Scope};
use super::{Credential, Secret};

/// Docker writes the padding, other programs leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One file of credentials.
#[derive(Clone)]
pub(super) struct DockerConfig {
    /// The file; none for what was handed in.
    pub(super) path: Option<String>,
    entries: Vec<Entry>,
    /// The helper of all hosts.
    pub(super) default_helper: Option<String>,
}

#[derive(Clone)]
pub(super) struct Entry {
    pub(super) scope: Scope,
    pub(super) says: Says,
}

/// What a file says of a scope.
#[derive(Clone)]
pub(super) enum Says {
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
    pub(super) fn parse(path: &str, bytes: &[u8]) -> Result<Self, String> {
        let document: Document = object(bytes)?;
        let auths = document.auths.unwrap_or_default();
        let helpers = document.cred_helpers.unwrap_or_default();
        let count = auths.len() + helpers.len();
        if count > MAX_ENTRIES {
            return Err(format!("it has {count} entries, and the limit is {MAX_ENTRIES}"));
        }
        let mut entries = Vec::new();
        // A helper comes first where a scope has both: what stands beside it is what was written before it was set up.
        for (key, helper) in helpers.into_iter().filter(|(_, helper)| !helper.is_empty()) {
            check_helper(&helper)?;
            entries.extend(Scope::parse(&key).map(|scope| Entry { scope, says: Says::Helper(helper) }));
        }
        entries.extend(credentials(auths)?);
        let default_helper = document.creds_store.filter(|helper| !helper.is_empty());
        default_helper.as_deref().map(check_helper).transpose()?;
        Ok(Self { path: Some(path.to_owned()), entries, default_helper })
    }

    /// Parses a file of the older form, which is the `auths` alone.
    pub(super) fn parse_dockercfg(path: &str, bytes: &[u8]) -> Result<Self, String> {
        let auths: BTreeMap<String, AuthEntry> = object(bytes)?;
        if auths.len() > MAX_ENTRIES {
            return Err(format!("it has {} entries, and the limit is {MAX_ENTRIES}", auths.len()));
        }
        Ok(Self { path: Some(path.to_owned()), entries: credentials(auths)?, default_helper: None })
    }

    /// A file with one entry.
    pub(super) fn with_password(scope: &str, username: &str, password: &str) -> Self {
        let credential = Credential::basic(username, password);
        let entry = Scope::parse(scope).map(|scope| Entry { scope, says: Says::Credential(credential) });
        Self { path: None, entries: entry.into_iter().collect(), default_helper: None }
    }

    /// The entries that cover a repository.
    pub(super) fn covering(&self, repository: &Repository) -> impl Iterator<Item = (Narrowness, &Entry)> {
        let covering = self.entries.iter().filter(|entry| entry.scope.covers(repository));
        covering.map(|entry| (entry.scope.narrowness(), entry))
    }
}

fn object<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, String> {
    // Without this, a JSON array would be read as the fields of the document in their order.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err("it is not a JSON object".to_owned());
    }
    serde_json::from_slice(bytes)
        .map_err(|error| format!("line {}, column {}: not the expected JSON", error.line(), error.column()))
}

fn check_helper(name: &str) -> Result<(), String> {
    if is_helper_name(name) { Ok(()) } else { Err("it names a credential helper that is not a name".to_owned()) }
}

fn credentials(auths: BTreeMap<String, AuthEntry>) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for (key, entry) in auths {
        // Keys that name no host (such as a helper's own bookkeeping) speak for no registry.
        let Some(scope) = Scope::parse(&key) else { continue };
        let credential = entry.credential().map_err(|problem| format!("the entry `{key}` {problem}"))?;
        entries.extend(credential.map(|credential| Entry { scope, says: Says::Credential(credential) }));
    }
    Ok(entries)
}

impl AuthEntry {
    /// The credential of an entry; `None` for the empty entries that `docker login` leaves beside a helper.
    fn credential(self) -> Result<Option<Credential>, &'static str> {
        let pair = self.pair()?;
        if let Some(token) = self.identitytoken.filter(|token| !token.expose().is_empty()) {
            let username = pair.map_or_else(|| Secret::new(String::new()), |(username, _)| username);
            return Ok(Some(Credential::IdentityToken { username, token }));
        }
        Ok(pair.map(|(username, secret)| Credential::new(username, secret)))
    }

    fn pair(&self) -> Result<Option<(Secret, Secret)>, &'static str> {
        let some = |secret: &Option<Secret>| secret.clone().filter(|secret| !secret.expose().is_empty());
        if let Some(auth) = some(&self.auth) {
            let bytes = BASE64.decode(auth.expose().trim()).map_err(|_| "has an `auth` that is not base64")?;
            let bytes = Zeroizing::new(bytes);
            let text = std::str::from_utf8(&bytes).map_err(|_| "has an `auth` that is not text")?;
            let (username, password) = text.split_once(':').ok_or("has an `auth` without a colon")?;
            // Some versions of Docker pad the password with zero bytes.
            let password = password.trim_end_matches('\0');
            return Ok(Some((Secret::new(username.to_owned()), Secret::new(password.to_owned()))));
        }
        Ok(some(&self.username).zip(self.password.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(file: &DockerConfig, repository: &str) -> String {
        let repository = repository.parse().unwrap();
        let mut covering: Vec<_> = file.covering(&repository).collect();
        covering.sort_by_key(|(narrowness, _)| std::cmp::Reverse(*narrowness));
        match covering.first().map(|(_, entry)| &entry.says) {
            None => file.default_helper.as_ref().map_or("none".to_owned(), |helper| format!("helper {helper}")),
            Some(Says::Helper(helper)) => format!("helper {helper}"),
            Some(Says::Credential(Credential::Basic { username, password })) => {
                format!("{}:{}", username.expose(), password.expose())
            }
            Some(Says::Credential(Credential::IdentityToken { token, .. })) => format!("token {}", token.expose()),
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
                 "credHelpers": {"gcr.example": "gcloud", "https://paths.example/team-a": "a", "paths.example": ""}}"#,
        )
        .unwrap();
        assert_eq!(name(&file, "r.example/x"), "helper desktop");
        assert_eq!(name(&file, "plain.example/x"), "a:b");
        assert_eq!(name(&file, "gcr.example/x"), "helper gcloud");
        assert_eq!(name(&file, "paths.example/team-a/x"), "helper a");
        assert_eq!(name(&file, "paths.example/team-b/x"), "helper desktop");
    }

    #[test]
    fn must_not_read_what_is_not_a_file_of_credentials() {
        for text in [
            "",
            "[]",
            "{\"auths\": []}",
            r#"{"auths": {"r.example": {"auth": "!"}}}"#,
            r#"{"auths": {"r.example": {"auth": "bm9jb2xvbg=="}}}"#,
            r#"{"credsStore": "../evil"}"#,
            r#"{"credHelpers": {"r.example": "a b"}}"#,
        ] {
            assert!(DockerConfig::parse("test", text.as_bytes()).is_err(), "{text}");
        }
        assert!(DockerConfig::parse("test", b"{}").is_ok());
        assert!(DockerConfig::parse("test", br#"{"auths": null}"#).is_ok());
    }

    #[test]
    fn the_older_form_and_the_patterns_of_kubernetes_are_read() {
        let old = br#"{"https://index.docker.io/v1/": {"username": "a", "password": "1", "email": "a@b.example"}}"#;
        assert_eq!(name(&DockerConfig::parse_dockercfg("test", old).unwrap(), "nginx"), "a:1");
        assert_eq!(name(&DockerConfig::parse("test", old).unwrap(), "nginx"), "none");
        let file = br#"{"auths": {"*.r.example": {"auth": "YTpi"}, "a.r.example": {"auth": "Yzpk"}}}"#;
        let file = DockerConfig::parse("test", file).unwrap();
        assert_eq!((name(&file, "a.r.example/x"), name(&file, "b.r.example/x")), ("c:d".to_owned(), "a:b".to_owned()));
        assert_eq!(name(&file, "b.r.example.evil.example/x"), "none");
        for text in ["[]", "{\"r.example\": 1}", "{\"auths\": []}"] {
            assert!(DockerConfig::parse_dockercfg("test", text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn fuzz_docker_config() {
        let seeds = [
            r#"{"auths":{"r.example":{"auth":"YW5uOmNhbmFyeQ=="},"https://index.docker.io/v1/":{"auth":"YTpi"},"*.example/team":{"username":"ann","password":"canary"}}}"#,
            r#"{"auths":{"r.example":{"identitytoken":"canary"}},"credsStore":"desktop","credHelpers":{"gcr.example/a":"gcloud"}}"#,
        ];
        let words =
            ["\"auth\":", "\"canary\"", "null", "{}", "[]", "https://", "/v2/", "r.example", ":", "=", "*", "?"];
        let repository = "elsewhere.test/app".parse().unwrap();
        hallmark_fuzz_driver::Fuzz::new("docker-config").seeds(seeds).words(&words).run(|bytes| {
            match DockerConfig::parse("test", bytes) {
                Ok(file) => {
                    // What is written for some hosts is never found for one that no pattern covers.
                    let may_cover = bytes.iter().any(|byte| b"*?[\\".contains(byte));
                    let covers = file.covering(&repository).next().is_some();
                    assert!(may_cover || !covers, "an entry speaks for another host");
                    format!("{covers} {}", file.default_helper.is_some())
                }
                Err(problem) => {
                    assert!(!problem.contains("canary"), "a secret is shown: {problem}");
                    format!("{problem:.40}")
                }
            }
        });
    }
}
