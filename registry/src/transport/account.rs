//! Whose traffic a request is. Registries count requests by account, and by address where they know nobody: so the
//! quota that one account has used up is no reason to leave the registry alone for another.

use ::http::header::HeaderValue;

use crate::content_cache::Partition;

/// Whose traffic a request is, as its host sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Account {
    /// It says nothing of who we are.
    #[default]
    Nobody,
    /// It shows the credentials of this one, or a token that was given for them.
    Of(Partition),
}

/// What is shown at the door, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) header: HeaderValue,
    pub(super) account: Account,
}
