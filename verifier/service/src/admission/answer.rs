//! Writing the answer: always a complete `admission.k8s.io/v1` review with the uid of the request.
//!
//! How an API server treats what we say was recorded on Kubernetes 1.36: without `status.code` a denial becomes
//! "denied without explanation"; about 4 KB of warnings are shown in all; `details.causes` reaches the client.

use hallmark_policy::Code;
use serde::Serialize;

use super::objects::NamedImage;
use super::review::API_VERSION;
use crate::text::{printable, shortened};
use crate::verdict::{ImageVerdict, Mode, PolicyInForce, Reason};

/// Most bytes of a denial's message: it is one line in the terminal of whoever ran kubectl.
const MAX_MESSAGE_BYTES: usize = 4096;
/// Most images that a denial's message spells out; the rest is counted.
const MAX_IMAGES_IN_MESSAGE: usize = 10;
/// Most entries of `details.causes`.
const MAX_CAUSES: usize = 100;
/// Most bytes of one cause.
const MAX_CAUSE_BYTES: usize = 1024;
/// Most warnings. Ten of 256 bytes stay under the 4 KB that an API server passes on.
const MAX_WARNINGS: usize = 10;
/// Most bytes of one warning: the Kubernetes API asks for fewer than 256 characters.
const MAX_WARNING_BYTES: usize = 256;

/// The answer to an AdmissionReview (Kubernetes API reference, "AdmissionReview").
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    api_version: &'static str,
    kind: &'static str,
    response: Response,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    uid: String,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_annotations: Option<AuditAnnotations>,
}

#[derive(Debug, Serialize)]
struct AuditAnnotations {
    policies: String,
    verdicts: String,
}

#[derive(Debug, Serialize)]
struct Status {
    status: &'static str,
    code: u16,
    reason: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

#[derive(Debug, Serialize)]
struct Details {
    causes: Vec<Cause>,
}

#[derive(Debug, Serialize)]
struct Cause {
    reason: String,
    field: String,
    message: String,
}

/// What became of one place that names an image.
#[derive(Debug)]
pub struct Finding<'a> {
    /// The place.
    pub place: &'a NamedImage,
    /// The verdict about the image that it names.
    pub verdict: &'a ImageVerdict,
}

/// An answer, and what it says.
#[derive(Debug)]
pub struct Reply {
    /// The review to send.
    pub review: Review,
    /// Whether it allows the request.
    pub allowed: bool,
}

/// The answer to a request that brings no image in.
#[must_use]
pub fn answer_without_images(uid: String) -> Reply {
    reply(uid, true, None, Vec::new(), None)
}

/// The answer to a review that is not understood or cannot be processed: a denial.
///
/// `code` is the HTTP status that the client of the API server sees: 403, or 500 when the fault is ours.
#[must_use]
pub fn answer_refusal(uid: String, code: u16, message: &str, hint: &str) -> Reply {
    let message = shortened(&printable(&format!("{message}; hint: {hint}")), MAX_MESSAGE_BYTES);
    let reason = if code == 500 { "InternalError" } else { "Forbidden" };
    let status = Status { status: "Failure", code, reason, message, details: None };
    reply(uid, false, Some(status), Vec::new(), None)
}

/// The answer to a review whose images have been judged. No finding, no permission: an empty list is denied.
#[must_use]
pub fn answer_findings(uid: String, findings: &[Finding<'_>], policies: &[PolicyInForce]) -> Reply {
    let refused: Vec<_> = findings.iter().filter(|finding| !finding.verdict.admit).collect();
    let allowed = refused.is_empty() && !findings.is_empty();
    let status = (!allowed).then(|| denial(&refused));
    reply(uid, allowed, status, warnings(findings), Some(annotations(findings, policies)))
}

fn reply(
    uid: String,
    allowed: bool,
    status: Option<Status>,
    warnings: Vec<String>,
    audit_annotations: Option<AuditAnnotations>,
) -> Reply {
    let response = Response { uid, allowed, status, warnings, audit_annotations };
    Reply { review: Review { api_version: API_VERSION, kind: "AdmissionReview", response }, allowed }
}

fn denial(refused: &[&Finding<'_>]) -> Status {
    let mut message = String::new();
    // One image that is named in many places is explained once, at the first of them.
    let mut told: Vec<&str> = Vec::new();
    for finding in refused {
        if !told.contains(&finding.place.reference.as_str()) && told.len() < MAX_IMAGES_IN_MESSAGE {
            told.push(&finding.place.reference);
            if !message.is_empty() {
                message.push_str(" | ");
            }
            message.push_str(&in_words(finding));
        }
    }
    let mut message = shortened(&message, MAX_MESSAGE_BYTES.saturating_sub(64));
    if refused.len() > told.len() {
        message.push_str(&format!(" ({} places refused in all)", refused.len()));
    }
    let causes = refused.iter().take(MAX_CAUSES).map(|finding| cause(finding)).collect();
    Status { status: "Failure", code: 403, reason: "Forbidden", message, details: Some(Details { causes }) }
}

/// `container "app" names image "r.example/app:1": unsigned: ... (hint: ...)`.
fn in_words(finding: &Finding<'_>) -> String {
    let NamedImage { owner, reference, .. } = finding.place;
    printable(&format!(
        "{} names image \"{}\": {}",
        shortened(owner, 128),
        shortened(reference, 256),
        explanation(finding.verdict)
    ))
}

fn explanation(verdict: &ImageVerdict) -> String {
    match verdict.reasons.first() {
        Some(Reason { code, message, hint }) if hint.is_empty() => format!("{code}: {}", shortened(message, 512)),
        Some(Reason { code, message, hint }) => {
            format!("{code}: {} (hint: {})", shortened(message, 512), shortened(hint, 512))
        }
        None => "not allowed, without a reason".to_owned(),
    }
}

fn cause(finding: &Finding<'_>) -> Cause {
    let code = finding.verdict.reasons.first().map_or("denied", |reason| reason.code.as_str());
    let text = format!("{}: {}", shortened(&finding.place.reference, 256), explanation(finding.verdict));
    Cause {
        reason: code.to_owned(),
        field: finding.place.field.clone(),
        message: shortened(&printable(&text), MAX_CAUSE_BYTES),
    }
}

/// One warning for each image that a rule in mode `warn` admits although it is not allowed.
fn warnings(findings: &[Finding<'_>]) -> Vec<String> {
    let mut warned: Vec<&str> = Vec::new();
    let mut warnings = Vec::new();
    for finding in findings {
        let ImageVerdict { admit, mode, reasons, .. } = finding.verdict;
        let Some(reason) = reasons.first().filter(|_| *admit && *mode == Some(Mode::Warn)) else { continue };
        let reference = finding.place.reference.as_str();
        if warned.contains(&reference) || warnings.len() >= MAX_WARNINGS {
            continue;
        }
        warned.push(reference);
        let text = format!("{}: {}: {}", shortened(reference, 128), reason.code, reason.message);
        warnings.push(shortened(&printable(&text), MAX_WARNING_BYTES));
    }
    warnings
}

fn annotations(findings: &[Finding<'_>], policies: &[PolicyInForce]) -> AuditAnnotations {
    let policies: Vec<_> = policies.iter().map(|policy| format!("{}@{}", policy.name, policy.digest)).collect();
    let mut codes: Vec<Code> = findings.iter().flat_map(|f| f.verdict.reasons.iter().map(|r| r.code)).collect();
    codes.sort();
    codes.dedup();
    let verdicts = if codes.is_empty() {
        "allow".to_owned()
    } else {
        codes.iter().map(|code| code.as_str()).collect::<Vec<_>>().join(",")
    };
    AuditAnnotations { policies: shortened(&policies.join(","), MAX_MESSAGE_BYTES), verdicts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallmark_policy::Timestamp;
    use serde_json::{Value, json};

    fn place(index: usize, reference: &str) -> NamedImage {
        NamedImage {
            field: format!("spec.containers[{index}].image"),
            owner: format!("container \"c{index}\""),
            reference: reference.to_owned(),
        }
    }

    fn refused(reference: &str) -> ImageVerdict {
        let reason = Reason { code: Code::Unsigned, message: "no signature".into(), hint: "sign it".into() };
        ImageVerdict::unanswered(reference.to_owned(), Timestamp::UNIX_EPOCH, reason)
    }

    fn warned(reference: &str) -> ImageVerdict {
        ImageVerdict { admit: true, mode: Some(Mode::Warn), ..refused(reference) }
    }

    fn allowed(reference: &str) -> ImageVerdict {
        ImageVerdict {
            admit: true,
            verdict: hallmark_policy::Outcome::Allow,
            reasons: Vec::new(),
            ..refused(reference)
        }
    }

    fn answer(named: &[(NamedImage, ImageVerdict)]) -> Value {
        let findings: Vec<_> = named.iter().map(|(place, verdict)| Finding { place, verdict }).collect();
        let policies = [PolicyInForce { name: "p".into(), digest: "sha256:00".into() }];
        let reply = answer_findings("u1".into(), &findings, &policies);
        let value = serde_json::to_value(&reply.review).unwrap();
        assert_eq!(value["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(value["kind"], "AdmissionReview");
        assert_eq!(value["response"]["uid"], "u1");
        assert_eq!(value["response"]["allowed"], reply.allowed);
        value["response"].clone()
    }

    #[test]
    fn a_denial_names_container_image_code_and_hint_and_the_field() {
        let response = answer(&[
            (place(0, "r.example/good"), allowed("r.example/good")),
            (place(1, "r.example/bad"), refused("r.example/bad")),
        ]);
        assert_eq!(response["allowed"], false);
        assert_eq!(response["status"]["code"], 403);
        assert_eq!(response["status"]["reason"], "Forbidden");
        assert_eq!(
            response["status"]["message"],
            "container \"c1\" names image \"r.example/bad\": unsigned: no signature (hint: sign it)"
        );
        assert_eq!(
            response["status"]["details"]["causes"],
            json!([{"reason": "unsigned", "field": "spec.containers[1].image",
                "message": "r.example/bad: unsigned: no signature (hint: sign it)"}])
        );
    }

    #[test]
    fn the_twin_with_good_images_is_allowed_without_a_status() {
        let response = answer(&[(place(0, "r.example/good"), allowed("r.example/good"))]);
        assert_eq!(response["allowed"], true);
        assert_eq!(response.get("status"), None);
        assert_eq!(response.get("warnings"), None);
        assert_eq!(response["auditAnnotations"]["policies"], "p@sha256:00");
    }

    #[test]
    fn nothing_judged_is_not_allowed() {
        assert_eq!(answer(&[])["allowed"], false);
    }

    #[test]
    fn one_bad_image_among_warned_and_good_ones_denies() {
        let response =
            answer(&[(place(0, "w"), warned("w")), (place(1, "g"), allowed("g")), (place(2, "b"), refused("b"))]);
        assert_eq!(response["allowed"], false);
        let response = answer(&[(place(0, "w"), warned("w")), (place(1, "g"), allowed("g"))]);
        assert_eq!(response["allowed"], true);
        assert_eq!(response["warnings"], json!(["w: unsigned: no signature"]));
    }

    #[test]
    fn five_thousand_refusals_make_a_bounded_answer() {
        let named: Vec<_> = (0..5_000).map(|i| (place(i, &format!("r.example/{i}")), refused("x"))).collect();
        let response = answer(&named);
        let message = response["status"]["message"].as_str().unwrap();
        assert!(message.len() <= MAX_MESSAGE_BYTES, "{}", message.len());
        assert!(message.ends_with("(5000 places refused in all)"), "{message}");
        assert_eq!(response["status"]["details"]["causes"].as_array().unwrap().len(), MAX_CAUSES);
        let named: Vec<_> = (0..5_000).map(|i| (place(i, &format!("r.example/{i}")), warned("x"))).collect();
        let response = answer(&named);
        let warnings = response["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), MAX_WARNINGS);
        assert!(warnings.iter().map(|w| w.as_str().unwrap().len()).sum::<usize>() < 4096);
    }

    #[test]
    fn must_not_pass_on_control_characters_or_endless_names() {
        let evil = format!("r.example/\u{1b}[2J\n%s<b>{}", "a".repeat(10_000));
        let mut place = place(0, &evil);
        place.owner = format!("container \"{}\u{202e}\"", "b".repeat(10_000));
        for verdict in [refused(&evil), warned(&evil)] {
            let response = answer(&[(place.clone(), verdict)]).to_string();
            assert!(response.len() < 4096, "{}", response.len());
            assert!(!response.contains("\\u001b") && !response.contains("\\n") && !response.contains('\u{202e}'));
        }
        let refusal = answer_refusal("u".into(), 403, &evil, "x");
        let text = serde_json::to_string(&refusal.review).unwrap();
        assert!(text.len() < MAX_MESSAGE_BYTES + 512 && !text.contains("\\u001b"));
        assert!(!refusal.allowed);
    }
}
