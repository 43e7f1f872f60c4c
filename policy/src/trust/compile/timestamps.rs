//! Timestamp authorities, and how many of them each authority needs.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::authorities::{Keys, bytes_of};
use super::{Checks, Files};
use crate::limits;
use crate::trust::document::{Placed, SignWindow, TimestampAuthorityEntry};
use crate::trust::problem::{Problem, quoted};
use crate::trust::root::{TimestampAuthority, TrustedChain};
use crate::verify::CertificateChain;

/// Checks the timestamp authorities.
pub(super) fn compile(
    entries: &[Placed<TimestampAuthorityEntry>],
    keys: &mut Keys,
    files: Files<'_>,
    checks: &mut Checks<'_>,
) -> Vec<TimestampAuthority> {
    if let Some(beyond) = entries.get(limits::MAX_TIMESTAMP_AUTHORITIES) {
        let message = format!("the document has more than {} of them", limits::MAX_TIMESTAMP_AUTHORITIES);
        let hint = "keep those that are in use";
        checks.refuse(beyond.position, "spec.timestampAuthorities", Problem::LimitExceeded, message, hint);
        return Vec::new();
    }
    let mut names = HashMap::new();
    let mut authorities: Vec<TimestampAuthority> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let path = format!("spec.timestampAuthorities[{index}]");
        let name = &entry.value.name;
        checks.name(name, &format!("{path}.name"));
        if let Some(first) = names.insert(name.value.as_str(), name.position) {
            let message = format!("`{}` is written twice, first in line {}", quoted(&name.value), first.line);
            let hint = "give each timestamp authority its own name";
            checks.refuse(name.position, format!("{path}.name"), Problem::Duplicate, message, hint);
        }
        let Some(chains) = compile_chains(entry, &path, keys, files, checks) else { continue };
        let shared = |other: &&TimestampAuthority| {
            let pairs = other.chains.iter().flat_map(|theirs| chains.iter().map(move |ours| (theirs, ours)));
            pairs.into_iter().any(|(theirs, ours)| theirs.chain.begins_like(&ours.chain))
        };
        if let Some(other) = authorities.iter().find(shared) {
            let message = format!("its chain begins with the same key as that of `{}`", other.name);
            let hint = "one timestamp authority counts once; write it once";
            checks.refuse(entry.position, &path, Problem::Duplicate, message, hint);
        }
        authorities.push(TimestampAuthority { name: name.value.clone(), chains });
    }
    authorities
}

fn compile_chains(
    entry: &Placed<TimestampAuthorityEntry>,
    path: &str,
    keys: &mut Keys,
    files: Files<'_>,
    checks: &mut Checks<'_>,
) -> Option<Vec<TrustedChain>> {
    let hint = "write `certificateChain: {file: tsa-chain.pem}`, or `trustedRoot: {file: trusted_root.json}`";
    match (&entry.value.certificate_chain, &entry.value.trusted_root) {
        (Some(source), None) => {
            let (from, until) = window(entry.value.valid_for.as_ref(), path, checks)?;
            let path = format!("{path}.certificateChain");
            let (position, bytes) = bytes_of(source, &path, ("a chain", hint), keys, files, checks)?;
            match CertificateChain::parse(&bytes) {
                Ok(chain) => Some(vec![TrustedChain { chain, from, until }]),
                Err(error) => {
                    let hint = "write the whole chain in PEM: the certificate that signs timestamps (or the one that \
                                issues it) first, each issued by the next";
                    checks.refuse(position, path, Problem::KeyUnusable, error.to_string(), hint);
                    None
                }
            }
        }
        (None, Some(source)) => {
            if let Some(window) = &entry.value.valid_for {
                let message = "`validFor` stands in the trusted root itself";
                let hint = "leave it out, or write the chain under `certificateChain`";
                checks.refuse(window.position, format!("{path}.validFor"), Problem::InvalidValue, message, hint);
            }
            let path = format!("{path}.trustedRoot");
            let (position, bytes) = bytes_of(source, &path, ("a trusted root", hint), keys, files, checks)?;
            match trusted_root(&bytes) {
                Ok(chains) => Some(chains),
                Err(problem) => {
                    let hint = "write a Sigstore `trusted_root.json` that has `timestampAuthorities`";
                    checks.refuse(position, path, Problem::KeyUnusable, quoted(&problem), hint);
                    None
                }
            }
        }
        _ => {
            let message = "a timestamp authority is exactly one of `certificateChain` and `trustedRoot`";
            checks.refuse(entry.position, path, Problem::InvalidValue, message, hint);
            None
        }
    }
}

type Window = (Option<Timestamp>, Option<Timestamp>);

fn window(entry: Option<&Placed<SignWindow>>, path: &str, checks: &mut Checks<'_>) -> Option<Window> {
    let Some(entry) = entry else { return Some((None, None)) };
    let mut read = |text: Option<&Placed<String>>, end: &str| match text {
        Some(text) => checks.timestamp(text, &format!("{path}.validFor.{end}")).map(Some),
        None => Some(None),
    };
    let (from, until) = (read(entry.value.from.as_ref(), "from"), read(entry.value.until.as_ref(), "until"));
    let (from, until) = (from?, until?);
    if from.zip(until).is_some_and(|(from, until)| until <= from) {
        let message = "`validFor.until` is not later than `validFor.from`";
        let hint = "exchange the dates, or leave one out";
        checks.refuse(entry.position, format!("{path}.validFor"), Problem::ImpossibleWindow, message, hint);
        return None;
    }
    Some((from, until))
}

/// The part of a Sigstore trusted root that is about timestamps (`sigstore_trustroot.proto`, `TrustedRoot`).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TrustedRoot {
    media_type: String,
    #[serde(default)]
    timestamp_authorities: Vec<RootAuthority>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RootAuthority {
    cert_chain: RootChain,
    valid_for: RootWindow,
}

#[derive(Deserialize)]
struct RootChain {
    certificates: Vec<RootCertificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RootCertificate {
    raw_bytes: String,
}

/// `TimeRange`: both ends belong to it. An end that is missing is open; a start must be there.
#[derive(Deserialize)]
struct RootWindow {
    start: Timestamp,
    end: Option<Timestamp>,
}

fn trusted_root(bytes: &[u8]) -> Result<Vec<TrustedChain>, String> {
    let root: TrustedRoot = serde_json::from_slice(bytes).map_err(|error| format!("not a trusted root: {error}"))?;
    if !root.media_type.starts_with("application/vnd.dev.sigstore.trustedroot") {
        return Err(format!("not a trusted root: its media type is `{}`", root.media_type));
    }
    if !(1..=limits::MAX_TIMESTAMP_AUTHORITIES).contains(&root.timestamp_authorities.len()) {
        let found = root.timestamp_authorities.len();
        return Err(format!("it has {found} timestamp authorities, not 1 to {}", limits::MAX_TIMESTAMP_AUTHORITIES));
    }
    let chain = |(place, authority): (usize, RootAuthority)| {
        let problem = |error: String| format!("timestamp authority {}: {error}", place + 1);
        let certificates = authority.cert_chain.certificates.into_iter();
        let ders: Result<Vec<_>, _> = certificates.map(|certificate| STANDARD.decode(certificate.raw_bytes)).collect();
        let ders = ders.map_err(|error| problem(error.to_string()))?;
        let chain = CertificateChain::from_der(ders).map_err(|error| problem(error.to_string()))?;
        let after = |end: Timestamp| end.checked_add(SignedDuration::from_nanos(1)).ok();
        let until = authority.valid_for.end.and_then(after);
        Ok(TrustedChain { chain, from: Some(authority.valid_for.start), until })
    };
    root.timestamp_authorities.into_iter().enumerate().map(chain).collect()
}
