//! With other programs, both ways, on two registries: what they sign we verify, what we sign they verify, and what was
//! tampered with nobody does.

mod attestations;
mod clients;
mod copy;
mod cosign;
mod large_attestations;
mod references;
mod skopeo;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hallmark_policy::evidence::Observation;
use hallmark_policy::image::{Digest, ImageReference, Manifest};
use hallmark_registry::Registry;
use tempfile::TempDir;

use crate::harness::docker_registry::{Access, DockerRegistry};
use crate::harness::peers::{Answer, Peer, peer};
use crate::harness::programs::{PASSPHRASE, run_hallmark};
use crate::harness::registry::TestRegistry;
use crate::harness::world::{client, push_image};

/// A registry: with the referrers API, or without.
enum Site {
    Embedded(TestRegistry),
    Docker(DockerRegistry),
}

impl Site {
    fn host(&self) -> &str {
        match self {
            Self::Embedded(registry) => registry.host(),
            Self::Docker(registry) => registry.host(),
        }
    }
}

/// A registry with images, a folder with keys, and the programs.
struct Bench {
    site: Site,
    folder: TempDir,
    client: Registry,
}

impl Bench {
    fn on(site: Site) -> Self {
        Self { site, folder: TempDir::new().unwrap(), client: client() }
    }

    fn embedded() -> Self {
        Self::on(Site::Embedded(TestRegistry::healthy()))
    }

    /// One on each registry that is there.
    fn everywhere() -> Vec<Self> {
        let docker = DockerRegistry::start(Access::Anonymous).map(|registry| Self::on(Site::Docker(registry)));
        [Some(Self::embedded()), docker].into_iter().flatten().collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn hallmark(&self, arguments: &[&str]) -> Answer {
        run_hallmark(self.folder.path(), arguments)
    }

    /// `hallmark verify`, with the exit code and the first reason code that it must give; none for an allow.
    #[track_caller]
    fn verify(&self, key: &str, image: &str, more: &[&str], expected: (i32, Option<&str>)) {
        let answer = self.hallmark(&[&["verify", "-o", "json", "--key", key, image], more].concat());
        let document: serde_json::Value =
            serde_json::from_str(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
        let reason = document["images"][0]["reasons"][0]["code"].as_str();
        assert_eq!((answer.code, reason), (Some(expected.0), expected.1), "{answer:?}");
    }

    /// A new key pair of ours: `NAME.key` and `NAME.pub`.
    fn our_key(&self, name: &str) {
        self.hallmark(&["key", "generate", "--output-key-prefix", name]).expect_success();
    }

    /// A new key pair of ours, of some kind.
    fn our_key_of_kind(&self, kind: &str) {
        self.hallmark(&["key", "generate", "--type", kind, "--output-key-prefix", kind]).expect_success();
    }

    /// A new key pair of cosign's: `NAME.key` and `NAME.pub`.
    fn cosign_key(&self, cosign: &Peer, name: &str) {
        self.run(cosign, &["generate-key-pair", "--output-key-prefix", name]).expect_success();
    }

    /// Runs a peer in the folder, with the passphrase that all keys have.
    fn run(&self, peer: &Peer, arguments: &[&str]) -> Answer {
        let mut command = peer.command();
        command.current_dir(self.folder.path()).args(arguments).env("COSIGN_PASSWORD", PASSPHRASE);
        peer.answer(&mut command)
    }

    /// Pushes a small image that real programs can unpack, and gives its name with the tag `v1`. Each name's image is
    /// another one.
    async fn image(&self, repository: &str) -> String {
        let name = format!("{}/{repository}:v1", self.site.host());
        push_image(&self.client, &name.parse().unwrap()).await;
        name
    }

    /// The digest of a tag.
    async fn digest(&self, image: &str) -> Digest {
        match self.client.resolve(&image.parse().unwrap()).await {
            Observation::Found(digest) => digest,
            other => panic!("{image}: {other:?}"),
        }
    }

    /// Puts the `.sig` manifest of one image under the tag of another one in the same repository.
    async fn move_signature_tag(&self, from: &str, to: &str) {
        self.move_tag(from, to, Digest::signature_tag).await;
    }

    /// Puts the manifest under a tag that belongs to one image under the same tag of another one, where there is one.
    async fn move_tag(&self, from: &str, to: &str, tag_of: fn(&Digest) -> hallmark_policy::image::Tag) {
        let (from_image, to_image): (ImageReference, ImageReference) = (from.parse().unwrap(), to.parse().unwrap());
        let tag = tag_of(&self.digest(from).await);
        let source = ImageReference::tagged(from_image.repository().clone(), tag);
        let Observation::Found(manifest) = self.client.fetch_manifest(&source).await else { return };
        let parsed = Manifest::parse(manifest.content.bytes()).unwrap();
        for layer in parsed.layers.iter().chain([&parsed.config]) {
            let Observation::Found(blob) = self.client.fetch_blob(from_image.repository(), layer.digest, 1 << 20).await
            else {
                panic!("{source}")
            };
            self.client.push_blob(to_image.repository(), blob.bytes()).await.unwrap();
        }
        let target = ImageReference::tagged(to_image.repository().clone(), tag_of(&self.digest(to).await));
        self.client.push_manifest(&target, &manifest.media_type, manifest.content.bytes()).await.unwrap();
    }

    /// Attaches a bundle to an image, whatever it is about.
    async fn attach_bundle(&self, bundle: &Path, to: &str) {
        let image: ImageReference = to.parse().unwrap();
        let pinned = image.pin(self.digest(to).await);
        self.client
            .danger_attach_unverified_bundle(&pinned, &std::fs::read(bundle).unwrap(), BTreeMap::new())
            .await
            .unwrap();
    }
}

/// The programs of some names, when they are all there.
fn peers<const N: usize>(names: [&str; N]) -> Option<[Peer; N]> {
    let found: Vec<Peer> = names.into_iter().filter_map(peer).collect();
    found.try_into().ok()
}
