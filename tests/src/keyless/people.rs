//! People at a terminal: who log in, in a browser or with a code, and who are asked before anything is published.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::harness::issuer::{Browser, Issuer, Mood};
use crate::harness::peers::peer;
use crate::harness::programs::run_hallmark;
use crate::harness::registry::TestRegistry;
use crate::harness::sigstore::{Log, Sigstore, token, token_file};
use crate::harness::terminal::Terminal;

const CERTIFICATES: &str = "/api/v2/signingCert";
const ME: &str = "me@example.com";

/// A folder, a registry, and an instance whose people log in at an issuer.
struct Office {
    folder: TempDir,
    registry: TestRegistry,
    sigstore: Sigstore,
    issuer: Issuer,
    config: String,
}

impl Office {
    fn new() -> Option<Self> {
        let (sigstore, issuer) = (Sigstore::start()?, Issuer::start()?);
        let config = sigstore.changed(&sigstore.signing_config(Log::One), |config| {
            config["oidcUrls"][0]["url"] = issuer.url.clone().into();
        });
        Some(Self { folder: TempDir::new().unwrap(), registry: TestRegistry::healthy(), sigstore, issuer, config })
    }

    fn image(&self, name: &str) -> String {
        self.registry.push_image(name, "v1", name.as_bytes());
        format!("{}/{name}:v1", self.registry.host())
    }

    /// `sign` at a terminal.
    fn sign(&self, variables: &[(String, String)], more: &[&str]) -> Terminal {
        let root = self.sigstore.trusted_root();
        let instance = ["sign", "--trusted-root", &root, "--signing-config", &self.config];
        Terminal::start(self.folder.path(), variables, &[&instance[..], more].concat())
    }

    /// The variables of a desktop, and the pipe that its launcher of browsers writes to: how many arguments it got, the
    /// first one, and its environment.
    fn desktop(&self) -> (Vec<(String, String)>, String) {
        let pipe = self.folder.path().join("launched").display().to_string();
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let launcher = self.folder.path().join("xdg-open");
        let text = format!("#!/bin/sh\n{{ printf '%s\\n' \"$#\" \"$1\"; /usr/bin/env; }} > '{pipe}'\n");
        std::fs::write(&launcher, text).unwrap();
        std::fs::set_permissions(&launcher, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", self.folder.path().display());
        (vec![("DISPLAY".to_owned(), ":0".to_owned()), ("PATH".to_owned(), path)], pipe)
    }
}

/// The address that is shown.
fn address_in(shown: &str) -> String {
    let line = shown.lines().find(|line| line.trim_start().starts_with("http")).unwrap_or_else(|| panic!("{shown}"));
    line.trim().to_owned()
}

const WAITED_FOR: &str = "open the address by hand\n";

#[test]
fn a_person_logs_in_once_in_a_browser_and_signs_many_images() {
    let (Some(office), Some(cosign)) = (Office::new(), peer("cosign-3")) else { return };
    let images = ["desk/one", "desk/two", "desk/three"].map(|name| office.image(name));
    let (variables, pipe) = office.desktop();
    let mut terminal = office.sign(&variables, &images.each_ref().map(String::as_str));
    // The browser is opened by the desktop's launcher, which gets the address and no secret.
    let launched = std::fs::read_to_string(pipe).unwrap();
    let (count, rest) = launched.split_once('\n').unwrap();
    let (address, environment) = rest.split_once('\n').unwrap();
    assert_eq!(count, "1", "{launched}");
    assert!(environment.contains("DISPLAY=:0") && !environment.contains("PASSWORD"), "{environment}");
    let shown = terminal.wait_for(WAITED_FOR);
    assert_eq!(address_in(&shown), address);
    for part in [
        "code_challenge_method=S256",
        "client_id=sigstore",
        "scope=openid+email",
        "redirect_uri=http%3A%2F%2F127.0.0.1",
    ] {
        assert!(address.contains(part), "{part}: {address}");
    }
    let page = Browser::new(ME, Mood::Agrees).visit(address);
    assert!(page.contains("You can close this page"), "{page}");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains(&format!("{ME} ({}) signs 3 images", office.issuer.url)), "{shown}");
    // No token and no code, on the terminal or on disk.
    assert!(!shown.contains("eyJ") && !shown.contains("code="), "{shown}");
    let kept = Command::new("grep").args(["-rl", "-D", "skip", "eyJ"]).arg(office.folder.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&kept.stdout), "");
    assert_eq!(office.sigstore.asked(CERTIFICATES), 1);
    let root = office.sigstore.trusted_root();
    let who = ["--certificate-identity", ME, "--certificate-oidc-issuer", &office.issuer.url, "--trusted-root", &root];
    for image in &images {
        run_hallmark(office.folder.path(), [&["verify"], &who[..], &[image]].concat()).expect_success();
        let flags = ["--new-bundle-format=true", "--use-signed-timestamps"];
        cosign.run([&["verify"], &who[..], &flags, &[image]].concat());
    }
}

#[test]
fn a_person_without_a_browser_logs_in_with_a_code_on_another_device() {
    let Some(office) = Office::new() else { return };
    let image = office.image("cellar/app");
    let mut terminal = office.sign(&[], &[&image]);
    let shown = terminal.wait_for("enter no code that you were sent\n");
    let (_, rest) = shown.split_once("enter the code ").unwrap_or_else(|| panic!("{shown}"));
    let code = rest.split(' ').next().unwrap();
    // It is typed where the page asks for it.
    let page = Browser::new(ME, Mood::Agrees).visit(&format!("{}?user_code={code}", address_in(&shown)));
    assert!(page.contains("success"), "{page}");
    let (exit, shown) = terminal.end();
    assert_eq!(exit, Some(0), "{shown}");
    assert!(shown.contains(&format!("{ME} ({}) signs {image}", office.issuer.url)), "{shown}");
    assert!(!shown.contains("eyJ"), "{shown}");
}

#[test]
fn a_person_logs_in_to_attest() {
    let Some(office) = Office::new() else { return };
    let image = office.image("said/app");
    std::fs::write(office.folder.path().join("predicate.json"), r#"{"passed":true}"#).unwrap();
    let root = office.sigstore.trusted_root();
    let kind = ["--type", "https://example.com/tested/v1"];
    let what = ["--predicate", "predicate.json", "--fulcio-auth-flow", "normal", &image];
    let instance = ["attest", "--trusted-root", &root, "--signing-config", &office.config];
    let mut terminal = Terminal::start(office.folder.path(), &[], &[&instance[..], &kind, &what].concat());
    let address = address_in(&terminal.wait_for(WAITED_FOR));
    Browser::new(ME, Mood::Agrees).visit(&address);
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains(&format!("{ME} ({}) signs {image}", office.issuer.url)), "{shown}");
    for (who, code) in [(ME, 0), ("you@example.com", 12)] {
        let who = ["--certificate-identity", who, "--certificate-oidc-issuer", &office.issuer.url];
        let verify = ["verify-attestation", "--trusted-root", &root, &image];
        let answer = run_hallmark(office.folder.path(), [&verify[..], &kind, &who].concat());
        assert_eq!(answer.code, Some(code), "{answer:?}");
    }
}

#[test]
fn must_not_sign_for_who_gives_up() {
    let Some(office) = Office::new() else { return };
    let image = office.image("gives/up");
    let mut terminal = office.sign(&[], &["--fulcio-auth-flow", "normal", &image]);
    let address = address_in(&terminal.wait_for(WAITED_FOR));
    let page = Browser::new(ME, Mood::Refuses).visit(&address);
    assert!(page.contains("You can close this page"), "{page}");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("the login was refused (access_denied") && shown.contains("hint: "), "{shown}");
    // Nor for a program that the issuer does not know, or knows for other logins.
    for (client, message) in [("codeless", "it answered 400"), ("nobody", "it answered 401")] {
        let refused = office.sign(&[], &["--fulcio-auth-flow", "device", "--oidc-client-id", client, &image]);
        let (code, shown) = refused.end();
        assert_eq!(code, Some(1), "{shown}");
        assert!(shown.contains(message) && shown.contains("hint: check `--oidc-client-id`"), "{shown}");
    }
    assert_eq!(office.sigstore.asked(CERTIFICATES), 0);
}

#[test]
fn must_not_take_a_code_that_belongs_to_another_login() {
    let Some(office) = Office::new() else { return };
    let image = office.image("mixed/app");
    let begin = || {
        let mut terminal = office.sign(&[], &["--fulcio-auth-flow", "normal", &image]);
        let address = address_in(&terminal.wait_for(WAITED_FOR));
        (terminal, address)
    };
    let (attacked, address) = begin();
    let (_attacker, other) = begin();
    // A code that was given out for another port and another proof, brought with the right state.
    let brought = Browser::new("evil@example.com", Mood::Agrees).visit_until(&other, "/auth/callback");
    let part = |url: &str, name: &str| {
        let url = url::Url::parse(url).unwrap();
        url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned()
    };
    let (code, state, callback) = (part(&brought, "code"), part(&address, "state"), part(&address, "redirect_uri"));
    let mut injected = url::Url::parse(&callback).unwrap();
    injected.query_pairs_mut().extend_pairs([("code", &code), ("state", &state), ("iss", &office.issuer.url)]);
    let page = Browser::new(ME, Mood::Agrees).visit(injected.as_str());
    assert!(page.contains("You can close this page"), "{page}");
    let (exit, shown) = attacked.end();
    assert_eq!(exit, Some(1), "{shown}");
    assert!(shown.contains("it answered 400") && !shown.contains(&code), "{shown}");
    assert_eq!(office.sigstore.asked(CERTIFICATES), 0);
}

#[test]
fn must_not_wait_for_a_login_where_nobody_is() {
    let Some(office) = Office::new() else { return };
    let image = office.image("nobody/home");
    let root = office.sigstore.trusted_root();
    let instance = ["sign", "--trusted-root", &root, "--signing-config", &office.config, &image];
    for (flow, message) in [
        (&[][..], "nothing says who you are"),
        (&["--fulcio-auth-flow", "token"], "nothing says who you are"),
        (&["--fulcio-auth-flow", "normal"], "there is nobody at a terminal who could log in"),
        (&["--fulcio-auth-flow", "device"], "there is nobody at a terminal who could log in"),
    ] {
        let refused = run_hallmark(office.folder.path(), [&instance[..], flow].concat());
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(message) && refused.stderr.contains("hint: "), "{refused:?}");
    }
    // Build services may give their jobs a terminal; and who wants a token only is asked nothing either.
    let build = [("CI".to_owned(), "true".to_owned())];
    for (variables, flow) in [(&build[..], &[][..]), (&[], &["--fulcio-auth-flow", "token"])] {
        let (code, shown) = office.sign(variables, &[flow, &[&image]].concat()).end();
        assert_eq!(code, Some(2), "{shown}");
        assert!(shown.contains("nothing says who you are"), "{shown}");
    }
    let token = token();
    let two = ["--fulcio-auth-flow", "device", "--identity-token", &token, &image];
    let (code, shown) = office.sign(&[], &two).end();
    assert_eq!(code, Some(2), "{shown}");
    assert!(shown.contains("both a token and a login"), "{shown}");
}

#[test]
fn must_not_publish_who_one_is_before_it_is_agreed_to() {
    let Some(office) = Office::new() else { return };
    let image = office.image("public/app");
    // A log that is not on this machine, nor anywhere else: what is agreed to fails there.
    let public = office.sigstore.changed(&office.config, |config| {
        config["rekorTlogUrls"][0]["url"] = json!("https://rekor.invalid");
    });
    let root = office.sigstore.trusted_root();
    let token = token_file(office.folder.path());
    let given = ["sign", "--trusted-root", &root, "--signing-config", &public, "--sigstore-timeout", "0", &image];
    let question = "(such as your e-mail address) is published for ever where logs are public. Go on? [y/N] ";
    for (answer, code, message, certificates) in
        [("n", 2, "it was not agreed to", 0), ("", 2, "it was not agreed to", 0), ("y", 1, "rekor.invalid", 1)]
    {
        let arguments = [&given[..], &["--identity-token", &token]].concat();
        let mut terminal = Terminal::start(office.folder.path(), &[], &arguments);
        terminal.wait_for(question);
        terminal.write_line(answer);
        let (ended, shown) = terminal.end();
        assert_eq!(ended, Some(code), "{shown}");
        assert!(shown.contains(message), "{shown}");
        assert_eq!(office.sigstore.asked(CERTIFICATES), certificates, "{answer}");
    }
    // Who agrees beforehand is not asked; where nobody is, somebody has decided.
    let agreed = [&given[..], &["--identity-token", &token, "--yes"]].concat();
    let (_, shown) = Terminal::start(office.folder.path(), &[], &agreed).end();
    assert!(shown.contains("rekor.invalid") && !shown.contains("Go on?"), "{shown}");
    let elsewhere = run_hallmark(office.folder.path(), [&given[..], &["--identity-token", &token]].concat());
    assert!(!elsewhere.stderr.contains("Go on?"), "{elsewhere:?}");
    // Who logs in is asked by name, after the login and before the certificate.
    let before = office.sigstore.asked(CERTIFICATES);
    let login = [&given[..], &["--fulcio-auth-flow", "normal"]].concat();
    let mut terminal = Terminal::start(office.folder.path(), &[], &login);
    let address = address_in(&terminal.wait_for(WAITED_FOR));
    Browser::new(ME, Mood::Agrees).visit(&address);
    terminal.wait_for(&format!("who you are (`{ME}`) is published for ever"));
    terminal.write_line("n");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(2), "{shown}");
    assert_eq!(office.sigstore.asked(CERTIFICATES), before);
}
