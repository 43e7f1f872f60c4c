//! Asking about several images at once: equal images once, all under one session, all before one deadline, each with
//! its metric and its audit line.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::{FutureExt, StreamExt, stream};
use hallmark_policy::image::ImageReference;
use hallmark_policy::verdict::Question;
use hallmark_policy::{Code, Outcome, Timestamp};

use crate::audit;
use crate::deadline::Deadline;
use crate::metrics::{Endpoint, Metrics};
use crate::session::Session;
use crate::verdict::{ImageVerdict, PolicyInForce, Reason};

/// Most images of one request that are judged at the same time. Ten images must not take much longer than one; the
/// pipeline has its own bounds per registry.
const CONCURRENT_IMAGES: usize = 32;

/// Who says which namespace the images are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespace {
    /// Somebody who is believed: an API server, or a caller who is authenticated for it. None means every rule.
    Authentic(Option<String>),
    /// The caller, who may say what he likes. A claim can only make the answer stricter: the image must be allowed in
    /// that namespace, and also by every rule that could apply to it.
    Claimed(String),
}

/// One request's questions: what they have in common.
pub struct Asking<'a> {
    /// The documents and the pipeline that answer.
    pub session: Arc<dyn Session>,
    /// Where to count.
    pub metrics: &'a Metrics,
    /// Which endpoint was asked.
    pub endpoint: Endpoint,
    /// The namespace that the images are for.
    pub namespace: Namespace,
    /// When the answers must be there.
    pub deadline: Deadline,
    /// Whether the request is only a rehearsal; for the log.
    pub dry_run: bool,
}

impl Asking<'_> {
    /// Judges images and returns a verdict for each, in the order of the question. `image` of a verdict is the
    /// normal form of the reference.
    pub async fn about(&self, images: &[ImageReference]) -> Vec<Arc<ImageVerdict>> {
        let distinct: HashSet<ImageReference> = images.iter().cloned().collect();
        let verdicts: HashMap<ImageReference, Arc<ImageVerdict>> = stream::iter(distinct)
            .map(|image| async move {
                let verdict = Arc::new(self.judge(&image).await);
                (image, verdict)
            })
            .buffer_unordered(CONCURRENT_IMAGES)
            .collect()
            .await;
        let missing = |image: &ImageReference| Arc::new(internal(image.to_string()));
        images.iter().map(|image| verdicts.get(image).cloned().unwrap_or_else(|| missing(image))).collect()
    }

    /// The documents that the answers rest on.
    #[must_use]
    pub fn policies(&self) -> &[PolicyInForce] {
        self.session.policies()
    }

    async fn judge(&self, image: &ImageReference) -> ImageVerdict {
        let began = Instant::now();
        let dangers = self.session.dangers(image);
        let verdict = match &self.namespace {
            Namespace::Authentic(namespace) => self.ask(image, namespace.clone()).await,
            Namespace::Claimed(claim) => {
                let claimed = self.ask(image, Some(claim.clone())).await;
                if claimed.admit { stricter(claimed, self.ask(image, None).await) } else { claimed }
            }
        };
        let took = began.elapsed();
        self.metrics.count_verdict(self.endpoint, &verdict, took.as_secs_f64());
        audit::verdict(self, &verdict, &dangers, took);
        verdict
    }

    /// One question to the session. Whatever happens there — a panic, a missed deadline — the image is not admitted.
    async fn ask(&self, image: &ImageReference, namespace: Option<String>) -> ImageVerdict {
        let question = Question { namespace, ..Question::about(image.clone()) };
        let answer = AssertUnwindSafe(self.session.verdict(&question, self.deadline.work_until)).catch_unwind();
        match tokio::time::timeout_at(self.deadline.answer_at.into(), answer).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(_panic)) => internal(image.to_string()),
            Err(_elapsed) => late(image.to_string()),
        }
    }
}

/// The stricter of two answers about one image; the first when they are equal.
fn stricter(first: ImageVerdict, second: ImageVerdict) -> ImageVerdict {
    let weight = |verdict: &ImageVerdict| (!verdict.admit, verdict.verdict);
    if weight(&second) > weight(&first) { second } else { first }
}

fn late(image: String) -> ImageVerdict {
    let reason = Reason {
        code: Code::DeadlineExceeded,
        message: "the time allowed for the verdict ran out before all was looked at".to_owned(),
        hint: "try again: what was learned so far is kept; or allow more time".to_owned(),
    };
    ImageVerdict::unanswered(image, Timestamp::now(), reason)
}

fn internal(image: String) -> ImageVerdict {
    let reason = Reason {
        code: Code::RegistryUnavailable,
        message: "the verifier failed while it looked at the image".to_owned(),
        hint: "this is a bug in the verifier; its log has the details".to_owned(),
    };
    ImageVerdict::unanswered(image, Timestamp::now(), reason)
}

/// The outcome of several images: the worst. Without images it is not an allow.
#[must_use]
pub fn worst<'a>(verdicts: impl IntoIterator<Item = &'a ImageVerdict>) -> Outcome {
    verdicts.into_iter().map(|verdict| verdict.verdict).max().unwrap_or(Outcome::Undetermined)
}
