//! What the demo plays on: a registry and the verifier service on loopback, and a folder that goes away again.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output as Finished};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hallmark_embedded_registry::Registry as EmbeddedRegistry;
use hallmark_registry::{Configuration, Registry};
use hallmark_verifier_service::{Config, Listeners, PipelineLoader, Service, serve};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::broken;
use crate::command::registry_access;
use crate::error::{Exit, Failure};

/// The passphrase of the demo's key, which lives as long as the demo does.
pub(super) const PASSPHRASE: &str = "demo";
/// How long the service may take to be ready.
const START: Duration = Duration::from_secs(10);

/// Everything that runs.
pub(super) struct Stage {
    folder: TempDir,
    program: PathBuf,
    runtime: Runtime,
    registry_host: String,
    api: String,
    client: Registry,
    /// Set to true when everything ends.
    end: watch::Sender<bool>,
    service: Option<Listeners>,
}

impl Stage {
    /// Starts the registry, and takes the addresses of the service.
    pub(super) fn build() -> Result<Self, Failure> {
        let runtime = Runtime::new().map_err(|error| broken("the runtime does not start", error))?;
        let folder = tempfile::Builder::new().prefix("hallmark-demo-").tempdir();
        let folder = folder.map_err(|error| broken("there is no temporary folder", error))?;
        let program = std::env::current_exe().map_err(|error| broken("this program does not find itself", error))?;
        let registry = listener()?;
        let registry_host = address(&registry)?;
        let (api, operations) = (listener()?, listener()?);
        let (end, ended) = watch::channel(false);
        runtime
            .block_on(async {
                registry.set_nonblocking(true)?;
                let listener = tokio::net::TcpListener::from_std(registry)?;
                tokio::spawn(hallmark_embedded_registry::serve(listener, &EmbeddedRegistry::in_memory(), over(ended)));
                Ok(())
            })
            .map_err(|error: std::io::Error| broken("the registry does not start", error))?;
        let client = Registry::new(Configuration::default(), registry_access::clock())
            .map_err(|error| broken("the registry client does not start", error))?;
        let (address, service) = (address(&api)?, Some(Listeners { api, operations }));
        Ok(Self { folder, program, runtime, registry_host, api: address, client, end, service })
    }

    /// The registry, as it is written in image references.
    pub(super) fn registry_host(&self) -> &str {
        &self.registry_host
    }

    /// The service's API.
    pub(super) fn api(&self) -> &str {
        &self.api
    }

    /// The folder in which the commands run.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// This program.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// A client of the registry.
    pub(super) fn client(&self) -> &Registry {
        &self.client
    }

    /// Waits for some work.
    pub(super) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Writes a file into the folder.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        fs::write(self.folder().join(name), text).map_err(|error| broken("a file could not be written", error))
    }

    /// Runs this program in the folder, as another process.
    pub(super) fn hallmark(&self, arguments: &[&str]) -> Result<Finished, Failure> {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(self.folder()).env("HALLMARK_PASSWORD", PASSPHRASE);
        // The images of the demo are on loopback: nobody's credentials, proxies or keys belong here.
        for variable in
            ["COSIGN_PASSWORD", "COSIGN_REPOSITORY", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "HTTP_PROXY", "http_proxy"]
        {
            command.env_remove(variable);
        }
        command.stdin(std::process::Stdio::null());
        command.output().map_err(|error| broken("this program could not run itself", error))
    }

    /// Starts the verifier service with the policy file of the folder, and waits until it is ready.
    pub(super) fn start_service(&mut self, policy: &str) -> Result<(), Failure> {
        let Some(listeners) = self.service.take() else { return Ok(()) };
        let operations = address(&listeners.operations)?;
        let config = Config { policies: vec![self.folder().join(policy)], ..Config::default() };
        let load = PipelineLoader::new(&config).map_err(|error| broken("the service does not start", error))?;
        let service = Service::new(config, Arc::new(load));
        let ended = over(self.end.subscribe());
        self.runtime.spawn(async move {
            // A service that ends early is noticed by its next caller.
            let _ = serve(service, listeners, ended).await;
        });
        let ready = self.runtime.block_on(async {
            let until = Instant::now() + START;
            while Instant::now() < until {
                if let Ok((200, _)) = request(&operations, "/readyz", None).await {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            false
        });
        if ready { Ok(()) } else { Err(broken("the service does not start", "it is not ready within 10 seconds")) }
    }

    /// Asks the service, as `curl --json BODY` would.
    pub(super) fn ask(&self, path: &str, body: &str) -> Result<(u16, String), Failure> {
        self.wait(request(&self.api, path, Some(body))).map_err(|error| broken("the service does not answer", error))
    }

    /// Waits for Ctrl-C or the end that an operator asks for.
    pub(super) fn wait_for_the_end(&self) -> Result<(), Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let waited = self.runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                ended = tokio::signal::ctrl_c() => ended,
                _ = terminate.recv() => Ok(()),
            }
        });
        waited.map_err(|error| broken("signals cannot be received", error))
    }

    /// Stops everything and removes the folder.
    pub(super) fn strike(self) -> Result<(), Failure> {
        let _ = self.end.send(true);
        let path = self.folder.path().to_owned();
        self.runtime.shutdown_timeout(Duration::from_secs(2));
        let hint = format!("remove `{}` by hand", path.display());
        self.folder
            .close()
            .map_err(|error| Failure::new(Exit::Unexpected, format!("the demo's folder stays behind: {error}"), hint))
    }
}

async fn over(mut ended: watch::Receiver<bool>) {
    // An error means that the stage is gone, which is an end as well.
    let _ = ended.wait_for(|ended| *ended).await;
}

async fn request(address: &str, path: &str, body: Option<&str>) -> Result<(u16, String), reqwest::Error> {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(START).build()?;
    let url = format!("http://{address}{path}");
    let request = match body {
        Some(body) => client.post(url).header("content-type", "application/json").body(body.to_owned()),
        None => client.get(url),
    };
    let response = request.send().await?;
    Ok((response.status().as_u16(), response.text().await?))
}

fn listener() -> Result<TcpListener, Failure> {
    TcpListener::bind(("127.0.0.1", 0)).map_err(|error| broken("there is no free address on loopback", error))
}

fn address(listener: &TcpListener) -> Result<String, Failure> {
    listener.local_addr().map(|address| address.to_string()).map_err(|error| broken("an address is unknown", error))
}
