//! Docker's credential helpers: `docker-credential-NAME get`, the server on its standard input, JSON on its output
//! (docs.docker.com, "docker login", "Credential helper protocol").

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hallmark_policy::image::Repository;
use serde::Deserialize;

use super::answers::{About, Answer};
use super::limits::{DOUBTFUL_LIFETIME, HELPER_LIFETIME};
use super::program::{Output, Program, RunError, find_program, run};
use super::scope::Scope;
use super::{Credential, Secret};
use crate::quote::quote;

/// Longest name of a helper.
const MAX_NAME_LENGTH: usize = 64;
/// What every helper says, with an exit status that is not 0, of a server that it does not know.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// A helper, asked about one registry.
#[derive(Clone)]
pub(super) struct Helper {
    pub(super) name: String,
    /// Where helpers are looked for.
    pub(super) directories: Arc<[PathBuf]>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Reply {
    #[serde(rename = "ServerURL", default)]
    server: Option<String>,
    username: Secret,
    secret: Secret,
}

/// Whether a name cannot lead anywhere but to a program of that name.
pub(super) fn is_helper_name(name: &str) -> bool {
    name.len() <= MAX_NAME_LENGTH
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && name.bytes().any(|b| b.is_ascii_alphanumeric())
}

impl Helper {
    /// The program's name.
    pub(super) fn program(&self) -> String {
        format!("docker-credential-{}", self.name)
    }

    /// Asks it about the host of a repository.
    pub(super) async fn ask(&self, repository: &Repository, timeout: Duration) -> Result<Answer, String> {
        let name = self.program();
        let Some(path) = find_program(&name, &self.directories) else {
            return Err("is not in any directory of PATH".to_owned());
        };
        let program = Program { path, arguments: vec!["get".to_owned()], environment: Vec::new() };
        let mut credential = None;
        for server in servers(repository.host()) {
            let output =
                run(&program, server.as_bytes(), timeout).await.map_err(|error: RunError| error.to_string())?;
            credential = read(&output, repository)?;
            if credential.is_some() {
                break;
            }
        }
        let lifetime = if credential.is_some() { HELPER_LIFETIME } else { DOUBTFUL_LIFETIME };
        let entries = credential.map(|credential| (Scope::host_of(repository), credential)).into_iter().collect();
        Ok(Answer { about: About::Host(repository.host().to_owned()), entries, lifetime })
    }
}

/// The names that a server may be kept under: Docker Hub's is an old URL for Docker, and its host for Podman.
fn servers(host: &str) -> Vec<&str> {
    if host == "docker.io" { vec!["https://index.docker.io/v1/", host] } else { vec![host] }
}

/// What a helper said; `None` when it knows nothing of the server.
fn read(output: &Output, repository: &Repository) -> Result<Option<Credential>, String> {
    let said = output.stdout.trim_ascii();
    if !output.status.success() {
        if said == NOT_FOUND.as_bytes() || output.complaint == NOT_FOUND {
            return Ok(None);
        }
        return Err(format!("failed ({}){}", output.status, excuse(output)));
    }
    if said.first() != Some(&b'{') {
        return Err("answered with something that is not a JSON object".to_owned());
    }
    let reply: Reply = serde_json::from_slice(said)
        .map_err(|_| "answered with JSON that has no `Username` and `Secret`".to_owned())?;
    if let Some(server) = reply.server.filter(|server| !server.is_empty())
        && !Scope::parse(&server).is_some_and(|scope| scope.covers(repository))
    {
        return Err(format!("answered for another server, `{}`", quote(&server)));
    }
    match (reply.username.expose().is_empty(), reply.secret.expose().is_empty()) {
        (true, true) => Ok(None),
        (false, false) => Ok(Some(Credential::new(reply.username, reply.secret))),
        _ => Err("answered with a `Username` or a `Secret` that is empty".to_owned()),
    }
}

/// What a helper says of its failure: by the protocol on its output. What looks like an answer may have secrets in it.
fn excuse(output: &Output) -> String {
    let said = String::from_utf8_lossy(output.stdout.trim_ascii());
    let words =
        if output.complaint.is_empty() && !said.contains('{') { quote(&said) } else { output.complaint.clone() };
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use zeroize::Zeroizing;

    use super::*;

    fn said(status: i32, stdout: &str, stderr: &str) -> Result<Option<String>, String> {
        let output = Output {
            status: ExitStatus::from_raw(status << 8),
            stdout: Zeroizing::new(stdout.as_bytes().to_vec()),
            complaint: stderr.to_owned(),
        };
        let credential = read(&output, &"r.example/app".parse().unwrap())?;
        Ok(credential.map(|credential| match credential {
            Credential::Basic { username, password } => format!("{}:{}", username.expose(), password.expose()),
            Credential::IdentityToken { token, .. } => format!("token {}", token.expose()),
        }))
    }

    #[test]
    fn an_answer_is_a_pair_a_token_or_nothing() {
        for (status, stdout, expected) in [
            (0, r#"{"ServerURL":"r.example","Username":"ann","Secret":"s"}"#, Some("ann:s")),
            (0, r#"{"ServerURL":"https://r.example","Username":"ann","Secret":"s"}"#, Some("ann:s")),
            (0, " {\"Username\":\"ann\",\"Secret\":\"s\"}\n", Some("ann:s")),
            (0, r#"{"Username":"<token>","Secret":"s"}"#, Some("token s")),
            (0, r#"{"Username":"","Secret":""}"#, None),
            (1, "credentials not found in native keychain\n", None),
        ] {
            assert_eq!(said(status, stdout, "").unwrap().as_deref(), expected, "{stdout}");
        }
    }

    #[test]
    fn must_not_take_a_failure_for_an_answer_nor_repeat_a_secret() {
        for (status, stdout, stderr, expected) in [
            (1, "", "", "failed"),
            (1, "no basic auth credentials", "", "no basic auth credentials"),
            (1, r#"{"Username":"ann","Secret":"canary"}"#, "boom", "boom"),
            (1, "credentials not found in native keychain canary", "x", "failed"),
            (0, "credentials not found in native keychain", "", "not a JSON object"),
            (0, "", "", "not a JSON object"),
            (0, r#"["r.example","ann","canary"]"#, "", "not a JSON object"),
            (0, r#"{"Username":"ann","Secret":"canary""#, "", "no `Username`"),
            (0, r#"{"username":"ann","secret":"canary"}"#, "", "no `Username`"),
            (0, r#"{"Username":"ann","Secret":""}"#, "", "empty"),
            (0, r#"{"Username":"","Secret":"canary"}"#, "", "empty"),
            (0, r#"{"ServerURL":"evil.example","Username":"ann","Secret":"canary"}"#, "", "another server"),
            (0, r#"{"ServerURL":"r.example:5000","Username":"ann","Secret":"canary"}"#, "", "another server"),
        ] {
            let problem = said(status, stdout, stderr).unwrap_err();
            assert!(problem.contains(expected) && !problem.contains("canary"), "{stdout}: {problem}");
        }
    }

    #[test]
    fn must_not_take_a_path_or_a_flag_for_a_name() {
        for name in ["", ".", "..", "../x", "a/b", "a b", "a;b", "$(x)", "-", "a\0", &"x".repeat(65)] {
            assert!(!is_helper_name(name), "{name}");
        }
        for name in ["desktop", "ecr-login", "acr-env", "gcr", "my_store.1", &"x".repeat(64)] {
            assert!(is_helper_name(name), "{name}");
        }
    }

    #[test]
    fn fuzz_helper_answers() {
        let seeds = [
            r#"{"ServerURL":"r.example","Username":"ann","Secret":"canary"}"#,
            r#"{"ServerURL":"https://r.example/v1/","Username":"<token>","Secret":"canary"}"#,
            "credentials not found in native keychain",
        ];
        let words =
            ["\"ServerURL\":", "\"Secret\":", "\"\"", "null", "\\u0000", "r.example", "evil.example", "<token>"];
        let repository = "r.example/app".parse().unwrap();
        hallmark_fuzz_driver::Fuzz::new("helper-answers").seeds(seeds).words(&words).run(|bytes| {
            let stdout = Zeroizing::new(bytes.to_vec());
            let output = Output { status: ExitStatus::from_raw(0), stdout, complaint: String::new() };
            match read(&output, &repository) {
                Ok(credential) => format!("{}", credential.is_some()),
                Err(problem) => {
                    assert!(!problem.chars().any(char::is_control), "{problem:?}");
                    format!("{problem:.40}")
                }
            }
        });
    }
}
