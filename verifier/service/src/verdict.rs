//! The verdict about one image as the outside sees it: one view for the JSON of `/v1/verdicts`, for admission, for
//! the metrics and for the audit line. The core's own verdict becomes one of these in [`crate::judge`].

use std::collections::BTreeMap;

use hallmark_policy::{Code, Outcome, Timestamp};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// What was decided about one image, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageVerdict {
    /// The image as it was asked for.
    pub image: String,
    /// The image by digest: what to deploy. Null when the reference could not be resolved.
    pub pinned: Option<String>,
    /// The truth about the image.
    #[serde(serialize_with = "outcome_name")]
    #[schema(value_type = OutcomeName)]
    pub verdict: Outcome,
    /// What the rule's mode makes of it: `warn` and `audit` admit a denied image.
    pub admit: bool,
    /// The rule that decided, as `POLICY/RULE`; null when no rule covers the image.
    pub rule: Option<String>,
    /// Every rule that had a say, when there is more than one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleVerdict>,
    /// The mode of the rule that decided.
    pub mode: Option<Mode>,
    /// Who vouched for the image; empty unless the verdict is `allow`.
    pub proof: Vec<Proof>,
    /// The attestations that meet the demands of the rule; empty unless the verdict is `allow` and the rule has demands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attestations: Vec<Attested>,
    /// The exception that the image is allowed by, where its signatures do not allow it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exception: Option<Exception>,
    /// When the evidence was gathered, where the registry could not be asked and evidence from before was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub held_since: Option<Timestamp>,
    /// Why the image is not allowed; empty when it is.
    pub reasons: Vec<Reason>,
    /// What was found and does not count.
    pub rejected: Vec<Rejected>,
    /// When the verdict was reached.
    #[serde(skip)]
    pub decided_at: Timestamp,
}

/// The three outcomes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeName {
    /// The policy is met, with a proof.
    Allow,
    /// We looked, and the policy is not met.
    Deny,
    /// We could not look at all that matters.
    Undetermined,
}

/// What happens to an image that is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is admitted; the log says so.
    Audit,
    /// It is refused.
    Enforce,
    /// It is admitted; whoever asked is warned.
    Warn,
}

/// What one rule says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleVerdict {
    /// The rule, as `POLICY/RULE`.
    pub rule: String,
    /// What it does with an image that is not allowed.
    pub mode: Mode,
    /// What it says.
    #[serde(serialize_with = "outcome_name")]
    #[schema(value_type = OutcomeName)]
    pub verdict: Outcome,
}

/// One authority that vouched for the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// The authority's name in the trust policy.
    pub authority: String,
    /// The format of the signature.
    pub format: String,
    /// The key that signed: SHA-256 of its SubjectPublicKeyInfo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Who signed, where a certificate holds the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// The manifest that the signature is about, where it is another than the pinned one: a child of the index, or the
    /// index that lists the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The digest of the manifest that carries the signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// When trusted timestamp authorities or logs had seen the signature (RFC 3339), where they vouch for a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_at: Option<String>,
    /// Those timestamp authorities and logs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timestamped_by: Vec<String>,
    /// The transparency logs that hold the signature, where the authority asks for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logged_by: Vec<String>,
}

/// Whom a certificate is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Who vouched for the subject to the certificate authority.
    pub issuer: String,
    /// The subject that was asked for.
    pub subject: String,
    /// What the certificate says of a build, by the names of the trust policy.
    pub claims: BTreeMap<String, String>,
    /// The name of the trust root whose authority issued the certificate.
    pub trust_root: String,
    /// The certificate logs that promised to publish it.
    pub published_by: Vec<String>,
}

/// An attestation that meets a demand of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attested {
    /// The demand's name in its rule.
    pub demand: String,
    /// The authority's name in the trust policy.
    pub authority: String,
    /// The type of the predicate, a URI.
    pub predicate_type: String,
    /// The format of the attestation.
    pub format: String,
    /// The key that signed: SHA-256 of its SubjectPublicKeyInfo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Who made it, where a certificate holds the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// The manifest that the attestation is about, where it is another than the pinned one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The digest of the manifest that carries the attestation.
    pub artifact: String,
}

/// An exception of a trust policy that was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exception {
    /// Who answers for it.
    pub owner: String,
    /// Why it exists.
    pub reason: String,
    /// When it ends.
    #[schema(value_type = String)]
    pub expires: Timestamp,
    /// The codes that it waived.
    #[schema(value_type = Vec<String>)]
    pub waived: Vec<Code>,
}

/// Why an image is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// The stable code.
    #[schema(value_type = String, example = "unsigned")]
    pub code: Code,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// Something that was found and does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    /// The digest of the manifest or blob.
    pub artifact: String,
    /// Its format, where it was recognised.
    pub format: Option<String>,
    /// The stable code.
    #[schema(value_type = String, example = "untrusted-key")]
    pub code: Code,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// A document in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyInForce {
    /// Its name.
    pub name: String,
    /// The digest of its bytes.
    pub digest: String,
}

impl ImageVerdict {
    /// A verdict that nobody reached: the question could not be answered, and the image is not admitted.
    #[must_use]
    pub fn unanswered(image: String, decided_at: Timestamp, reason: Reason) -> Self {
        Self {
            image,
            pinned: None,
            verdict: reason.code.outcome(),
            admit: false,
            rule: None,
            rules: Vec::new(),
            mode: None,
            proof: Vec::new(),
            attestations: Vec::new(),
            exception: None,
            held_since: None,
            reasons: vec![reason],
            rejected: Vec::new(),
            decided_at,
        }
    }
}

fn outcome_name<S: Serializer>(outcome: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(outcome.as_str())
}
