//! Every bound on what files and programs of credentials say, each with where its number came from.

use std::time::Duration;

/// Most bytes of one file. A Kubernetes Secret has at most 1 MiB.
pub(super) const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Most entries of one file.
pub(super) const MAX_ENTRIES: usize = 10_000;
/// Most files of one directory, its own directories included.
pub(super) const MAX_FILES: usize = 1000;
/// How often files are looked at. The kubelet itself takes up to a minute to bring a changed Secret.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Most bytes of a program's answer. The largest tokens (Azure's, with many groups) have about 16 KiB.
pub(super) const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Most bytes of a program's complaints that are kept for a message, and most that it may write at all.
pub(super) const MAX_COMPLAINT_BYTES: usize = 1024;
pub(super) const MAX_STDERR_BYTES: usize = 1024 * 1024;
/// Longest time for one run of a program. The kubelet gives a minute; nobody waits that long for a verdict. Cloud tools
/// that ask a metadata service and a token service take 1 to 3 seconds.
pub(super) const RUN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the pipes of a program that has ended are still read: what it started may hold them open for ever.
pub(super) const LINGER: Duration = Duration::from_millis(500);
/// Most programs that run at one time.
pub(super) const MAX_RUNNING: usize = 16;

/// How long the answer of a credential helper is used: none says how long its tokens live, and the shortest that are
/// known (Google's) live for up to an hour and may be nearly over.
pub(super) const HELPER_LIFETIME: Duration = Duration::from_secs(300);
/// How long an answer is used that says "none", or that the registry has refused twice: somebody may log in meanwhile.
pub(super) const DOUBTFUL_LIFETIME: Duration = Duration::from_secs(30);
/// How long a failure is answered with itself, so that a broken program is not started for every request.
pub(super) const FAILURE_LIFETIME: Duration = Duration::from_secs(1);
/// Answers are not used for longer than this, whatever a provider says: Amazon's tokens live for 12 hours.
pub(super) const MAX_LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// Most answers that are remembered.
pub(super) const MAX_KEPT: usize = 4096;

/// Most providers of one configuration, and most patterns of one provider.
pub(super) const MAX_PROVIDERS: usize = 64;
pub(super) const MAX_PATTERNS: usize = 1000;
