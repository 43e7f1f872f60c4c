//! Google Cloud: the metadata server's identity, or that of a service account that one may act for.

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::{MAX_ANSWER_BYTES, variable};
use crate::error::{Exit, Failure};
use crate::sigstore::http::{Http, Problem, Question, address};

/// The account to act for (cosign's name for it).
const ACCOUNT: &str = "GOOGLE_SERVICE_ACCOUNT_NAME";
/// Where the metadata server is, if it is not at its usual name (Google's libraries).
const METADATA_HOST: &str = "GCE_METADATA_HOST";
/// Where acting for an account is asked for, if not at Google: for private endpoints.
const CREDENTIALS_URL: &str = "HALLMARK_GOOGLE_CREDENTIALS_URL";
/// Names the machine's maker on Google's virtual machines (Compute Engine, "Detect if a VM is running in Compute Engine").
const PRODUCT_NAME: &str = "/sys/class/dmi/id/product_name";
const WHO: &str = "Google's metadata server";
const HINT: &str = "give the machine or the workload a service account, and let it make tokens for itself";

pub(super) fn is_offered() -> bool {
    variable(ACCOUNT).is_some()
        || variable(METADATA_HOST).is_some()
        || std::fs::read_to_string(PRODUCT_NAME).is_ok_and(|name| name.starts_with("Google"))
}

/// A token for an audience.
pub(super) async fn token(http: &Http, audience: &str) -> Result<Zeroizing<String>, Failure> {
    match variable(ACCOUNT) {
        Some(account) => impersonated(http, &account, audience).await,
        None => {
            let path = "instance/service-accounts/default/identity";
            let answer = metadata(http, path, &[("audience", audience), ("format", "full")]).await?;
            text(&answer)
        }
    }
}

/// The metadata server speaks plain HTTP inside the machine's own network, and says who it is by a header. Who it gives a
/// token to is decided by where the question comes from, so that nothing secret is sent.
async fn metadata(http: &Http, path: &str, query: &[(&str, &str)]) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let host = variable(METADATA_HOST).unwrap_or_else(|| "metadata.google.internal".to_owned());
    let address = format!("http://{host}/computeMetadata/v1/{path}");
    let mut url = Url::parse(&address).map_err(|_| {
        Failure::new(Exit::Usage, format!("{METADATA_HOST} names no host"), "leave it out, or give a host and a port")
    })?;
    url.query_pairs_mut().extend_pairs(query);
    let flavor = (HeaderName::from_static("metadata-flavor"), HeaderValue::from_static("Google"));
    let headers = HeaderMap::from_iter([flavor]);
    let question = Question {
        method: Method::GET,
        url: url.clone(),
        headers,
        body: None,
        accepted: &[200],
        most: MAX_ANSWER_BYTES,
        secret: None,
    };
    let answer = http.ask(&question).await.map_err(|problem| problem.of(WHO, &url, HINT))?;
    Ok(Zeroizing::new(answer.body))
}

/// IAM Credentials API, `generateIdToken`.
async fn impersonated(http: &Http, account: &str, audience: &str) -> Result<Zeroizing<String>, Failure> {
    #[derive(Deserialize)]
    struct Access {
        access_token: String,
    }
    #[derive(Deserialize)]
    struct Identity {
        token: String,
    }
    let who = "Google's IAM Credentials API";
    let hint =
        "let this account have the role `Service Account OpenID Connect Identity Token Creator` on the other one";
    let is_name =
        !account.is_empty() && account.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"@.-_".contains(&byte));
    if !is_name {
        let hint = "give its e-mail address";
        return Err(Failure::new(Exit::Usage, format!("{ACCOUNT} is not the name of a service account"), hint));
    }
    let access = metadata(http, "instance/service-accounts/default/token", &[]).await?;
    let access: Access = serde_json::from_slice(&access)
        .map_err(|_| Failure::new(Exit::Unexpected, format!("{WHO}: its answer holds no access token"), HINT))?;
    let access = Zeroizing::new(access.access_token);
    let base = variable(CREDENTIALS_URL).unwrap_or_else(|| "https://iamcredentials.googleapis.com".to_owned());
    let base = address(&base, CREDENTIALS_URL)?;
    let action = format!("{account}:generateIdToken");
    let url = crate::sigstore::http::below(&base, &["v1", "projects", "-", "serviceAccounts", &action]);
    let broken = |problem: &str| Problem::Broken(problem.to_owned()).of(who, &url, hint);
    let mut bearer = HeaderValue::try_from(format!("Bearer {}", *access)).map_err(|_| broken("no bearer"))?;
    bearer.set_sensitive(true);
    let question = Question {
        method: Method::POST,
        url: url.clone(),
        headers: HeaderMap::from_iter([(AUTHORIZATION, bearer)]),
        body: Some(("application/json", json!({"audience": audience, "includeEmail": true}).to_string().into_bytes())),
        accepted: &[200],
        most: MAX_ANSWER_BYTES,
        secret: Some(&access),
    };
    let answer = http.ask(&question).await.map_err(|problem| problem.of(who, &url, hint))?;
    let body = Zeroizing::new(answer.body);
    let identity: Identity = serde_json::from_slice(&body).map_err(|_| broken("its answer holds no token"))?;
    Ok(Zeroizing::new(identity.token))
}

fn text(answer: &[u8]) -> Result<Zeroizing<String>, Failure> {
    let text = std::str::from_utf8(answer).map(|text| Zeroizing::new(text.trim().to_owned()));
    text.map_err(|_| Failure::new(Exit::Unexpected, format!("{WHO}: its answer holds no token"), HINT))
}
