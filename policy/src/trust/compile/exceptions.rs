//! Exceptions and mirrors.

use std::collections::{HashMap, HashSet};

use super::Checks;
use crate::image::{ImageReference, PinnedImage};
use crate::limits;
use crate::reason::Code;
use crate::trust::document::{ExceptionEntry, MirrorEntry, Placed};
use crate::trust::mirror::{Mirrors, RepositoryPrefix};
use crate::trust::policy::{Exception, WAIVABLE};
use crate::trust::problem::{Problem, nearest, quoted};

/// Checks the exceptions. Their places in the result are those in the text when nothing is refused.
pub(super) fn compile(entries: &[Placed<ExceptionEntry>], checks: &mut Checks<'_>) -> Vec<Exception> {
    let mut images: HashMap<PinnedImage, u64> = HashMap::new();
    let mut exceptions = Vec::with_capacity(entries.len());
    for (index, placed) in entries.iter().enumerate() {
        let path = format!("spec.exceptions[{index}]");
        let entry = &placed.value;
        let image = pinned(&entry.image, &format!("{path}.image"), checks);
        let waives = waived(&entry.waives, &format!("{path}.waives"), checks);
        checks.sentence(&entry.owner, &format!("{path}.owner"));
        checks.sentence(&entry.reason, &format!("{path}.reason"));
        let expires = checks.timestamp(&entry.expires, &format!("{path}.expires"));
        let Some(image) = image else { continue };
        if let Some(first) = images.insert(image.clone(), entry.image.position.line) {
            let message = format!("there is another exception for this image in line {first}");
            let hint = "exceptions are never added up; write one with all that is waived";
            checks.refuse(entry.image.position, format!("{path}.image"), Problem::Duplicate, message, hint);
        }
        if let (Some(waives), Some(expires)) = (waives, expires) {
            let (owner, reason) = (entry.owner.value.clone(), entry.reason.value.clone());
            exceptions.push(Exception { image, waives, owner, reason, expires, position: placed.position });
        }
    }
    exceptions
}

/// Reads a reference that names exactly one manifest and nothing else.
fn pinned(text: &Placed<String>, path: &str, checks: &mut Checks<'_>) -> Option<PinnedImage> {
    let hint = "name exactly one image by its digest: `registry.example.com/app@sha256:...`";
    let reference: ImageReference = match text.value.parse() {
        Ok(reference) => reference,
        Err(error) => {
            checks.refuse(text.position, path, Problem::InvalidValue, error.to_string(), hint);
            return None;
        }
    };
    match (reference.pinned(), reference.tag()) {
        (Some(image), None) => Some(image),
        (pinned, _) => {
            let what = if pinned.is_some() { "has a tag beside its digest" } else { "has no digest" };
            let message = format!("the image `{}` {what}", quoted(&text.value));
            checks.refuse(text.position, path, Problem::InvalidValue, message, hint);
            None
        }
    }
}

fn waived(list: &Placed<Vec<Placed<String>>>, path: &str, checks: &mut Checks<'_>) -> Option<Vec<Code>> {
    let waivable: Vec<String> = WAIVABLE.iter().map(|code| format!("`{code}`")).collect();
    let waivable = format!("what can be waived is {}", waivable.join(", "));
    if list.value.is_empty() {
        checks.refuse(list.position, path, Problem::Empty, "the exception waives nothing", waivable);
        return None;
    }
    let mut codes = Vec::with_capacity(list.value.len());
    let mut seen = HashSet::new();
    for (index, text) in list.value.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let word = quoted(&text.value);
        match Code::parse(&text.value) {
            None => {
                let near = nearest(&text.value, WAIVABLE.iter().map(|code| code.as_str()));
                let hint = near.map_or_else(|| waivable.clone(), |near| format!("did you mean `{near}`?"));
                let message = format!("`{word}` is not the code of a reason");
                checks.refuse(text.position, path, Problem::UnknownName, message, hint);
            }
            Some(code) if !WAIVABLE.contains(&code) => {
                let message = format!("`{code}` is never waived");
                checks.refuse(text.position, path, Problem::NotWaivable, message, waivable.clone());
            }
            Some(code) if !seen.insert(code) => {
                let message = format!("`{code}` stands here twice");
                checks.refuse(text.position, path, Problem::Duplicate, message, "keep one");
            }
            Some(code) => codes.push(code),
        }
    }
    (codes.len() == list.value.len()).then_some(codes)
}

/// Checks the mirrors.
pub(super) fn compile_mirrors(entries: &[Placed<MirrorEntry>], checks: &mut Checks<'_>) -> Mirrors {
    let mut mirrors = Mirrors::default();
    for (index, placed) in entries.iter().enumerate() {
        let path = format!("spec.mirrors[{index}]");
        let entry = &placed.value;
        let source = prefix(&entry.source, &format!("{path}.source"), checks);
        if entry.mirrors.value.is_empty() {
            let message = "this source has no mirrors";
            let path = format!("{path}.mirrors");
            checks.refuse(entry.mirrors.position, path, Problem::Empty, message, "write at least one, or leave it out");
        }
        for (index, text) in entry.mirrors.value.iter().enumerate() {
            let path = format!("{path}.mirrors[{index}]");
            let (Some(mirror), Some(source)) = (prefix(text, &path, checks), source.clone()) else { continue };
            let name = quoted(mirror.as_str());
            if mirror == source {
                let message = format!("`{name}` is its own mirror");
                let hint = "a mirror is another host or path than its source";
                checks.refuse(text.position, path, Problem::InvalidValue, message, hint);
            } else if !mirrors.add(mirror, source) {
                let message = format!("`{name}` is a mirror twice");
                let hint = "a mirror has one source, or its images would have two names; use a longer path for each";
                checks.refuse(text.position, path, Problem::Duplicate, message, hint);
            }
        }
    }
    mirrors
}

fn prefix(text: &Placed<String>, path: &str, checks: &mut Checks<'_>) -> Option<RepositoryPrefix> {
    if text.value.len() > limits::MAX_QUOTED_CHARS {
        let message = "this is longer than a host and a path";
        checks.refuse(text.position, path, Problem::InvalidValue, message, "write it like `mirror.example.com/hub`");
        return None;
    }
    match RepositoryPrefix::parse(&text.value) {
        Ok(prefix) => Some(prefix),
        Err(error) => {
            checks.refuse(text.position, path, Problem::InvalidValue, error.message, error.hint);
            None
        }
    }
}
