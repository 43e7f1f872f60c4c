//! A registry on loopback with one image in it.

use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use hallmark_embedded_registry::Registry as Served;
use hallmark_policy::evidence::{Observation, Retrieval};
use hallmark_policy::image::{Descriptor, ImageReference, Index, Manifest, media_type};
use hallmark_registry::{Configuration, Registry};
use tokio::sync::oneshot;

/// A registry that ends with the test.
pub(crate) struct TestRegistry {
    pub(crate) host: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestRegistry {
    /// Serves an empty registry.
    pub(crate) fn start() -> Self {
        Self::start_behind(|router| router)
    }

    /// Serves an empty registry behind something of the test's own.
    pub(crate) fn start_behind(layers: impl FnOnce(Router) -> Router + Send + 'static) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (tell, host) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap().to_string()).unwrap();
                let shutdown = async {
                    let _ = stopped.await;
                };
                let router = layers(Served::in_memory().router());
                tokio::select! {
                    served = axum::serve(listener, router) => served.unwrap(),
                    () = shutdown => {}
                }
            });
        });
        Self { host: host.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    /// Pushes an index of two images and a build's attestation: its name, and the names of what is in it by digest.
    pub(crate) fn push_index(&self, name: &str) -> (String, [String; 2], String) {
        let repository = name.split(':').next().unwrap();
        let mut entries = Vec::new();
        for kind in ["amd64", "arm64", "attestation-manifest"] {
            let manifest = self.manifest(&format!("{name}-{kind}"));
            let pushed = self.put(&format!("{repository}:{kind}"), media_type::OCI_MANIFEST, &manifest);
            let mut entry = Descriptor::of(media_type::OCI_MANIFEST, &manifest);
            assert_eq!(entry.digest.to_string(), pushed);
            if kind == "attestation-manifest" {
                entry.annotations.insert("vnd.docker.reference.type".to_owned(), kind.to_owned());
            }
            entries.push(entry);
        }
        let pinned = |entry: &Descriptor| format!("{}/{repository}@{}", self.host, entry.digest);
        let names = ([pinned(&entries[0]), pinned(&entries[1])], pinned(&entries[2]));
        self.put(name, media_type::OCI_INDEX, &Index::new(entries).encode());
        (format!("{}/{name}", self.host), names.0, names.1)
    }

    /// Pushes another image under a name.
    pub(crate) fn push_as(&self, name: &str, what: &str) {
        let config = format!(r#"{{"architecture":"amd64","os":"linux","created_by":"{what}"}}"#);
        let image: ImageReference = format!("{}/{name}", self.host).parse().unwrap();
        runtime().block_on(async { client().push_blob(image.repository(), config.as_bytes()).await.unwrap() });
        let manifest = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, config.as_bytes()), Vec::new());
        self.put(name, media_type::OCI_MANIFEST, &manifest.encode());
    }

    /// Attaches the bundle of one image to another, as an attacker does.
    pub(crate) fn move_signature(&self, from: &str, to: &str) {
        runtime().block_on(async {
            let client = client();
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
            let evidence = client.gather(&from.parse().unwrap(), deadline).await;
            let is_bundle = |bytes: &[u8]| bytes.windows(12).any(|window| window == b"dsseEnvelope");
            let bundle = evidence.items.values().find_map(|item| match item {
                Retrieval::Content(content) if is_bundle(content.bytes()) => Some(content.bytes().to_vec()),
                _ => None,
            });
            let to: ImageReference = to.parse().unwrap();
            let Observation::Found(digest) = client.resolve(&to).await else { panic!("{to}") };
            let annotations = std::collections::BTreeMap::new();
            client.danger_attach_unverified_bundle(&to.pin(digest), &bundle.unwrap(), annotations).await.unwrap();
        });
    }

    /// Pushes an image under so many indexes, each of which holds the next; the name of the outermost.
    pub(crate) fn push_nested(&self, name: &str, indexes: usize) -> String {
        let (mut media_type, mut bytes) = (media_type::OCI_MANIFEST, self.manifest(name));
        for _ in 0..indexes {
            self.put(name, media_type, &bytes);
            bytes = Index::new(vec![Descriptor::of(media_type, &bytes)]).encode();
            media_type = media_type::OCI_INDEX;
        }
        self.put(name, media_type, &bytes);
        format!("{}/{name}", self.host)
    }

    fn manifest(&self, name: &str) -> Vec<u8> {
        let config = format!(r#"{{"architecture":"amd64","os":"linux","created_by":"{name}"}}"#);
        let image: ImageReference = format!("{}/{name}", self.host).parse().unwrap();
        runtime().block_on(async { client().push_blob(image.repository(), config.as_bytes()).await.unwrap() });
        Manifest::new(Descriptor::of(media_type::OCI_CONFIG, config.as_bytes()), Vec::new()).encode()
    }

    fn put(&self, name: &str, media_type: &str, bytes: &[u8]) -> String {
        let image: ImageReference = format!("{}/{name}", self.host).parse().unwrap();
        let pushed = runtime().block_on(client().push_manifest(&image, media_type, bytes));
        pushed.unwrap().digest.to_string()
    }

    /// Pushes what another program wrote: a layout of manifests with tags, under a repository.
    pub(crate) fn push_recorded(&self, repository: &str, layout: &std::path::Path) {
        let read = |path: &str| std::fs::read(layout.join(path)).unwrap();
        let image: ImageReference = format!("{}/{repository}:x", self.host).parse().unwrap();
        let mut manifests = Vec::new();
        for entry in std::fs::read_dir(layout.join("blobs/sha256")).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
            if json["schemaVersion"].is_u64() {
                let kind = if json["manifests"].is_array() { media_type::OCI_INDEX } else { media_type::OCI_MANIFEST };
                manifests.push((kind, bytes));
            } else {
                runtime().block_on(async { client().push_blob(image.repository(), &bytes).await.map(|_| ()).unwrap() });
            }
        }
        // What an index lists comes before the index.
        manifests.sort_by_key(|(kind, _)| *kind == media_type::OCI_INDEX);
        let index: serde_json::Value = serde_json::from_slice(&read("index.json")).unwrap();
        for (media_type, bytes) in manifests {
            let digest = Descriptor::of(media_type, &bytes).digest.to_string();
            let entry = index["manifests"].as_array().unwrap().iter().find(|entry| entry["digest"] == digest);
            let tag = entry.map(|entry| entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap());
            let name = tag.map_or(format!("@{digest}"), |tag| format!(":{tag}"));
            self.put(&format!("{repository}{name}"), media_type, &bytes);
        }
    }

    /// Pushes an image of one small layer; its name and its digest.
    pub(crate) fn push(&self, name: &str) -> (String, String) {
        let manifest = self.manifest(name);
        let digest = self.put(name, media_type::OCI_MANIFEST, &manifest);
        (format!("{}/{name}", self.host), digest)
    }
}

impl Drop for TestRegistry {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn client() -> Registry {
    Registry::new(Configuration::default(), Arc::new(hallmark_policy::Timestamp::now)).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
