//! Where a credential comes from, for people. Never the secret in it.

use std::sync::Arc;
use std::time::Instant;

use hallmark_policy::image::Repository;

use super::{Candidate, Credential, CredentialSource, Unavailable};

impl CredentialSource {
    /// Which credential is used at a repository, and where it comes from: a sentence.
    pub(crate) async fn explain(&self, repository: &Repository, deadline: Instant) -> Result<String, String> {
        let files = match &self.files {
            Some(watched) => watched.look().await,
            None => Arc::default(),
        };
        for candidate in self.candidates(repository, &files) {
            match candidate {
                Candidate::Known { config, credential } => {
                    let place = config.path.as_deref().unwrap_or("the settings of this program");
                    return Ok(format!("{}, from `{place}`", described(credential)));
                }
                Candidate::Asked(asked) => {
                    let (answer, _) =
                        self.answers.ask(&asked, repository, deadline).await.map_err(
                            |unavailable| match unavailable {
                                Unavailable::Deadline => format!("`{}` did not answer in time", asked.program()),
                                Unavailable::Failed(problem) => problem,
                            },
                        )?;
                    if let Some(credential) = answer.credential(repository) {
                        return Ok(format!("{}, from the program `{}`", described(credential), asked.program()));
                    }
                }
            }
        }
        Ok("none is known: it is asked as nobody".to_owned())
    }
}

fn described(credential: &Credential) -> String {
    match credential {
        Credential::Basic { username, .. } => format!("a password of `{}`", crate::quote::quote(username.expose())),
        Credential::IdentityToken { .. } => "an identity token".to_owned(),
    }
}
