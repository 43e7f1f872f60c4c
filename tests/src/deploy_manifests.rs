//! What `deploy/` ships: the kustomize base rendered by the real kustomize, checked against the API's schemas, and held to
//! what it promises about security; and the container image's definition.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::OnceLock;

use hallmark_policy::trust::{Document, Selection, TrustPolicy, TrustSnapshot};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::peers::peer;
use crate::harness::repository;

/// The oldest and the newest API that the base is for.
const KUBERNETES_VERSIONS: [&str; 2] = ["1.31.0", "1.37.0"];

/// Every place where a Kubernetes object names images and can be created or changed, as (group, resource).
const IMAGE_RESOURCES: [(&str, &str); 10] = [
    ("", "pods"),
    ("", "pods/ephemeralcontainers"),
    ("", "podtemplates"),
    ("", "replicationcontrollers"),
    ("apps", "daemonsets"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("batch", "cronjobs"),
    ("batch", "jobs"),
    // `pods/resize` and the scale subresources name no image.
];

#[test]
fn the_base_fits_the_schemas_of_the_kubernetes_api() {
    let (Some(rendered), Some(validate)) = (rendered(), peer("kubernetes-validate")) else { return };
    let file = validate.home().join("rendered.yaml");
    std::fs::write(&file, rendered).unwrap();
    for version in KUBERNETES_VERSIONS {
        let answer = validate.ask(["--strict", "-k", version, file.to_str().unwrap()]);
        assert!(answer.succeeded(), "{answer:?}");
        for object in objects().unwrap() {
            let passed = format!("passed for resource {}/", text(&object, "/kind").to_lowercase());
            assert!(answer.stdout.contains(&passed), "{passed}: {answer:?}");
        }
    }
}

#[test]
fn a_field_that_the_api_does_not_know_is_noticed() {
    let (Some(rendered), Some(validate)) = (rendered(), peer("kubernetes-validate")) else { return };
    let file = validate.home().join("rendered.yaml");
    std::fs::write(&file, rendered.replace("failurePolicy: Fail", "failurePolicies: Fail")).unwrap();
    let answer = validate.ask(["--strict", file.to_str().unwrap()]);
    assert!(!answer.succeeded(), "{answer:?}");
}

#[test]
fn the_webhook_covers_every_place_that_names_an_image() {
    let Some(webhook) = webhook() else { return };
    let mut covered = BTreeSet::new();
    for rule in list(&webhook, "/rules") {
        assert_eq!(rule["operations"], json!(["CREATE", "UPDATE"]), "{rule}");
        assert_eq!(rule["apiVersions"], json!(["v1"]), "{rule}");
        for group in list(rule, "/apiGroups") {
            for resource in list(rule, "/resources") {
                covered.insert((group.as_str().unwrap().to_owned(), resource.as_str().unwrap().to_owned()));
            }
        }
    }
    let expected = IMAGE_RESOURCES.map(|(group, resource)| (group.to_owned(), resource.to_owned()));
    assert_eq!(covered, BTreeSet::from(expected));
}

#[test]
fn the_webhook_cannot_be_bypassed_by_an_objects_own_labels() {
    let Some(webhook) = webhook() else { return };
    assert_eq!(webhook.get("objectSelector"), None);
    assert_eq!(webhook.get("matchConditions"), None);
    // The one namespace that is left out is the verifier's own.
    assert_eq!(
        webhook["namespaceSelector"],
        json!({"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["hallmark-system"]}
        ]})
    );
}

#[test]
fn the_webhook_fails_closed() {
    let Some(webhook) = webhook() else { return };
    assert_eq!(webhook["failurePolicy"], "Fail");
    assert_eq!(webhook["matchPolicy"], "Equivalent");
    assert_eq!(webhook["sideEffects"], "None");
    assert_eq!(webhook["admissionReviewVersions"], json!(["v1"]));
    assert!((1..=30).contains(&webhook["timeoutSeconds"].as_u64().unwrap()));
    // What it calls is the service that the base makes, at the path that the service has.
    let service = one("Service").unwrap();
    let client = &webhook["clientConfig"]["service"];
    assert_eq!(client["path"], "/v1/admission/validate");
    assert_eq!(client["name"], service["metadata"]["name"]);
    assert_eq!(client["namespace"], service["metadata"]["namespace"]);
    assert_eq!(client["port"], service["spec"]["ports"][0]["port"]);
}

#[test]
fn the_verifier_has_no_rights_in_the_cluster() {
    let Some(objects) = objects() else { return };
    let kinds: BTreeSet<_> = objects.iter().map(|object| text(object, "/kind")).collect();
    let expected = [
        "ConfigMap",
        "Deployment",
        "Namespace",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
        "ValidatingWebhookConfiguration",
    ];
    assert_eq!(kinds, BTreeSet::from(expected), "no Role, no binding, no Secret");
    assert_eq!(one("ServiceAccount").unwrap()["automountServiceAccountToken"], false);
    let pod = pod().unwrap();
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["serviceAccountName"], one("ServiceAccount").unwrap()["metadata"]["name"]);
}

#[test]
fn the_pod_meets_the_restricted_standard() {
    let Some(pod) = pod() else { return };
    let labels = one("Namespace").unwrap()["metadata"]["labels"].clone();
    for mode in ["enforce", "audit", "warn"] {
        assert_eq!(labels[format!("pod-security.kubernetes.io/{mode}")], "restricted");
    }
    for shared in ["hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"] {
        assert_eq!(pod.get(shared), None, "{shared}");
    }
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["runAsUser"], 65532);
    assert_eq!(pod["securityContext"]["seccompProfile"], json!({"type": "RuntimeDefault"}));
    for volume in list(&pod, "/volumes") {
        let source = volume.as_object().unwrap().keys().find(|key| *key != "name").unwrap();
        assert!(["configMap", "secret"].contains(&source.as_str()), "{volume}");
    }
    let [container] = list(&pod, "/containers") else { panic!("one container is expected: {pod}") };
    assert_eq!(
        container["securityContext"],
        json!({
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "seccompProfile": {"type": "RuntimeDefault"},
        })
    );
    for mount in list(container, "/volumeMounts") {
        assert_eq!(mount["readOnly"], true, "{mount}");
    }
    assert!(container["resources"]["limits"]["memory"].is_string());
    assert!(container["resources"]["requests"]["cpu"].is_string());
}

#[test]
fn there_is_always_a_verifier_to_answer() {
    let Some(deployment) = one("Deployment") else { return };
    assert!(deployment["spec"]["replicas"].as_u64().unwrap() >= 2);
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    assert_eq!(one("PodDisruptionBudget").unwrap()["spec"]["minAvailable"], 1);
    let pod = pod().unwrap();
    assert!(!list(&pod, "/topologySpreadConstraints").is_empty());
    let container = &pod["containers"][0];
    assert_eq!(container["readinessProbe"]["httpGet"], json!({"path": "/readyz", "port": "operations"}));
    assert_eq!(container["livenessProbe"]["httpGet"], json!({"path": "/livez", "port": "operations"}));
}

#[test]
fn every_selector_means_the_verifiers_pods_and_no_others() {
    let Some(deployment) = one("Deployment") else { return };
    let labels = json!({"app.kubernetes.io/name": "hallmark-verifier"});
    let of_the_pod = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(of_the_pod["app.kubernetes.io/name"], labels["app.kubernetes.io/name"]);
    assert_eq!(one("Service").unwrap()["spec"]["selector"], labels);
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(one("PodDisruptionBudget").unwrap()["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(one("NetworkPolicy").unwrap()["spec"]["podSelector"]["matchLabels"], labels);
    for constraint in list(&pod().unwrap(), "/topologySpreadConstraints") {
        assert_eq!(constraint["labelSelector"]["matchLabels"], labels);
    }
}

#[test]
fn the_network_is_closed_but_for_what_the_verifier_needs() {
    let Some(policy) = one("NetworkPolicy") else { return };
    let spec = &policy["spec"];
    assert_eq!(spec["policyTypes"], json!(["Ingress", "Egress"]));

    // Whoever may come from anywhere may come to the API alone; operations are for the monitoring namespace.
    let [api, operations] = list(spec, "/ingress") else { panic!("two rules are expected: {spec}") };
    assert_eq!(api["ports"], json!([{"port": "api", "protocol": "TCP"}]));
    assert_eq!(operations["ports"], json!([{"port": "operations", "protocol": "TCP"}]));
    let monitoring = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]);
    assert_eq!(operations["from"], monitoring);

    let [names, registries] = list(spec, "/egress") else { panic!("two rules are expected: {spec}") };
    assert!(names["to"].is_array());
    assert_eq!(names["ports"], json!([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]));
    assert_eq!(registries["ports"], json!([{"port": 443, "protocol": "TCP"}]));
    for block in list(registries, "/to") {
        assert!(!list(block, "/ipBlock/except").is_empty(), "link-local addresses hand out credentials: {block}");
    }
}

#[test]
fn what_the_pod_mounts_is_what_the_configuration_names() {
    let Some(pod) = pod() else { return };
    let configuration = one("ConfigMap").unwrap();
    let volume = |name: &str| {
        let found = list(&pod, "/volumes").iter().find(|volume| volume["name"] == name);
        found.unwrap_or_else(|| panic!("no volume `{name}`")).clone()
    };
    // kustomize put the hash of the content into the name on both sides.
    assert_eq!(volume("config")["configMap"]["name"], configuration["metadata"]["name"]);
    assert_eq!(volume("tls")["secret"]["secretName"], "hallmark-verifier-tls");
    let container = &pod["containers"][0];
    assert_eq!(container["args"], json!(["--config", "/etc/hallmark/verifier.yaml"]));
    assert!(configuration["data"]["verifier.yaml"].is_string());

    // Every absolute path in the configuration is under a mount, and those in the ConfigMap are in the ConfigMap.
    let settings = text(&configuration, "/data/verifier.yaml");
    let mounts: Vec<_> = list(container, "/volumeMounts").iter().map(|mount| text(mount, "/mountPath")).collect();
    let paths: Vec<_> = settings
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(str::split_whitespace)
        .filter(|word| word.starts_with('/'))
        .collect();
    assert!(!paths.is_empty());
    for path in paths {
        assert!(mounts.iter().any(|mount| path.starts_with(&format!("{mount}/"))), "`{path}` is not mounted");
        if let Some(key) = path.strip_prefix("/etc/hallmark/") {
            assert!(configuration["data"][key].is_string(), "`{path}` is not in the ConfigMap");
        }
    }
}

#[test]
fn the_policy_of_the_base_is_valid_and_trusts_nobody() {
    let Some(configuration) = one("ConfigMap") else { return };
    let document = Document::parse("policy.yaml", text(&configuration, "/data/policy.yaml")).unwrap();
    let policy = TrustPolicy::compile(&document, &mut |name| Err(format!("`{name}` is not there"))).unwrap();
    let trust = TrustSnapshot::new(vec![policy]).unwrap();
    for image in ["registry.example.com/app:1", "nginx", "localhost:5000/app"] {
        let selection = trust.select(&image.parse().unwrap(), Some("default"));
        assert!(matches!(selection, Selection::Default { allow: false, .. }), "{image}: {selection:?}");
    }
}

#[test]
fn the_installation_of_the_readme_works_as_written() {
    let (Some(kustomize), Some(validate)) = (peer("kustomize"), peer("kubernetes-validate")) else { return };
    let folder = TempDir::new().unwrap();
    let (base, installation) = (folder.path().join("deploy/kubernetes/base"), folder.path().join("installation"));
    std::fs::create_dir_all(&base).unwrap();
    std::fs::create_dir_all(&installation).unwrap();
    for file in std::fs::read_dir(repository().join("deploy/kubernetes/base")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), base.join(file.file_name())).unwrap();
    }
    std::fs::copy(repository().join("keys-example/policy.yaml"), installation.join("policy.yaml")).unwrap();
    for key in ["release-team.pub", "security-team.pub"] {
        std::fs::copy(repository().join("policy/testdata/cosign.pub"), installation.join(key)).unwrap();
    }
    for file in ["kustomization.yaml", "opt-in.yaml"] {
        std::fs::write(installation.join(file), readme_block(&format!("```yaml\n# installation/{file}\n"))).unwrap();
    }
    let script = readme_block("```bash\n# in installation/\n");
    let made =
        Command::new("bash").args(["-euo", "pipefail", "-c", &script]).current_dir(&installation).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let rendered = kustomize.run(["build", installation.to_str().unwrap()]);
    let file = folder.path().join("rendered.yaml");
    std::fs::write(&file, &rendered).unwrap();
    validate.run(["--strict", file.to_str().unwrap()]);

    let objects: Vec<Value> = serde_saphyr::from_multiple(&rendered).unwrap();
    let find = |kind: &str| objects.iter().find(|object| object["kind"] == kind).unwrap();
    let webhook = &find("ValidatingWebhookConfiguration")["webhooks"][0];
    assert!(text(webhook, "/clientConfig/caBundle").starts_with("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0"), "{webhook}");
    assert_eq!(list(webhook, "/namespaceSelector/matchExpressions").len(), 2);
    let settings = find("ConfigMap");
    let policy = std::fs::read_to_string(installation.join("policy.yaml")).unwrap();
    assert_eq!(text(settings, "/data/policy.yaml"), policy);
    assert!(settings["data"]["verifier.yaml"].is_string(), "the configuration of the base stays");
    let pod = &find("Deployment")["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][0]["configMap"]["name"], settings["metadata"]["name"]);
}

#[test]
fn the_image_holds_one_static_program_and_no_shell() {
    let definition = std::fs::read_to_string(repository().join("deploy/image/Containerfile")).unwrap();
    let instructions: Vec<_> =
        definition.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let last_stage = instructions.iter().rposition(|line| line.starts_with("FROM ")).unwrap();
    assert_eq!(instructions[last_stage], "FROM scratch");
    let shipped = &instructions[last_stage..];
    assert!(shipped.contains(&"USER 65532:65532"));
    assert!(shipped.contains(&r#"ENTRYPOINT ["/hallmark-verifier"]"#));
    assert_eq!(shipped.iter().filter(|line| line.starts_with("COPY --from=build ")).count(), 2);
    assert!(!shipped.iter().any(|line| line.starts_with("RUN ") || line.starts_with("ADD ")));
}

#[test]
fn the_image_is_built_from_all_that_cargo_reads_of_the_workspace() {
    let definition = std::fs::read_to_string(repository().join("deploy/image/Containerfile")).unwrap();
    let (build_stage, _) = definition.split_once("FROM scratch").unwrap();
    let source = TempDir::new().unwrap();
    for line in build_stage.lines().filter_map(|line| line.strip_prefix("COPY ")) {
        let (names, target) = line.rsplit_once(' ').unwrap();
        for name in names.split(' ') {
            let to = if target == "./" { source.path().join(name) } else { source.path().join(target) };
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            let copied = Command::new("cp").arg("-r").arg(repository().join(name)).arg(to).output().unwrap();
            assert!(copied.status.success(), "{line}: {copied:?}");
        }
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--no-deps", "--locked", "--offline", "--format-version", "1"]).current_dir(source.path());
    let read = cargo.output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
}

/// What stands in `deploy/README.md` between this beginning of a code block and its end.
fn readme_block(beginning: &str) -> String {
    let readme = std::fs::read_to_string(repository().join("deploy/README.md")).unwrap();
    let (_, block) = readme.split_once(beginning).unwrap_or_else(|| panic!("no block begins with `{beginning}`"));
    block.split_once("```").unwrap().0.to_owned()
}

/// The base as kustomize renders it, or `None` where kustomize is left out.
fn rendered() -> Option<&'static str> {
    static RENDERED: OnceLock<Option<String>> = OnceLock::new();
    RENDERED
        .get_or_init(|| {
            let base = repository().join("deploy/kubernetes/base");
            Some(peer("kustomize")?.run(["build", base.to_str().unwrap()]))
        })
        .as_deref()
}

fn objects() -> Option<Vec<Value>> {
    Some(serde_saphyr::from_multiple(rendered()?).unwrap())
}

/// The one object of this kind.
fn one(kind: &str) -> Option<Value> {
    let mut found: Vec<_> = objects()?.into_iter().filter(|object| object["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind}");
    found.pop()
}

fn webhook() -> Option<Value> {
    let configuration = one("ValidatingWebhookConfiguration")?;
    let [webhook] = list(&configuration, "/webhooks") else { panic!("one webhook is expected: {configuration}") };
    Some(webhook.clone())
}

fn pod() -> Option<Value> {
    Some(one("Deployment")?["spec"]["template"]["spec"].clone())
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).unwrap_or_else(|| panic!("no list at `{pointer}` in {value}"))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at `{pointer}` in {value}"))
}
