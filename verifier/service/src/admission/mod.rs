//! Kubernetes admission, without I/O: from the bytes of an AdmissionReview to the image references that must be
//! judged, and from their verdicts to the bytes of the answer.
//!
//! The types are written by hand after `admission.k8s.io/v1` (Kubernetes API reference, "AdmissionReview"): lenient
//! towards fields that we do not know, strict about those that decide. What is not understood is denied.

mod answer;
mod objects;
mod review;

pub use answer::{Finding, Reply, Review, answer_findings, answer_refusal, answer_without_images};
pub use objects::{Kind, NamedImage, ObjectError, images_of};
pub use review::{Admission, ReviewError, Scope, Unreviewable, read_review};
