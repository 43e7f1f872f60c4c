//! What no client can do without: the tag, the three places at once, the manifests at once, the signatures at once. It
//! checks nothing.

use futures_util::future::{join_all, join3};
use serde_json::Value;

use crate::harness::world::{REPOSITORY, TAG, World};

/// Walks from a tag to so many signatures.
pub(crate) async fn walk(world: &World, bundles: usize) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = |path: &str| format!("{}/v2/{REPOSITORY}/{path}", world.registry.url());
    let fetch = async |path: String| client.get(url(&path)).send().await.unwrap().bytes().await.unwrap();
    let tag = client.head(url(&format!("manifests/{TAG}"))).send().await.unwrap();
    let digest = tag.headers()["docker-content-digest"].to_str().unwrap().to_owned();
    let (listed, _, _) = join3(
        fetch(format!("referrers/{digest}")),
        fetch(format!("manifests/{}", world.digest.fallback_tag())),
        fetch(format!("manifests/{}", world.digest.signature_tag())),
    )
    .await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let listed: Value = serde_json::from_slice(&listed).unwrap();
    let listed: Vec<String> = listed["manifests"].as_array().unwrap().iter().map(|one| text(&one["digest"])).collect();
    assert_eq!(listed.len(), bundles);
    let manifests = join_all(listed.iter().map(|digest| fetch(format!("manifests/{digest}")))).await;
    let blobs = manifests.iter().map(|manifest| {
        let manifest: Value = serde_json::from_slice(manifest).unwrap();
        fetch(format!("blobs/{}", text(&manifest["layers"][0]["digest"])))
    });
    let blobs = join_all(blobs.collect::<Vec<_>>()).await;
    assert!(blobs.iter().all(|blob| !blob.is_empty()));
}
