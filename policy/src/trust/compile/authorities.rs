//! Authorities and their keys.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use jiff::Timestamp;

use super::{Checks, Files};
use crate::image::Digest;
use crate::limits;
use crate::trust::document::{AuthorityEntry, CompromiseEntry, KeyEntry, KeySource, Placed, TrustEarlierWord};
use crate::trust::keyless::EvidenceDemands;
use crate::trust::policy::AuthorityIndex;
use crate::trust::problem::{Position, Problem, quoted};
use crate::trust::root::{Authority, Compromise, KeyWindow, TrustEarlier, TrustedKey};
use crate::verify::{KeyError, KeyId, PublicKey};

/// The keys of a document: where each is, and what was loaded for them.
#[derive(Default)]
pub(super) struct Keys {
    seen: HashMap<KeyId, (AuthorityIndex, usize, Position)>,
    /// What the document's digest adds for the key files.
    pub(super) loaded: Vec<u8>,
}

impl Keys {
    pub(super) fn places(self) -> HashMap<KeyId, (AuthorityIndex, usize)> {
        self.seen.into_iter().map(|(id, (authority, place, _))| (id, (authority, place))).collect()
    }
}

/// Checks the authorities. Their places in the result are those in the text when nothing is refused.
pub(super) fn compile(
    entries: &[Placed<AuthorityEntry>],
    keys: &mut Keys,
    files: Files<'_>,
    checks: &mut Checks<'_>,
) -> Vec<Authority> {
    let lists = entries.iter().filter_map(|entry| entry.value.keys.as_ref());
    if let Some(beyond) = lists.flat_map(|list| &list.value).nth(limits::MAX_KEYS) {
        let message = format!("the document has more than {} keys", limits::MAX_KEYS);
        let hint = "split it into several documents";
        checks.refuse(beyond.position, "spec.authorities", Problem::LimitExceeded, message, hint);
        return Vec::new();
    }
    let mut names = HashMap::new();
    let mut authorities = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let path = format!("spec.authorities[{index}]");
        let name = &entry.value.name;
        checks.name(name, &format!("{path}.name"));
        if let Some(first) = names.insert(name.value.as_str(), name.position) {
            let message =
                format!("the authority `{}` is written twice, first in line {}", quoted(&name.value), first.line);
            let hint = "give each authority its own name, or list the keys of both in one";
            checks.refuse(name.position, format!("{path}.name"), Problem::Duplicate, message, hint);
        }
        let keys = compile_keys(entry, AuthorityIndex(index), &path, keys, files, checks);
        let (name, identities) = (name.value.clone(), Vec::new());
        authorities.push(Authority { name, keys, identities, evidence: EvidenceDemands::NOBODY });
    }
    authorities
}

fn compile_keys(
    entry: &Placed<AuthorityEntry>,
    authority: AuthorityIndex,
    path: &str,
    keys: &mut Keys,
    files: Files<'_>,
    checks: &mut Checks<'_>,
) -> Vec<TrustedKey> {
    let name = quoted(&entry.value.name.value);
    let Some(list) = entry.value.keys.as_ref().filter(|list| !list.value.is_empty()) else {
        if entry.value.keyless.is_none() {
            let position = entry.value.keys.as_ref().map_or(entry.position, |list| list.position);
            let message = format!("the authority `{name}` has no keys");
            let hint = "write at least one: `keys: [{publicKey: {file: release.pub}}]`, or identities under `keyless`";
            checks.refuse(position, format!("{path}.keys"), Problem::Empty, message, hint);
        }
        return Vec::new();
    };
    let mut trusted = Vec::with_capacity(list.value.len());
    for (place, entry) in list.value.iter().enumerate() {
        let path = format!("{path}.keys[{place}]");
        let window = compile_window(&entry.value, &path, checks);
        let source = &entry.value.public_key;
        let Some(key) = compile_key(source, &format!("{path}.publicKey"), keys, files, checks) else { continue };
        match keys.seen.entry(key.id()) {
            Entry::Vacant(vacant) => {
                vacant.insert((authority, place, source.position));
            }
            Entry::Occupied(first) => {
                let (owner, _, first) = *first.get();
                let message = format!("this is the key of line {} again: {}", first.line, key.id());
                let hint = if owner == authority {
                    "keep one of the two"
                } else {
                    "a key speaks for one authority, or one signature would count for two; give one of them another key"
                };
                checks.refuse(source.position, format!("{path}.publicKey"), Problem::Duplicate, message, hint);
            }
        }
        trusted.push(TrustedKey { key, window });
    }
    trusted
}

fn compile_key(
    source: &Placed<KeySource>,
    path: &str,
    keys: &mut Keys,
    files: Files<'_>,
    checks: &mut Checks<'_>,
) -> Option<PublicKey> {
    let hint = "write `publicKey: {file: release.pub}`, or the key itself under `pem: |`";
    let (position, bytes) = bytes_of(source, path, ("a public key", hint), keys, files, checks)?;
    match PublicKey::parse(&bytes) {
        Ok(key) => Some(key),
        Err(error) => {
            let hint = match &error {
                KeyError::Private => "take the private key out of here, consider it lost, and write its public half",
                KeyError::Unsupported { .. } | KeyError::Weak { .. } => {
                    "make a key with `hallmark key generate`, and sign with it again what this one has signed"
                }
                _ => "write a public key in PEM (`-----BEGIN PUBLIC KEY-----`) or DER",
            };
            let problem = match &error {
                KeyError::Weak { .. } => Problem::WeakKey,
                _ => Problem::KeyUnusable,
            };
            checks.refuse(position, path, problem, error.to_string(), hint);
            None
        }
    }
}

/// The bytes of a `file`, or the text of a `pem`, and where that is written.
pub(super) fn bytes_of(
    source: &Placed<KeySource>,
    path: &str,
    (what, hint): (&str, &str),
    keys: &mut Keys,
    files: Files<'_>,
    checks: &mut Checks<'_>,
) -> Option<(Position, Vec<u8>)> {
    match (&source.value.file, &source.value.pem) {
        (Some(file), None) => {
            Some((file.position, load(file, limits::MAX_PUBLIC_KEY_BYTES, path, keys, files, checks)?))
        }
        (None, Some(pem)) => Some((pem.position, pem.value.clone().into_bytes())),
        _ => {
            let message = format!("{what} is exactly one of `file` and `pem`");
            checks.refuse(source.position, path, Problem::InvalidValue, message, hint);
            None
        }
    }
}

/// The bytes of a file, at most so many, which the document's digest names from here on.
pub(super) fn load(
    file: &Placed<String>,
    most: usize,
    path: &str,
    keys: &mut Keys,
    files: Files<'_>,
    checks: &mut Checks<'_>,
) -> Option<Vec<u8>> {
    if file.value.is_empty() || file.value.chars().any(char::is_control) {
        let message = format!("`{}` is not the name of a file", quoted(&file.value));
        let hint = "write a path, relative to this document";
        checks.refuse(file.position, format!("{path}.file"), Problem::InvalidValue, message, hint);
        return None;
    }
    let bytes = files(&file.value).and_then(|bytes| match bytes.len() <= most {
        true => Ok(bytes),
        false => Err(format!("it is larger than {most} bytes")),
    });
    match bytes {
        Ok(bytes) => {
            // What is added to the digest is unambiguous: neither a text that loads nor a path has a NUL.
            let line = format!("\0{}\0{}", file.value, Digest::of(&bytes).encoded());
            keys.loaded.extend_from_slice(line.as_bytes());
            Some(bytes)
        }
        Err(why) => {
            let message = format!("the file `{}` could not be read: {}", quoted(&file.value), quoted(&why));
            let hint = "paths are relative to this document; the text itself, as `pem` or `json`, needs no file";
            checks.refuse(file.position, format!("{path}.file"), Problem::KeyUnusable, message, hint);
            None
        }
    }
}

fn compile_window(entry: &KeyEntry, path: &str, checks: &mut Checks<'_>) -> KeyWindow {
    let sign = entry.sign.as_ref().map(|sign| &sign.value);
    let from = sign.and_then(|sign| sign.from.as_ref());
    let until = sign.and_then(|sign| sign.until.as_ref());
    let accept = entry.accept_until.as_ref();
    let from_path = format!("{path}.sign.from");
    let until_path = format!("{path}.sign.until");
    let accept_path = format!("{path}.acceptUntil");
    let sign_from = from.and_then(|text| checks.timestamp(text, &from_path));
    let sign_until = until.and_then(|text| checks.timestamp(text, &until_path));
    let accept_until = accept.and_then(|text| checks.timestamp(text, &accept_path));
    let mut ordered =
        |late: Option<(Timestamp, &Placed<String>)>, early: Option<Timestamp>, ok: bool, path: &str, what: &str| {
            if let (Some((_, text)), Some(_)) = (late, early)
                && !ok
            {
                let hint = "exchange the dates, or leave one out; a key that can never sign is no key";
                checks.refuse(text.position, path, Problem::ImpossibleWindow, what, hint);
            }
        };
    let late_until = sign_until.zip(until);
    let late_accept = accept_until.zip(accept);
    ordered(late_until, sign_from, sign_until > sign_from, &until_path, "`sign.until` is not later than `sign.from`");
    ordered(
        late_accept,
        sign_until,
        accept_until >= sign_until,
        &accept_path,
        "`acceptUntil` is earlier than `sign.until`",
    );
    ordered(
        late_accept,
        sign_from,
        accept_until > sign_from,
        &accept_path,
        "`acceptUntil` is not later than `sign.from`",
    );
    let compromised = entry.compromised.as_ref().and_then(|entry| compile_compromise(&entry.value, path, checks));
    KeyWindow { sign_from, sign_until, accept_until, compromised }
}

fn compile_compromise(entry: &CompromiseEntry, path: &str, checks: &mut Checks<'_>) -> Option<Compromise> {
    let since = checks.timestamp(&entry.since, &format!("{path}.compromised.since"))?;
    let trust_earlier = match entry.trust_earlier.as_ref().map(|word| word.value) {
        Some(TrustEarlierWord::WithTrustedTime) => TrustEarlier::WithTrustedTime,
        Some(TrustEarlierWord::Never) | None => TrustEarlier::Never,
    };
    Some(Compromise { since, trust_earlier })
}
