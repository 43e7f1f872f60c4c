//! How much is looked at: what the rules about an image need to know.

use std::collections::BTreeSet;

use crate::attestation::PredicateType;
use crate::image::{Descriptor, Index, Platforms, Tag};

/// What is gathered about an image beside the signatures of its own digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// The children of an index: those that one of these selects. Empty: the index itself is not fetched.
    pub children: Vec<Platforms>,
    /// cosign's tag for attestations is asked, too; attestations that are referrers are there anyway.
    pub attestations: bool,
    /// Which attestations may be larger than signatures are.
    pub large: Large,
    /// The tag under which there may be an index that lists the image.
    pub parent: Option<Tag>,
}

impl Scope {
    /// The image itself and nothing more.
    pub const IMAGE: Self = Self { attestations: false, children: Vec::new(), large: Large::Nothing, parent: None };

    /// Everything that any rule could ask for about an image.
    #[must_use]
    pub fn everything(parent: Option<Tag>) -> Self {
        Self { attestations: true, children: vec![Platforms::EveryChild], large: Large::OfAnyType, parent }
    }

    /// Whether the image itself is all.
    #[must_use]
    pub fn is_image(&self) -> bool {
        *self == Self::IMAGE
    }

    /// The children of an index that are looked at, each once, in its order.
    #[must_use]
    pub fn children_of<'a>(&self, index: &'a Index) -> Vec<&'a Descriptor> {
        let mut children: Vec<&Descriptor> = Vec::new();
        for child in &index.manifests {
            if children.iter().all(|known| known.digest != child.digest)
                && self.children.iter().any(|platforms| platforms.select(child, index))
            {
                children.push(child);
            }
        }
        children
    }
}

/// Which attestations are looked at up to [`crate::limits::MAX_ATTESTATION_BYTES`], by the type that they claim. Nobody has
/// signed that claim: it saves the request for what nobody asks for, and what is not looked at is never "not there".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Large {
    /// None: everything has the bound of signatures.
    Nothing,
    /// Every one.
    OfAnyType,
    /// Those that claim to be of one of these types, or none at all.
    OfTypes(BTreeSet<PredicateType>),
}

impl Large {
    /// Those of one type.
    #[must_use]
    pub fn of_type(predicate_type: &PredicateType) -> Self {
        Self::Nothing.and(std::slice::from_ref(predicate_type))
    }

    /// These, and those of these types. Of some types none is large, whoever asks.
    #[must_use]
    pub fn and(self, types: &[PredicateType]) -> Self {
        let mut known = match self {
            Self::Nothing => BTreeSet::new(),
            Self::OfAnyType => return self,
            Self::OfTypes(known) => known,
        };
        known.extend(types.iter().filter(|predicate_type| predicate_type.may_be_large()).cloned());
        if known.is_empty() { Self::Nothing } else { Self::OfTypes(known) }
    }

    /// Whether one that claims to be of this type may be large.
    #[must_use]
    pub fn includes(&self, claimed: Option<&str>) -> bool {
        match self {
            Self::Nothing => false,
            Self::OfAnyType => true,
            Self::OfTypes(types) => {
                claimed.is_none_or(|claimed| types.iter().any(|predicate_type| predicate_type.as_str() == claimed))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_look_at_large_ones_that_nobody_asks_for() {
        let types = |words: &[&str]| -> Vec<PredicateType> { words.iter().map(|word| word.parse().unwrap()).collect() };
        let spdx = Some("https://spdx.dev/Document");
        assert!(!Large::Nothing.includes(spdx) && !Large::Nothing.includes(None));
        assert!(Large::OfAnyType.includes(spdx) && Large::OfAnyType.includes(None));
        let asked = Large::Nothing.and(&types(&["spdx"])).and(&types(&["vuln", "slsaprovenance1", "openvex"]));
        assert!(asked.includes(spdx) && asked.includes(None));
        for other in ["https://spdx.dev/Document/v2.3", "https://slsa.dev/provenance/v1", "https://openvex.dev/ns", ""]
        {
            assert!(!asked.includes(Some(other)), "{other}");
        }
        assert_eq!(Large::Nothing.and(&types(&["slsaprovenance1", "openvex"])), Large::Nothing);
        assert_eq!(Large::OfAnyType.and(&types(&["spdx"])), Large::OfAnyType);
    }
}
