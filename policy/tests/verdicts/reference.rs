//! The reference page of the reason codes says what the code says.

use hallmark_policy::{Code, Outcome};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/reason-codes.md");

fn page() -> String {
    let mut page = String::from(
        "# Reason codes\n\n\
         Every reason that a verdict gives has one of these codes. A code never changes its name or its outcome once\n\
         released. The HTTP status is that of `POST /v1/verdicts?enforce=true`; the exit code is that of the command line\n\
         when the code is the first reason of the worst image. This page is compared with the code in a test; to write it\n\
         anew, run that test with `UPDATE_REFERENCE=1`.\n",
    );
    for (outcome, title) in
        [(Outcome::Deny, "Denied: we looked"), (Outcome::Undetermined, "Undetermined: we could not look")]
    {
        page.push_str(&format!(
            "\n## {title}\n\n| code | meaning | what to do | HTTP | exit |\n|---|---|---|---|---|\n"
        ));
        for code in Code::ALL.iter().filter(|code| code.outcome() == outcome) {
            page.push_str(&format!(
                "| `{code}` | {} | {} | {} | {} |\n",
                code.meaning(),
                code.hint(),
                code.http_status(),
                code.exit_code()
            ));
        }
    }
    page
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test compares with a file of the documentation")]
fn the_reference_page_is_the_table_in_the_code() {
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(PAGE, page()).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(written == page(), "docs/reference/reason-codes.md is not what the code says; run with UPDATE_REFERENCE=1");
}
