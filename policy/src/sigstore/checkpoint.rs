//! Checkpoints: a log's signed statement of its size and root (C2SP, "tlog-checkpoint" and "signed-note").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::trusted_root::Log;
use crate::limits;

/// What a log signed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) size: u64,
    pub(super) root: [u8; 32],
}

/// The checkpoint in a note, when `log` signed it.
///
/// The signature is looked for by the log's key id; other signatures (witnesses) count for nothing. What is read is
/// what was signed. Each that names the log's key costs a check, and a note has room for hundreds of them: more than a few
/// are refused, unchecked.
pub(super) fn verify(note: &str, log: &Log) -> Result<Checkpoint, String> {
    if note.len() > limits::MAX_CHECKPOINT_BYTES {
        return Err(format!("its checkpoint is larger than {} bytes", limits::MAX_CHECKPOINT_BYTES));
    }
    let end = note.rfind("\n\n").ok_or("its checkpoint has no signature")?;
    let (body, signatures) = note.split_at(end + 1);
    let lines = signatures.trim_start_matches('\n').lines().filter_map(signature_line);
    let of_log = lines.filter(|(hint, _)| log.checkpoint_hint() == *hint);
    let candidates: Vec<_> = of_log.take(limits::MAX_CHECKPOINT_SIGNATURES + 1).collect();
    if candidates.len() > limits::MAX_CHECKPOINT_SIGNATURES {
        let most = limits::MAX_CHECKPOINT_SIGNATURES;
        return Err(format!("its checkpoint has more than {most} signatures that name the log's key"));
    }
    if !candidates.iter().any(|(_, signature)| log.verifies(body.as_bytes(), signature)) {
        return Err(format!("its checkpoint is not signed by the log `{}`", log.name()));
    }
    let mut lines = body.lines();
    let origin = lines.next().unwrap_or_default();
    let size = lines.next().unwrap_or_default();
    let root = lines.next().unwrap_or_default();
    if origin.is_empty() {
        return Err("its checkpoint does not say whose it is".to_owned());
    }
    let size: u64 = size.parse().map_err(|_| "its checkpoint does not say a size")?;
    let root = STANDARD.decode(root).ok().and_then(|root| root.try_into().ok()).ok_or("its checkpoint has no root")?;
    Ok(Checkpoint { size, root })
}

/// `— name base64(hint || signature)`.
fn signature_line(line: &str) -> Option<([u8; 4], Vec<u8>)> {
    let (_, encoded) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let decoded = STANDARD.decode(encoded).ok()?;
    let (hint, signature) = decoded.split_first_chunk::<4>()?;
    Some((*hint, signature.to_vec()))
}
