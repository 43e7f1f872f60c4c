//! The kubelet's credential provider plugins (kubernetes.io, "Configure a kubelet image credential provider"): the same
//! configuration and the same programs, so that what gives a node's kubelet its credentials gives them to us.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hallmark_policy::image::Repository;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::answers::{About, Answer};
use super::docker_helper::is_helper_name;
use super::error::CredentialError;
use super::files::read_bounded;
use super::limits::{MAX_PATTERNS, MAX_PROVIDERS};
use super::program::{Output, Program, RunError, is_program, run};
use super::scope::Scope;
use super::{Credential, Secret};
use crate::quote::quote;

/// The version of the configuration.
const CONFIG_VERSION: &str = "kubelet.config.k8s.io/v1";
/// The version of what is said to providers and by them.
const PROVIDER_VERSION: &str = "credentialprovider.kubelet.k8s.io/v1";

/// A program that is asked about the images that its patterns cover, and about no other.
pub(super) struct Provider {
    pub(super) name: String,
    pub(super) program: Program,
    images: Vec<Scope>,
    default_lifetime: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    providers: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    name: String,
    match_images: Vec<String>,
    default_cache_duration: String,
    api_version: String,
    args: Option<Vec<String>>,
    env: Option<Vec<Variable>>,
    token_attributes: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    name: String,
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    api_version: &'static str,
    kind: &'static str,
    image: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    api_version: String,
    kind: String,
    cache_key_type: CacheKeyType,
    cache_duration: Option<String>,
    auth: Option<BTreeMap<String, Pair>>,
}

#[derive(Deserialize)]
enum CacheKeyType {
    Image,
    Registry,
    Global,
}

#[derive(Deserialize)]
struct Pair {
    #[serde(default = "Secret::empty")]
    username: Secret,
    #[serde(default = "Secret::empty")]
    password: Secret,
}

/// Reads a configuration. The programs are in one directory.
pub(super) fn read(config: &Path, programs: &Path) -> Result<Vec<Arc<Provider>>, CredentialError> {
    let fail = |problem: String| CredentialError::Providers { path: config.to_owned(), problem };
    let unreadable = |error: std::io::Error| fail(error.to_string());
    let file = std::fs::File::open(config).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let bytes = read_bounded(&file, size).map_err(fail)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| fail(error.to_string()))?;
    let programs = std::path::absolute(programs).map_err(unreadable)?;
    parse(text, &programs).map_err(fail)
}

fn parse(text: &str, programs: &Path) -> Result<Vec<Arc<Provider>>, String> {
    let document: Document = serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())?;
    if document.kind != "CredentialProviderConfig" || document.api_version != CONFIG_VERSION {
        return Err(format!("it is not a `CredentialProviderConfig` of `apiVersion: {CONFIG_VERSION}`"));
    }
    if document.providers.is_empty() || document.providers.len() > MAX_PROVIDERS {
        return Err(format!("it has {} providers, and must have 1 to {MAX_PROVIDERS}", document.providers.len()));
    }
    let mut names = BTreeSet::new();
    let mut providers = Vec::new();
    for entry in document.providers {
        let name = quote(&entry.name);
        if !names.insert(entry.name.clone()) {
            return Err(format!("the provider `{name}` is there twice"));
        }
        providers.push(Arc::new(entry.check(programs).map_err(|problem| format!("the provider `{name}` {problem}"))?));
    }
    Ok(providers)
}

impl Entry {
    fn check(self, programs: &Path) -> Result<Provider, String> {
        if !is_helper_name(&self.name) {
            return Err("has a name that is not the name of a program".to_owned());
        }
        if self.api_version != PROVIDER_VERSION {
            let version = quote(&self.api_version);
            return Err(format!("speaks `{version}`; only `{PROVIDER_VERSION}` is spoken here"));
        }
        if self.token_attributes.is_some() {
            return Err("has `tokenAttributes`: service account tokens of the pods are the kubelet's, and there are \
                        none here; give the provider credentials of the verifier's own"
                .to_owned());
        }
        let count = self.match_images.len();
        if count == 0 || count > MAX_PATTERNS {
            return Err(format!("has {count} `matchImages`, and must have 1 to {MAX_PATTERNS}"));
        }
        let mut images = Vec::new();
        for pattern in &self.match_images {
            let scope = Scope::parse(pattern);
            images.push(scope.ok_or_else(|| {
                let pattern = quote(pattern);
                format!("has `{pattern}` in `matchImages`, which is not a host such as `*.dkr.ecr.*.amazonaws.com`")
            })?);
        }
        let default_lifetime = duration(&self.default_cache_duration)
            .ok_or("has a `defaultCacheDuration` that is not a length of time such as `12h`")?;
        let environment: Vec<_> = self.env.into_iter().flatten().map(|entry| (entry.name, entry.value)).collect();
        if environment.iter().any(|(name, value)| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0'))
        {
            return Err("has an `env` with a name that no variable can have".to_owned());
        }
        let path = programs.join(&self.name);
        if !is_program(&path) {
            return Err(format!("is no program: there is no executable file `{}`", path.display()));
        }
        let program = Program { path, arguments: self.args.unwrap_or_default(), environment };
        Ok(Provider { name: self.name, program, images, default_lifetime })
    }
}

impl Provider {
    /// Whether it may be asked about a repository at all.
    pub(super) fn covers(&self, repository: &Repository) -> bool {
        self.images.iter().any(|images| images.covers(repository))
    }

    /// Asks it about a repository.
    pub(super) async fn ask(&self, repository: &Repository, timeout: Duration) -> Result<Answer, String> {
        let image = repository.to_string();
        let request = Request { api_version: PROVIDER_VERSION, kind: "CredentialProviderRequest", image: &image };
        let request = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
        let output = run(&self.program, &request, timeout).await.map_err(|error: RunError| error.to_string())?;
        self.read(&output, repository)
    }

    fn read(&self, output: &Output, repository: &Repository) -> Result<Answer, String> {
        if !output.status.success() {
            let separator = if output.complaint.is_empty() { "" } else { ": " };
            return Err(format!("failed ({}){separator}{}", output.status, output.complaint));
        }
        let said = output.stdout.trim_ascii();
        if said.first() != Some(&b'{') {
            return Err("answered with something that is not a JSON object".to_owned());
        }
        // The problem is left out: it could repeat a secret.
        let response: Response = serde_json::from_slice(said)
            .map_err(|_| "answered with JSON that is not a `CredentialProviderResponse`".to_owned())?;
        if response.kind != "CredentialProviderResponse" || response.api_version != PROVIDER_VERSION {
            return Err(format!(
                "answered with something else than a `CredentialProviderResponse` of `{PROVIDER_VERSION}`"
            ));
        }
        let lifetime = match response.cache_duration {
            None => self.default_lifetime,
            Some(text) => duration(&text).ok_or("answered with a `cacheDuration` that is not a length of time")?,
        };
        let about = match response.cache_key_type {
            CacheKeyType::Image => About::Repository(repository.to_string()),
            CacheKeyType::Registry => About::Host(repository.host().to_owned()),
            CacheKeyType::Global => About::Everything,
        };
        let named =
            response.auth.unwrap_or_default().into_iter().filter(|(_, pair)| !pair.password.expose().is_empty());
        // A key that is no scope is for no image.
        let entries = named.filter_map(|(key, pair)| {
            Some((Scope::parse(&key)?, Credential::Basic { username: pair.username, password: pair.password }))
        });
        Ok(Answer { about, entries: entries.collect(), lifetime })
    }

    /// What tells it apart from other providers, besides what it answers.
    pub(super) fn identity(&self) -> Vec<String> {
        let mut parts = vec![self.name.clone()];
        parts.extend(self.program.arguments.iter().cloned());
        parts.extend(self.program.environment.iter().map(|(name, value)| format!("{name}={value}")));
        parts
    }
}

/// A length of time as Go writes it, not below zero.
fn duration(text: &str) -> Option<Duration> {
    text.parse::<SignedDuration>().ok()?.try_into().ok()
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use zeroize::Zeroizing;

    use super::*;

    const ECR: &str = r#"{name: ecr, matchImages: ["*.dkr.ecr.*.amazonaws.com"], defaultCacheDuration: 12h,
        apiVersion: credentialprovider.kubelet.k8s.io/v1, args: [get-credentials], env: [{name: AWS_PROFILE, value: ci}]}"#;

    fn config(provider: &str) -> String {
        format!("apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n  - {provider}\n")
    }

    fn programs() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ecr");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        folder
    }

    #[test]
    fn must_not_read_a_configuration_without_end() {
        let programs = programs();
        let error = read(Path::new("/dev/zero"), programs.path()).unwrap_err().to_string();
        assert!(error.contains("more than 1048576 bytes"), "{error}");
        // Its twin: as large as it may be.
        let file = programs.path().join("config.yaml");
        let padded = |length: usize| {
            let mut text = config(ECR);
            let room = length - text.len();
            text.push_str(&format!("#{}\n", "x".repeat(room - 2)));
            std::fs::write(&file, text).unwrap();
            read(&file, programs.path()).is_ok()
        };
        assert!(padded(1024 * 1024));
        assert!(!padded(1024 * 1024 + 1));
    }

    fn ecr() -> Arc<Provider> {
        parse(&config(ECR), programs().path()).unwrap().remove(0)
    }

    #[test]
    fn must_not_be_asked_about_images_that_no_pattern_covers() {
        let provider = ecr();
        let covers = |repository: &str| provider.covers(&repository.parse().unwrap());
        assert!(covers("1.dkr.ecr.eu-west-1.amazonaws.com/team/app"));
        for other in ["1.dkr.ecr.eu-west-1.amazonaws.com.evil.example/app", "amazonaws.com/app", "nginx"] {
            assert!(!covers(other), "{other}");
        }
        assert_eq!(provider.identity(), ["ecr", "get-credentials", "AWS_PROFILE=ci"]);
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_its_name() {
        let programs = programs();
        let problem = |text: &str| parse(text, programs.path()).unwrap_err();
        for (from, to, expected) in [
            ("name: ecr", "name: ../ecr", "not the name of a program"),
            ("name: ecr", "name: gcr", "no executable file"),
            ("credentialprovider.kubelet.k8s.io/v1", "credentialprovider.kubelet.k8s.io/v1beta1", "v1beta1"),
            ("12h", "soon", "defaultCacheDuration"),
            ("12h", "-1s", "defaultCacheDuration"),
            ("*.dkr.ecr", "*.[a]", "`*.[a].*.amazonaws.com`"),
            ("[\"*.dkr.ecr.*.amazonaws.com\"]", "[]", "0 `matchImages`"),
            ("AWS_PROFILE", "A=B", "env"),
            ("args:", "tokenAttributes: {serviceAccountTokenAudience: a}, args:", "tokenAttributes"),
            ("args:", "arguments:", "arguments"),
            ("defaultCacheDuration: 12h,", "", "defaultCacheDuration"),
        ] {
            let found = problem(&config(&ECR.replace(from, to)));
            assert!(found.contains(expected), "{to}: {found}");
        }
        assert!(problem(&config(ECR).replace("k8s.io/v1\n", "k8s.io/v1beta1\n")).contains("kubelet.config.k8s.io/v1"));
        assert!(problem(&config(&format!("{ECR}\n  - {ECR}"))).contains("twice"));
        assert!(
            problem("apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders: []")
                .contains("1 to")
        );
        assert!(parse(&config(ECR), programs.path()).is_ok());
    }

    fn said(stdout: &str) -> Result<Answer, String> {
        let stdout = Zeroizing::new(stdout.as_bytes().to_vec());
        let output = Output { status: ExitStatus::from_raw(0), stdout, complaint: String::new() };
        ecr().read(&output, &"1.dkr.ecr.eu-west-1.amazonaws.com/team/app".parse().unwrap())
    }

    fn response(rest: &str) -> String {
        format!(r#"{{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderResponse",{rest}}}"#)
    }

    #[test]
    fn must_not_use_an_answer_for_another_host_or_path() {
        let answer = said(&response(
            r#""cacheKeyType":"Registry","cacheDuration":"10m0s","auth":{
                "*.dkr.ecr.*.amazonaws.com":{"username":"AWS","password":"wide"},
                "1.dkr.ecr.eu-west-1.amazonaws.com/team":{"username":"AWS","password":"narrow"},
                "evil.example":{"username":"AWS","password":"other"},"not a host":{"password":"none"}}"#,
        ))
        .unwrap();
        let password = |repository: &str| match answer.credential(&repository.parse().unwrap()) {
            Some(Credential::Basic { password, .. }) => password.expose().to_owned(),
            _ => String::new(),
        };
        assert_eq!(answer.lifetime, Duration::from_secs(600));
        assert_eq!(answer.about, About::Host("1.dkr.ecr.eu-west-1.amazonaws.com".to_owned()));
        assert_eq!(password("1.dkr.ecr.eu-west-1.amazonaws.com/team/app"), "narrow");
        assert_eq!(password("1.dkr.ecr.eu-west-1.amazonaws.com/teams/app"), "wide");
        assert_eq!(password("1.dkr.ecr.eu-west-1.amazonaws.com.evil.example/team"), "");
    }

    #[test]
    fn must_not_take_something_else_for_an_answer() {
        let good = response(r#""cacheKeyType":"Global""#);
        assert_eq!(said(&good).unwrap().lifetime, Duration::from_secs(12 * 3600));
        assert_eq!(said(&good).unwrap().about, About::Everything);
        for bad in [
            String::new(),
            "[]".to_owned(),
            "{}".to_owned(),
            good.replace("Global", "Cluster"),
            good.replace("Response", "Request"),
            good.replace("k8s.io/v1", "k8s.io/v1beta1"),
            response(r#""cacheKeyType":"Image","cacheDuration":"canary""#),
            response(r#""cacheKeyType":"Image","cacheDuration":"-5s""#),
            response(r#""cacheKeyType":"Image","auth":{"r.example":"canary"}"#),
            response(r#""auth":{}"#),
        ] {
            let problem = said(&bad).map(|_| ()).unwrap_err();
            assert!(!problem.contains("canary"), "{problem}");
        }
    }

    #[test]
    fn fuzz_provider_answers() {
        let seed = response(
            r#""cacheKeyType":"Registry","cacheDuration":"10m0s","auth":{"*.dkr.ecr.*.amazonaws.com":{"username":"AWS","password":"canary"}}"#,
        );
        let words =
            ["\"auth\":", "\"cacheDuration\":\"-1s\"", "\"Global\"", "null", "*", "[", "/", ":443", "1.dkr.ecr."];
        let (provider, repository) = (ecr(), "elsewhere.test/app".parse().unwrap());
        hallmark_fuzz_driver::Fuzz::new("provider-answers").seeds([seed]).words(&words).run(|bytes| {
            let stdout = Zeroizing::new(bytes.to_vec());
            let output = Output { status: ExitStatus::from_raw(0), stdout, complaint: String::new() };
            match provider.read(&output, &repository) {
                Ok(answer) => {
                    let may_cover = String::from_utf8_lossy(bytes).contains("\"*") || bytes.contains(&b'\\');
                    let covers = answer.credential(&repository).is_some();
                    assert!(may_cover || !covers, "an entry speaks for another host");
                    format!("{covers}")
                }
                Err(problem) => {
                    assert!(!problem.contains("canary"), "a secret is shown: {problem}");
                    format!("{problem:.40}")
                }
            }
        });
    }

    #[test]
    fn the_reference_page_shows_what_is_read_and_names_the_bounds() {
        let page = include_str!("../../../docs/reference/credentials.md");
        let block = |kind: &str| page.split(&format!("```{kind}\n")).nth(1).unwrap().split("```").next().unwrap();
        let programs = programs();
        for name in ["ecr-credential-provider", "auth-provider-gcp", "acr-credential-provider"] {
            std::fs::copy(programs.path().join("ecr"), programs.path().join(name)).unwrap();
        }
        let providers = parse(block("yaml"), programs.path()).unwrap();
        let helpers = super::super::docker_config::DockerConfig::parse("page", block("json").as_bytes()).unwrap();
        for (host, provider) in [
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "ecr-credential-provider"),
            ("europe-docker.pkg.dev", "auth-provider-gcp"),
            ("example.azurecr.io", "acr-credential-provider"),
        ] {
            let repository = format!("{host}/team/app").parse().unwrap();
            let asked: Vec<_> = providers.iter().filter(|provider| provider.covers(&repository)).collect();
            assert_eq!(asked.iter().map(|provider| provider.name.as_str()).collect::<Vec<_>>(), [provider]);
            assert_eq!(helpers.covering(&repository).count(), 1, "{host}");
        }
        use super::super::limits::{HELPER_LIFETIME, MAX_ANSWER_BYTES, MAX_LIFETIME, MAX_RUNNING, RUN_TIMEOUT};
        // However its lines are wrapped.
        let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
        for (said, is) in [
            ("for five minutes", HELPER_LIFETIME == Duration::from_secs(300)),
            ("10 seconds for a run", RUN_TIMEOUT == Duration::from_secs(10)),
            ("64 KiB for an answer", MAX_ANSWER_BYTES == 64 * 1024),
            ("16 programs at one time", MAX_RUNNING == 16),
            ("hours at most", MAX_LIFETIME == Duration::from_secs(12 * 3600)),
        ] {
            assert!(words.contains(said) && is, "{said}");
        }
    }
}
