//! The flags for identities in certificates: who must have signed, and who must vouch for it.

use std::path::PathBuf;

use hallmark_policy::trust::{
    EvidenceDemands, KnownRoots, NamedRoot, PatternProblem, TextPattern, TrustedIdentity, issuer_expression, kind_of,
    subject_expression,
};

use super::trust_root;
use crate::error::{Exit, Failure};

/// Who must have signed, by a certificate.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Identities in certificates")]
#[group(skip)]
pub(super) struct Arguments {
    /// The subject that the certificate must be about, exactly: a workflow, an address, a service
    #[arg(long, value_name = "SUBJECT", group = "identities", conflicts_with = "certificate_identity_regexp")]
    certificate_identity: Option<String>,
    /// The same as a regular expression for the whole subject; one that others' names could follow is refused
    #[arg(long, value_name = "EXPRESSION", group = "identities")]
    certificate_identity_regexp: Option<String>,
    /// The issuer that the certificate must name, exactly
    #[arg(long, value_name = "URL", conflicts_with = "certificate_oidc_issuer_regexp")]
    certificate_oidc_issuer: Option<String>,
    /// The same as a regular expression for the whole issuer
    #[arg(long, value_name = "EXPRESSION")]
    certificate_oidc_issuer_regexp: Option<String>,
    /// What the certificate must say besides, by the names of the trust policy, such as
    /// `sourceRepositoryUri=https://github.com/acme/app`; may be repeated
    #[arg(long, value_name = "NAME=VALUE", requires = "identities")]
    certificate_claim: Vec<String>,
    /// GitHub's event that set the build off
    #[arg(long, value_name = "EVENT", requires = "identities")]
    certificate_github_workflow_trigger: Option<String>,
    /// GitHub's commit
    #[arg(long, value_name = "SHA", requires = "identities")]
    certificate_github_workflow_sha: Option<String>,
    /// GitHub's name of the workflow
    #[arg(long, value_name = "NAME", requires = "identities")]
    certificate_github_workflow_name: Option<String>,
    /// GitHub's repository, as owner/name
    #[arg(long, value_name = "REPOSITORY", requires = "identities")]
    certificate_github_workflow_repository: Option<String>,
    /// GitHub's ref
    #[arg(long, value_name = "REF", requires = "identities")]
    certificate_github_workflow_ref: Option<String>,
    /// Whom to believe, in place of the public-good instance: a trusted_root.json, or the name `staging` or `github` (which
    /// signs what workflows attest in private repositories)
    #[arg(long, value_name = "FILE_OR_NAME", requires = "identities")]
    trusted_root: Option<PathBuf>,
    /// How many distinct transparency logs must hold the signature [default: 1; 0 with `--trusted-root github`, which has none]
    #[arg(long, value_name = "NUMBER")]
    require_logs: Option<usize>,
    /// How many distinct timestamp authorities must have seen it [default: 0; 1 with `--trusted-root github`]
    #[arg(long, value_name = "NUMBER")]
    require_timestamps: Option<usize>,
    /// How many distinct certificate logs must have promised to publish the certificate [default: 1; 0 with `--trusted-root
    /// github`, which has none]
    #[arg(long, value_name = "NUMBER")]
    require_certificate_logs: Option<usize>,
}

/// Whom the flags name, and who must vouch.
pub(super) struct Named {
    pub(super) identity: TrustedIdentity,
    pub(super) evidence: EvidenceDemands,
}

impl Arguments {
    /// Whom the flags name, if they name anybody.
    pub(super) fn load_if_named(&self) -> Result<Option<Named>, Failure> {
        let identity = self.certificate_identity.as_ref().or(self.certificate_identity_regexp.as_ref());
        let issuer = self.certificate_oidc_issuer.as_ref().or(self.certificate_oidc_issuer_regexp.as_ref());
        match (identity, issuer) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => self.load().map(Some),
            (Some(_), None) => {
                let hint = "give `--certificate-oidc-issuer URL` as well: anybody may run an issuer that says so too";
                Err(Failure::new(Exit::Usage, "nothing says who vouches for the identity", hint))
            }
            (None, Some(_)) => {
                let hint =
                    "give `--certificate-identity SUBJECT` as well; `hallmark inspect IMAGE` shows who it may be";
                Err(Failure::new(Exit::Usage, "nothing says whom the certificate must be about", hint))
            }
        }
    }

    fn load(&self) -> Result<Named, Failure> {
        let (kind, subject) = match (&self.certificate_identity, &self.certificate_identity_regexp) {
            (Some(exact), _) => (kind_of(exact), pattern("--certificate-identity", TextPattern::exact(exact))?),
            (None, expression) => {
                let expression = expression.as_deref().unwrap_or_default();
                // By what it stands for: `https:\/\/` is a URI.
                let kind = kind_of(&expression.replace('\\', ""));
                (kind, pattern("--certificate-identity-regexp", subject_expression(kind, expression))?)
            }
        };
        let issuer = match (&self.certificate_oidc_issuer, &self.certificate_oidc_issuer_regexp) {
            (Some(exact), _) => pattern("--certificate-oidc-issuer", TextPattern::exact(exact))?,
            (None, expression) => {
                let expression = expression.as_deref().unwrap_or_default();
                pattern("--certificate-oidc-issuer-regexp", issuer_expression(expression))?
            }
        };
        let root = match &self.trusted_root {
            Some(root) => trust_root::find(root)?,
            None => trust_root::known_root("public-good")?,
        };
        let evidence = self.demands()?;
        check_demands(&evidence, &root)?;
        let identity = TrustedIdentity { issuer, kind, subject, claims: self.claims()?, root };
        Ok(Named { identity, evidence })
    }

    /// What is asked for, and where nothing is, what the instance gives with every signature.
    fn demands(&self) -> Result<EvidenceDemands, Failure> {
        let instance = self.trusted_root.as_deref().map(trust_root::instance).transpose()?.flatten();
        let usual =
            if instance == Some(KnownRoots::GITHUB) { EvidenceDemands::GITHUB } else { EvidenceDemands::PUBLIC_GOOD };
        Ok(EvidenceDemands {
            logs: self.require_logs.unwrap_or(usual.logs),
            timestamps: self.require_timestamps.unwrap_or(usual.timestamps),
            certificate_logs: self.require_certificate_logs.unwrap_or(usual.certificate_logs),
            ..usual
        })
    }

    fn claims(&self) -> Result<Vec<(&'static str, TextPattern)>, Failure> {
        let mut claims = Vec::new();
        for (flag, name, value) in [
            (
                "--certificate-github-workflow-trigger",
                "githubWorkflowTrigger",
                &self.certificate_github_workflow_trigger,
            ),
            ("--certificate-github-workflow-sha", "githubWorkflowSha", &self.certificate_github_workflow_sha),
            ("--certificate-github-workflow-name", "githubWorkflowName", &self.certificate_github_workflow_name),
            (
                "--certificate-github-workflow-repository",
                "githubWorkflowRepository",
                &self.certificate_github_workflow_repository,
            ),
            ("--certificate-github-workflow-ref", "githubWorkflowRef", &self.certificate_github_workflow_ref),
        ] {
            if let Some(value) = value {
                claims.push((name, pattern(flag, TextPattern::exact(value))?));
            }
        }
        for claim in &self.certificate_claim {
            let (name, value) = claim.split_once('=').unwrap_or((claim, ""));
            let known = hallmark_policy::sigstore::claim_names().find(|known| *known == name);
            let Some(known) = known else {
                let names: Vec<_> = hallmark_policy::sigstore::claim_names().collect();
                let hint = format!("write NAME=VALUE; the names are {}", names.join(", "));
                return Err(Failure::new(Exit::Usage, format!("there is no claim `{name}`"), hint));
            };
            claims.push((known, pattern("--certificate-claim", TextPattern::exact(value))?));
        }
        Ok(claims)
    }
}

/// More than there are can never vouch, and without a time a certificate says nothing.
fn check_demands(demands: &EvidenceDemands, root: &NamedRoot) -> Result<(), Failure> {
    let [logs, timestamps, certificate_logs] = root.root.vouchers();
    for (flag, demanded, there) in [
        ("--require-logs", demands.logs, logs),
        ("--require-timestamps", demands.timestamps, timestamps),
        ("--require-certificate-logs", demands.certificate_logs, certificate_logs),
    ] {
        if demanded > there {
            let message = format!("`{flag} {demanded}` can never be met: the trust root `{}` has {there}", root.name);
            let hint = if logs == 0 && timestamps > 0 {
                "the instance has no transparency log: ask for `--require-logs 0 --require-timestamps 1`, and for as many \
                 `--require-certificate-logs` as it has"
            } else {
                "ask for at most as many, or give the root of the instance that signed by `--trusted-root`"
            };
            return Err(Failure::new(Exit::Usage, message, hint));
        }
    }
    if demands.logs == 0 && demands.timestamps == 0 {
        let message = "a certificate lives for minutes, and nobody is to say when it was used";
        let hint = "ask for `--require-logs 1` or `--require-timestamps 1`";
        return Err(Failure::new(Exit::Usage, message, hint));
    }
    Ok(())
}

fn pattern(flag: &str, read: Result<TextPattern, PatternProblem>) -> Result<TextPattern, Failure> {
    read.map_err(|problem| Failure::new(Exit::Usage, format!("`{flag}`: {problem}"), problem.hint))
}
