//! Tests of what is to be attested, and of what others have attested.

mod recorded;

use super::*;

fn image() -> PinnedImage {
    let reference: crate::image::ImageReference = "r.example/app:1".parse().unwrap();
    reference.pin(Digest::of(b"image"))
}

#[test]
fn a_predicate_is_taken_over_byte_for_byte_and_reads_back() {
    let predicate = br#" {"b":1.10,"a":12345678901234567890123,"c":"\u00e9"} "#;
    let attested = Attestation::of_predicate(&image(), "vuln".parse().unwrap(), predicate).unwrap();
    let text = std::str::from_utf8(attested.statement()).unwrap();
    assert!(text.contains(r#"{"b":1.10,"a":12345678901234567890123,"c":"\u00e9"}"#), "{text}");
    assert_eq!(Attestation::of_statement(&image(), attested.statement()).unwrap(), attested);
}

#[test]
fn must_not_attest_what_is_no_object_or_is_about_another_image() {
    for bad in [&b"[]"[..], b"1", b"", b"{", b"{}{}", b"\xff"] {
        assert!(Attestation::of_predicate(&image(), "spdx".parse().unwrap(), bad).is_err());
    }
    let deep = format!("{}{}{}", "{\"a\":".repeat(200), "1", "}".repeat(200));
    assert!(Attestation::of_predicate(&image(), "spdx".parse().unwrap(), deep.as_bytes()).is_err());
    let other = PinnedImage { digest: Digest::of(b"other"), ..image() };
    let good = Attestation::of_predicate(&image(), "spdx".parse().unwrap(), b"{}").unwrap();
    assert!(Attestation::of_statement(&other, good.statement()).is_err());
    let text = String::from_utf8(good.statement().to_vec()).unwrap();
    let plain = text.replace("https://spdx.dev/Document", crate::signature::SIGNATURE_PREDICATE_TYPE);
    assert!(Attestation::of_statement(&image(), plain.as_bytes()).is_err(), "a signature is no attestation");
    assert!(Attestation::of_statement(&image(), b"{}").is_err());
}
