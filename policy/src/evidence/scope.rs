//! How much is looked at: what the rules about an image need to know.

use crate::image::{Descriptor, Index, Platforms, Tag};

/// What is gathered about an image beside the signatures of its own digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// The children of an index: those that one of these selects. Empty: the index itself is not fetched.
    pub children: Vec<Platforms>,
    /// cosign's tag for attestations is asked, too; attestations that are referrers are there anyway.
    pub attestations: bool,
    /// The tag under which there may be an index that lists the image.
    pub parent: Option<Tag>,
}

impl Scope {
    /// The image itself and nothing more.
    pub const IMAGE: Self = Self { attestations: false, children: Vec::new(), parent: None };

    /// Everything that any rule could ask for about an image.
    #[must_use]
    pub fn everything(parent: Option<Tag>) -> Self {
        Self { attestations: true, children: vec![Platforms::EveryChild], parent }
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
