//! Follows redirects by hand, where the request allows it and the target is safe.
//!
//! At most three; never from https to http; never to this machine, its link or a metadata service, unless the
//! registry itself is there; and never with credentials to another host (CVE-2020-15157).

use ::http::header::{AUTHORIZATION, LOCATION};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use url::Url;

use super::{Failure, Redirects, Request, Response, Transport};
use crate::endpoint::{is_forbidden, is_loopback, literal_address, same_origin};

/// Registries redirect once, to their storage; some have a second hop for the region.
const MAX_REDIRECTS: usize = 3;

/// Follows redirects.
pub(super) struct Redirect<T> {
    pub(super) inner: T,
}

impl<T: Transport> Redirect<T> {
    async fn follow(&self, request: &Request) -> Result<Response, Failure> {
        let mut response = self.inner.send(request).await?;
        if request.redirects == Redirects::Refuse {
            return Ok(response);
        }
        let mut request = request.clone();
        for _ in 0..MAX_REDIRECTS {
            if !matches!(response.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let target = target(&request, &response).map_err(Failure::Inconsistent)?;
            if !same_origin(&request.url, &target) {
                request.headers.remove(AUTHORIZATION);
            }
            request.url = target;
            response = self.inner.send(&request).await?;
        }
        if response.status.is_redirection() {
            return Err(Failure::Inconsistent(format!("more than {MAX_REDIRECTS} redirects in a row")));
        }
        Ok(response)
    }
}

impl<T: Transport> Transport for Redirect<T> {
    fn send<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Response, Failure>> {
        self.follow(request).boxed()
    }
}

/// Where a redirect leads, if it may be followed.
fn target(request: &Request, response: &Response) -> Result<Url, String> {
    let location = response.headers.get(LOCATION).and_then(|location| location.to_str().ok());
    let location = location.ok_or("a redirect without a Location")?;
    let target = request.url.join(location).map_err(|_| "a redirect to what is not an address")?;
    check_target(request, &target)?;
    Ok(target)
}

/// Whether what a registry names may be visited at all.
pub(crate) fn check_target(request: &Request, target: &Url) -> Result<(), String> {
    match target.scheme() {
        "https" => {}
        "http" if request.url.scheme() == "http" => {}
        "http" => return Err("it leads from https to plain HTTP".to_owned()),
        _ => return Err("it leads to an address that is neither http nor https".to_owned()),
    }
    if !target.username().is_empty() || target.password().is_some() {
        return Err("it leads to an address with credentials in it".to_owned());
    }
    let endpoint = &request.endpoint;
    let is_local = is_loopback(target) || literal_address(target).is_some_and(is_forbidden);
    if is_local && !endpoint.is_local && !endpoint.is_origin_of(target) {
        return Err("it leads to an address of this machine, its link, or a metadata service".to_owned());
    }
    Ok(())
}
