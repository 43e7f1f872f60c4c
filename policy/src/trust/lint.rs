//! What is allowed in a policy and probably not meant: each with the better way.

use std::fmt;

use crate::attestation::Severity;
use jiff::{SignedDuration, Timestamp};

use super::document::{AuthorityEntry, DefaultWord, Placed};
use super::keyless::is_wide;
use super::policy::{Exception, Mode, OnUndetermined, ReferenceBinding, Rule, TagPolicy, TrustPolicy};
use super::problem::Position;
use super::read::Document;
use super::root::{Authority, TrustEarlier, TrustedKey};
use super::scope::{ImagePattern, Kind};
use crate::verify::KeyId;

/// How long before its end a key is worth a word: time enough to make the next one and sign again.
const KEY_NOTICE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Longest life of an exception that is not remarked on.
const EXCEPTION_LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Registries in which anybody may own a repository.
const PUBLIC_HOSTS: &[&str] = &[
    "docker.io",
    "gcr.io",
    "ghcr.io",
    "mcr.microsoft.com",
    "public.ecr.aws",
    "quay.io",
    "registry.gitlab.com",
    "registry.k8s.io",
];

/// One remark about a policy that loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lint {
    /// Where the document came from.
    pub origin: String,
    /// Where in the text.
    pub position: Position,
    /// Which field, as `spec.rules[0].mode`.
    pub path: String,
    /// What is remarkable, in one sentence without full stop.
    pub message: String,
    /// The better way.
    pub hint: String,
    /// The kind of the remark.
    pub code: LintCode,
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.position;
        write!(f, "{}:{line}:{column}: {}: {}", self.origin, self.path, self.message)
    }
}

/// The kinds of remarks: stable and machine-readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LintCode {
    /// What no rule covers is allowed.
    DefaultAllow,
    /// A key whose private half is published.
    ExampleKey,
    /// An exception past its date.
    ExceptionExpired,
    /// An exception for longer than 90 days.
    ExceptionLong,
    /// An exception for an image that no rule covers.
    ExceptionUnused,
    /// A key past its date.
    KeyExpired,
    /// Identities at a place where anybody may have one for free.
    IdentityStaging,
    /// A workflow that anybody may call, without a word about who did.
    IdentityShared,
    /// A pattern that whoever may push one branch can follow.
    IdentityWide,
    /// A key within 30 days of its date.
    KeyExpiresSoon,
    /// A rule that admits what it denies.
    NotEnforced,
    /// A rule for several repositories that takes a signature made for another one.
    ReferenceAny,
    /// A demand on scans that takes old ones: what was found since does not count.
    ScanWithoutAge,
    /// Held evidence is for digests, and the rule takes tags.
    TagsWithHeldEvidence,
    /// A demand on scans that takes any number of findings that nobody rated.
    UnknownNotLimited,
    /// An authority that no rule names.
    UnusedAuthority,
    /// A rule for everything in a registry where anybody may push.
    WholeRegistry,
    /// A window that only a trusted time could make use of.
    WindowWithoutTrustedTime,
}

impl LintCode {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::DefaultAllow,
        Self::ExampleKey,
        Self::ExceptionExpired,
        Self::ExceptionLong,
        Self::ExceptionUnused,
        Self::IdentityShared,
        Self::IdentityStaging,
        Self::IdentityWide,
        Self::KeyExpired,
        Self::KeyExpiresSoon,
        Self::NotEnforced,
        Self::ReferenceAny,
        Self::ScanWithoutAge,
        Self::TagsWithHeldEvidence,
        Self::UnknownNotLimited,
        Self::UnusedAuthority,
        Self::WholeRegistry,
        Self::WindowWithoutTrustedTime,
    ];

    /// The kebab-case name that the interfaces show.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DefaultAllow => "default-allow",
            Self::ExampleKey => "example-key",
            Self::ExceptionExpired => "exception-expired",
            Self::ExceptionLong => "exception-long",
            Self::ExceptionUnused => "exception-unused",
            Self::IdentityShared => "identity-shared",
            Self::IdentityStaging => "identity-staging",
            Self::IdentityWide => "identity-wide",
            Self::KeyExpired => "key-expired",
            Self::KeyExpiresSoon => "key-expires-soon",
            Self::NotEnforced => "not-enforced",
            Self::ReferenceAny => "reference-any",
            Self::ScanWithoutAge => "scan-without-age",
            Self::TagsWithHeldEvidence => "tags-with-held-evidence",
            Self::UnknownNotLimited => "unknown-not-limited",
            Self::UnusedAuthority => "unused-authority",
            Self::WholeRegistry => "whole-registry",
            Self::WindowWithoutTrustedTime => "window-without-trusted-time",
        }
    }
}

impl fmt::Display for LintCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The remarks about a policy and the document that it was compiled from, in the order of the text.
///
/// `now` is when keys and exceptions are looked at; `example_keys` are keys whose private halves are published.
#[must_use]
pub fn lint(document: &Document, policy: &TrustPolicy, now: Timestamp, example_keys: &[KeyId]) -> Vec<Lint> {
    let mut remarks = Remarks { origin: &document.origin, lints: Vec::new() };
    authorities(document, policy, now, example_keys, &mut remarks);
    rules(document, policy, &mut remarks);
    exceptions(document, policy, now, &mut remarks);
    if let Some(default) = document.content.spec.value.default.as_ref().filter(|word| word.value == DefaultWord::Allow)
    {
        let message = "an image that no rule covers is allowed without a look at its signatures";
        let hint = "write `default: deny`, and a rule with `mode: audit` for what is not signed yet";
        remarks.add(default.position, "spec.default", LintCode::DefaultAllow, message, hint);
    }
    let mut lints = remarks.lints;
    lints.sort_by(|a, b| (a.position, a.code, &a.path).cmp(&(b.position, b.code, &b.path)));
    lints
}

struct Remarks<'a> {
    origin: &'a str,
    lints: Vec<Lint>,
}

impl Remarks<'_> {
    fn add(
        &mut self,
        position: Position,
        path: impl Into<String>,
        code: LintCode,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let (path, message, hint) = (path.into(), message.into(), hint.into());
        self.lints.push(Lint { origin: self.origin.to_owned(), position, path, message, hint, code });
    }
}

fn place<T>(written: Option<&Placed<T>>) -> Position {
    written.map_or(Position::default(), |written| written.position)
}

fn authorities(
    document: &Document,
    policy: &TrustPolicy,
    now: Timestamp,
    example_keys: &[KeyId],
    remarks: &mut Remarks<'_>,
) {
    let mut used = vec![false; policy.authorities.len()];
    for index in policy.rules.iter().flat_map(Rule::authorities) {
        if let Some(used) = used.get_mut(index.0) {
            *used = true;
        }
    }
    let written = &document.content.spec.value.authorities;
    for (index, ((authority, entry), used)) in policy.authorities.iter().zip(written).zip(used).enumerate() {
        let path = format!("spec.authorities[{index}]");
        if !used {
            let message = format!("no rule names the authority `{}`", authority.name);
            let hint = "name it in a rule, or take it out: what is not needed cannot be misused";
            remarks.add(entry.value.name.position, format!("{path}.name"), LintCode::UnusedAuthority, message, hint);
        }
        identities(authority, &entry.value, &path, remarks);
        let entries = entry.value.keys.iter().flat_map(|list| &list.value);
        for (place_of_key, (key, entry)) in authority.keys.iter().zip(entries).enumerate() {
            let path = format!("{path}.keys[{place_of_key}]");
            if example_keys.contains(&key.key.id()) {
                let message = format!("the private half of the key {} is published as an example", key.key.id());
                let hint = "make a key of your own with `hallmark key generate`";
                remarks.add(entry.value.public_key.position, &path, LintCode::ExampleKey, message, hint);
            }
            // Nothing here proves when a signature was made, unless somebody's word about time is believed.
            if policy.timestamp_authorities.is_empty() && authority.evidence.logs == 0 {
                windows(key, entry, &path, remarks);
            }
            dates(key, entry, &path, now, remarks);
        }
    }
}

/// Workflows that are made to be called by anybody: their name says what was run, and not for whom.
const SHARED_WORKFLOWS: [&str; 2] =
    ["https://github.com/slsa-framework/slsa-github-generator/", "https://github.com/docker/github-builder/"];

fn identities(authority: &Authority, entry: &AuthorityEntry, path: &str, remarks: &mut Remarks<'_>) {
    let entries = entry.keyless.iter().flat_map(|list| &list.value);
    for (place, (identity, entry)) in authority.identities.iter().zip(entries).enumerate() {
        let path = format!("{path}.keyless[{place}]");
        let subject = entry.value.subject.position;
        let says_for_whom = identity
            .claims
            .iter()
            .any(|(name, _)| name.starts_with("sourceRepository") || name.starts_with("githubWorkflowRepository"));
        let is_shared = SHARED_WORKFLOWS.iter().any(|shared| identity.subject.as_str().starts_with(shared));
        if is_shared && !says_for_whom {
            let message = "anybody may call this workflow, so that its name says nothing about who did";
            let hint = "write `claims: {sourceRepositoryUri: https://github.com/OWNER/REPOSITORY}` as well";
            remarks.add(subject, format!("{path}.subject"), LintCode::IdentityShared, message, hint);
        }
        if is_wide(&identity.subject) {
            let message = "a branch may be called `x@refs/heads/main`: whoever may push one follows this pattern";
            let hint = "write `*` in place of `**` in front of the `@`, once for each segment";
            remarks.add(subject, format!("{path}.subject"), LintCode::IdentityWide, message, hint);
        }
        if identity.root.name == "staging" {
            let message =
                "the staging instance is for trying out; its keys are not kept as those of the public one are";
            let hint = "use `trustRoot: public-good`, or a root of your own";
            let position = place_of(entry.value.trust_root.as_ref(), entry.position);
            remarks.add(position, format!("{path}.trustRoot"), LintCode::IdentityStaging, message, hint);
        }
    }
}

fn place_of<T>(written: Option<&Placed<T>>, otherwise: Position) -> Position {
    written.map_or(otherwise, |written| written.position)
}

fn windows(key: &TrustedKey, entry: &Placed<super::document::KeyEntry>, path: &str, remarks: &mut Remarks<'_>) {
    if key.window.sign_until.is_some() {
        let message = "nothing here proves when a signature was made, so from `sign.until` on none of this key counts";
        let hint = "sign again with the next key before that date, or write only `acceptUntil`, or list \
                    `timestampAuthorities` and sign with `--timestamp-url`";
        let until = entry.value.sign.as_ref().and_then(|sign| sign.value.until.as_ref());
        let path = format!("{path}.sign.until");
        remarks.add(place(until), path, LintCode::WindowWithoutTrustedTime, message, hint);
    }
    if key.window.compromised.as_ref().is_some_and(|c| c.trust_earlier == TrustEarlier::WithTrustedTime) {
        let message = "`with-trusted-time` has no effect: nothing here proves when a signature was made";
        let hint = "list `timestampAuthorities`, or write `trustEarlier: never`; sign again with another key";
        let word = entry.value.compromised.as_ref().and_then(|entry| entry.value.trust_earlier.as_ref());
        let path = format!("{path}.compromised.trustEarlier");
        remarks.add(place(word), path, LintCode::WindowWithoutTrustedTime, message, hint);
    }
}

fn dates(
    key: &TrustedKey,
    entry: &Placed<super::document::KeyEntry>,
    path: &str,
    now: Timestamp,
    remarks: &mut Remarks<'_>,
) {
    let until = entry.value.sign.as_ref().and_then(|sign| sign.value.until.as_ref());
    let accept = entry.value.accept_until.as_ref();
    for (date, written, field) in
        [(key.window.sign_until, until, "sign.until"), (key.window.accept_until, accept, "acceptUntil")]
    {
        let Some(date) = date else { continue };
        let path = format!("{path}.{field}");
        let left = date.duration_since(now);
        if left <= SignedDuration::ZERO {
            let message = format!("`{field}` was {date}");
            let hint = "take the key out once nothing that is in use was signed with it alone";
            remarks.add(place(written), path, LintCode::KeyExpired, message, hint);
        } else if left <= KEY_NOTICE {
            let message = format!("`{field}` is {date}, in less than 30 days");
            let hint = "add the next key to the same authority now, sign again with it, and then let this one end";
            remarks.add(place(written), path, LintCode::KeyExpiresSoon, message, hint);
        }
    }
}

fn rules(document: &Document, policy: &TrustPolicy, remarks: &mut Remarks<'_>) {
    let written = &document.content.spec.value.rules;
    for (index, (rule, entry)) in policy.rules.iter().zip(written).enumerate() {
        let path = format!("spec.rules[{index}]");
        if rule.mode != Mode::Enforce {
            let message = format!("the rule `{}` admits what it denies", rule.name);
            let hint = "write `mode: enforce` once the record shows no more denials";
            let position = place(entry.value.mode.as_ref());
            remarks.add(position, format!("{path}.mode"), LintCode::NotEnforced, message, hint);
        }
        if matches!(rule.on_undetermined, OnUndetermined::UseHeldEvidence { .. }) && rule.tags == TagPolicy::Resolve {
            let message = "held evidence is used for digests only, and this rule also takes tags";
            let hint = "write `tags: deny` and deploy by digest, so that a registry that is down stops nothing";
            let position = place(entry.value.on_undetermined.as_ref());
            remarks.add(position, format!("{path}.onUndetermined"), LintCode::TagsWithHeldEvidence, message, hint);
        }
        if rule.require.is_some() && rule.reference == ReferenceBinding::Any && covers_several(rule) {
            let message = format!("the rule `{}` takes a signature that was made for another repository", rule.name);
            let hint =
                "write `reference: repository`, or nobody notices when a signed image is copied over another name";
            let written = entry.value.reference.as_ref().map(|word| word.position);
            let position = written.unwrap_or(entry.value.images.position);
            remarks.add(position, format!("{path}.reference"), LintCode::ReferenceAny, message, hint);
        }
        for (place, gate) in rule.attestations.iter().enumerate() {
            if gate.vulnerabilities.is_some() && gate.max_age.is_none() {
                let message =
                    format!("`{}` takes a scan of any age: what became known since then is not in it", gate.name);
                let hint = "write `maxAge: 168h`, and scan and attest again more often than that";
                let path = format!("{path}.attestations[{place}]");
                remarks.add(gate.position, path, LintCode::ScanWithoutAge, message, hint);
            }
            if gate.vulnerabilities.as_ref().is_some_and(|limits| !limits.most.contains_key(&Severity::Unknown)) {
                let message = format!("`{}` takes any number of findings that the scanner did not rate", gate.name);
                let hint = "write `unknown: 0`: what is not rated yet may be critical";
                let path = format!("{path}.attestations[{place}].vulnerabilities");
                remarks.add(gate.position, path, LintCode::UnknownNotLimited, message, hint);
            }
        }
        for (place, (pattern, text)) in rule.images.iter().zip(&entry.value.images.value).enumerate() {
            if is_whole_public_registry(pattern) {
                let message = format!("`{pattern}` covers a registry in which anybody may push");
                let hint = "name the repositories or organisations that you use";
                let path = format!("{path}.images[{place}]");
                remarks.add(text.position, path, LintCode::WholeRegistry, message, hint);
            }
        }
    }
}

fn covers_several(rule: &Rule) -> bool {
    rule.images.len() > 1 || rule.images.iter().any(|pattern| pattern.rank().kind != Kind::Exact)
}

fn is_whole_public_registry(pattern: &ImagePattern) -> bool {
    PUBLIC_HOSTS.contains(&pattern.host()) && pattern.path().split('/').all(|segment| matches!(segment, "*" | "**"))
}

fn exceptions(document: &Document, policy: &TrustPolicy, now: Timestamp, remarks: &mut Remarks<'_>) {
    let written = &document.content.spec.value.exceptions;
    for (index, (exception, entry)) in policy.exceptions.iter().zip(written).enumerate() {
        let path = format!("spec.exceptions[{index}]");
        let Exception { image, expires, .. } = exception;
        let left = expires.duration_since(now);
        let position = entry.value.expires.position;
        if left <= SignedDuration::ZERO {
            let message = format!("the exception for `{image}` ended on {expires} and is not applied");
            let hint = "take it out; if it is still needed, its owner writes a new one with a new reason";
            remarks.add(position, format!("{path}.expires"), LintCode::ExceptionExpired, message, hint);
        } else if left > EXCEPTION_LIFE {
            let message = format!("the exception for `{image}` stands for more than 90 days");
            let hint = "end it sooner: an exception that outlives its reason is a hole";
            remarks.add(position, format!("{path}.expires"), LintCode::ExceptionLong, message, hint);
        }
        if !policy.rules.iter().any(|rule| rule.images.iter().any(|pattern| pattern.matches(&image.repository))) {
            let message = format!("no rule covers `{image}`, so there is nothing to make an exception from");
            let hint = "write a rule for it, or take the exception out";
            let position = entry.value.image.position;
            remarks.add(position, format!("{path}.image"), LintCode::ExceptionUnused, message, hint);
        }
    }
}
