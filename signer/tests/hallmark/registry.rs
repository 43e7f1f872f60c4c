//! A registry on loopback with one image in it.

use std::sync::Arc;
use std::thread::JoinHandle;

use hallmark_embedded_registry::{Registry as Served, serve};
use hallmark_policy::image::{Descriptor, ImageReference, Manifest, media_type};
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
        let (stop, stopped) = oneshot::channel();
        let (tell, host) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap().to_string()).unwrap();
                let shutdown = async {
                    let _ = stopped.await;
                };
                serve(listener, &Served::in_memory(), shutdown).await.unwrap().unwrap();
            });
        });
        Self { host: host.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    /// Pushes an image of one small layer; its name and its digest.
    pub(crate) fn push(&self, name: &str) -> (String, String) {
        let image: ImageReference = format!("{}/{name}", self.host).parse().unwrap();
        let config = format!(r#"{{"architecture":"amd64","os":"linux","created_by":"{name}"}}"#);
        let manifest = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, config.as_bytes()), Vec::new()).encode();
        let digest = runtime().block_on(async {
            let client = Registry::new(Configuration::default(), Arc::new(hallmark_policy::Timestamp::now)).unwrap();
            client.push_blob(image.repository(), config.as_bytes()).await.unwrap();
            client.push_manifest(&image, media_type::OCI_MANIFEST, &manifest).await.unwrap().digest
        });
        (image.to_string(), digest.to_string())
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

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
