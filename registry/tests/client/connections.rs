//! How many connections requests take: one where HTTP/2 is offered, and otherwise as many as there are requests at one
//! time, which are used again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::Version;
use axum::middleware::{Next, from_fn};
use futures_util::future::join_all;
use hallmark_policy::evidence::Observation;
use hallmark_registry::{Configuration, Registry};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;

use crate::certificates::{Authority, Served, believing, registry, serve_speaking};
use crate::scripted::client_with;

/// As many as may be under way at one host at one time by default.
const AT_ONCE: usize = 32;

/// A registry on this machine, what it was spoken to in, and how many connections went to it.
struct Counted {
    host: String,
    versions: Arc<Mutex<Vec<Version>>>,
    connections: Arc<AtomicUsize>,
    authority: Authority,
}

/// Requests for tags that begin with `together` are answered when so many are there.
async fn counted(protocols: &[&str]) -> Counted {
    let (versions, barrier) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Barrier::new(AT_ONCE)));
    let seen = Arc::clone(&versions);
    let router: Router = registry().layer(from_fn(move |request: Request, next: Next| {
        seen.lock().unwrap().push(request.version());
        let barrier = request.uri().path().contains("/together").then(|| Arc::clone(&barrier));
        async move {
            if let Some(barrier) = barrier {
                barrier.wait().await;
            }
            next.run(request).await
        }
    }));
    let authority = Authority::new();
    let Served { host, .. } = serve_speaking(protocols, &authority, "localhost", None, router);
    let (listener, connections) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Arc::new(AtomicUsize::new(0)));
    let (port, count) = (listener.local_addr().unwrap().port(), Arc::clone(&connections));
    let behind = host.replace("localhost", "127.0.0.1");
    tokio::spawn(async move {
        while let Ok((mut incoming, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut outgoing = TcpStream::connect(&behind).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut incoming, &mut outgoing).await });
        }
    });
    Counted { host: format!("localhost:{port}"), versions, connections, authority }
}

impl Counted {
    fn client(&self) -> Registry {
        let hosts = [(self.host.clone(), believing(&self.authority))].into();
        client_with(Configuration { hosts, ..Configuration::default() })
    }

    async fn ask(&self, registry: &Registry, tag: &str, count: usize) {
        let images = (0..count).map(|number| format!("{}/app:{tag}{number}", self.host).parse().unwrap());
        let images: Vec<_> = images.collect();
        let answers = join_all(images.iter().map(|image| registry.resolve(image))).await;
        assert!(answers.iter().all(|answer| *answer == Observation::Absent), "{answers:?}");
    }

    fn take_versions(&self) -> Vec<Version> {
        std::mem::take(&mut *self.versions.lock().unwrap())
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn must_not_open_a_second_connection_where_http_2_is_offered() {
    let served = counted(&["h2", "http/1.1"]).await;
    let registry = served.client();
    // Also of those that come first, all together.
    served.ask(&registry, "first", 40).await;
    for _ in 0..2 {
        served.ask(&registry, "together", AT_ONCE).await;
    }
    assert_eq!(served.connections(), 1);
    let versions = served.take_versions();
    assert!(versions.len() == 40 + 2 * AT_ONCE && versions.iter().all(|version| *version == Version::HTTP_2));
}

/// Its twin: where it is not, connections are kept and used again.
#[tokio::test]
async fn must_not_open_a_connection_for_each_request_where_http_1_is_all_there_is() {
    for protocols in [&["http/1.1"][..], &[]] {
        let served = counted(protocols).await;
        let registry = served.client();
        for number in 0..10 {
            served.ask(&registry, &format!("single{number}-"), 1).await;
        }
        assert_eq!(served.connections(), 1, "one after another");
        served.ask(&registry, "together", AT_ONCE).await;
        let most = served.connections();
        assert!((AT_ONCE..=AT_ONCE + 1).contains(&most), "{most}");
        for _ in 0..3 {
            served.ask(&registry, "together", AT_ONCE).await;
        }
        assert!(served.connections() <= AT_ONCE + 1, "{}", served.connections());
        assert!(served.take_versions().iter().all(|version| *version == Version::HTTP_11));
    }
}
