//! Where the two differ, and why: each by a line of `docs/divergences.md`.

/// Who accepts what the other refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Accepts {
    Hallmark,
    Oracle,
}

/// One kind of difference.
pub(super) struct Divergence {
    pub(super) what: &'static str,
    pub(super) accepts: Accepts,
    /// The subject of the line that says why.
    pub(super) line: &'static str,
}

pub(super) const DIVERGENCES: &[Divergence] = &[
    accepted("peers/cosign-3.1.1-rekor-v1", "fractions of a second in a timestamp"),
    accepted("peers/cosign-3.1.1-rekor-v2", "fractions of a second in a timestamp"),
    refused("two contents", "two contents or two materials in one bundle"),
    refused("two materials", "two contents or two materials in one bundle"),
    refused("a proof of a larger tree", "the size of the tree in a proof"),
    refused("/verificationMaterial/tlogEntries/*/inclusionProof/treeSize one more", "the size of the tree in a proof"),
    refused("/mediaType gone", "a bundle that says no version"),
];

const fn accepted(what: &'static str, line: &'static str) -> Divergence {
    Divergence { what, accepts: Accepts::Hallmark, line }
}

const fn refused(what: &'static str, line: &'static str) -> Divergence {
    Divergence { what, accepts: Accepts::Oracle, line }
}

/// The document.
pub(super) fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/divergences.md");
    std::fs::read_to_string(path).unwrap()
}
