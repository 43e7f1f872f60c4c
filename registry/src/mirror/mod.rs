//! Where the images below a name are really read: mirrors, other locations, and names that are blocked.
//!
//! The name of an image stays what it is: rules, statements and verdicts know no mirror. Only reading follows routes:
//!
//! - What has a digest is read at the mirrors in their order, then at the original. The digest is recomputed, so that
//!   a mirror can withhold and nothing else.
//! - What lists signatures is asked at the original and at the mirrors at once, and what any of them lists counts. Only
//!   the original proves that there is none: a mirror may simply not have it.
//! - A tag is resolved at a mirror only where the configuration says so, because nothing proves that answer.
//! - Writing, and reading in order to write, goes to the original and nowhere else.
//!
//! A mirror is a registry of its own: its credentials, certificates, addresses and throttling are those of its host.

mod hosts_toml;
mod import;
pub(crate) mod prefix;
pub(crate) mod read;
mod registries_conf;
pub(crate) mod routes;

pub use import::{Routing, RoutingError};

/// What differs for the images below a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Which images: a host (`registry.example.com:5000`) with or without a path (`docker.io/library`), all hosts below
    /// a domain (`*.example.com`), or all images (`*`). The most specific route decides.
    pub prefix: String,
    /// Where the original is, when it is not where its name says.
    pub location: Option<Location>,
    /// Nothing below the name is read or written.
    pub is_blocked: bool,
    /// Where else they can be read, in the order in which they are asked.
    pub mirrors: Vec<Mirror>,
}

/// A copy of what is below a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Where it is.
    pub location: Location,
    /// What it is asked for.
    pub serves: Serves,
}

/// What a mirror is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// What a digest names, and lists of signatures. It cannot make an image pass for another.
    Digests,
    /// Both. What it says about a tag is believed: it can answer with an older image, or with another signed one.
    DigestsAndTags,
    /// Which image a tag names, and nothing else.
    Tags,
}

/// A place in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The host, and the path that takes the place of the prefix: `mirror.example.com/docker-hub`.
    pub address: String,
    /// The path of its API, where it is not `/v2`.
    pub api_root: Option<String>,
    /// Tell it the original's host in the query parameter `ns`, as containerd does.
    pub with_namespace: bool,
}

impl Location {
    /// A place whose API is where the specification has it.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), api_root: None, with_namespace: false }
    }
}
