//! Reports and documents that other programs really wrote, against counts that were made by hand. Where each is from
//! stands in `testdata/recorded/README.md`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::facts::{FactContent, Facts, facts};
use super::super::scan::{Finding, IN_TOTO_SCAN, Severity};
use super::super::{PredicateType, ScanReport, ScanReportError, Scanner, is_harmless};
use crate::image::Digest;

const TRIVY_ALPINE: &str = include_str!("../../../testdata/recorded/trivy-alpine-39-high-critical.json");
const TRIVY_DEBIAN: &str = include_str!("../../../testdata/recorded/trivy-debian-buster.json");
const GRYPE: &str = include_str!("../../../testdata/recorded/grype-image.json");

fn read(kind: &str, predicate: &str) -> Facts {
    facts(kind, format!(r#"{{"predicate":{predicate}}}"#).as_bytes()).unwrap()
}

/// The findings of a report, when it was attested as a type.
fn attested(report: &ScanReport, kind: &str, time: Option<&str>) -> Vec<Finding> {
    let kind: PredicateType = kind.parse().unwrap();
    let updated = Some("2026-11-22T06:00:00Z".parse().unwrap());
    let predicate = report.predicate(&kind, time.map(|time| time.parse().unwrap()), updated).unwrap();
    match read(kind.as_str(), &String::from_utf8(predicate).unwrap()).content {
        FactContent::Scan(findings) => findings,
        other => panic!("{other:?}"),
    }
}

#[test]
fn reports_of_real_scanners_have_as_many_findings_as_a_count_by_hand() {
    use Severity::{Critical, Low};
    let musl = ("CVE-2019-14697", Critical, true, None);
    let debian = |package: &'static str| Some(package);
    for (scanner, text, time, expected) in [
        // One vulnerability in two packages is two findings.
        (Scanner::Trivy, TRIVY_ALPINE, Some("2026-11-22T08:30:00Z"), vec![musl, musl]),
        (
            Scanner::Trivy,
            TRIVY_DEBIAN,
            None,
            vec![
                ("CVE-2019-18276", Low, false, debian("pkg:deb/debian/bash@5.0-4?arch=amd64&distro=debian-10.1")),
                (
                    "CVE-2019-18224",
                    Critical,
                    true,
                    debian("pkg:deb/debian/libidn2-0@2.0.5-1?arch=amd64&distro=debian-10.1"),
                ),
            ],
        ),
        // The state of the second one's fix is empty: what nobody says is not that there is none.
        (
            Scanner::Grype,
            GRYPE,
            Some("2026-11-22T08:30:00Z"),
            vec![
                ("CVE-1999-0001", Low, true, debian("")),
                ("CVE-1999-0002", Critical, true, debian("pkg:deb/package-2@2.2.2")),
            ],
        ),
    ] {
        let report = ScanReport::parse(scanner, text.as_bytes()).unwrap();
        assert_eq!(report.findings(), expected.len());
        for kind in ["vuln", IN_TOTO_SCAN] {
            let found = attested(&report, kind, time);
            let found: Vec<_> =
                found.iter().map(|f| (f.id.as_str(), f.severity, f.fixable, f.package.as_deref())).collect();
            assert_eq!(found, expected, "{scanner:?} {kind}");
        }
    }
}

#[test]
fn must_not_take_times_and_images_from_where_real_reports_have_none() {
    let vuln: PredicateType = "vuln".parse().unwrap();
    let alpine = ScanReport::parse(Scanner::Trivy, TRIVY_ALPINE.as_bytes()).unwrap();
    let debian = ScanReport::parse(Scanner::Trivy, TRIVY_DEBIAN.as_bytes()).unwrap();
    let grype = ScanReport::parse(Scanner::Grype, GRYPE.as_bytes()).unwrap();
    // This one does not say when it was made; that its time is empty says no more.
    assert_eq!(alpine.predicate(&vuln, None, None), Err(ScanReportError::Undated));
    assert_eq!(grype.predicate(&vuln, None, None), Err(ScanReportError::Undated));
    let predicate = String::from_utf8(debian.predicate(&vuln, None, None).unwrap()).unwrap();
    let made = read(vuln.as_str(), &predicate).made.unwrap();
    assert_eq!(made, "2021-08-25T12:20:30.000000005Z".parse().unwrap());
    // The digests of configuration, layers and base are not that of the image.
    let digest = |hex: &str| -> Digest { format!("sha256:{hex}").parse().unwrap() };
    let configuration = digest("c2c03a296d2329a4f3ab72a7bf38b78a8a80108204d326b0139d6af700e152d1");
    assert_eq!(debian.is_about(configuration), None);
    let manifest = digest("ca738abb87a8d58f112d3400ebb079b61ceae7dc290beb34bda735be4b1941d5");
    assert_eq!(grype.is_about(manifest), Some(true));
    let configuration = digest("ab5608d634db2716a297adbfa6a5dd5d8f8f5a7d0cab73649ea7fbb8c8da544f");
    assert_eq!(grype.is_about(configuration), Some(false));
}

#[test]
fn real_openvex_documents_excuse_what_they_name_and_nothing_else() {
    let image = Digest::of(b"image");
    let now = "2026-11-20T00:00:00Z".parse().unwrap();
    let excused = |kind: &str, document: &str, id: &str, package: &str| {
        let FactContent::Vex(statements) = read(kind, document).content else { panic!() };
        let finding =
            Finding { id: id.to_owned(), severity: Severity::High, fixable: true, package: Some(package.to_owned()) };
        is_harmless(&statements.iter().collect::<Vec<_>>(), &finding, image, now)
    };
    let first = include_str!("../../../testdata/recorded/openvex-0.0.1.json");
    let git = "pkg:apk/wolfi/git@2.39.0-r1?arch=x86_64";
    assert!(excused("https://openvex.dev/ns/v0.0.1", first, "CVE-2023-12345", git));
    assert!(excused("https://openvex.dev/ns", first, "CVE-2023-12345", git));
    assert!(!excused("https://openvex.dev/ns", first, "CVE-2023-12345", "pkg:apk/wolfi/git@2.39.0-r2?arch=x86_64"));
    assert!(!excused("https://openvex.dev/ns", first, "CVE-2023-1234", git));
    // It is under investigation.
    let second = include_str!("../../../testdata/recorded/openvex-0.2.0.json");
    assert!(!excused("https://openvex.dev/ns/v0.2.0", second, "CVE-9876-54321", "pkg:apk/wolfi/bash@1.0.0"));
    // `pkg:oci/debian` without a digest is any image of that name, and `pkg:deb/debian/bash` any version.
    let third = include_str!("../../../testdata/recorded/openvex-0.2.0-oci.json");
    assert!(!excused("https://openvex.dev/ns/v0.2.0", third, "CVE-2022-3715", "pkg:deb/debian/bash@5.0-4"));
    let exact = third
        .replace("pkg:oci/debian\"", &format!("pkg:oci/debian@{image}\""))
        .replace("pkg:deb/debian/bash\"", "pkg:deb/debian/bash@5.0-4\"");
    assert!(excused("https://openvex.dev/ns/v0.2.0", &exact, "CVE-2022-3715", "pkg:deb/debian/bash@5.0-4?arch=amd64"));
    assert!(!excused("https://openvex.dev/ns/v0.2.0", &exact, "CVE-2022-3715", "pkg:deb/debian/bash@5.0-5"));
}

#[test]
fn real_bills_of_materials_say_their_format_and_how_much_they_list() {
    for (kind, document, format, components, made) in [
        (
            "https://spdx.dev/Document",
            include_str!("../../../testdata/recorded/spdx-2.3.json"),
            "SPDX-2.3",
            1,
            "2023-05-12T18:30:22Z",
        ),
        // The application that it is about stands by itself, and is none of its three components.
        (
            "https://cyclonedx.org/bom",
            include_str!("../../../testdata/recorded/cyclonedx-1.6.json"),
            "CycloneDX-1.6",
            3,
            "2024-01-09T12:00:00Z",
        ),
    ] {
        let expected = FactContent::Sbom { format: format.to_owned(), components };
        assert_eq!(read(kind, document), Facts { made: Some(made.parse().unwrap()), content: expected });
    }
}

#[test]
fn real_provenance_says_its_builder_and_its_source() {
    let statement = |envelope: &str| {
        let envelope: serde_json::Value = serde_json::from_str(envelope).unwrap();
        let envelope = envelope.get("dsseEnvelope").unwrap_or(&envelope);
        STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap()
    };
    let (version_02, version_1) = ("https://slsa.dev/provenance/v0.2", "https://slsa.dev/provenance/v1");
    for (kind, envelope, builder, source) in [
        (
            version_02,
            include_str!("../../../testdata/recorded/slsa-generic-container-v2.0.0.dsse.json"),
            "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/tags/v2.0.0",
            "git+https://github.com/slsa-framework/example-package@refs/tags/v13.0.30",
        ),
        (
            version_02,
            include_str!("../../../testdata/sigstore/bundles/sigstore-js-1.3.0.provenance.sigstore.json"),
            "https://github.com/actions/runner",
            "git+https://github.com/sigstore/sigstore-js@refs/heads/main",
        ),
        (
            version_1,
            include_str!("../../../testdata/sigstore/bundles/sigstore-2.1.0.provenance.sigstore.json"),
            "https://github.com/actions/runner/github-hosted",
            "https://github.com/sigstore/sigstore-js",
        ),
        (
            version_1,
            include_str!("../../../testdata/sigstore/bundles/pypi_attestations-0.0.19.tar.gz.slsa.sigstore.json"),
            "https://github.com/trailofbits/pypi-attestations/.github/workflows/release.yml@refs/tags/v0.0.19",
            "https://github.com/trailofbits/pypi-attestations",
        ),
    ] {
        let statement = statement(envelope);
        let expected = FactContent::Provenance { builder: Some(builder.to_owned()), source: Some(source.to_owned()) };
        assert_eq!(facts(kind, &statement).unwrap(), Facts { made: None, content: expected });
    }
}
