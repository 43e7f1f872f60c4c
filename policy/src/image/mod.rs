//! What a verdict is about: image names, digests, manifests, and names that are pinned to one manifest.

mod digest;
mod manifest;
mod pinned;
mod platform;
mod reference;

pub use digest::{Digest, DigestError, Hasher};
pub use manifest::{Descriptor, Index, Manifest, ManifestError, Platform, media_type};
pub use pinned::{Content, ContentMismatch, PinnedImage};
pub use platform::{PlatformError, PlatformName, Platforms, is_runnable};
pub use reference::{ImageReference, ReferenceError, Repository, Tag};
