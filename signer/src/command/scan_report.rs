//! `hallmark attest --scanner`: what a scanner found, as a predicate.

use std::path::Path;

use hallmark_policy::Timestamp;
use hallmark_policy::attestation::{PredicateType, ScanReport, ScanReportError, Scanner};
use hallmark_policy::image::PinnedImage;

use crate::error::{Exit, Failure};

/// Most bytes of a report: Trivy's have up to some 20 MiB. In in-toto's form they become a tenth.
const MAX_REPORT_BYTES: usize = 64 * 1024 * 1024;

/// Where the report is, and what it does not say itself.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// What a scanner found, in place of a predicate: trivy, grype or clair, and its report in JSON
    #[arg(long, num_args = 2, value_names = ["SCANNER", "REPORT"], conflicts_with_all = ["predicate", "statement"])]
    scanner: Vec<String>,
    /// When the scan was made, for reports that do not say (RFC 3339)
    #[arg(long, value_name = "TIME", requires = "scanner")]
    scanned_at: Option<Timestamp>,
    /// When the scanner's database was updated, for reports that do not say (RFC 3339)
    #[arg(long, value_name = "TIME", requires = "scanner")]
    database_updated: Option<Timestamp>,
}

/// A report and the predicate that it becomes.
pub(super) struct Scanned {
    pub(super) predicate_type: PredicateType,
    pub(super) predicate: Vec<u8>,
    report: ScanReport,
}

impl Arguments {
    /// The report, where one is given.
    pub(super) fn read(&self, predicate_type: Option<&PredicateType>) -> Result<Option<Scanned>, Failure> {
        let [scanner, path] = self.scanner.as_slice() else { return Ok(None) };
        let scanner: Scanner = scanner.parse().map_err(failure)?;
        let bytes = super::attest::read(Path::new(path), MAX_REPORT_BYTES)?;
        let report = ScanReport::parse(scanner, &bytes).map_err(failure)?;
        let predicate_type = match predicate_type {
            Some(predicate_type) => predicate_type.clone(),
            None => {
                "vuln".parse().map_err(|error| Failure::new(Exit::Unexpected, format!("{error}"), "give `--type`"))?
            }
        };
        let predicate = report.predicate(&predicate_type, self.scanned_at, self.database_updated).map_err(failure)?;
        Ok(Some(Scanned { predicate_type, predicate, report }))
    }
}

impl Scanned {
    /// Refuses a report that says itself that it is about another image.
    pub(super) fn check(&self, image: &PinnedImage) -> Result<(), Failure> {
        if self.report.is_about(image.digest) != Some(false) {
            return Ok(());
        }
        let message = format!("the report names the digests of other images, and not that of `{image}`");
        let hint = "scan the image by its digest (`IMAGE@sha256:...`) and attest that report";
        Err(Failure::new(Exit::Usage, message, hint))
    }
}

fn failure(error: ScanReportError) -> Failure {
    Failure::new(Exit::Usage, error.to_string(), error.hint())
}
