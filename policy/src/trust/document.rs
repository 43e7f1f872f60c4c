//! What is written: the form of a trust policy document, before anybody asks what it means.
//!
//! The same types read documents and generate their JSON Schema, so the two cannot differ. The reference page
//! `docs/reference/policy.md` says what each field means.

mod attestations;
mod keyless;
mod platforms;
mod requirement;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::problem::Position;

pub(super) use attestations::{AllowEntry, AttestationEntry, CountWord, SbomEntry, VulnerabilitiesEntry, WhichWord};
pub(super) use keyless::{IdentityEntry, LogProofWord, SubjectKindWord, TrustRootEntry};
pub(super) use platforms::PlatformsEntry;
pub(super) use requirement::{RequirementEntry, ThresholdEntry};

/// A value with its place in the text.
#[derive(Debug, Clone)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it stands; for an alias, where the alias stands.
    pub position: Position,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Placed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_saphyr::Spanned::<T>::deserialize(deserializer)?;
        let position = Position { line: spanned.referenced.line(), column: spanned.referenced.column() };
        Ok(Self { value: spanned.value, position })
    }
}

impl<T: JsonSchema> JsonSchema for Placed<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

/// Reads an optional field that was written: an explicit `null` is a mistake, not an absence, because an emptied list
/// of namespaces must not widen a rule.
fn written<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A Hallmark trust policy: who must have signed which images.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyDocument {
    /// The version of this form.
    pub api_version: ApiVersion,
    /// The kind of this document.
    pub kind: DocumentKind,
    /// What the document is called.
    pub metadata: Metadata,
    /// What it says.
    pub spec: Placed<Spec>,
}

/// The versions of the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The first.
    #[serde(rename = "hallmark.dev/v1alpha1")]
    V1Alpha1,
}

/// The kinds of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum DocumentKind {
    /// A trust policy.
    TrustPolicy,
}

/// What the document is called.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// The document's name, unique among the documents in force: letters, digits, `.`, `_` and `-`, at most 63.
    pub name: Placed<String>,
}

/// What a document says.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// Owners of keys: teams, pipelines, vendors. Rules name them.
    #[serde(default)]
    pub authorities: Vec<Placed<AuthorityEntry>>,
    /// Whose word about time is believed (RFC 3161). Authorities ask for it by `evidence`.
    #[serde(default)]
    pub timestamp_authorities: Vec<Placed<TimestampAuthorityEntry>>,
    /// Sigstore trust roots, by name: whom to believe about certificates and logs, beside those that are built in.
    #[serde(default)]
    pub trust_roots: Vec<Placed<TrustRootEntry>>,
    /// Who must have signed which images. The most specific rule that covers an image decides.
    #[serde(default)]
    pub rules: Vec<Placed<RuleEntry>>,
    /// Single images that may be used although some checks fail, until a date.
    #[serde(default)]
    pub exceptions: Vec<Placed<ExceptionEntry>>,
    /// Which repositories are copies of which others, for rules that bind names.
    #[serde(default)]
    pub mirrors: Vec<Placed<MirrorEntry>>,
    /// What becomes of an image that no rule covers: `deny` (the default) or `allow`.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "DefaultWord")]
    pub default: Option<Placed<DefaultWord>>,
}

/// One owner of keys, or of identities in certificates. Any of them speaks for it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthorityEntry {
    /// The authority's name, unique in the document: letters, digits, `.`, `_` and `-`, at most 63.
    pub name: Placed<String>,
    /// Its public keys; at least one, or `keyless` instead. No key may belong to two authorities.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "Vec<KeyEntry>", length(min = 1))]
    pub keys: Option<Placed<Vec<Placed<KeyEntry>>>>,
    /// Its identities in certificates; at least one, instead of `keys`. No certificate may be about two authorities of a
    /// rule.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "Vec<IdentityEntry>", length(min = 1))]
    pub keyless: Option<Placed<Vec<Placed<IdentityEntry>>>>,
    /// How many distinct logs and timestamp authorities must vouch for each of its signatures.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "EvidenceEntry")]
    pub evidence: Option<Placed<EvidenceEntry>>,
}

/// How many distinct logs and timestamp authorities must vouch for a signature.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EvidenceEntry {
    /// Transparency logs that hold it: 0 (the default for keys), 1 (the default for identities), or more.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "i64", range(min = 0))]
    pub logs: Option<Placed<i64>>,
    /// Timestamp authorities: 0 (the default) up to as many as the document (for keys) or the trust root has.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "i64", range(min = 0))]
    pub timestamps: Option<Placed<i64>>,
    /// Certificate logs that promised to publish the certificate: 1 is the default for identities.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "i64", range(min = 0))]
    pub certificate_logs: Option<Placed<i64>>,
    /// What a log must give: `promise` (the default), where the format has no more, or always a proof of `inclusion`.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "LogProofWord")]
    pub log_proof: Option<Placed<LogProofWord>>,
    /// Whose logs vouch for keys: `public-good` (the default), `staging`, or a name in `trustRoots`.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "String")]
    pub trust_root: Option<Placed<String>>,
}

/// A timestamp authority (RFC 3161). It counts once, however many certificates it has.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimestampAuthorityEntry {
    /// Its name, unique in the document: letters, digits, `.`, `_` and `-`, at most 63.
    pub name: Placed<String>,
    /// Its certificates in PEM, the signer's or its issuer's first, each issued by the next: exactly one of `file` and
    /// `pem`.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "KeySource")]
    pub certificate_chain: Option<Placed<KeySource>>,
    /// In place of `certificateChain`: a Sigstore `trusted_root.json`, whose timestamp authorities count as this one.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "KeySource")]
    pub trusted_root: Option<Placed<KeySource>>,
    /// When the chain's timestamps are believed, beside the validity of its certificates.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "SignWindow")]
    pub valid_for: Option<Placed<SignWindow>>,
}

/// A public key with the dates between which it is believed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyEntry {
    /// The key: exactly one of `file` and `pem`.
    pub public_key: Placed<KeySource>,
    /// When the key signs.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "SignWindow")]
    pub sign: Option<Placed<SignWindow>>,
    /// Nothing that the key signed counts from here on, trusted time or not. RFC 3339.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub accept_until: Option<Placed<String>>,
    /// The private key got into other hands.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "CompromiseEntry")]
    pub compromised: Option<Placed<CompromiseEntry>>,
}

/// Where a public key is: exactly one of the two.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct KeySource {
    /// A file in PEM or DER, relative to the document.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "String")]
    pub file: Option<Placed<String>>,
    /// The key itself in PEM.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "String")]
    pub pem: Option<Placed<String>>,
}

/// When a key signs. Both ends are RFC 3339; either may be left out.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignWindow {
    /// The key signs from here on.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub from: Option<Placed<String>>,
    /// The key signs no more from here on.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub until: Option<Placed<String>>,
}

/// That a private key got into other hands.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CompromiseEntry {
    /// Since when. RFC 3339.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: Placed<String>,
    /// Whether older signatures still count: `never` (the default), or `with-trusted-time`.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "TrustEarlierWord")]
    pub trust_earlier: Option<Placed<TrustEarlierWord>>,
}

/// Whether signatures from before a compromise still count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TrustEarlierWord {
    /// They do not.
    Never,
    /// They do when a trusted time proves that they are older.
    WithTrustedTime,
}

/// Who must have signed a set of images.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleEntry {
    /// The rule's name, unique in the document: letters, digits, `.`, `_` and `-`, at most 63.
    pub name: Placed<String>,
    /// The images it covers: a literal host and a path; `*` within a segment, `**` for one or more segments.
    #[schemars(length(min = 1))]
    pub images: Placed<Vec<Placed<String>>>,
    /// The Kubernetes namespaces it covers, with `*`; left out, it covers every one.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "Vec<String>", length(min = 1))]
    pub namespaces: Option<Placed<Vec<Placed<String>>>>,
    /// What becomes of an image that is denied: `enforce` (the default) refuses it, `warn` and `audit` admit it.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "ModeWord")]
    pub mode: Option<Placed<ModeWord>>,
    /// Who must have signed: an authority's name, or exactly one of `all`, `any` and `threshold`, which may be nested.
    /// Only rules that demand attestations may leave it out: these suffice then.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "RequirementEntry")]
    pub require: Option<Placed<RequirementEntry>>,
    /// Whether the name inside what was signed must be the name that was asked for: `any` (the default), `repository`
    /// or `exact`.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "ReferenceWord")]
    pub reference: Option<Placed<ReferenceWord>>,
    /// Which manifests must be covered: `requested` (the default), the manifest or index that was asked for;
    /// `every-child`, of an index each child that could be run; or a list of platforms, of an index each child for one
    /// of them.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "PlatformsEntry")]
    pub platforms: Option<Placed<PlatformsEntry>>,
    /// Whether an index that is covered covers its children: for `every-child` and lists the index that was asked for,
    /// for `requested` the index under the tag, where an image is asked for by tag and digest. `false` is the default.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "bool")]
    pub allow_signed_parent: Option<Placed<bool>>,
    /// Whether an image may be asked for by tag: `resolve` (the default) or `deny`.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "TagsWord")]
    pub tags: Option<Placed<TagsWord>>,
    /// What to do when the evidence cannot be gathered: `deny` (the default) or `useHeldEvidence`.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "OnUndeterminedEntry")]
    pub on_undetermined: Option<Placed<OnUndeterminedEntry>>,
    /// Demands on attestations of the manifest that is covered: each must be met, beside `require`.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "Vec<AttestationEntry>")]
    pub attestations: Option<Placed<Vec<Placed<AttestationEntry>>>>,
}

/// What becomes of an image that is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ModeWord {
    /// It is admitted, and recorded.
    Audit,
    /// It is not admitted.
    Enforce,
    /// It is admitted with a warning.
    Warn,
}

/// Whether the name inside what was signed must be the name that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ReferenceWord {
    /// Any name, or none.
    Any,
    /// The same repository, and the same tag where one was asked for.
    Exact,
    /// The same repository.
    Repository,
}

/// Whether an image may be asked for by tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TagsWord {
    /// Digests only.
    Deny,
    /// A tag is resolved to a digest once.
    Resolve,
}

/// What becomes of an image that no rule covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DefaultWord {
    /// It is allowed, unless another document says otherwise.
    Allow,
    /// It is denied.
    Deny,
}

/// What to do when the evidence cannot be gathered.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnUndeterminedEntry {
    /// The image is not admitted.
    Deny,
    /// Evidence that was gathered earlier is used, for references with a digest only.
    UseHeldEvidence(HeldEvidence),
}

/// How old held evidence may be.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeldEvidence {
    /// Its greatest age, such as `24h` or `1h 30m`: more than zero, at most 30 days.
    pub max_age: Placed<String>,
}

/// One image that may be used although some checks fail, until a date.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExceptionEntry {
    /// The image, by digest: `registry.example.com/app@sha256:...`.
    pub image: Placed<String>,
    /// The codes of the reasons that are waived.
    #[schemars(with = "Vec<String>", length(min = 1), extend("items" = super::schema::waivable()))]
    pub waives: Placed<Vec<Placed<String>>>,
    /// Who answers for it.
    pub owner: Placed<String>,
    /// Why it exists.
    pub reason: Placed<String>,
    /// From here on it does not exist. RFC 3339.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub expires: Placed<String>,
}

/// Which repositories are copies of which others.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MirrorEntry {
    /// The host, or the host and the path, under which the images were signed.
    pub source: Placed<String>,
    /// The hosts, or hosts and paths, that hold copies of everything below the source.
    #[schemars(length(min = 1))]
    pub mirrors: Placed<Vec<Placed<String>>>,
}
