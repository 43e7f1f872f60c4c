//! The configuration: a YAML file, then the environment, then the command line. Every setting has a default and an
//! environment variable, whose name is the setting's own: `api.tls.keyFile` is `HALLMARK_API_TLS_KEY_FILE`.

mod registry;
mod trust_roots;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hallmark_verifier::{ContentLimits, EvidenceLimits};
use serde::{Deserialize, Serialize};

use crate::files;

pub use crate::span::Span;
pub use registry::{Addresses, CredentialProviders, Registry, RegistryHost, RegistryMirror, RegistryRoute, Serves};
pub use trust_roots::TrustRoots;

/// Most bytes of a configuration file.
const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

/// The longest life of a listing. Whoever wants an image denied revokes its key, which counts at once.
const MAX_LISTING_LIFE: Span = Span::seconds(60 * 60);
/// The longest life of what a tag named, and of an absence: both are for bursts of questions about one image.
const MAX_NAME_LIFE: Span = Span::seconds(60);

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Trust policies: files, and directories of which every `*.yaml`, `*.yml` and `*.json` is one.
    pub policies: Vec<PathBuf>,
    /// Believe the throw-away keys of `keys-example/`, whose private halves everybody has.
    pub danger_accept_example_keys: bool,
    /// How often the files are looked at.
    pub reload_every: Span,
    /// How long new connections are still taken when the service stops, until load balancers have heard of it.
    pub accept_while_draining: Span,
    /// How long requests in flight are waited for when the service stops.
    pub drain_for: Span,
    /// The listener for verdicts.
    pub api: Api,
    /// The listener for orchestrators and monitoring.
    pub operations: Operations,
    /// How registries are reached.
    pub registry: Registry,
    /// Where evidence is kept.
    pub evidence: Evidence,
    /// How the trusted roots of Sigstore's instances are kept fresh.
    pub trust_roots: TrustRoots,
    /// Bounds.
    pub limits: Limits,
    /// The log.
    pub log: Log,
}

/// The listener for verdicts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Api {
    /// Where to listen.
    pub listen: SocketAddr,
    /// TLS; plain HTTP without certificate and key.
    pub tls: Tls,
    /// Believe the namespace in `/v1/verdicts` from callers who are not authenticated.
    pub danger_believe_namespaces: bool,
}

/// The TLS of the API listener. The files are read again when they change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Tls {
    /// The certificate chain, in PEM.
    pub certificate_file: Option<PathBuf>,
    /// The private key, in PEM.
    pub key_file: Option<PathBuf>,
    /// The authorities of client certificates, in PEM; none are asked for without it.
    pub client_ca_file: Option<PathBuf>,
    /// Whether a caller may do without a client certificate.
    pub client_certificates: ClientCertificates,
}

/// Whether a caller may do without a client certificate, when there is a `clientCaFile`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// One that is shown must be good.
    Optional,
    /// Nobody gets in without one.
    #[default]
    Required,
}

impl Tls {
    /// Whether nobody gets in without a client certificate.
    #[must_use]
    pub fn requires_client_certificates(&self) -> bool {
        self.client_ca_file.is_some() && self.client_certificates == ClientCertificates::Required
    }
}

/// The listener for orchestrators and monitoring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Operations {
    /// Where to listen.
    pub listen: SocketAddr,
}

/// How long evidence counts, and where it is kept that shall outlive the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Evidence {
    /// A folder of this service alone; nothing is written to disk without one.
    pub directory: Option<PathBuf>,
    /// Most bytes in it.
    pub max_bytes: u64,
    /// How long evidence may allow an image without asking its registry again.
    pub listing_life: Span,
    /// How long what a tag named may allow an image without asking its registry again.
    pub tag_life: Span,
    /// How long evidence, or the answer that there is no such image, may deny without asking the registry again.
    pub absence_life: Span,
}

/// Bounds on what comes from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Limits {
    /// Most bytes of one body. A review of a 1.4 MB object has been seen to take 2.8 MB.
    pub body_bytes: usize,
    /// Most bytes that all bodies hold together.
    pub all_bodies_bytes: usize,
    /// Most time that a body may take to arrive.
    pub body_timeout: Span,
    /// Most time from a new connection to its first complete request head.
    pub first_request_timeout: Span,
    /// Most time that a connection may be idle; an API server keeps its connections for 90 s.
    pub idle_timeout: Span,
    /// Most time that a peer may take nothing of what is written to it.
    pub write_timeout: Span,
    /// Most connections.
    pub connections: usize,
    /// Most requests that are being answered.
    pub requests: usize,
    /// Most images in one request to `/v1/verdicts`.
    pub images: usize,
    /// Time for an answer when the asker says nothing.
    pub default_timeout: Span,
    /// Most time for an answer, whatever the asker says. Webhooks have 30 s at most.
    pub longest_timeout: Span,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// What is logged, as `LEVEL` or `TARGET=LEVEL`, separated by commas; the target of verdicts is `audit`.
    pub level: String,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            policies: vec![PathBuf::from("/etc/hallmark/policies")],
            danger_accept_example_keys: false,
            reload_every: Span::seconds(2),
            accept_while_draining: Span::seconds(3),
            drain_for: Span::seconds(20),
            api: Api::default(),
            operations: Operations::default(),
            registry: Registry::default(),
            evidence: Evidence::default(),
            trust_roots: TrustRoots::default(),
            limits: Limits::default(),
            log: Log::default(),
        }
    }
}

impl Default for Api {
    fn default() -> Self {
        Self { listen: ([127, 0, 0, 1], 8080).into(), tls: Tls::default(), danger_believe_namespaces: false }
    }
}

impl Default for Operations {
    fn default() -> Self {
        Self { listen: ([127, 0, 0, 1], 8081).into() }
    }
}

impl Default for Evidence {
    fn default() -> Self {
        let EvidenceLimits { listing_life, tag_life, absence_life, .. } = EvidenceLimits::STANDARD;
        Self {
            directory: None,
            max_bytes: ContentLimits::STANDARD.disk_bytes,
            listing_life: Span(listing_life),
            tag_life: Span(tag_life),
            absence_life: Span(absence_life),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 7 * 1024 * 1024,
            all_bodies_bytes: 256 * 1024 * 1024,
            body_timeout: Span::seconds(10),
            first_request_timeout: Span::seconds(10),
            idle_timeout: Span::seconds(120),
            write_timeout: Span::seconds(30),
            connections: 4096,
            requests: 2048,
            images: 1000,
            default_timeout: Span::seconds(10),
            longest_timeout: Span::seconds(30),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Json, level: "info".to_owned() }
    }
}

/// Why a configuration is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// An environment variable does not hold a value of the setting.
    #[error("environment variable `{variable}` is not valid: {problem}")]
    Environment {
        /// The variable.
        variable: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file is not a configuration.
    #[error("configuration file `{}` is not valid: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, with line and column.
        problem: String,
    },
    /// Two settings contradict each other, or one makes no sense.
    #[error("setting `{setting}` {problem}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// What is wrong with it, as the end of a sentence.
        problem: &'static str,
    },
}

impl ConfigError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Environment { .. } => "unset the variable to get the default",
            Self::File { .. } => "`hallmark-verifier --print-config` prints every setting with its default",
            Self::Setting { .. } => "change the setting in the file or in the environment",
        }
    }
}

impl Config {
    /// The defaults, then the file, then the environment, which is asked by the name of a variable.
    ///
    /// # Errors
    /// [`ConfigError`] says which part is wrong.
    pub fn load(file: Option<&Path>, environment: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut config = match file {
            Some(path) => Self::read(path)?,
            None => Self::default(),
        };
        for setting in SETTINGS {
            let variable = setting.variable();
            if let Some(value) = environment(&variable) {
                (setting.put)(&mut config, &value).map_err(|problem| ConfigError::Environment { variable, problem })?;
            }
        }
        config.check()?;
        Ok(config)
    }

    fn read(path: &Path) -> Result<Self, ConfigError> {
        let fail = |problem: String| ConfigError::File { path: path.to_owned(), problem };
        let bytes = files::read(path, MAX_CONFIG_BYTES).map_err(fail)?;
        let text = String::from_utf8(bytes).map_err(|error| fail(error.to_string()))?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(&text).map_err(|error| fail(error.to_string()))
    }

    /// Whether the settings fit together.
    ///
    /// # Errors
    /// [`ConfigError::Setting`] names the first that does not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let fail = |setting, problem| Err(ConfigError::Setting { setting, problem });
        let Tls { certificate_file, key_file, client_ca_file, .. } = &self.api.tls;
        match (certificate_file, key_file) {
            (Some(_), None) => return fail("api.tls.keyFile", "is missing beside `api.tls.certificateFile`"),
            (None, Some(_)) => return fail("api.tls.certificateFile", "is missing beside `api.tls.keyFile`"),
            (None, None) if client_ca_file.is_some() => {
                return fail("api.tls.clientCaFile", "needs `api.tls.certificateFile` and `api.tls.keyFile`");
            }
            _ => {}
        }
        let has_lone_key =
            |host: &RegistryHost| host.client_key_file.is_some() && host.client_certificate_file.is_none();
        let CredentialProviders { config_file, bin_directory } = &self.registry.credential_providers;
        if config_file.is_some() != bin_directory.is_some() {
            return fail("registry.credentialProviders", "needs both a `configFile` and a `binDirectory`");
        }
        if self.registry.hosts.values().any(has_lone_key) {
            return fail("registry.hosts", "has a `clientKeyFile` without a `clientCertificateFile`");
        }
        if self.policies.is_empty() {
            return fail("policies", "names no file and no directory");
        }
        if self.api.listen == self.operations.listen && self.api.listen.port() != 0 {
            return fail("operations.listen", "is the address of `api.listen` too");
        }
        let Limits { requests, connections, images, body_bytes, .. } = self.limits;
        if requests.min(connections).min(images).min(body_bytes) == 0 {
            return fail("limits", "has a bound of 0, so that nothing could be answered");
        }
        self.evidence.check()?;
        self.trust_roots.check()?;
        if self.reload_every.0.is_zero() {
            return fail("reloadEvery", "is 0, so that nothing else would be done");
        }
        Ok(())
    }
}

impl Evidence {
    fn check(&self) -> Result<(), ConfigError> {
        let fail = |setting, problem| Err(ConfigError::Setting { setting, problem });
        if self.max_bytes == 0 {
            return fail("evidence.maxBytes", "is 0, so that nothing could be kept: leave out `evidence.directory`");
        }
        if self.listing_life > MAX_LISTING_LIFE {
            return fail(
                "evidence.listingLife",
                "is more than an hour: what is removed from a registry would count on",
            );
        }
        if self.tag_life > MAX_NAME_LIFE {
            return fail("evidence.tagLife", "is more than a minute: a tag that has moved would not be noticed");
        }
        if self.absence_life > MAX_NAME_LIFE {
            return fail("evidence.absenceLife", "is more than a minute: an image that is signed would stay denied");
        }
        Ok(())
    }
}

/// One setting and how its environment variable is read.
struct Setting {
    key: &'static str,
    put: fn(&mut Config, &str) -> Result<(), String>,
}

/// Every setting. A test compares this list with the fields of [`Config`].
const SETTINGS: &[Setting] = &[
    Setting { key: "policies", put: |c, text| put_list(&mut c.policies, text) },
    Setting { key: "dangerAcceptExampleKeys", put: |c, text| put(&mut c.danger_accept_example_keys, text) },
    Setting { key: "reloadEvery", put: |c, text| put(&mut c.reload_every, text) },
    Setting { key: "acceptWhileDraining", put: |c, text| put(&mut c.accept_while_draining, text) },
    Setting { key: "drainFor", put: |c, text| put(&mut c.drain_for, text) },
    Setting { key: "api.listen", put: |c, text| put(&mut c.api.listen, text) },
    Setting { key: "api.tls.certificateFile", put: |c, text| put_path(&mut c.api.tls.certificate_file, text) },
    Setting { key: "api.tls.keyFile", put: |c, text| put_path(&mut c.api.tls.key_file, text) },
    Setting { key: "api.tls.clientCaFile", put: |c, text| put_path(&mut c.api.tls.client_ca_file, text) },
    Setting { key: "api.tls.clientCertificates", put: |c, text| put_word(&mut c.api.tls.client_certificates, text) },
    Setting { key: "api.dangerBelieveNamespaces", put: |c, text| put(&mut c.api.danger_believe_namespaces, text) },
    Setting { key: "operations.listen", put: |c, text| put(&mut c.operations.listen, text) },
    Setting { key: "registry.authFiles", put: |c, text| put_list(&mut c.registry.auth_files, text) },
    Setting {
        key: "registry.credentialProviders.configFile",
        put: |c, text| put_path(&mut c.registry.credential_providers.config_file, text),
    },
    Setting {
        key: "registry.credentialProviders.binDirectory",
        put: |c, text| put_path(&mut c.registry.credential_providers.bin_directory, text),
    },
    Setting { key: "registry.hosts", put: |c, text| put_yaml(&mut c.registry.hosts, text) },
    Setting { key: "registry.routes", put: |c, text| put_yaml(&mut c.registry.routes, text) },
    Setting { key: "registry.registriesConf", put: |c, text| put_path(&mut c.registry.registries_conf, text) },
    Setting { key: "registry.hostsDirectory", put: |c, text| put_path(&mut c.registry.hosts_directory, text) },
    Setting { key: "evidence.directory", put: |c, text| put_path(&mut c.evidence.directory, text) },
    Setting { key: "evidence.maxBytes", put: |c, text| put(&mut c.evidence.max_bytes, text) },
    Setting { key: "evidence.listingLife", put: |c, text| put(&mut c.evidence.listing_life, text) },
    Setting { key: "evidence.tagLife", put: |c, text| put(&mut c.evidence.tag_life, text) },
    Setting { key: "evidence.absenceLife", put: |c, text| put(&mut c.evidence.absence_life, text) },
    Setting { key: "trustRoots.directory", put: |c, text| put_path(&mut c.trust_roots.directory, text) },
    Setting { key: "trustRoots.refreshEvery", put: |c, text| put(&mut c.trust_roots.refresh_every, text) },
    Setting {
        key: "trustRoots.publicGoodMirror",
        put: |c, text| put_text(&mut c.trust_roots.public_good_mirror, text),
    },
    Setting { key: "trustRoots.stagingMirror", put: |c, text| put_text(&mut c.trust_roots.staging_mirror, text) },
    Setting { key: "trustRoots.githubMirror", put: |c, text| put_text(&mut c.trust_roots.github_mirror, text) },
    Setting { key: "limits.bodyBytes", put: |c, text| put(&mut c.limits.body_bytes, text) },
    Setting { key: "limits.allBodiesBytes", put: |c, text| put(&mut c.limits.all_bodies_bytes, text) },
    Setting { key: "limits.bodyTimeout", put: |c, text| put(&mut c.limits.body_timeout, text) },
    Setting { key: "limits.firstRequestTimeout", put: |c, text| put(&mut c.limits.first_request_timeout, text) },
    Setting { key: "limits.idleTimeout", put: |c, text| put(&mut c.limits.idle_timeout, text) },
    Setting { key: "limits.writeTimeout", put: |c, text| put(&mut c.limits.write_timeout, text) },
    Setting { key: "limits.connections", put: |c, text| put(&mut c.limits.connections, text) },
    Setting { key: "limits.requests", put: |c, text| put(&mut c.limits.requests, text) },
    Setting { key: "limits.images", put: |c, text| put(&mut c.limits.images, text) },
    Setting { key: "limits.defaultTimeout", put: |c, text| put(&mut c.limits.default_timeout, text) },
    Setting { key: "limits.longestTimeout", put: |c, text| put(&mut c.limits.longest_timeout, text) },
    Setting { key: "log.format", put: |c, text| put_word(&mut c.log.format, text) },
    Setting { key: "log.level", put: |c, text| put(&mut c.log.level, text) },
];

impl Setting {
    /// `api.tls.keyFile` becomes `HALLMARK_API_TLS_KEY_FILE`.
    fn variable(&self) -> String {
        let mut variable = "HALLMARK_".to_owned();
        for c in self.key.chars() {
            match c {
                '.' => variable.push('_'),
                c if c.is_ascii_uppercase() => variable.extend(['_', c]),
                c => variable.push(c.to_ascii_uppercase()),
            }
        }
        variable
    }
}

fn put<T: FromStr<Err: fmt::Display>>(slot: &mut T, text: &str) -> Result<(), String> {
    *slot = text.parse().map_err(|error| format!("{error}"))?;
    Ok(())
}

/// A value that is one of a few words.
fn put_word<T: for<'de> Deserialize<'de>>(slot: &mut T, text: &str) -> Result<(), String> {
    *slot = serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|error| error.to_string())?;
    Ok(())
}

/// A value with a structure, in YAML or JSON.
fn put_yaml<T: for<'de> Deserialize<'de>>(slot: &mut T, text: &str) -> Result<(), String> {
    *slot = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    Ok(())
}

/// A path; an empty text is none.
fn put_path(slot: &mut Option<PathBuf>, text: &str) -> Result<(), String> {
    *slot = (!text.is_empty()).then(|| PathBuf::from(text));
    Ok(())
}

/// A text; an empty one is none.
fn put_text(slot: &mut Option<String>, text: &str) -> Result<(), String> {
    *slot = (!text.is_empty()).then(|| text.to_owned());
    Ok(())
}

/// A list, separated by commas.
fn put_list<T: for<'a> From<&'a str>>(slot: &mut Vec<T>, text: &str) -> Result<(), String> {
    *slot = text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(T::from).collect();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::load(Some(file.path()), |name| {
            environment.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn every_setting_has_a_default_and_a_variable() {
        fn leaves(prefix: &str, value: &Value, found: &mut BTreeSet<String>) {
            match value {
                Value::Object(fields) if !fields.is_empty() => {
                    for (name, value) in fields {
                        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                        leaves(&key, value, found);
                    }
                }
                _ => assert!(found.insert(prefix.to_owned())),
            }
        }
        let mut fields = BTreeSet::new();
        leaves("", &serde_json::to_value(Config::default()).unwrap(), &mut fields);
        let settings: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.key.to_owned()).collect();
        assert_eq!(fields, settings);
        assert_eq!(SETTINGS.iter().map(Setting::variable).collect::<BTreeSet<_>>().len(), SETTINGS.len());
        assert_eq!(Setting { key: "api.tls.keyFile", put: |_, _| Ok(()) }.variable(), "HALLMARK_API_TLS_KEY_FILE");
    }

    #[test]
    fn the_reference_page_has_every_setting_with_its_variable_and_default() {
        let page = include_str!("../../../docs/reference/verifier.md");
        let defaults = serde_json::to_value(Config::default()).unwrap();
        for setting in SETTINGS {
            let default = setting.key.split('.').fold(&defaults, |value, name| &value[name]);
            let default = match default {
                Value::Null => String::new(),
                Value::String(text) => format!(" `{text}`"),
                Value::Array(values) if values.is_empty() => String::new(),
                Value::Array(values) => format!(" `{}`", values[0].as_str().unwrap()),
                other => format!(" `{other}`"),
            };
            let row = format!("| `{}` | `{}` |{default} | ", setting.key, setting.variable());
            assert!(page.contains(&row), "{row}");
        }
        assert_eq!(page.matches("`HALLMARK_").count(), SETTINGS.len());
    }

    #[test]
    fn nothing_at_all_is_a_configuration() {
        assert_eq!(Config::load(None, |_| None).unwrap(), Config::default());
        assert_eq!(load("", &[]).unwrap(), Config::default());
        assert_eq!(load("{}", &[]).unwrap(), Config::default());
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let text = "policies: [a.yaml]\napi: {listen: 0.0.0.0:1, tls: {certificateFile: c, keyFile: k}}\nlimits: {bodyTimeout: 3s}\n";
        let config = load(
            text,
            &[
                ("HALLMARK_POLICIES", "b.yaml, c"),
                ("HALLMARK_API_LISTEN", "[::1]:2"),
                ("HALLMARK_LIMITS_BODY_TIMEOUT", "1m30s"),
                ("HALLMARK_API_TLS_CLIENT_CA_FILE", "ca"),
                ("HALLMARK_API_TLS_CLIENT_CERTIFICATES", "optional"),
                ("HALLMARK_LOG_FORMAT", "text"),
                ("HALLMARK_REGISTRY_HOSTS", "{'r.example:5000': {dangerPlainHttp: true, addresses: dangerLocal}}"),
                ("HALLMARK_REGISTRY_AUTH_FILES", "/run/a.json, /run/secrets"),
                ("HALLMARK_REGISTRY_CREDENTIAL_PROVIDERS_CONFIG_FILE", "c"),
                ("HALLMARK_REGISTRY_CREDENTIAL_PROVIDERS_BIN_DIRECTORY", "b"),
                ("HALLMARK_UNRELATED", "x"),
            ],
        )
        .unwrap();
        assert_eq!(config.policies, [PathBuf::from("b.yaml"), PathBuf::from("c")]);
        assert_eq!(config.api.listen.to_string(), "[::1]:2");
        assert_eq!(config.limits.body_timeout, Span::seconds(90));
        assert_eq!(config.log.format, LogFormat::Text);
        assert_eq!(config.registry.auth_files, [PathBuf::from("/run/a.json"), PathBuf::from("/run/secrets")]);
        assert_eq!(config.registry.credential_providers.bin_directory, Some(PathBuf::from("b")));
        assert!(config.registry.hosts["r.example:5000"].danger_plain_http);
        assert_eq!(config.registry.hosts["r.example:5000"].addresses, Some(Addresses::DangerLocal));
        assert!(!config.api.tls.requires_client_certificates());
    }

    #[test]
    fn lives_may_be_as_long_as_their_bounds_and_as_short_as_nothing() {
        for (text, listing, tag, absence) in [
            ("{listingLife: 1h, tagLife: 1m, absenceLife: 1m}", 3600, 60, 60),
            ("{listingLife: 0s, tagLife: 0s, absenceLife: 0s}", 0, 0, 0),
            ("{}", 60, 0, 0),
        ] {
            let evidence = load(&format!("evidence: {text}"), &[]).unwrap().evidence;
            let lives = (evidence.listing_life, evidence.tag_life, evidence.absence_life);
            assert_eq!(lives, (Span::seconds(listing), Span::seconds(tag), Span::seconds(absence)), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, environment, expected) in [
            ("polices: [a]", vec![], "polices"),
            ("api: {listn: x}", vec![], "listn"),
            ("api: {listen: nowhere}", vec![], "line"),
            ("limits: {bodyTimeout: soon}", vec![], "such as `10s`"),
            ("policies: [a]\npolicies: [b]", vec![], "duplicate"),
            ("policies: []", vec![], "`policies`"),
            ("limits: {requests: 0}", vec![], "`limits`"),
            ("api: {tls: {keyFile: k}}", vec![], "`api.tls.certificateFile`"),
            ("api: {tls: {certificateFile: k}}", vec![], "`api.tls.keyFile`"),
            ("api: {tls: {clientCaFile: k}}", vec![], "`api.tls.clientCaFile`"),
            ("api: {listen: 127.0.0.1:8081}", vec![], "`operations.listen`"),
            ("registry: {credentialProviders: {configFile: c}}", vec![], "`registry.credentialProviders`"),
            ("registry: {credentialProviders: {binDirectory: b}}", vec![], "`registry.credentialProviders`"),
            ("registry: {hosts: {r.example: {addresses: local}}}", vec![], "dangerLocal"),
            ("registry: {hosts: {r.example: {clientKeyFile: k}}}", vec![], "`clientCertificateFile`"),
            ("registry: {routes: {r.example: {mirrors: [{serves: tags}]}}}", vec![], "location"),
            ("registry: {routes: {r.example: {mirrors: [{location: m, serves: all}]}}}", vec![], "digestsAndTags"),
            ("reloadEvery: 0s", vec![], "`reloadEvery`"),
            ("trustRoots: {publicGoodMirror: nowhere}", vec![], "`trustRoots.publicGoodMirror`"),
            ("trustRoots: {stagingMirror: \"https://ann:SECRET@a\"}", vec![], "`trustRoots.stagingMirror`"),
            ("trustRoots: {githubMirror: nowhere}", vec![], "`trustRoots.githubMirror`"),
            ("evidence: {maxBytes: 0}", vec![], "`evidence.maxBytes`"),
            ("evidence: {listingLife: 3600001ms}", vec![], "`evidence.listingLife`"),
            ("evidence: {tagLife: 60001ms}", vec![], "`evidence.tagLife`"),
            ("evidence: {absenceLife: 60001ms}", vec![], "`evidence.absenceLife`"),
            ("", vec![("HALLMARK_EVIDENCE_TAG_LIFE", "2m")], "`evidence.tagLife`"),
            ("", vec![("HALLMARK_API_LISTEN", "nowhere")], "`HALLMARK_API_LISTEN`"),
            ("", vec![("HALLMARK_DANGER_ACCEPT_EXAMPLE_KEYS", "yes")], "`HALLMARK_DANGER_ACCEPT_EXAMPLE_KEYS`"),
            ("", vec![("HALLMARK_LOG_FORMAT", "xml")], "`HALLMARK_LOG_FORMAT`"),
        ] {
            let error = load(text, &environment).expect_err(text);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
