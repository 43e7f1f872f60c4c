//! Reading an AdmissionReview: first its uid, so that everything after can be answered with one, then the rest.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::objects::{Kind, NamedImage, ObjectError, images_of};

/// The only version of AdmissionReview that is understood.
pub(super) const API_VERSION: &str = "admission.k8s.io/v1";

/// Most bytes of a uid: Kubernetes sends 36.
const MAX_UID_BYTES: usize = 256;

/// A review that can be answered: it has a uid.
#[derive(Debug)]
pub struct Admission {
    /// The uid that the answer must carry.
    pub uid: String,
    /// What has to be done, or why the request cannot be understood.
    pub scope: Result<Scope, ReviewError>,
    /// The namespace that the API server says the object is in; never one that the object claims.
    pub namespace: Option<String>,
    /// Nothing will be stored: the verdict is the same, and the log says so.
    pub dry_run: bool,
}

/// What a review asks of us.
#[derive(Debug, PartialEq, Eq)]
pub enum Scope {
    /// Judge these images: those that are new.
    Judge(Vec<NamedImage>),
    /// No image comes in with this request: why, for the log.
    NoNewImage(&'static str),
}

/// The body is not a review that could be answered by a review: there is no uid. HTTP 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreviewable {
    /// Not JSON, or not of the shape of a review.
    #[error("the body is not an AdmissionReview: {problem}")]
    Malformed {
        /// What the parser says.
        problem: String,
    },
    /// There is no uid to answer to.
    #[error("the AdmissionReview has no `request.uid`")]
    NoUid,
}

/// The review has a uid, but is not understood: it is denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    /// Another API version or kind than `admission.k8s.io/v1` AdmissionReview.
    #[error(
        "the review is not an `admission.k8s.io/v1` AdmissionReview; set `admissionReviewVersions: [v1]` in the webhook configuration"
    )]
    ApiVersion,
    /// A field of the request that decides is malformed.
    #[error("the review's `request` is malformed: {problem}")]
    Malformed {
        /// What the parser says.
        problem: String,
    },
    /// A CREATE or UPDATE without an object.
    #[error("the review has no `request.object`")]
    NoObject,
    /// An object of a kind in the table that names no image at all.
    #[error("the object names no image, although its kind must")]
    NoImage,
    /// The object itself.
    #[error("the object could not be read: {0}")]
    Object(#[from] ObjectError),
    /// The object says that it is of another kind than the request.
    #[error("the object is a `{object}`, but the request is about a `{request}`")]
    OtherKind {
        /// The kind in the object.
        object: String,
        /// The kind in the request.
        request: String,
    },
    /// A kind that is not in the table.
    #[error(
        "objects of kind `{kind}` in API group `{group}` are not known here; remove them from the `rules` of the webhook configuration"
    )]
    UnknownKind {
        /// The API group, empty for the core group.
        group: String,
        /// The kind.
        kind: String,
    },
    /// An operation that Kubernetes does not have.
    #[error("the operation `{operation}` is not known")]
    UnknownOperation {
        /// The operation.
        operation: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    api_version: Option<&'a RawValue>,
    #[serde(borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    request: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OnlyUid {
    uid: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    uid: Option<String>,
    kind: GroupVersionKind,
    operation: String,
    namespace: Option<String>,
    dry_run: Option<bool>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    old_object: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct GroupVersionKind {
    #[serde(default)]
    group: String,
    kind: String,
}

/// Reads the body of a webhook call.
///
/// # Errors
/// [`Unreviewable`] when there is no uid that an answer could carry. Everything else that is wrong is in
/// [`Admission::scope`], to be answered by a review that denies.
pub fn read_review(body: &[u8]) -> Result<Admission, Unreviewable> {
    let malformed = |problem: String| Unreviewable::Malformed { problem };
    let text = std::str::from_utf8(body).map_err(|error| malformed(error.to_string()))?;
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    let request = envelope.request.ok_or(Unreviewable::NoUid)?;
    let (uid, request) = match serde_json::from_str::<Request<'_>>(request.get()) {
        Ok(request) => (request.uid.clone(), Ok(request)),
        // What else is wrong with it can be answered, if only it has a uid.
        Err(error) => {
            let only: OnlyUid = serde_json::from_str(request.get()).map_err(|error| malformed(error.to_string()))?;
            (only.uid, Err(ReviewError::Malformed { problem: error.to_string() }))
        }
    };
    let uid = uid.filter(|uid| !uid.is_empty() && uid.len() <= MAX_UID_BYTES).ok_or(Unreviewable::NoUid)?;

    let says = |value: Option<&RawValue>, expected: &str| {
        value.and_then(|raw| serde_json::from_str::<&str>(raw.get()).ok()).is_some_and(|text| text == expected)
    };
    let understood = says(envelope.api_version, API_VERSION) && says(envelope.kind, "AdmissionReview");
    Ok(match request {
        Ok(mut request) if understood => {
            let namespace = request.namespace.take().filter(|namespace| !namespace.is_empty());
            Admission { uid, scope: request.scope(), namespace, dry_run: request.dry_run.unwrap_or(false) }
        }
        request => {
            let error = request.err().filter(|_| understood).unwrap_or(ReviewError::ApiVersion);
            Admission { uid, scope: Err(error), namespace: None, dry_run: false }
        }
    })
}

impl Request<'_> {
    fn scope(&self) -> Result<Scope, ReviewError> {
        match self.operation.as_str() {
            "CREATE" | "UPDATE" => {}
            "CONNECT" => return Ok(Scope::NoNewImage("CONNECT names no image")),
            "DELETE" => return Ok(Scope::NoNewImage("DELETE brings no image in")),
            other => return Err(ReviewError::UnknownOperation { operation: other.to_owned() }),
        }
        let GroupVersionKind { group, kind } = &self.kind;
        let path = match Kind::of(group, kind) {
            Kind::PodSpec(path) => path,
            Kind::WithoutImages => return Ok(Scope::NoNewImage("its kind names no image")),
            Kind::Unknown => return Err(ReviewError::UnknownKind { group: group.clone(), kind: kind.clone() }),
        };
        let object = self.object.ok_or(ReviewError::NoObject)?;
        self.check_kind(object)?;
        let images = images_of(object, path)?;
        // Kubernetes itself asks for a container; an empty list means that we looked in the wrong place.
        if images.is_empty() && !path.is_empty() {
            return Err(ReviewError::NoImage);
        }
        let known = if self.operation == "UPDATE" { self.known_references(path) } else { BTreeSet::new() };
        let new: Vec<_> = images.into_iter().filter(|image| !known.contains(&image.reference)).collect();
        if new.is_empty() { Ok(Scope::NoNewImage("every image was there before")) } else { Ok(Scope::Judge(new)) }
    }

    /// The references that the object had before. An UPDATE is judged by what it brings in, whether or not the object
    /// is being deleted: judging what is already there keeps finalizers from being removed, and waving through what
    /// is being deleted is CVE-2023-34091. An old object that cannot be read vouches for nothing.
    fn known_references(&self, path: &[&str]) -> BTreeSet<String> {
        let images = self.old_object.and_then(|object| images_of(object, path).ok()).unwrap_or_default();
        images.into_iter().map(|image| image.reference).collect()
    }

    fn check_kind(&self, object: &RawValue) -> Result<(), ReviewError> {
        #[derive(Deserialize)]
        struct OnlyKind {
            kind: Option<String>,
        }
        let only: OnlyKind = serde_json::from_str(object.get())
            .map_err(|error| ObjectError::Malformed { path: "object".to_owned(), problem: error.to_string() })?;
        match only.kind {
            Some(kind) if kind != self.kind.kind => {
                Err(ReviewError::OtherKind { object: kind, request: self.kind.kind.clone() })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn review(request: &Value) -> Value {
        json!({"apiVersion": API_VERSION, "kind": "AdmissionReview", "request": request})
    }

    fn pod(containers: &Value) -> Value {
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "claimed"}, "spec": {"containers": containers}})
    }

    fn pod_request(operation: &str, object: &Value, old: &Value) -> Value {
        json!({"uid": "u1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": operation,
            "namespace": "real", "object": object, "oldObject": old})
    }

    fn read(review: &Value) -> Admission {
        read_review(review.to_string().as_bytes()).unwrap()
    }

    fn references(scope: &Result<Scope, ReviewError>) -> Vec<&str> {
        match scope {
            Ok(Scope::Judge(images)) => images.iter().map(|image| image.reference.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn without_a_uid_there_is_no_review_to_answer_with() {
        for body in [
            "",
            "x",
            "[]",
            "null",
            "{}",
            r#"{"request": null}"#,
            r#"{"request": "text"}"#,
            r#"{"request": {}}"#,
            r#"{"request": {"uid": ""}}"#,
            r#"{"request": {"uid": 7}}"#,
            r#"{"request": {"uid": "a"}, "request": {"uid": "b"}}"#,
            r#"{"request": {"uid": "a", "uid": "b"}}"#,
            "\u{0}",
        ] {
            assert!(read_review(body.as_bytes()).is_err(), "{body}");
        }
        assert!(read_review(b"\xff\xfe").is_err());
        assert!(read_review("[".repeat(1_000_000).as_bytes()).is_err());
        let long = format!(r#"{{"request": {{"uid": "{}"}}}}"#, "u".repeat(MAX_UID_BYTES + 1));
        assert_eq!(read_review(long.as_bytes()).unwrap_err(), Unreviewable::NoUid);
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_uid() {
        let good = pod_request("CREATE", &pod(&json!([{"name": "a", "image": "r.example/a"}])), &Value::Null);
        let with = |field: &str, value: Value| {
            let mut request = good.clone();
            request[field] = value;
            review(&request)
        };
        let mut beta = review(&good);
        beta["apiVersion"] = json!("admission.k8s.io/v1beta1");
        let mut other = review(&good);
        other["kind"] = json!("ConversionReview");
        let mut number = review(&good);
        number["apiVersion"] = json!(1);
        let no_version = json!({"request": good});
        for (review, expected) in [
            (beta, "`admission.k8s.io/v1`"),
            (other, "`admission.k8s.io/v1`"),
            (number, "`admission.k8s.io/v1`"),
            (no_version, "`admission.k8s.io/v1`"),
            (with("object", Value::Null), "no `request.object`"),
            (with("object", json!("a string")), "malformed"),
            (with("object", json!([])), "malformed"),
            (with("object", json!({})), "missing"),
            (with("object", pod(&json!([]))), "names no image"),
            (with("object", pod(&Value::Null)), "names no image"),
            (with("object", json!({"kind": "Deployment", "spec": {"containers": [{"image": "a"}]}})), "about a `Pod`"),
            (with("operation", json!("PATCH")), "`PATCH` is not known"),
            (with("operation", Value::Null), "`request` is malformed"),
            (with("kind", json!({"group": "example.com", "version": "v1", "kind": "Workflow"})), "`rules`"),
            (with("kind", json!("Pod")), "`request` is malformed"),
            (with("kind", Value::Null), "`request` is malformed"),
        ] {
            let admission = read(&review);
            assert_eq!(admission.uid, "u1");
            let error = admission.scope.expect_err(&review.to_string());
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert_eq!(references(&read(&review(&good)).scope), ["r.example/a"], "the twin is understood");
    }

    #[test]
    fn the_namespace_is_the_request_s_and_never_the_object_s() {
        let object = pod(&json!([{"image": "r.example/a"}]));
        let mut request = pod_request("CREATE", &object, &Value::Null);
        assert_eq!(read(&review(&request)).namespace.as_deref(), Some("real"));
        for missing in [Value::Null, json!("")] {
            request["namespace"] = missing;
            assert_eq!(read(&review(&request)).namespace, None);
        }
    }

    #[test]
    fn unknown_fields_do_no_harm() {
        let mut request = pod_request("CREATE", &pod(&json!([{"image": "r.example/a", "new": {}}])), &Value::Null);
        request["fromTheFuture"] = json!({"deep": [1, 2, 3]});
        assert_eq!(references(&read(&review(&request)).scope), ["r.example/a"]);
    }

    #[test]
    fn an_update_is_judged_by_the_images_that_it_brings_in() {
        let a = json!({"name": "a", "image": "r.example/a"});
        let b = json!({"name": "b", "image": "r.example/b"});
        let renamed = json!({"name": "z", "image": "r.example/a"});
        let changed = json!({"name": "a", "image": "r.example/c"});
        let deleting = |containers: Value| {
            let mut object = pod(&containers);
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            object
        };
        for (what, old, new, expected) in [
            ("unchanged", pod(&json!([a, b])), pod(&json!([a, b])), vec![]),
            ("reordered", pod(&json!([a, b])), pod(&json!([b, a])), vec![]),
            ("one removed", pod(&json!([a, b])), pod(&json!([b])), vec![]),
            ("renamed", pod(&json!([a])), pod(&json!([renamed])), vec![]),
            ("changed", pod(&json!([a, b])), pod(&json!([changed, b])), vec!["r.example/c"]),
            ("added", pod(&json!([a])), pod(&json!([a, b])), vec!["r.example/b"]),
            ("finalizer removed while deleting", deleting(json!([a])), deleting(json!([a])), vec![]),
            ("changed while deleting", deleting(json!([a])), deleting(json!([changed])), vec!["r.example/c"]),
            ("no old object", Value::Null, pod(&json!([a])), vec!["r.example/a"]),
            ("unreadable old object", json!("x"), pod(&json!([a])), vec!["r.example/a"]),
            ("old object of another shape", json!({"image": "r.example/a"}), pod(&json!([a])), vec!["r.example/a"]),
        ] {
            let admission = read(&review(&pod_request("UPDATE", &new, &old)));
            assert!(admission.scope.is_ok(), "{what}: {:?}", admission.scope);
            assert_eq!(references(&admission.scope), expected, "{what}");
        }
    }

    #[test]
    fn an_old_object_does_not_vouch_on_create() {
        let object = pod(&json!([{"image": "r.example/a"}]));
        let admission = read(&review(&pod_request("CREATE", &object, &object)));
        assert_eq!(references(&admission.scope), ["r.example/a"]);
    }

    #[test]
    fn deletions_and_connections_pass_whatever_they_carry() {
        for operation in ["DELETE", "CONNECT"] {
            let admission = read(&review(&pod_request(operation, &Value::Null, &Value::Null)));
            assert!(matches!(admission.scope, Ok(Scope::NoNewImage(_))), "{operation}");
        }
    }

    #[test]
    fn the_ephemeral_containers_of_older_clusters_are_seen() {
        let request = json!({"uid": "u1", "kind": {"group": "", "version": "v1", "kind": "EphemeralContainers"},
            "operation": "UPDATE", "namespace": "n", "subResource": "ephemeralcontainers",
            "object": {"kind": "EphemeralContainers", "ephemeralContainers": [{"name": "d", "image": "r.example/debug"}]},
            "oldObject": {"kind": "EphemeralContainers", "ephemeralContainers": []}});
        assert_eq!(references(&read(&review(&request)).scope), ["r.example/debug"]);
    }
}
