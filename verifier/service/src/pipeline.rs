//! The real thing behind the service: trust policies from files, and the pipeline that asks registries.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hallmark_policy::Timestamp;
use hallmark_policy::image::{Digest, ImageReference};
use hallmark_policy::trust::{KnownRoots, TrustSnapshot};
use hallmark_policy::verdict::Question;
use hallmark_verifier::example_keys::{self, EXAMPLE_KEYS};
use hallmark_verifier::trust_root::{self, RootSource, TrustRootFolder, TrustRoots};
use hallmark_verifier::{
    Clock, ContentLimits, ContentStore, EvidenceLimits, EvidenceSource, Pipeline, load_trust_with,
};

use crate::config::{Config, Evidence};
use crate::registries::{Registries, RegistrySetupError};
use crate::reload::{Load, LoadError, Loaded};
use crate::session::Session;
use crate::verdict::{ImageVerdict, PolicyInForce};

/// Makes sessions out of the files of the configuration, all over one pipeline, so that evidence outlives a reload.
pub struct PipelineLoader {
    pipeline: Pipeline,
    content: Option<Arc<ContentStore>>,
    registries: Option<Arc<Registries>>,
    paths: Vec<PathBuf>,
    accept_example_keys: bool,
    roots: Arc<TrustRoots>,
}

impl PipelineLoader {
    /// A loader over a registry client as configured. No request is made. A folder for evidence that cannot be used is
    /// left alone, with a warning: verdicts do not need it.
    ///
    /// # Errors
    /// [`RegistrySetupError`] when the registry settings or credentials cannot be used.
    pub fn new(config: &Config) -> Result<Self, RegistrySetupError> {
        let clock: Clock = Arc::new(Timestamp::now);
        let Evidence { directory, max_bytes, .. } = config.evidence.clone();
        let limits = ContentLimits { directory, disk_bytes: max_bytes, ..ContentLimits::STANDARD };
        let content = Arc::new(ContentStore::open(&limits));
        let registries = Arc::new(Registries::open(&config.registry, Arc::clone(&content), Arc::clone(&clock))?);
        let source: Arc<dyn EvidenceSource> = Arc::<Registries>::clone(&registries);
        let pipeline = Pipeline::with_content(source, clock, lives(&config.evidence), Some(Arc::clone(&content)));
        let roots = Arc::new(trust_roots(&config.trust_roots).restored(Timestamp::now()));
        Ok(Self { content: Some(content), registries: Some(registries), roots, ..Self::over(pipeline, config) })
    }

    /// A loader over a pipeline that the caller has made.
    #[must_use]
    pub fn over(pipeline: Pipeline, config: &Config) -> Self {
        let (paths, accept_example_keys) = (config.policies.clone(), config.danger_accept_example_keys);
        let roots = Arc::new(TrustRoots::new(Vec::new(), None));
        Self { pipeline, content: None, registries: None, paths, accept_example_keys, roots }
    }
}

/// The repositories of the instances that policies may name, where the settings say that they are read.
fn trust_roots(settings: &crate::config::TrustRoots) -> TrustRoots {
    let sources = [
        ("public-good", &settings.public_good_mirror),
        ("staging", &settings.staging_mirror),
        (KnownRoots::GITHUB, &settings.github_mirror),
    ];
    let sources = sources.into_iter().filter_map(|(name, mirror)| {
        let source = RootSource::known(name)?;
        match mirror {
            // The settings were checked: what is no address is none of these.
            Some(address) => Some(source.from_mirror(trust_root::Mirror::at(address).ok()?)),
            None => Some(source),
        }
    });
    TrustRoots::new(sources.collect(), settings.directory.clone().map(TrustRootFolder::new))
}

fn lives(evidence: &Evidence) -> EvidenceLimits {
    EvidenceLimits {
        listing_life: evidence.listing_life.0,
        tag_life: evidence.tag_life.0,
        absence_life: evidence.absence_life.0,
        ..EvidenceLimits::STANDARD
    }
}

impl Load for PipelineLoader {
    fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    fn content(&self) -> Option<Arc<ContentStore>> {
        self.content.clone()
    }

    fn registries(&self) -> Option<(Arc<Registries>, Pipeline)> {
        Some((self.registries.clone()?, self.pipeline.clone()))
    }

    fn trust_roots(&self) -> Option<Arc<TrustRoots>> {
        Some(Arc::clone(&self.roots))
    }

    fn load(&self) -> Result<Loaded, LoadError> {
        // Before they are used: what becomes newer meanwhile is noticed, because its digest is another.
        let refreshed = RootSource::names().filter_map(|name| Some((name.to_owned(), self.roots.digest(name)?)));
        let mut roots: BTreeMap<String, Digest> = refreshed.collect();
        let trust = load_trust_with(&self.paths, &self.roots.known())
            .map_err(|error| LoadError { message: error.to_string(), hint: error.hint().to_owned() })?;
        let examples = example_keys::among(&trust.snapshot, EXAMPLE_KEYS);
        if let (Some(key), false) = (examples.first(), self.accept_example_keys) {
            return Err(LoadError {
                message: format!("a trust policy names the example key `{key}`, whose private half everybody has"),
                hint: "make your own with `hallmark key generate`; `dangerAcceptExampleKeys: true` is for trying out"
                    .to_owned(),
            });
        }
        if !examples.is_empty() {
            tracing::warn!(keys = examples.len(), "example keys are accepted: anybody can sign with them");
        }
        let digests = trust.snapshot.digests();
        let policies =
            digests.map(|(name, digest)| PolicyInForce { name: name.to_owned(), digest: digest.to_string() }).collect();
        let pipeline = self.pipeline.clone();
        let named = trust.snapshot.root_names();
        roots.retain(|name, _| named.contains(name.as_str()));
        let names = RootSource::names().filter(|name| named.contains(name)).map(str::to_owned).collect();
        Ok(Loaded {
            session: Arc::new(PipelineSession { pipeline, trust: trust.snapshot, policies, roots: names }),
            files: trust.files,
            roots,
        })
    }
}

/// One loaded set of trust policies with the pipeline behind it.
struct PipelineSession {
    pipeline: Pipeline,
    trust: TrustSnapshot,
    policies: Vec<PolicyInForce>,
    roots: Vec<String>,
}

impl Session for PipelineSession {
    fn policies(&self) -> &[PolicyInForce] {
        &self.policies
    }

    fn dangers(&self, image: &ImageReference) -> Vec<&'static str> {
        self.pipeline.dangers(image.repository())
    }

    fn trust_roots(&self) -> &[String] {
        &self.roots
    }

    fn verdict<'a>(&'a self, question: &'a Question, deadline: Instant) -> BoxFuture<'a, ImageVerdict> {
        async move { ImageVerdict::from(&self.pipeline.verdict(&self.trust, question, deadline).await) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wherever they are written, and whichever of the registries behind a name they are about.
    #[test]
    fn must_not_be_silent_about_what_weakens_the_checks_of_a_registry() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
        };
        at("registries.conf", "");
        at("hosts/skipped.example/hosts.toml", "server = \"https://skipped.example\"\nskip_verify = true");
        let key = |name| concat!(env!("CARGO_MANIFEST_DIR"), "/../../keys-example/").to_owned() + name;
        at(
            "policy.yaml",
            &format!(
                "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: p}}\nspec:\n  \
                 authorities: [{{name: a, keys: [{{publicKey: {{pem: {:?}}}}}]}}]\n  \
                 rules: [{{name: r, images: ['r.example/**'], require: a}}]\n",
                std::fs::read_to_string(key("release-team.pub")).unwrap()
            ),
        );
        let mut config: Config = serde_saphyr::from_str(
            "registry:\n  hosts:\n    Registry.Example:5000: {addresses: dangerLocal, dangerPlainHttp: true}\n    \
             self-signed.example: {dangerAcceptInvalidCertificates: true}\n    \
             private.example: {addresses: private, tokenHosts: [a.example]}\n  \
             routes:\n    mirrored.example: {mirrors: [{location: self-signed.example, serves: digests}]}\n    \
             moved.example: {location: 'registry.example:5000/at'}\n",
        )
        .unwrap();
        config.policies = vec![folder.path().join("policy.yaml")];
        config.danger_accept_example_keys = true;
        config.registry.registries_conf = Some(folder.path().join("registries.conf"));
        config.registry.hosts_directory = Some(folder.path().join("hosts"));
        let loader = PipelineLoader::new(&config).unwrap();
        let session = loader.load().unwrap().session;
        let dangers = |image: &str| session.dangers(&image.parse().unwrap()).join(",");
        assert_eq!(dangers("registry.example:5000/a"), "dangerLocal,dangerPlainHttp");
        assert_eq!(dangers("self-signed.example/a"), "dangerAcceptInvalidCertificates");
        assert_eq!((dangers("private.example/a"), dangers("other.example/a")), (String::new(), String::new()));
        assert_eq!(dangers("skipped.example/a"), "dangerAcceptInvalidCertificates");
        assert_eq!(dangers("mirrored.example/a"), "dangerAcceptInvalidCertificates");
        assert_eq!(dangers("moved.example/a"), "dangerLocal,dangerPlainHttp");
        // Also what is written while it runs.
        at("registries.conf", "[[registry]]\nlocation = \"other.example\"\ninsecure = true\n");
        let (registries, _) = loader.registries().unwrap();
        registries.put_in_force(registries.read().unwrap()).unwrap();
        assert_eq!(dangers("other.example/a"), "dangerAcceptInvalidCertificates");
    }
}
