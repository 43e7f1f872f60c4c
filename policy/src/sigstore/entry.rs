//! Entries of transparency logs: what the log promised, what it proves, and when it says that it saw it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::body::{self, Subject};
use super::bundle::{UnverifiedEntry, UnverifiedProof};
use super::trusted_root::{Log, TrustedRoot};
use super::{checkpoint, merkle};
use crate::limits;

/// What one entry of a trusted log says.
pub(super) struct LoggedEntry<'a> {
    pub(super) log: &'a Log,
    /// When the log says that it took it in: only where its promise covers the time.
    pub(super) time: Option<Timestamp>,
    /// Whether a proof leads to a tree that the log signed; else it has only promised.
    pub(super) is_proven: bool,
}

/// Verifies an entry; nothing when its log is not trusted here. Whether its time has come is for others to say.
///
/// # Errors
/// What is wrong with an entry of a trusted log, as a clause.
pub(super) fn verify<'a>(
    entry: &UnverifiedEntry,
    subject: &Subject<'_>,
    root: &'a TrustedRoot,
    promise_is_enough: bool,
) -> Result<Option<LoggedEntry<'a>>, String> {
    let Some(log) = root.logs.iter().find(|log| log.id() == entry.log) else { return Ok(None) };
    if entry.body.len() > limits::MAX_LOG_BODY_BYTES {
        return Err(format!("it is larger than {} bytes", limits::MAX_LOG_BODY_BYTES));
    }
    body::check(&entry.body, entry.kind, entry.version, subject)?;
    if let Some(promise) = &entry.promise {
        check_promise(entry, promise, log)?;
    }
    match &entry.proof {
        Some(proof) => check_proof(entry, proof, log)?,
        None if promise_is_enough && entry.promise.is_some() => {}
        None => return Err("it has no inclusion proof".to_owned()),
    }
    // A time that nobody signed is nobody's.
    let time = entry.time.filter(|_| entry.promise.is_some());
    if let Some(time) = time.filter(|time| !log.window.covers(*time)) {
        return Err(format!("the log `{}` is not believed at {time}", log.name()));
    }
    Ok(Some(LoggedEntry { log, time, is_proven: entry.proof.is_some() }))
}

/// The signed entry timestamp (Rekor, "Signed Entry Timestamp"): over the canonical JSON (RFC 8785) of body, time, log
/// and index.
fn check_promise(entry: &UnverifiedEntry, promise: &[u8], log: &Log) -> Result<(), String> {
    let time = entry.time.ok_or("it has a promise and no time")?.as_second();
    let signed = format!(
        r#"{{"body":"{}","integratedTime":{time},"logID":"{}","logIndex":{}}}"#,
        STANDARD.encode(&entry.body),
        hex::encode(&entry.log),
        entry.index
    );
    if log.verifies(signed.as_bytes(), promise) {
        return Ok(());
    }
    Err(format!("the log `{}` did not sign its promise", log.name()))
}

/// The inclusion proof, up to a checkpoint that the log signed.
fn check_proof(entry: &UnverifiedEntry, proof: &UnverifiedProof, log: &Log) -> Result<(), String> {
    if proof.path.len() > limits::MAX_PROOF_NODES {
        return Err(format!("its proof has more than {} nodes", limits::MAX_PROOF_NODES));
    }
    if proof.checkpoint.is_empty() {
        return Err("its proof has no checkpoint".to_owned());
    }
    let checkpoint = checkpoint::verify(&proof.checkpoint, log)?;
    if checkpoint.size != proof.size || checkpoint.root != proof.root {
        return Err("its proof and its checkpoint are about two trees".to_owned());
    }
    let leaf = merkle::leaf_hash(&entry.body);
    if merkle::root_of(leaf, proof.index, proof.size, &proof.path) != Some(checkpoint.root) {
        return Err("its proof does not lead to the log's root".to_owned());
    }
    Ok(())
}
