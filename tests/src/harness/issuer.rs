//! An issuer of identity tokens on loopback where people log in, in a process of its own (`tests/peers/issuer/serve.mjs`),
//! and a browser for them that needs no window.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use reqwest::{Method, Url};
use serde_json::Value;

use super::peers::{Peer, peer};
use super::registry::RUNTIME;

/// An issuer with keys of its own.
pub(crate) struct Issuer {
    process: Child,
    pub(crate) url: String,
    _peer: Peer,
}

impl Issuer {
    /// A new issuer, or `None` after saying that it is left out.
    pub(crate) fn start() -> Option<Self> {
        let peer = peer("oidc-issuer")?;
        // Its standard input ends with this process, and so does it.
        let mut command = peer.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Some(Self { process, url: ready["url"].as_str().unwrap().to_owned(), _peer: peer })
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What somebody does with the pages of an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Logs in and agrees.
    Agrees,
    /// Gives up.
    Refuses,
}

/// Follows redirects, keeps cookies, and fills in forms.
pub(crate) struct Browser<'a> {
    person: &'a str,
    mood: Mood,
    cookies: BTreeMap<String, String>,
    client: reqwest::Client,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(person: &'a str, mood: Mood) -> Self {
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Self { person, mood, cookies: BTreeMap::new(), client: client.build().unwrap() }
    }

    /// Opens an address and does what the pages ask, until one asks for nothing: that page.
    pub(crate) fn visit(mut self, address: &str) -> String {
        let (_, page) = self.walk(address, |_| false);
        page
    }

    /// The same, until it is sent to this path: with which address.
    pub(crate) fn visit_until(mut self, address: &str, path: &str) -> String {
        self.walk(address, |url| url.path() == path).0.to_string()
    }

    fn walk(&mut self, address: &str, is_end: impl Fn(&Url) -> bool) -> (Url, String) {
        let mut next = (Method::GET, Url::parse(address).unwrap(), Vec::new());
        for _ in 0..30 {
            let (method, url, form) = next;
            if is_end(&url) {
                return (url, String::new());
            }
            let (location, page) = self.fetch(method, &url, &form);
            next = match location.map(|location| url.join(&location).unwrap()).or_else(|| self.way_out(&page)) {
                Some(location) => (Method::GET, location, Vec::new()),
                None => match self.filled_in(&page) {
                    Some((action, form)) => (Method::POST, action, form),
                    None => return (url, page),
                },
            };
        }
        panic!("the pages have no end");
    }

    fn fetch(&mut self, method: Method, url: &Url, form: &[(String, String)]) -> (Option<String>, String) {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = self.client.request(method, url.clone()).header("cookie", cookies.join("; "));
        if !form.is_empty() {
            let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
            request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        }
        let (headers, page) = RUNTIME.block_on(async move {
            let response = request.send().await.unwrap();
            (response.headers().clone(), response.text().await.unwrap())
        });
        for cookie in headers.get_all("set-cookie") {
            let (name, value) = cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        (headers.get("location").map(|location| location.to_str().unwrap().to_owned()), page)
    }

    /// The link by which a login is given up.
    fn way_out(&self, page: &str) -> Option<Url> {
        let (before, _) = page.split_once("/abort\"").filter(|_| self.mood == Mood::Refuses)?;
        let (_, link) = before.rsplit_once("href=\"")?;
        Url::parse(&format!("{link}/abort")).ok()
    }

    /// Where the page's form goes, and what is in it.
    fn filled_in(&self, page: &str) -> Option<(Url, Vec<(String, String)>)> {
        let form = page.split("<form ").nth(1)?.split("</form>").next().unwrap();
        let attribute = |tag: &str, name: &str| {
            let (_, value) = tag.split_once(&format!("{name}=\""))?;
            Some(value.split('"').next().unwrap().to_owned())
        };
        let action = Url::parse(&attribute(form, "action")?).unwrap();
        let fields = form.split("<input").skip(1).filter_map(|tag| {
            let tag = tag.split('>').next().unwrap();
            let value = attribute(tag, "value").unwrap_or_else(|| self.person.to_owned());
            Some((attribute(tag, " name")?, value))
        });
        Some((action, fields.collect()))
    }
}
