//! Registry, service and folder of the demonstration. Dropping the stage takes everything down.

use std::fs;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::process::{self, Command, Stdio};
use std::sync::Arc;

use hallmark_embedded_registry::Registry as Served;
use hallmark_policy::image::{Descriptor, Digest, ImageReference, Manifest, media_type};
use hallmark_registry::{Configuration, Registry};
use hallmark_verifier::{EvidenceLimits, Pipeline};
use hallmark_verifier_service::config::Span;
use hallmark_verifier_service::{Config, Listeners, PipelineLoader, Service, serve};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::super::registry_access::clock;
use super::PASSPHRASE;
use super::story::Story;
use crate::error::{Exit, Failure};

/// A registry, a client of it, and a folder.
pub(super) struct Stage {
    runtime: Runtime,
    folder: TempDir,
    registry: SocketAddr,
    host: String,
    client: Registry,
}

impl Stage {
    /// Starts the registry.
    pub(super) fn set() -> Result<Self, Failure> {
        let runtime = Runtime::new().map_err(|error| failed("start", &error))?;
        let folder = tempfile::Builder::new().prefix("hallmark-demo-").tempdir();
        let folder = folder.map_err(|error| failed("make a folder for", &error))?;
        let client = Registry::new(Configuration::default(), clock())
            .map_err(|error| Failure::new(Exit::Unexpected, error.to_string(), error.hint()))?;
        let registry = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
            let address = listener.local_addr()?;
            drop(hallmark_embedded_registry::serve(listener, &Served::in_memory(), std::future::pending()));
            Ok(address)
        });
        let registry: SocketAddr = registry.map_err(|error: std::io::Error| failed("listen for", &error))?;
        let stage = Self { runtime, folder, host: registry.to_string(), registry, client };
        stage.clean_up_on_interrupt();
        Ok(stage)
    }

    /// The registry's host, as image references have it.
    pub(super) fn registry_host(&self) -> &str {
        &self.host
    }

    /// Where the files are.
    pub(super) fn folder(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// A client of the registry.
    pub(super) fn client(&self) -> &Registry {
        &self.client
    }

    /// Waits for something that goes over the network.
    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Pushes an image whose contents depend on its name and on `note`.
    pub(super) fn push(&self, image: &str, note: &str) -> Result<Digest, Failure> {
        let reference: ImageReference = image.parse()?;
        let config = serde_json::json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": {
                "org.opencontainers.image.title": reference.repository().path(),
                "org.opencontainers.image.description": note,
            }},
            "rootfs": {"type": "layers", "diff_ids": []},
        });
        let config = config.to_string().into_bytes();
        let manifest = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, &config), Vec::new()).encode();
        let pushed = self.runtime.block_on(async {
            self.client.push_blob(reference.repository(), &config).await?;
            self.client.push_manifest(&reference, media_type::OCI_MANIFEST, &manifest).await
        });
        pushed
            .map(|pushed| pushed.digest)
            .map_err(|error| Failure::new(Exit::Unexpected, error.to_string(), error.hint()))
    }

    /// Writes a file of the folder.
    pub(super) fn write(&self, name: &str, contents: &str) -> Result<(), Failure> {
        fs::write(self.folder.path().join(name), contents).map_err(|error| failed("write a file of", &error))
    }

    /// Reads a file of the folder, which this program has written.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>, Failure> {
        fs::read(self.folder.path().join(name)).map_err(|error| failed("read a file of", &error))
    }

    /// Runs this program as a user would, and tells what came out. Its environment has the demonstration's passphrase
    /// and no credentials of the user's.
    pub(super) fn hallmark(&self, story: &mut Story, arguments: &[&str]) -> Result<(), Failure> {
        let program = std::env::current_exe().map_err(|error| failed("find the program of", &error))?;
        let run = Command::new(program)
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HALLMARK_PASSWORD", PASSPHRASE)
            .env("DOCKER_CONFIG", self.folder.path())
            .env("NO_PROXY", self.registry.ip().to_string())
            .env_remove("COSIGN_PASSWORD")
            .env_remove("REGISTRY_AUTH_FILE")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| failed("run a command of", &error))?;
        let mut told = String::from_utf8_lossy(&run.stdout).into_owned();
        told.push_str(&String::from_utf8_lossy(&run.stderr));
        story.show_command(&format!("hallmark {}", arguments.join(" ")), &told)
    }

    /// Starts the verifier service with one policy; where it listens.
    pub(super) fn serve(&self, policy: &str) -> Result<SocketAddr, Failure> {
        let listen = || TcpListener::bind(("127.0.0.1", 0)).map_err(|error| failed("listen for", &error));
        let listeners = Listeners { api: listen()?, operations: listen()? };
        let address = listeners.api.local_addr().map_err(|error| failed("listen for", &error))?;
        let config = Config {
            policies: vec![self.folder.path().join(policy)],
            accept_while_draining: Span::seconds(0),
            drain_for: Span::seconds(1),
            ..Config::default()
        };
        let pipeline = Pipeline::new(Arc::new(self.client.clone()), clock(), EvidenceLimits::STANDARD);
        let service = Service::new(config.clone(), Arc::new(PipelineLoader::over(pipeline, &config)));
        self.runtime.spawn(serve(service, listeners, std::future::pending()));
        Ok(address)
    }

    /// Waits until the process is told to end; then the stage is taken down.
    pub(super) fn wait_for_interrupt(&self) {
        self.runtime.block_on(std::future::pending())
    }

    /// Without this, Ctrl-C would leave the folder behind.
    fn clean_up_on_interrupt(&self) {
        let folder = self.folder.path().to_owned();
        self.runtime.spawn(async move {
            if interrupted().await.is_ok() {
                // Nobody is left to hear that it cannot be removed.
                let _ = fs::remove_dir_all(folder);
                // 128 + SIGINT, as shells have it.
                process::exit(130);
            }
        });
    }
}

async fn interrupted() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed,
        _ = terminate.recv() => Ok(()),
    }
}

fn failed(action: &str, error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Unexpected,
        format!("cannot {action} the demonstration: {error}"),
        "it needs a temporary folder and free ports on loopback",
    )
}
