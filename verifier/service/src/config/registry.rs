//! How registries are reached: credentials, single hosts, and where images are really read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How registries are reached. Authorities of certificates for all of them come from `SSL_CERT_FILE`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Registry {
    /// Files of credentials, or directories of mounted Secrets, in place of those that the environment names.
    pub auth_files: Vec<PathBuf>,
    /// The kubelet's credential providers.
    pub credential_providers: CredentialProviders,
    /// What differs for single hosts, by the host as it is written in references.
    pub hosts: BTreeMap<String, RegistryHost>,
    /// Mirrors, other locations and blocked names, by the beginning of the names that they are for.
    pub routes: BTreeMap<String, RegistryRoute>,
    /// The same out of a `registries.conf` of the containers project.
    pub registries_conf: Option<PathBuf>,
    /// The same out of a folder with a `hosts.toml` or certificates for each registry.
    pub hosts_directory: Option<PathBuf>,
}

/// Where the images below a name are really read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RegistryRoute {
    /// Where the original is, when it is not where its name says.
    pub location: Option<String>,
    /// Nothing below the name is asked for.
    pub blocked: bool,
    /// Where else they can be read, in the order in which they are asked.
    pub mirrors: Vec<RegistryMirror>,
}

/// A mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RegistryMirror {
    /// Its host, and the path that takes the place of the route's name.
    pub location: String,
    /// What it is asked for.
    #[serde(default = "digests")]
    pub serves: Serves,
}

/// What a mirror is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Serves {
    /// What a digest names, and lists of signatures.
    Digests,
    /// Also which image a tag names; that is believed.
    DigestsAndTags,
    /// Only which image a tag names; that is believed.
    Tags,
}

fn digests() -> Serves {
    Serves::Digests
}

/// Programs that give credentials, as a kubelet uses them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct CredentialProviders {
    /// A `CredentialProviderConfig` of `kubelet.config.k8s.io/v1`.
    pub config_file: Option<PathBuf>,
    /// The directory of the programs that it names.
    pub bin_directory: Option<PathBuf>,
}

/// What differs for one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RegistryHost {
    /// Speak plain HTTP; loopback addresses need no entry.
    pub danger_plain_http: bool,
    /// Accept any certificate.
    pub danger_accept_invalid_certificates: bool,
    /// Authorities of its certificates, in PEM, beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Who we are to it where it asks for a certificate: the chain, in PEM.
    pub client_certificate_file: Option<PathBuf>,
    /// The private key of that certificate where it is in a file of its own, in PEM.
    pub client_key_file: Option<PathBuf>,
    /// Token services that may be given its credentials, beside itself.
    pub token_hosts: Vec<String>,
    /// Which addresses may be dialled for it; without, public and private ones.
    pub addresses: Option<Addresses>,
}

/// Which addresses may be dialled for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Addresses {
    /// Public addresses.
    Public,
    /// Also those of private networks.
    Private,
    /// Also this machine's, its link's, and those of metadata services.
    DangerLocal,
}
