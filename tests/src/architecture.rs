//! What must hold of the code itself: invariants 1 and 7 of `ARCHITECTURE.md`, and the habits that a lint cannot hold.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::repository;

/// Most lines of one file, its unit tests left out: about 500.
const MAX_FILE_LINES: usize = 500;
/// Most lines of one function: about 70.
const MAX_FUNCTION_LINES: usize = 72;

/// The packages whose code is shipped, by folder.
const SHIPPED: [&str; 6] =
    ["policy/src", "registry/src", "registry/embedded/src", "verifier/src", "verifier/service/src", "signer/src"];

#[test]
fn must_not_link_a_runtime_or_a_socket_into_the_core() {
    let linked = linked("hallmark-policy", &["-p", "hallmark-policy", "--all-features"]);
    for banned in
        ["async-std", "axum", "futures-util", "hyper", "mio", "reqwest", "rustls", "smol", "socket2", "tokio", "ureq"]
    {
        assert!(!linked.iter().any(|name| name == banned), "hallmark-policy links {banned}: {linked:?}");
    }
    assert!(linked.iter().any(|name| name == "aws-lc-rs"), "{linked:?}");
}

#[test]
fn must_not_link_private_keys_or_the_embedded_registry_into_the_service() {
    let linked = linked("hallmark-verifier-service", &["-p", "hallmark-verifier-service"]);
    for banned in ["crypto_secretbox", "hallmark-embedded-registry", "hallmark-signer", "rpassword", "scrypt"] {
        assert!(!linked.iter().any(|name| name == banned), "the service links {banned}: {linked:?}");
    }
    assert!(linked.iter().any(|name| name == "hallmark-policy"), "{linked:?}");
}

#[test]
fn must_not_let_dependencies_run_against_the_arrows() {
    let arrows: [(&str, &[&str]); 4] = [
        ("hallmark-policy", &[]),
        ("hallmark-registry", &["hallmark-policy"]),
        ("hallmark-verifier", &["hallmark-policy", "hallmark-registry"]),
        ("hallmark-embedded-registry", &["hallmark-policy"]),
    ];
    for (package, allowed) in arrows {
        let ours: Vec<String> = linked(package, &["-p", package])
            .into_iter()
            .filter(|name| name.starts_with("hallmark-") && name != package)
            .collect();
        for name in ours {
            assert!(allowed.contains(&name.as_str()), "{package} depends on {name}");
        }
    }
}

#[test]
fn must_not_read_a_clock_a_file_or_the_environment_in_the_core() {
    let core = std::fs::read_to_string(repository().join("policy/clippy.toml")).unwrap();
    for call in [
        "jiff::Timestamp::now",
        "jiff::Zoned::now",
        "std::env::var",
        "std::env::var_os",
        "std::fs::File::open",
        "std::fs::read",
        "std::fs::read_to_string",
        "std::fs::write",
        "std::net::TcpStream::connect",
        "std::process::Command::new",
        "std::time::Instant::now",
        "std::time::SystemTime::now",
    ] {
        assert!(core.contains(&format!("path = \"{call}\"")), "policy/clippy.toml does not disallow `{call}`");
    }
    // A package's own clippy.toml takes the place of the workspace's.
    let workspace = std::fs::read_to_string(repository().join("clippy.toml")).unwrap();
    for setting in workspace.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        assert!(core.lines().any(|line| line == setting), "policy/clippy.toml lacks `{setting}`");
    }
    for file in sources(&["policy/src"]) {
        for (number, line) in file.code() {
            for word in [
                "std::fs",
                "std::net::Tcp",
                "std::net::Udp",
                "std::process",
                "std::env",
                "SystemTime",
                "Instant::now",
                "async fn",
            ] {
                assert!(!line.contains(word), "{}:{number}: `{word}` in the core", file.name());
            }
        }
    }
}

#[test]
fn must_not_touch_private_keys_outside_the_signer() {
    let folders = SHIPPED.iter().copied().filter(|folder| *folder != "signer/src").collect::<Vec<_>>();
    for file in sources(&folders) {
        for (number, line) in file.code() {
            for word in [
                "p256::ecdsa",
                "p256::SecretKey",
                "p384::",
                "SigningKey",
                "EncodePrivateKey",
                "DecodePrivateKey",
                "PrivateKeyInfo",
                "ed25519_dalek::SecretKey",
                "KeyPair",
                "ASN1_SIGNING",
            ] {
                assert!(!line.contains(word), "{}:{number}: `{word}` outside the signer", file.name());
            }
        }
    }
}

#[test]
fn must_not_speak_to_registries_outside_the_registry_package() {
    for file in sources(&["policy/src", "verifier/src", "verifier/service/src", "signer/src"]) {
        // The demo asks the service over HTTP, as a user would.
        if file.name().contains("/demo/") {
            continue;
        }
        // Timestamp authorities, key stores and Sigstore's services are no registries, and are asked by the signer alone;
        // nor are TUF repositories, which are asked in the background and by `trust-root update`.
        let services = [
            "signer/src/timestamp.rs",
            "signer/src/key/vault/client.rs",
            "signer/src/sigstore/",
            "verifier/src/trust_root/mirror.rs",
        ];
        if services.iter().any(|name| file.name().contains(name)) {
            assert!(!file.code().iter().any(|(_, line)| line.contains("/v2/")), "{}", file.name());
            continue;
        }
        for (number, line) in file.code() {
            for word in ["reqwest::", "Docker-Content-Digest", "oci_client"] {
                assert!(!line.contains(word), "{}:{number}: `{word}` outside `registry`", file.name());
            }
        }
    }
}

#[test]
fn files_stay_small() {
    let mut offenders = Vec::new();
    for file in sources(&SHIPPED) {
        let lines = file.code().len();
        if lines > MAX_FILE_LINES {
            offenders.push(format!("{}: {lines} lines", file.name()));
        }
    }
    assert!(offenders.is_empty(), "files over {MAX_FILE_LINES} lines without tests:\n{}", offenders.join("\n"));
}

#[test]
fn functions_stay_small() {
    let mut offenders = Vec::new();
    for file in sources(&SHIPPED) {
        for (number, name, lines) in file.functions() {
            if lines > MAX_FUNCTION_LINES {
                offenders.push(format!("{}:{number}: `{name}` has {lines} lines", file.name()));
            }
        }
    }
    assert!(offenders.is_empty(), "functions over {MAX_FUNCTION_LINES} lines:\n{}", offenders.join("\n"));
}

#[test]
fn tables_of_contents_hold_no_code() {
    for file in sources(&SHIPPED) {
        let is_table = file.path.ends_with("lib.rs");
        let functions = if is_table { file.functions() } else { Vec::new() };
        assert!(functions.is_empty(), "{} is a table of contents, and has {functions:?}", file.name());
    }
}

#[test]
fn nothing_is_called_by_a_name_that_says_nothing() {
    for file in sources(&[&SHIPPED[..], &["tests/src"]].concat()) {
        let stem = file.path.file_stem().unwrap().to_str().unwrap().to_owned();
        for banned in ["common", "helper", "helpers", "misc", "util", "utils"] {
            assert_ne!(stem, banned, "{}", file.name());
        }
        for (number, line) in file.code() {
            let getter = line.trim_start().trim_start_matches("pub ").starts_with("fn get_");
            assert!(!getter, "{}:{number}: a getter is called by what it gives, without `get_`", file.name());
        }
    }
}

#[test]
fn must_not_unwrap_or_leave_things_to_do_in_shipped_code() {
    for file in sources(&SHIPPED) {
        for (number, line) in file.code() {
            let line = line.split("//").next().unwrap_or_default();
            for word in [".unwrap()", ".expect(\"", "todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX"] {
                assert!(!line.contains(word), "{}:{number}: `{word}`", file.name());
            }
        }
    }
}

/// The names of all packages that a package links, as cargo resolves it alone: features unify in a workspace build.
fn linked(package: &str, arguments: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(repository())
        .args(["tree", "--locked", "-e", "normal", "--prefix", "none", "--format", "{p}"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{package}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<String> =
        text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

/// One source file.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The path inside the repository.
    fn name(&self) -> String {
        self.path.strip_prefix(repository()).unwrap().display().to_string()
    }

    /// The numbered lines in front of the unit tests; none of a file that is only tests.
    fn code(&self) -> Vec<(usize, &str)> {
        let is_end = |line: &&str| *line == "#[cfg(test)]" || *line == "#![cfg(test)]";
        self.text.lines().take_while(|line| !is_end(line)).enumerate().map(|(at, line)| (at + 1, line)).collect()
    }

    /// Line, name and length of every function. Formatted code closes a function on the column where it begins.
    fn functions(&self) -> Vec<(usize, String, usize)> {
        let code = self.code();
        let mut functions = Vec::new();
        for (at, (number, line)) in code.iter().enumerate() {
            let Some(name) = function_name(line) else { continue };
            let indent = line.len() - line.trim_start().len();
            let end = format!("{}}}", " ".repeat(indent));
            let one_line = line.ends_with('}') || line.ends_with(';');
            let rest =
                code.iter().skip(at).position(|(_, line)| *line == end || *line == format!("{};", " ".repeat(indent)));
            let lines = if one_line { 1 } else { rest.map_or(1, |last| last + 1) };
            functions.push((*number, name, lines));
        }
        functions
    }
}

fn function_name(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    loop {
        let word = words.next()?;
        if word == "fn" {
            let name = words.next()?;
            return Some(name.split(['(', '<']).next()?.to_owned());
        }
        let is_modifier = ["async", "const", "extern", "unsafe", "\"C\""].contains(&word) || word.starts_with("pub");
        if !is_modifier {
            return None;
        }
    }
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let mut files = Vec::new();
    for folder in folders {
        collect(&repository().join(folder), &mut files);
    }
    assert!(!files.is_empty());
    files
}

/// Every source file below a folder; modules called `tests` are unit tests.
fn collect(folder: &Path, files: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|stem| stem == "tests") {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            files.push(Source { path, text });
        }
    }
}

#[test]
fn the_ruler_measures_functions_and_leaves_tests_out() {
    let text = "fn one() {}\n\npub(crate) async fn two(\n    a: u8,\n) -> u8 {\n    a\n}\n#[cfg(test)]\nmod tests {\n    fn three() {}\n}\n";
    let source = Source { path: repository().join("x.rs"), text: text.to_owned() };
    assert_eq!(source.functions(), [(1, "one".to_owned(), 1), (3, "two".to_owned(), 5)]);
    assert_eq!(source.code().len(), 7);
}
