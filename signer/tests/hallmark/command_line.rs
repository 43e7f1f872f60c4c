//! The frame of the command line: help, completion, mistakes.

use std::path::Path;

use crate::run::hallmark;

#[test]
fn help_and_version_are_answers() {
    for arguments in [&["--help"][..], &["--version"], &["key", "--help"], &["key", "generate", "--help"]] {
        let run = hallmark(Path::new("/"), &[], arguments).done();
        assert!(run.stdout.contains("hallmark"), "{}", run.stdout);
        assert_eq!(run.stderr, "");
    }
}

#[test]
fn every_shell_gets_a_script() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let run = hallmark(Path::new("/"), &[], &["completion", shell]).done();
        assert!(run.stdout.contains("generate"), "{shell}");
    }
}

#[test]
fn a_mistake_ends_with_2_and_says_what_to_do() {
    for (arguments, message) in [
        (&["key", "generate", "--tlog-upload=false"][..], "the flag `--tlog-upload` has no meaning here"),
        (&["key", "generate", "--kms", "x"], "the flag `--kms` has no meaning here"),
        (&["generate-key-pair"], "use `hallmark key generate`"),
        (&["key", "generate", "-o", "cosign"], "`-o cosign` is for `verify` only"),
        (&["key", "inspect", "awskms:///alias/release"], "keys named by `awskms://` are not supported"),
        (&["key", "inspect", "pkcs11:token=x"], "the reference does not name a key"),
        (&["key", "inspect", "pkcs11:object=x?pin-value=1"], "a PIN does not belong on the command line"),
        (&["key", "inspect", "hashivault://a/b"], "the reference does not name a key"),
    ] {
        hallmark(Path::new("/"), &[], arguments).refused(2, message);
    }
    for arguments in [&["key", "generate", "--nonsense"][..], &["nonsense"], &["key"], &[]] {
        let run = hallmark(Path::new("/"), &[], arguments);
        assert_eq!(run.code, 2, "{arguments:?}");
        assert_eq!(run.stdout, "");
    }
}

#[test]
fn must_not_succeed_when_the_answer_cannot_be_written() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_hallmark"))
        .args(["completion", "bash"])
        .stdout(full)
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}
