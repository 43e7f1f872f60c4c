//! The folder of containerd (`docs/hosts.md`) and of Docker ("Verify repository client with certificates"): for each
//! registry a folder with a `hosts.toml`, or with `*.crt`, `*.cert` and `*.key`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};
use url::Url;

use super::import::{Routing, RoutingError, is_folder, is_there, list, read_bytes, read_text};
use super::{Location, Mirror, Route, Serves};
use crate::client_certificate::ClientCertificate;
use crate::configuration::{HostConfiguration, normal_host};
use crate::endpoint::{authority, is_loopback};

/// Most folders, and most files in one.
const MAX_ENTRIES: usize = 1000;
/// The folder for every registry without one.
const DEFAULT: &str = "_default";

/// The whole file: what is beside `server` and `host` is about the server.
#[derive(Deserialize)]
struct Document {
    server: Option<String>,
    /// In the order of the file.
    #[serde(default)]
    host: Table,
    #[serde(flatten)]
    settings: Table,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Host {
    capabilities: Option<Vec<Capability>>,
    ca: Option<Value>,
    client: Option<Value>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
    header: Option<Value>,
    proxy: Option<Value>,
    dial_timeout: Option<Value>,
}

#[derive(Deserialize, PartialEq, Eq, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Capability {
    Pull,
    Push,
    Resolve,
    Referrers,
}

pub(super) fn read(path: &Path) -> Result<Routing, RoutingError> {
    let mut routing = Routing::default();
    for folder in list(path, MAX_ENTRIES)? {
        let Some(name) = folder.file_name().and_then(|name| name.to_str()) else { continue };
        if name.starts_with('.') || !is_folder(&folder)? {
            continue;
        }
        let fail = |problem: &str| RoutingError::Content { path: folder.clone(), problem: problem.to_owned() };
        let registry = match name {
            DEFAULT => None,
            name => Some(registry_of(name).ok_or_else(|| fail("is not named like a registry's host"))?),
        };
        let file = folder.join("hosts.toml");
        if is_there(&file)? {
            add_document(&mut routing, registry.as_deref(), &folder, &file)?;
        } else if let Some(registry) = registry {
            add_certificates(&mut routing, &registry, &folder)?;
        }
    }
    Ok(routing)
}

/// `r.example_5000_` and `r.example:5000` are `r.example:5000`.
fn registry_of(name: &str) -> Option<String> {
    let with_port = name.strip_suffix('_').and_then(|name| name.rsplit_once('_'));
    let host = match with_port {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => format!("{host}:{port}"),
        _ => name.to_owned(),
    };
    normal_host(&host).ok()
}

fn add_document(routing: &mut Routing, registry: Option<&str>, folder: &Path, file: &Path) -> Result<(), RoutingError> {
    let fail = |problem: String| RoutingError::Content { path: file.to_owned(), problem };
    let malformed = |error: toml::de::Error| fail(format!("is not a `hosts.toml`: {}", error.to_string().trim_end()));
    let document: Document = toml::from_str(&read_text(file)?).map_err(malformed)?;
    let of_server = Host::deserialize(Value::Table(document.settings)).map_err(malformed)?;
    let server = match &document.server {
        Some(server) => Some(Place::new(server, registry, of_server.override_path).map_err(fail)?),
        None => None,
    };
    // The server is the original, or what takes its place.
    let location = match &server {
        Some(server) if !server.is_registry => Some(server.location.clone()),
        _ => None,
    };
    match (&server, registry) {
        (Some(place), _) => settle(routing, place, &of_server, folder, file)?,
        (None, Some(registry)) => {
            let place = Place::new(registry, Some(registry), false).map_err(fail)?;
            settle(routing, &place, &of_server, folder, file)?;
        }
        (None, None) => {}
    }
    let mut mirrors = Vec::new();
    for (address, value) in document.host {
        let fail = |problem: String| fail(format!("says of `{address}`: {problem}"));
        let host = Host::deserialize(value).map_err(|error| fail(error.to_string().trim_end().to_owned()))?;
        let place = Place::new(&address, registry, host.override_path).map_err(fail)?;
        settle(routing, &place, &host, folder, file)?;
        match host.serves() {
            Some(serves) if !place.is_registry => mirrors.push(Mirror { location: place.location, serves }),
            // It is asked as the original anyway.
            Some(_) => {}
            None => routing.notes.push(format!("`{}`: `{address}` is for pushing only, and not asked", file.display())),
        }
    }
    if location.is_some() || !mirrors.is_empty() {
        let prefix = registry.unwrap_or("*").to_owned();
        routing.routes.push(Route { prefix, location, is_blocked: false, mirrors });
    }
    Ok(())
}

impl Host {
    fn serves(&self) -> Option<Serves> {
        let can = |wanted| self.capabilities.as_ref().is_none_or(|capabilities| capabilities.contains(&wanted));
        match (can(Capability::Pull), can(Capability::Resolve)) {
            (true, true) => Some(Serves::DigestsAndTags),
            (true, false) => Some(Serves::Digests),
            (false, true) => Some(Serves::Tags),
            (false, false) => None,
        }
    }
}

/// An address of the file.
struct Place {
    /// The host as the configuration names it.
    host: String,
    location: Location,
    is_plain: bool,
    /// It is the registry itself, under a name that it has.
    is_registry: bool,
}

impl Place {
    fn new(text: &str, registry: Option<&str>, override_path: bool) -> Result<Self, String> {
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let url: Url = with_scheme.parse().map_err(|error| format!("`{text}` is not an address: {error}"))?;
        let is_bare =
            url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || !is_bare {
            return Err(format!("`{text}` is not an http or https address of a registry"));
        }
        let written = authority(&url);
        // Docker Hub's registry has a host of its own, and references have another.
        let is_hub = matches!(written.as_str(), "docker.io" | "registry-1.docker.io" | "index.docker.io");
        let host = if is_hub { "docker.io".to_owned() } else { written };
        let host = normal_host(&host)
            .map_err(|_| format!("`{text}` has a host that no image reference could have; write it with its port"))?;
        let path = url.path().trim_end_matches('/');
        // containerd adds `/v2` where it is not there, unless `override_path` says that the path is all of it.
        let api_root = match (override_path, path) {
            (false, path) if !path.ends_with("/v2") => format!("{path}/v2"),
            (_, path) => path.to_owned(),
        };
        // What comes after `/v2/` is the beginning of the repository: so tokens are asked for the right one.
        let (address, api_root) = match api_root.strip_prefix("/v2/") {
            Some(beginning) => (format!("{host}/{beginning}"), None),
            None if api_root == "/v2" => (host.clone(), None),
            None => (host.clone(), Some(api_root)),
        };
        let is_registry = registry == Some(host.as_str()) && api_root.is_none() && address == host;
        let with_namespace = !is_registry;
        let location = Location { address, api_root, with_namespace };
        super::prefix::Target::new(&location).map_err(|problem| format!("`{text}` {problem}"))?;
        Ok(Self { host, location, is_plain: url.scheme() == "http", is_registry })
    }
}

/// How a host is reached.
fn settle(routing: &mut Routing, place: &Place, host: &Host, folder: &Path, file: &Path) -> Result<(), RoutingError> {
    let fail = |problem: &str| RoutingError::Content {
        path: file.to_owned(),
        problem: format!("says of `{}`: {problem}", place.host),
    };
    if host.header.is_some() {
        return Err(fail("`header` is not supported: credentials have a configuration of their own"));
    }
    if host.proxy.is_some() {
        return Err(fail("`proxy` is not supported: proxies are taken from the environment (`HTTPS_PROXY`)"));
    }
    if host.dial_timeout.is_some() {
        routing
            .notes
            .push(format!("`{}`: `dial_timeout` is not followed: mirrors get a part of the deadline", file.display()));
    }
    if host.skip_verify && !place.is_plain {
        routing.accept_any_certificate(&place.host, "skip_verify");
    }
    let mut settings = routing.hosts.get(&place.host).cloned().unwrap_or_default();
    let is_local = format!("http://{}/", place.host).parse().is_ok_and(|url| is_loopback(&url));
    if place.is_plain && !is_local && !settings.plain_http {
        settings.plain_http = true;
        routing.notes.push(format!("`{}`: plain HTTP is spoken to `{}`", file.display(), place.host));
    }
    let authorities = paths(host.ca.as_ref()).ok_or_else(|| fail("`ca` is a path or a list of paths"))?;
    for authority in authorities {
        let pem = read_bytes(&folder.join(authority))?;
        add_authority(&mut settings, &pem);
    }
    if let Some(certificate) = client(host.client.as_ref(), folder, fail)? {
        if settings.client_certificate.as_ref().is_some_and(|known| *known != certificate) {
            return Err(fail("it has more than one client certificate"));
        }
        settings.client_certificate = Some(certificate);
    }
    if settings != HostConfiguration::default() {
        routing.hosts.insert(place.host.clone(), settings);
    }
    Ok(())
}

fn add_authority(settings: &mut HostConfiguration, pem: &[u8]) {
    let known = settings.ca_certificates_pem.get_or_insert_default();
    if !known.windows(pem.len().max(1)).any(|window| window == pem) {
        known.extend_from_slice(pem);
        known.push(b'\n');
    }
}

/// A path, or a list of them; nothing when it is neither.
fn paths(value: Option<&Value>) -> Option<Vec<&str>> {
    match value {
        None => Some(Vec::new()),
        Some(Value::String(path)) => Some(vec![path]),
        Some(Value::Array(values)) => values.iter().map(Value::as_str).collect(),
        Some(_) => None,
    }
}

/// A path, a list with one path, or a list with one pair of certificate and key, of which the key may be empty.
fn client(
    value: Option<&Value>,
    folder: &Path,
    fail: impl Fn(&str) -> RoutingError,
) -> Result<Option<ClientCertificate>, RoutingError> {
    let one = || fail("`client` is one path, or one pair of paths `[[certificate, key]]`");
    let (certificate, key) = match value {
        None => return Ok(None),
        Some(Value::String(path)) => (path.as_str(), None),
        Some(Value::Array(values)) => match values.as_slice() {
            [Value::String(path)] => (path.as_str(), None),
            [Value::Array(pair)] => match pair.as_slice() {
                [Value::String(certificate)] => (certificate.as_str(), None),
                [Value::String(certificate), Value::String(key)] => (certificate.as_str(), Some(key.as_str())),
                _ => return Err(one()),
            },
            _ => return Err(one()),
        },
        Some(_) => return Err(one()),
    };
    let key = key.filter(|key| !key.is_empty()).map(|key| folder.join(key));
    Ok(Some(ClientCertificate::read(&folder.join(certificate), key.as_deref())?))
}

/// Docker's layout: `*.crt` are authorities, `NAME.cert` and `NAME.key` a client certificate.
fn add_certificates(routing: &mut Routing, registry: &str, folder: &Path) -> Result<(), RoutingError> {
    let mut settings = routing.hosts.get(registry).cloned().unwrap_or_default();
    let mut certificates: Vec<PathBuf> = Vec::new();
    for path in list(folder, MAX_ENTRIES)? {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => add_authority(&mut settings, &read_bytes(&path)?),
            Some("cert") => certificates.push(path),
            _ => {}
        }
    }
    match certificates.as_slice() {
        [] => {}
        [certificate] => {
            let key = certificate.with_extension("key");
            settings.client_certificate = Some(ClientCertificate::read(certificate, Some(&key))?);
        }
        _ => {
            let problem = "has more than one client certificate (`*.cert`)".to_owned();
            return Err(RoutingError::Content { path: folder.to_owned(), problem });
        }
    }
    if settings != HostConfiguration::default() {
        routing.hosts.insert(registry.to_owned(), settings);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn folder(name: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(name);
        fs::create_dir(&folder).unwrap();
        for (file, text) in files {
            fs::write(folder.join(file), text).unwrap();
            fs::set_permissions(folder.join(file), fs::Permissions::from_mode(0o600)).unwrap();
        }
        root
    }

    fn parse(name: &str, text: &str) -> Result<Routing, RoutingError> {
        read(folder(name, &[("hosts.toml", text), ("ca.crt", "CA"), ("c.pem", "C"), ("k.pem", "K")]).path())
    }

    #[test]
    fn hosts_are_mirrors_in_the_order_of_the_file() {
        let routing = parse(
            "docker.io",
            r#"
            server = "https://registry-1.docker.io"
            [host."https://z.example"]
              capabilities = ["pull"]
            [host."https://a.example:5000/v2/hub"]
              capabilities = ["pull", "resolve"]
              override_path = true
              ca = "ca.crt"
              client = [["c.pem", "k.pem"]]
            [host."http://10.0.0.1:5000/api/docker/hub"]
              skip_verify = true
            [host."https://push.example"]
              capabilities = ["push"]
            [host."https://registry-1.docker.io"]
              capabilities = ["pull", "resolve"]
            "#,
        )
        .unwrap();
        let location = |address: &str, api_root: Option<&str>| Location {
            address: address.to_owned(),
            api_root: api_root.map(str::to_owned),
            with_namespace: true,
        };
        let mirrors = vec![
            Mirror { location: location("z.example", None), serves: Serves::Digests },
            Mirror { location: location("a.example:5000/hub", None), serves: Serves::DigestsAndTags },
            Mirror { location: location("10.0.0.1:5000", Some("/api/docker/hub/v2")), serves: Serves::DigestsAndTags },
        ];
        let route = Route { prefix: "docker.io".to_owned(), location: None, is_blocked: false, mirrors };
        assert_eq!(routing.routes, [route]);
        let certificates = HostConfiguration {
            ca_certificates_pem: Some(b"CA\n".to_vec()),
            client_certificate: Some(ClientCertificate::from_pem(b"C", b"K")),
            ..HostConfiguration::default()
        };
        let plain = HostConfiguration { plain_http: true, ..HostConfiguration::default() };
        let expected = [("10.0.0.1:5000".to_owned(), plain), ("a.example:5000".to_owned(), certificates)];
        assert_eq!(routing.hosts, expected.into());
        for part in ["plain HTTP", "push.example"] {
            assert!(routing.notes.iter().any(|note| note.contains(part)), "{:?}", routing.notes);
        }
    }

    #[test]
    fn another_server_takes_the_place_of_the_registry_and_the_default_is_for_all() {
        let routing = parse("_default", "server = \"https://m.example\"\nskip_verify = true").unwrap();
        let location = Location { with_namespace: true, ..Location::new("m.example") };
        let route = Route { prefix: "*".to_owned(), location: Some(location), is_blocked: false, mirrors: Vec::new() };
        assert_eq!(routing.routes, [route]);
        assert!(routing.hosts["m.example"].danger_accept_invalid_certificates);
        let routing = parse("r.example_5000_", "ca = [\"ca.crt\"]").unwrap();
        assert_eq!(routing.routes, []);
        assert_eq!(routing.hosts["r.example:5000"].ca_certificates_pem.as_deref(), Some(&b"CA\n"[..]));
    }

    #[test]
    fn must_not_overlook_what_is_not_understood() {
        for (text, expected) in [
            ("sevrer = \"https://m.example\"", "sevrer"),
            ("[host.\"https://m.example\"]\ncapabilites = [\"pull\"]", "capabilites"),
            ("[host.\"https://m.example\"]\ncapabilities = [\"pul\"]", "pul"),
            ("[host.\"https://m.example\".header]\nauthorization = \"Basic canary\"", "`header`"),
            ("[host.\"https://m.example\"]\nproxy = \"http://p.example\"", "`proxy`"),
            ("[host.\"https://m.example\"]\nca = 1", "`ca`"),
            ("[host.\"https://m.example\"]\nca = \"none.crt\"", "none.crt"),
            ("[host.\"https://m.example\"]\nclient = [\"c.pem\", \"k.pem\"]", "`client`"),
            ("[host.\"ftp://m.example\"]", "ftp"),
            ("[host.\"https://ann:canary@m.example\"]", "not an http"),
            ("[host.\"https://mirror\"]", "port"),
            ("[host.\"https://m.example/a?b\"]", "not an http"),
            ("not toml", "hosts.toml"),
        ] {
            let error = parse("r.example", text).expect_err(text);
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!error.hint().is_empty());
        }
        assert!(parse("no host", "").is_err());
    }

    #[test]
    fn must_not_overlook_a_file_or_folder_that_cannot_be_looked_at() {
        let root = folder("r.example", &[]);
        let file = root.path().join("r.example/hosts.toml");
        std::os::unix::fs::symlink("nowhere", &file).unwrap();
        assert!(matches!(read(root.path()), Err(RoutingError::Unreadable { .. })));
        fs::remove_file(&file).unwrap();
        // Its twin: no file is no setting.
        assert_eq!(read(root.path()), Ok(Routing::default()));
        std::os::unix::fs::symlink("s.example", root.path().join("s.example")).unwrap();
        assert!(matches!(read(root.path()), Err(RoutingError::Unreadable { .. })));
    }

    #[test]
    fn certificates_alone_are_docker_s_layout() {
        let files = [("a.crt", "A"), ("b.crt", "B"), ("client.cert", "C"), ("client.key", "K"), ("README", "x")];
        let routing = read(folder("r.example:5000", &files).path()).unwrap();
        let host = &routing.hosts["r.example:5000"];
        assert_eq!(host.ca_certificates_pem.as_deref(), Some(&b"A\nB\n"[..]));
        assert_eq!(host.client_certificate, Some(ClientCertificate::from_pem(b"C", b"K")));
        let two = folder("r.example", &[("a.cert", "A"), ("a.key", "K"), ("b.cert", "B"), ("b.key", "K")]);
        assert!(read(two.path()).is_err());
        let without_key = folder("r.example", &[("a.cert", "A")]);
        assert!(matches!(read(without_key.path()), Err(RoutingError::ClientCertificate(_))));
    }
}
