//! A login in a browser of this machine: the authorization code grant (RFC 6749, section 4.1) for native programs
//! (RFC 8252), with proof that who fetches the token has begun the login (RFC 7636).

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Url;
use zeroize::Zeroizing;

use super::callback::{Callback, Expected, Redirect};
use super::provider::Provider;
use super::{Issued, LIMIT, SCOPE, WHO, ask_for_tokens, identity_token, instruct, opener, secret, without_identity};
use crate::error::{Exit, Failure};
use crate::sigstore::http::Http;

/// Opens a browser, waits for its answer, and fetches the token.
pub(super) async fn log_in(
    http: &Http,
    provider: &Provider,
    client: &str,
    redirect: &Redirect,
) -> Result<Issued, Failure> {
    let authorization = provider.authorization.as_ref().ok_or_else(|| {
        let hint = "log in with `--fulcio-auth-flow device`, or give a token with `--identity-token`";
        Failure::new(Exit::Unexpected, format!("`{}` knows no login in a browser", provider.issuer), hint)
    })?;
    let (state, nonce, verifier) = (secret()?, secret()?, secret()?);
    let callback = Callback::listen(redirect).await?;
    let address = callback.address.clone();
    let mut url = authorization.clone();
    url.query_pairs_mut().extend_pairs([
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", &address),
        ("scope", SCOPE),
        ("state", &state),
        ("nonce", &nonce),
        ("code_challenge", &challenge(&verifier)),
        ("code_challenge_method", "S256"),
    ]);
    show(&url);
    let expected = Expected { state: &state, issuer: &provider.issuer, names_itself: provider.names_itself };
    let code = callback.code(expected, LIMIT).await?;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", &address),
        ("client_id", client),
        ("code_verifier", &verifier),
    ];
    let answer = ask_for_tokens(http, &provider.token, &form, &[200], &code).await.map_err(|problem| {
        let hint = "log in again; if it is refused again, check `--oidc-client-id`: it must be a public client";
        problem.of(WHO, &provider.token, hint)
    })?;
    let body = Zeroizing::new(answer.body);
    let token = identity_token(&body).ok_or_else(|| without_identity(&provider.token))?;
    Ok(Issued { token, nonce: Some(nonce) })
}

fn show(url: &Url) {
    let first = match opener::is_offered() {
        true => "say who you are: a browser is opened at",
        false => "say who you are: open this address in a browser of this machine",
    };
    let then = "it is waited for five minutes; without a browser here, use `--fulcio-auth-flow device`; if nothing opens, open \
                the address by hand";
    instruct(first, url.as_str(), then);
    opener::open(url);
}

/// RFC 7636, section 4.2.
fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_that_of_rfc_7636_appendix_b() {
        assert_eq!(
            challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
        let verifier = secret().unwrap();
        assert!((43..=128).contains(&verifier.len()) && *verifier != *secret().unwrap());
    }
}
