//! What is written about identities in certificates, and about the trust roots that they stand under.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Placed, written};

/// An identity in a certificate: an issuer's word about a subject. Patterns are anchored: `*` is anything but `/`, `**` is
/// anything.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentityEntry {
    /// Who vouched for the subject, such as `https://token.actions.githubusercontent.com`: a text or a pattern.
    pub issuer: Placed<String>,
    /// The subject: a workflow, a person, a service: a text or a pattern.
    pub subject: Placed<String>,
    /// The kind of the subject: `uri`, `email`, `userName` or `dns`; left out, it is told by its form.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "SubjectKindWord")]
    pub subject_kind: Option<Placed<SubjectKindWord>>,
    /// What the certificate must say besides.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "ClaimsEntry")]
    pub claims: Option<Placed<ClaimsEntry>>,
    /// Whom to believe: `public-good` (the default), `staging`, `github`, or a name in `trustRoots`.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "String")]
    pub trust_root: Option<Placed<String>>,
}

/// The kind of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SubjectKindWord {
    /// A host name.
    Dns,
    /// An e-mail address.
    Email,
    /// A URI.
    Uri,
    /// A user name, `user!domain`.
    UserName,
}

/// What a log must give for its entry to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LogProofWord {
    /// A proof of inclusion.
    Inclusion,
    /// Its promise, where the format has no more.
    Promise,
}

/// A trust root with a name: exactly one of `file` and `json`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrustRootEntry {
    /// The name, unique in the document: letters, digits, `.`, `_` and `-`, at most 63.
    pub name: Placed<String>,
    /// A Sigstore `trusted_root.json`, relative to the document.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "String")]
    pub file: Option<Placed<String>>,
    /// The `trusted_root.json` itself, as text.
    #[serde(default, deserialize_with = "written")]
    #[schemars(with = "String")]
    pub json: Option<Placed<String>>,
}

macro_rules! claims {
    ($($(#[doc = $doc:literal])+ $field:ident = $name:literal;)+) => {
        /// What a certificate must say besides, by the names of Fulcio's table ("Sigstore OID information"). Each is a
        /// text or a pattern.
        #[derive(Debug, Clone, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct ClaimsEntry {
            $(
                $(#[doc = $doc])+
                #[serde(default, deserialize_with = "written")]
                #[schemars(with = "String")]
                pub $field: Option<Placed<String>>,
            )+
        }

        impl ClaimsEntry {
            /// Those that are written, by name.
            pub(in crate::trust) fn written(&self) -> Vec<(&'static str, &Placed<String>)> {
                let all = [$(($name, self.$field.as_ref()),)+];
                all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
            }

            #[cfg(test)]
            const NAMES: &'static [&'static str] = &[$($name,)+];
        }
    };
}

claims! {
    /// Revision of the top-level build instructions.
    build_config_digest = "buildConfigDigest";
    /// The top-level build instructions.
    build_config_uri = "buildConfigUri";
    /// Revision of the build instructions that signed.
    build_signer_digest = "buildSignerDigest";
    /// The build instructions that signed: a reusable workflow, an orb.
    build_signer_uri = "buildSignerUri";
    /// What set the build off, such as `push`.
    build_trigger = "buildTrigger";
    /// The environment that the build deploys to.
    deployment_environment = "deploymentEnvironment";
    /// GitHub's name of the workflow (older certificates).
    github_workflow_name = "githubWorkflowName";
    /// GitHub's ref (older certificates).
    github_workflow_ref = "githubWorkflowRef";
    /// GitHub's repository, as `owner/name` (older certificates).
    github_workflow_repository = "githubWorkflowRepository";
    /// GitHub's commit (older certificates).
    github_workflow_sha = "githubWorkflowSha";
    /// GitHub's event (older certificates).
    github_workflow_trigger = "githubWorkflowTrigger";
    /// This one run of the build.
    run_invocation_uri = "runInvocationUri";
    /// Where the build ran, such as `github-hosted` or `self-hosted`.
    runner_environment = "runnerEnvironment";
    /// Commit of the source.
    source_repository_digest = "sourceRepositoryDigest";
    /// Number of the source repository, which outlives its name.
    source_repository_identifier = "sourceRepositoryIdentifier";
    /// Number of its owner.
    source_repository_owner_identifier = "sourceRepositoryOwnerIdentifier";
    /// Its owner.
    source_repository_owner_uri = "sourceRepositoryOwnerUri";
    /// The ref that was built, such as `refs/tags/v1`.
    source_repository_ref = "sourceRepositoryRef";
    /// The source repository, such as `https://github.com/acme/app`.
    source_repository_uri = "sourceRepositoryUri";
    /// Whether it was `public` or `private` then.
    source_repository_visibility_at_signing = "sourceRepositoryVisibilityAtSigning";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_claim_of_a_certificate_can_be_asked_for_by_its_name() {
        let known: BTreeSet<_> = crate::sigstore::claim_names().collect();
        assert_eq!(ClaimsEntry::NAMES.iter().copied().collect::<BTreeSet<_>>(), known);
        let map: serde_json::Map<_, _> = known.iter().map(|name| ((*name).to_owned(), "x".into())).collect();
        let read: ClaimsEntry = serde_saphyr::from_str(&serde_json::to_string(&map).unwrap()).unwrap();
        assert_eq!(read.written().iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(), known);
    }
}
