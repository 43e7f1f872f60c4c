//! Follows redirects by hand, where the request allows it and the target is safe.
//!
//! At most three; never from https to http; never to this machine, its link or a metadata service, unless the
//! registry itself is there; and never with credentials to another host (CVE-2020-15157).

use ::http::header::{AUTHORIZATION, IF_NONE_MATCH, LOCATION};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use url::Url;

use super::{Account, Failure, Redirects, Request, Response, Transport};
use crate::address::Zone;
use crate::endpoint::{is_loopback, literal_address, same_origin};

/// Registries redirect once, to their storage; some have a second hop for the region.
const MAX_REDIRECTS: usize = 3;

/// Most bytes of a redirect's address. Storage signs its addresses, which takes 2 KiB at most of them; servers take no
/// request line of much more than 8 KiB.
const MAX_LOCATION_BYTES: usize = 16 * 1024;

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
                request.account = Account::Nobody;
                // An entity tag means something at the host that gave it.
                request.headers.remove(IF_NONE_MATCH);
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
    if location.len() > MAX_LOCATION_BYTES {
        return Err(format!("a redirect to an address of more than {MAX_LOCATION_BYTES} bytes"));
    }
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
    let is_local =
        is_loopback(target) || literal_address(target).is_some_and(|address| Zone::of(address) == Zone::Local);
    if is_local && !endpoint.is_local && !endpoint.is_origin_of(target) {
        return Err("it leads to an address of this machine, its link, or a metadata service".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ::http::Method;

    use super::super::fake::{Fake, answer, request, url};
    use super::*;

    #[test]
    fn must_not_be_led_down_inwards_or_out_of_http() {
        let secure = request(Method::GET, "registry.example.com/app");
        for target in [
            "http://registry.example.com/x",
            "http://storage.example.com/x",
            "file:///etc/passwd",
            "gopher://x.example/",
            "https://user:password@storage.example.com/",
            "https://127.0.0.1/x",
            "https://localhost/x",
            "https://[::1]/x",
            "https://169.254.169.254/latest/meta-data",
            "https://[::ffff:169.254.169.254]/",
            "https://2130706433/",
            "https://0x7f.1/",
        ] {
            assert!(check_target(&secure, &url(target)).is_err(), "{target}");
        }
        for target in ["https://storage.example.com/x", "https://10.0.0.1/x", "https://registry.example.com:8443/x"] {
            assert_eq!(check_target(&secure, &url(target)), Ok(()), "{target}");
        }
        // A registry on this machine may keep its storage there.
        let local = request(Method::GET, "localhost:5000/app");
        assert_eq!(check_target(&local, &url("http://127.0.0.1:9000/x")), Ok(()));
    }

    #[tokio::test]
    async fn an_address_is_taken_up_to_its_bound() {
        for (length, is_followed) in [(MAX_LOCATION_BYTES, true), (MAX_LOCATION_BYTES + 1, false)] {
            let location = format!("/{}", "x".repeat(length - 1));
            let layer = Redirect { inner: Fake::new([answer(307, &[("location", &location)]), answer(200, &[])]) };
            let response = layer.send(&request(Method::GET, "registry.example.com/app")).await;
            assert_eq!(response.is_ok(), is_followed, "{length}");
        }
    }

    #[tokio::test]
    async fn redirects_are_few_and_lose_the_credentials_at_another_host() {
        let mut asked = request(Method::GET, "registry.example.com/app");
        asked.headers.insert(AUTHORIZATION, "Bearer canary".parse().unwrap());
        asked.account = Account::Of(crate::Partition::undivided());
        let to = |location: &'static str| answer(307, &[("location", location)]);
        let layer = Redirect {
            inner: Fake::new([
                to("/b"),
                to("https://s.example/c"),
                to("https://registry.example.com/d"),
                answer(200, &[]),
            ]),
        };
        assert_eq!(layer.send(&asked).await.unwrap().status.as_u16(), 200);
        let seen = std::mem::take(&mut *layer.inner.seen.lock().unwrap());
        let shown: Vec<bool> = seen.iter().map(|request| request.headers.contains_key(AUTHORIZATION)).collect();
        assert_eq!(shown, [true, true, false, false]);
        let counted: Vec<bool> = seen.iter().map(|request| request.account != Account::Nobody).collect();
        assert_eq!(counted, shown, "whose traffic it is");
        let layer = Redirect { inner: Fake::new((0..5).map(|_| to("/again"))) };
        assert!(matches!(layer.send(&asked).await, Err(Failure::Inconsistent(_))));
        assert_eq!(layer.inner.seen.lock().unwrap().len(), 1 + MAX_REDIRECTS);
        let layer = Redirect { inner: Fake::new([answer(302, &[])]) };
        assert!(matches!(layer.send(&asked).await, Err(Failure::Inconsistent(_))));
    }
}
