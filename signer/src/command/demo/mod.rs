//! `hallmark demo`: the whole job on this machine, with nothing installed and nothing left behind.
//!
//! Every command that is shown is really run, by this very program in a folder of its own; what is shown below it is
//! what came out. Registry and service live in this process, on loopback.

mod ask;
mod stage;
mod story;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hallmark_policy::image::ImageReference;
use hallmark_registry::Registry;
use serde_json::{Value, json};

use self::stage::Stage;
use self::story::Story;
use crate::error::{Exit, Failure};
use crate::output::{Format, Output};

const EXAMPLES: &str = "\
Examples:
  hallmark demo
  hallmark demo --keep";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Leave the registry and the service up until Ctrl-C, and say how to play with them
    #[arg(long)]
    keep: bool,
}

/// The passphrase of the throw-away key. It is shown.
const PASSPHRASE: &str = "demo";

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let stage = Stage::set()?;
    let mut story = Story::new(output);
    let exit = play(&stage, &mut story)?;
    if arguments.keep {
        stay(&stage, &mut story)?;
    } else {
        story.tell("Registry, service, keys and files are gone again; `hallmark demo --keep` leaves them up.")?;
    }
    match output.format {
        Format::Json => output.json(&story)?,
        Format::Text | Format::Cosign => {}
    }
    if arguments.keep {
        stage.wait_for_interrupt();
    }
    Ok(exit)
}

fn play(stage: &Stage, story: &mut Story) -> Result<Exit, Failure> {
    let host = stage.registry_host();
    let [signed, unsigned, tampered] = ["signed", "unsigned", "tampered"].map(|name| format!("{host}/demo/{name}:1"));
    story.tell(&format!("An OCI registry listens on {host}. Three small images are pushed to it."))?;
    for image in [&signed, &unsigned, &tampered] {
        stage.push(image, "as it was built")?;
    }

    story.tell("A key is made; its private half is encrypted.")?;
    story.show_command(&format!("export HALLMARK_PASSWORD={PASSPHRASE}"), "")?;
    stage.hallmark(story, &["key", "generate", "--output-key-prefix", "release"])?;

    story.tell("Two of the images are signed.")?;
    stage.hallmark(story, &["sign", "--key", "release.key", &signed])?;
    stage.hallmark(story, &["sign", "--key", "release.key", "--output-bundle", "bundle.json", &tampered])?;

    story.tell("Somebody replaces the second one under its tag, and attaches the old signature to the new image.")?;
    replace(stage, &tampered)?;

    story.tell("A trust policy says who must have signed, and the verifier service runs with nothing else.")?;
    let policy = policy(host);
    stage.write("policy.yaml", &policy)?;
    story.show_command("cat policy.yaml", &policy)?;
    let service = stage.serve("policy.yaml")?;
    let settings = format!("api: {{listen: {service}}}\npolicies: [policy.yaml]\n");
    stage.write("verifier.yaml", &settings)?;
    story.show_command("cat verifier.yaml", &settings)?;
    story.show_command("hallmark-verifier --config verifier.yaml &", "")?;

    story.tell("The service is asked for verdicts.")?;
    let expected =
        [(&signed, "allow", None), (&unsigned, "deny", Some("unsigned")), (&tampered, "deny", Some("digest-mismatch"))];
    let mut exit = Exit::Success;
    for (image, verdict, reason) in expected {
        if !ask_about(service, image, story)?.is(verdict, reason) {
            exit = Exit::Unexpected;
        }
    }

    story.tell("The same from the command line, without the service.")?;
    stage.hallmark(story, &["verify", "--policy", "policy.yaml", &signed])?;
    stage.hallmark(story, &["verify", "--policy", "policy.yaml", &tampered])?;
    Ok(exit)
}

/// Asks the service about one image, and shows what it answers.
fn ask_about(service: SocketAddr, image: &str, story: &mut Story) -> Result<ImageAnswer, Failure> {
    let question = json!({"images": [image]}).to_string();
    let answer = ask::verdict(service, &question)?;
    let answer = answer.pointer("/images/0").cloned().unwrap_or_default();
    // Sorted and indented, as `jq -S` does it.
    let shown = serde_json::to_string_pretty(&answer).unwrap_or_default();
    story.show_command(
        &format!("curl -s http://{service}/v1/verdicts --json '{question}' | jq -S '.images[0]'"),
        &shown,
    )?;
    Ok(ImageAnswer(answer))
}

/// What the service says about one image.
struct ImageAnswer(Value);

impl ImageAnswer {
    /// Whether it is what the demonstration is about to show.
    fn is(&self, verdict: &str, reason: Option<&str>) -> bool {
        let text = |pointer| self.0.pointer(pointer).and_then(Value::as_str);
        text("/verdict") == Some(verdict) && text("/reasons/0/code") == reason
    }
}

/// What an attacker with push access would do.
fn replace(stage: &Stage, image: &str) -> Result<(), Failure> {
    let other = stage.push(image, "with something added")?;
    let reference: ImageReference = image.parse()?;
    let bundle = stage.read("bundle.json")?;
    let client: &Registry = stage.client();
    let attached =
        stage.block_on(client.danger_attach_unverified_bundle(&reference.pin(other), &bundle, BTreeMap::new()));
    attached.map(drop).map_err(|error| Failure::new(Exit::Unexpected, error.to_string(), error.hint()))
}

fn policy(host: &str) -> String {
    format!(
        "apiVersion: hallmark.dev/v1alpha1
kind: TrustPolicy
metadata: {{name: demo}}
spec:
  authorities:
    - name: release-team
      keys:
        - publicKey: {{file: release.pub}}
  rules:
    - name: demo-images
      images: [\"{host}/demo/**\"]
      require: release-team
      reference: repository
"
    )
}

fn stay(stage: &Stage, story: &mut Story) -> Result<(), Failure> {
    let (host, folder) = (stage.registry_host(), stage.folder());
    story.tell("Registry and service stay up until Ctrl-C. From another terminal, for example:")?;
    story.show_command(&format!("cd {folder} && export HALLMARK_PASSWORD={PASSPHRASE}"), "")?;
    story.show_command(&format!("hallmark sign --key release.key {host}/demo/unsigned:1"), "")?;
    story.show_command(&format!("hallmark verify --policy policy.yaml {host}/demo/unsigned:1"), "")?;
    story.show_command(&format!("hallmark inspect --key release.pub {host}/demo/tampered:1"), "")
}
