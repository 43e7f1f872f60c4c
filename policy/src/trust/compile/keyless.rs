//! Trust roots, identities in certificates, and who must vouch for the signatures of an authority.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::authorities::{Keys, load};
use super::{Checks, Files};
use crate::limits;
use crate::sigstore::{LogProof, SubjectKind, TrustedRoot};
use crate::trust::document::{
    AuthorityEntry, EvidenceEntry, IdentityEntry, LogProofWord, Placed, RuleEntry, Spec, SubjectKindWord,
    TrustRootEntry,
};
use crate::trust::keyless::{
    EvidenceDemands, KnownRoots, NamedRoot, PatternProblem, TextPattern, TrustedIdentity, issuer_pattern, kind_of,
    subject_pattern,
};
use crate::trust::policy::Rule;
use crate::trust::problem::{Position, Problem, nearest, quoted};
use crate::trust::root::Authority;

/// The trust roots of a document: those that it carries, and those that it may name.
pub(super) struct Roots<'a> {
    own: HashMap<String, Arc<NamedRoot>>,
    /// Names that are written, also of those that could not be read.
    written: HashMap<&'a str, Position>,
    known: &'a KnownRoots,
    /// Those that are named, in order of first use.
    pub(super) used: Vec<Arc<NamedRoot>>,
}

impl<'a> Roots<'a> {
    /// Reads the roots that a document carries.
    pub(super) fn compile(
        entries: &'a [Placed<TrustRootEntry>],
        known: &'a KnownRoots,
        keys: &mut Keys,
        files: Files<'_>,
        checks: &mut Checks<'_>,
    ) -> Self {
        let mut roots = Self { own: HashMap::new(), written: HashMap::new(), known, used: Vec::new() };
        if let Some(beyond) = entries.get(limits::MAX_TRUST_ROOTS) {
            let message = format!("the document has more than {} of them", limits::MAX_TRUST_ROOTS);
            let hint = "keep those that are in use";
            checks.refuse(beyond.position, "spec.trustRoots", Problem::LimitExceeded, message, hint);
            return roots;
        }
        for (index, entry) in entries.iter().enumerate() {
            let path = format!("spec.trustRoots[{index}]");
            let name = &entry.value.name;
            checks.name(name, &format!("{path}.name"));
            let first = roots.written.insert(&name.value, name.position);
            if first.is_some() || KnownRoots::names().any(|known| known == name.value) {
                let message = format!("the trust root `{}` is there already", quoted(&name.value));
                let hint = "give each trust root a name of its own; `public-good`, `staging` and `github` are built in";
                checks.refuse(name.position, format!("{path}.name"), Problem::Duplicate, message, hint);
            }
            if let Some(root) = read(entry, &path, keys, files, checks) {
                let named = NamedRoot { name: name.value.clone(), root };
                roots.own.insert(name.value.clone(), Arc::new(named));
            }
        }
        roots
    }

    /// What the document's digest adds for the roots that it names and does not carry.
    pub(super) fn named(&self) -> Vec<u8> {
        let foreign = self.used.iter().filter(|root| !self.own.contains_key(&root.name));
        let added = foreign.map(|root| format!("\0\0{}\0{}", root.name, root.root.digest().encoded()));
        added.collect::<String>().into_bytes()
    }

    /// The root of a name; `public-good` where none is written.
    fn find(
        &mut self,
        name: Option<&Placed<String>>,
        position: Position,
        path: &str,
        checks: &mut Checks<'_>,
    ) -> Option<Arc<NamedRoot>> {
        let (text, position) = name.map_or(("public-good", position), |name| (name.value.as_str(), name.position));
        let path = format!("{path}.trustRoot");
        let root = match (self.own.get(text), self.known.find(text)) {
            (Some(own), _) => Arc::clone(own),
            (None, Some(Ok(known))) => known,
            (None, Some(Err(problem))) => {
                let hint = "write the instance's own `trusted_root.json` under `trustRoots`";
                checks.refuse(position, path, Problem::KeyUnusable, quoted(&problem), hint);
                return None;
            }
            // It was refused where it stands.
            (None, None) if self.written.contains_key(text) => return None,
            (None, None) => {
                let mut names: Vec<&str> = KnownRoots::names().collect();
                names.extend(self.written.keys());
                let hint = match nearest(text, names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => {
                        "write `public-good`, `staging`, `github`, or the name of one under `trustRoots`".to_owned()
                    }
                };
                let message = format!("there is no trust root `{}`", quoted(text));
                checks.refuse(position, path, Problem::UnknownName, message, hint);
                return None;
            }
        };
        if !self.used.contains(&root) {
            self.used.push(Arc::clone(&root));
        }
        Some(root)
    }
}

fn read(
    entry: &Placed<TrustRootEntry>,
    path: &str,
    keys: &mut Keys,
    files: Files<'_>,
    checks: &mut Checks<'_>,
) -> Option<TrustedRoot> {
    let hint = "write `file: trusted_root.json`, a complete root of the instance that signs";
    let (position, bytes) = match (&entry.value.file, &entry.value.json) {
        (Some(file), None) => (file.position, load(file, limits::MAX_TRUSTED_ROOT_BYTES, path, keys, files, checks)?),
        (None, Some(json)) => (json.position, json.value.clone().into_bytes()),
        _ => {
            let message = "a trust root is exactly one of `file` and `json`";
            checks.refuse(entry.position, path, Problem::InvalidValue, message, hint);
            return None;
        }
    };
    match TrustedRoot::parse(&bytes) {
        Ok(root) => Some(root),
        Err(error) => {
            let message = format!("the trust root cannot be used: {}", quoted(&error.problem));
            checks.refuse(position, path, Problem::KeyUnusable, message, hint);
            None
        }
    }
}

/// Puts into each authority who may sign for it by a certificate, and who must vouch for its signatures.
pub(super) fn compile(
    spec: &Spec,
    mut authorities: Vec<Authority>,
    roots: &mut Roots<'_>,
    checks: &mut Checks<'_>,
) -> Vec<Authority> {
    let lists = spec.authorities.iter().filter_map(|entry| entry.value.keyless.as_ref());
    if let Some(beyond) = lists.flat_map(|list| &list.value).nth(limits::MAX_IDENTITIES) {
        let message = format!("the document has more than {} identities", limits::MAX_IDENTITIES);
        checks.refuse(
            beyond.position,
            "spec.authorities",
            Problem::LimitExceeded,
            message,
            "use patterns, or split it",
        );
        return authorities;
    }
    for (index, entry) in spec.authorities.iter().enumerate() {
        let path = format!("spec.authorities[{index}]");
        let identities = identities(&entry.value, &path, roots, checks);
        let kind = if entry.value.keyless.is_some() { Kind::Identities(&identities) } else { Kind::Keys };
        let evidence = Demanded { spec, kind, path: format!("{path}.evidence") };
        let evidence = evidence.compile(entry, roots, checks);
        if let Some(authority) = authorities.get_mut(index) {
            authority.evidence = evidence;
            authority.identities = identities;
        }
    }
    authorities
}

fn identities(
    entry: &AuthorityEntry,
    path: &str,
    roots: &mut Roots<'_>,
    checks: &mut Checks<'_>,
) -> Vec<TrustedIdentity> {
    let Some(list) = &entry.keyless else { return Vec::new() };
    if entry.keys.is_some() {
        let message = "`keys` and `keyless` in one authority would make one signer out of two";
        let hint = "write two authorities, and say `any` or `all` of them in the rule";
        checks.refuse(list.position, format!("{path}.keyless"), Problem::InvalidValue, message, hint);
    }
    if list.value.is_empty() {
        let message = format!("the authority `{}` has no identities", quoted(&entry.name.value));
        let hint = "write at least one: `keyless: [{issuer: https://..., subject: https://...}]`";
        checks.refuse(list.position, format!("{path}.keyless"), Problem::Empty, message, hint);
    }
    let compiled = list.value.iter().enumerate().filter_map(|(place, entry)| {
        identity(&entry.value, entry.position, &format!("{path}.keyless[{place}]"), roots, checks)
    });
    compiled.collect()
}

fn identity(
    entry: &IdentityEntry,
    position: Position,
    path: &str,
    roots: &mut Roots<'_>,
    checks: &mut Checks<'_>,
) -> Option<TrustedIdentity> {
    let kind = match entry.subject_kind.as_ref().map(|word| word.value) {
        Some(SubjectKindWord::Dns) => SubjectKind::Dns,
        Some(SubjectKindWord::Email) => SubjectKind::Email,
        Some(SubjectKindWord::Uri) => SubjectKind::Uri,
        Some(SubjectKindWord::UserName) => SubjectKind::UserName,
        None => kind_of(&entry.subject.value),
    };
    let issuer = pattern(&entry.issuer, &format!("{path}.issuer"), issuer_pattern, checks);
    let of_kind = |text: &str| subject_pattern(kind, text);
    let subject = pattern(&entry.subject, &format!("{path}.subject"), of_kind, checks);
    let written = entry.claims.iter().flat_map(|claims| claims.value.written());
    let claims: Vec<_> = written
        .map(|(name, text)| Some((name, pattern(text, &format!("{path}.claims.{name}"), TextPattern::glob, checks)?)))
        .collect();
    let root = roots.find(entry.trust_root.as_ref(), position, path, checks);
    let claims = claims.into_iter().collect::<Option<Vec<_>>>()?;
    Some(TrustedIdentity { issuer: issuer?, kind, subject: subject?, claims, root: root? })
}

fn pattern(
    text: &Placed<String>,
    path: &str,
    read: impl FnOnce(&str) -> Result<TextPattern, PatternProblem>,
    checks: &mut Checks<'_>,
) -> Option<TextPattern> {
    match read(&text.value) {
        Ok(pattern) => Some(pattern),
        Err(problem) => {
            let message = format!("`{}`: {problem}", quoted(&text.value));
            checks.refuse(text.position, path, Problem::InvalidValue, message, problem.hint);
            None
        }
    }
}

/// What an authority has.
#[derive(Clone, Copy)]
enum Kind<'a> {
    Identities(&'a [TrustedIdentity]),
    Keys,
}

/// Who must vouch for an authority, as it is written.
struct Demanded<'a> {
    spec: &'a Spec,
    kind: Kind<'a>,
    path: String,
}

impl Demanded<'_> {
    fn compile(
        &self,
        authority: &Placed<AuthorityEntry>,
        roots: &mut Roots<'_>,
        checks: &mut Checks<'_>,
    ) -> EvidenceDemands {
        let usual = match self.kind {
            Kind::Identities(identities) => usual(identities),
            Kind::Keys => EvidenceDemands::NOBODY,
        };
        let (position, evidence) = match &authority.value.evidence {
            Some(evidence) => (evidence.position, Some(&evidence.value)),
            None => (authority.position, None),
        };
        let mut read = |field: &str, count: Option<&Placed<i64>>, usual: usize| match count {
            Some(count) => checks.count(count, &format!("{}.{field}", self.path)).unwrap_or(usual),
            None => usual,
        };
        let logs = read("logs", evidence.and_then(|entry| entry.logs.as_ref()), usual.logs);
        let timestamps = read("timestamps", evidence.and_then(|entry| entry.timestamps.as_ref()), usual.timestamps);
        let certificate_logs = evidence.and_then(|entry| entry.certificate_logs.as_ref());
        let certificate_logs = read("certificateLogs", certificate_logs, usual.certificate_logs);
        let log_proof = match evidence.and_then(|entry| entry.log_proof.as_ref()).map(|word| word.value) {
            Some(LogProofWord::Inclusion) => LogProof::Inclusion,
            Some(LogProofWord::Promise) | None => LogProof::Promise,
        };
        let log_root = self.log_root(evidence, logs, position, roots, checks);
        let demands = EvidenceDemands { logs, timestamps, certificate_logs, log_proof, log_root };
        self.refuse_impossible(evidence, position, &demands, checks);
        demands
    }

    /// The root whose logs vouch for keys.
    fn log_root(
        &self,
        evidence: Option<&EvidenceEntry>,
        logs: usize,
        position: Position,
        roots: &mut Roots<'_>,
        checks: &mut Checks<'_>,
    ) -> Option<Arc<NamedRoot>> {
        let written = evidence.and_then(|evidence| evidence.trust_root.as_ref());
        match (self.kind, written) {
            (Kind::Identities(_), Some(written)) => {
                let message = "each identity names its own trust root";
                let hint = "write `trustRoot` beside `issuer` and `subject`";
                let path = format!("{}.trustRoot", self.path);
                checks.refuse(written.position, path, Problem::InvalidValue, message, hint);
                None
            }
            (Kind::Identities(_), None) => None,
            (Kind::Keys, None) if logs == 0 => None,
            (Kind::Keys, written) => roots.find(written, position, &self.path, checks),
        }
    }

    /// More than there are can never vouch.
    fn refuse_impossible(
        &self,
        evidence: Option<&EvidenceEntry>,
        position: Position,
        demands: &EvidenceDemands,
        checks: &mut Checks<'_>,
    ) {
        let place = |written: Option<&Placed<i64>>| written.map_or(position, |written| written.position);
        let logs = place(evidence.and_then(|evidence| evidence.logs.as_ref()));
        let timestamps = place(evidence.and_then(|evidence| evidence.timestamps.as_ref()));
        let certificate_logs = place(evidence.and_then(|evidence| evidence.certificate_logs.as_ref()));
        let mut limit = |field: &str, position: Position, demanded: usize, there: usize, (of, hint): (&str, &str)| {
            if demanded > there {
                let message = format!("{demanded} can never vouch: {of} has {there}");
                checks.refuse(position, format!("{}.{field}", self.path), Problem::Unsatisfiable, message, hint);
            }
        };
        match self.kind {
            Kind::Keys => {
                let there = self.spec.timestamp_authorities.len();
                let hint = "list timestamp authorities under `spec.timestampAuthorities`, and ask for at most as many";
                limit("timestamps", timestamps, demands.timestamps, there, ("`timestampAuthorities`", hint));
                if let Some(root) = &demands.log_root {
                    let ([there, _, _], of) = (root.root.vouchers(), format!("the trust root `{}`", root.name));
                    limit("logs", logs, demands.logs, there, (&of, FEWER));
                }
                let none = ("what a key signs", FEWER);
                limit("certificateLogs", certificate_logs, demands.certificate_logs, 0, none);
            }
            Kind::Identities(identities) => {
                for identity in identities {
                    let (of, hint) = (format!("the trust root `{}`", identity.root.name), instead(&identity.root));
                    let [log, service, certificate_log] = identity.root.root.vouchers();
                    let of = (of.as_str(), hint.as_str());
                    limit("logs", logs, demands.logs, log, of);
                    limit("timestamps", timestamps, demands.timestamps, service, of);
                    limit("certificateLogs", certificate_logs, demands.certificate_logs, certificate_log, of);
                }
                if demands.logs == 0 && demands.timestamps == 0 {
                    let message = "a certificate lives for minutes, and nobody is to say when it was used";
                    let hint = "ask for `logs: 1`, or for `timestamps: 1`";
                    checks.refuse(position, &self.path, Problem::Unsatisfiable, message, hint);
                }
            }
        }
    }
}

const FEWER: &str = "ask for at most as many, or use the trust root of the instance that signs";

/// What is demanded for identities where nothing is written: what their instance gives with every signature.
fn usual(identities: &[TrustedIdentity]) -> EvidenceDemands {
    let is_of_github = |identity: &TrustedIdentity| identity.root.name == KnownRoots::GITHUB;
    if !identities.is_empty() && identities.iter().all(is_of_github) {
        EvidenceDemands::GITHUB
    } else {
        EvidenceDemands::PUBLIC_GOOD
    }
}

/// What to demand of an instance that has not as many as are demanded. One without a log says by timestamps when.
fn instead(root: &NamedRoot) -> String {
    let [logs, timestamps, certificate_logs] = root.root.vouchers();
    if logs > 0 || timestamps == 0 {
        return FEWER.to_owned();
    }
    let (name, certificate_logs) = (&root.name, certificate_logs.min(1));
    format!(
        "the instance `{name}` has no transparency log: write `evidence: {{logs: 0, timestamps: 1, certificateLogs: \
         {certificate_logs}}}`, and put identities of other instances into an authority of their own"
    )
}

fn place_of_names(rule: &RuleEntry, otherwise: Position) -> Position {
    rule.require.as_ref().map_or(otherwise, |require| require.position)
}

/// One signature speaks for one authority: no certificate may be about two that a rule names.
pub(super) fn refuse_shared(spec: &Spec, authorities: &[Authority], rules: &[Rule], checks: &mut Checks<'_>) {
    let mut compared = HashSet::new();
    let of_gates = |rule: &'_ Rule| rule.attestations.iter().map(|gate| gate.from.authorities()).collect::<Vec<_>>();
    let named = rules
        .iter()
        .flat_map(|rule| std::iter::once(rule.signers()).chain(of_gates(rule)).map(move |asked| (rule, asked)));
    for (rule, asked) in named {
        let pairs =
            asked.iter().enumerate().flat_map(|(place, one)| asked.iter().skip(place + 1).map(move |two| (one, two)));
        for (one, two) in pairs.filter(|pair| compared.insert((*pair.0, *pair.1))) {
            let (Some(one), Some(two)) = (authorities.get(one.0), authorities.get(two.0)) else { continue };
            let meet = |a: &&TrustedIdentity| two.identities.iter().any(|b| a.meets(b));
            let Some(identity) = one.identities.iter().find(meet) else { continue };
            let written = spec.rules.iter().enumerate().find(|(_, entry)| entry.value.name.value == rule.name);
            let (place, position) = written
                .map_or((0, rule.position), |(place, entry)| (place, place_of_names(&entry.value, rule.position)));
            let message =
                format!("one signature could speak for `{}` and for `{}`: both take {identity}", one.name, two.name);
            let hint = "write patterns that no certificate follows both of, or put both into one authority";
            checks.refuse(position, format!("spec.rules[{place}].require"), Problem::Duplicate, message, hint);
        }
    }
}
