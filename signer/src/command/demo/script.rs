//! What happens, in which order, and what must come out of it.

use hallmark_policy::image::ImageReference;
use serde::Serialize;
use serde_json::{Value, json};

use super::stage::{PASSPHRASE, Stage};
use super::{broken, images};
use crate::error::Failure;
use crate::output::{Format, Output, Style, Text};

/// One step, as it was typed and as it came out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    title: String,
    command: Option<String>,
    exit_code: Option<i32>,
    output: String,
}

/// The part of an answer that the demo's `jq` filter picks, in its order.
#[derive(Serialize)]
struct Shown<'a> {
    verdict: Option<&'a Value>,
    pinned: Option<&'a Value>,
    proof: Option<&'a Value>,
    reasons: Option<&'a Value>,
}

/// What a question to the service must come to.
struct Expected {
    name: &'static str,
    verdict: &'static str,
    code: Option<&'static str>,
}

const EXPECTED: [Expected; 3] = [
    Expected { name: "signed", verdict: "allow", code: None },
    Expected { name: "unsigned", verdict: "deny", code: Some("unsigned") },
    Expected { name: "tampered", verdict: "deny", code: Some("digest-mismatch") },
];

/// Plays the demo, and says whether everything came out as it must.
pub(super) fn play(stage: &mut Stage, output: Output) -> Result<bool, Failure> {
    let mut play = Play { output, steps: Vec::new(), verdicts: Vec::new() };
    let [signed, unsigned, tampered] =
        EXPECTED.map(|expected| format!("{}/demo/{}:1", stage.registry_host(), expected.name));
    for image in [&signed, &unsigned, &tampered] {
        let pushed = stage.wait(images::push(stage.client(), &reference(image)?, &format!("alice as {image}")))?;
        play.tell(&format!("alice pushes an image to a registry on this machine: {pushed}"))?;
    }
    play.hallmark(stage, "A key for the release team", &["key", "generate", "--output-key-prefix", "release"])?;
    play.hallmark(stage, "Alice signs two of the three images", &["sign", "--key", "release.key", &signed, &tampered])?;
    let old = reference(&tampered)?;
    let evidence =
        stage.wait(stage.client().gather(&old, std::time::Instant::now() + std::time::Duration::from_secs(10)));
    stage.wait(images::tamper(stage.client(), &old, &evidence))?;
    play.tell(&format!(
        "mallory, who may write to the registry, puts another image under {tampered} and hangs Alice's signature on it"
    ))?;
    stage.write("policy.yaml", &policy(stage.registry_host()))?;
    play.show("Who must have signed what", "cat policy.yaml", &policy(stage.registry_host()))?;
    play.hallmark(stage, "Is the policy sound?", &["policy", "check", "policy.yaml"])?;
    stage.start_service("policy.yaml")?;
    play.tell(&format!(
        "the verifier service starts: hallmark-verifier --policy policy.yaml (here on http://{})",
        stage.api()
    ))?;
    for (expected, image) in EXPECTED.iter().zip([&signed, &unsigned, &tampered]) {
        play.ask(stage, expected, image)?;
    }
    play.hallmark(
        stage,
        "Why was the last one refused, and what is to be done?",
        &["policy", "explain", &tampered, "--policy", "policy.yaml"],
    )?;
    play.finish()
}

/// Says what can be done from another terminal.
pub(super) fn say_how_to_play(stage: &Stage, output: Output) -> Result<(), Failure> {
    let (host, api) = (stage.registry_host(), stage.api());
    let mut text = Text::new();
    text.line("");
    text.styled(Style::Strong, "Registry and service stay up until Ctrl-C. From another terminal:");
    text.line(format!("  cd {}", stage.folder().display()));
    text.line(format!("  export HALLMARK_PASSWORD={PASSPHRASE}"));
    text.line(format!("  alias hallmark={}", stage.program().display()));
    text.line(format!("  hallmark inspect {host}/demo/signed:1 --policy policy.yaml"));
    text.line(format!("  hallmark sign --key release.key {host}/demo/unsigned:1"));
    text.line(format!("  curl -s --json '{{\"images\": [\"{host}/demo/unsigned:1\"]}}' http://{api}/v1/verdicts"));
    match output.format {
        Format::Json => Ok(output.errors(&text)),
        Format::Text | Format::Cosign => output.text(&text),
    }
}

struct Play {
    output: Output,
    steps: Vec<Step>,
    verdicts: Vec<Value>,
}

impl Play {
    /// Something happens that no command of a user does.
    fn tell(&mut self, what: &str) -> Result<(), Failure> {
        self.add(Step { title: what.to_owned(), command: None, exit_code: None, output: String::new() })
    }

    /// A command whose output is known.
    fn show(&mut self, title: &str, command: &str, output: &str) -> Result<(), Failure> {
        let (title, command) = (title.to_owned(), Some(command.to_owned()));
        self.add(Step { title, command, exit_code: Some(0), output: output.to_owned() })
    }

    /// A command of this program, run for real.
    fn hallmark(&mut self, stage: &Stage, title: &str, arguments: &[&str]) -> Result<(), Failure> {
        let finished = stage.hallmark(arguments)?;
        let mut shown = String::from_utf8_lossy(&finished.stdout).into_owned();
        shown.push_str(&String::from_utf8_lossy(&finished.stderr));
        let command = Some(format!("hallmark {}", arguments.join(" ")));
        self.add(Step { title: title.to_owned(), command, exit_code: finished.status.code(), output: shown })
    }

    /// A question to the service over HTTP.
    fn ask(&mut self, stage: &Stage, expected: &Expected, image: &str) -> Result<(), Failure> {
        let body = json!({"images": [image]}).to_string();
        let (_, answer) = stage.ask("/v1/verdicts", &body)?;
        let answer: Value = serde_json::from_str(&answer).map_err(|error| broken("the answer is not JSON", error))?;
        let verdict = answer.pointer("/images/0").cloned().unwrap_or(Value::Null);
        let shown = Shown {
            verdict: verdict.get("verdict"),
            pinned: verdict.get("pinned"),
            proof: verdict.get("proof"),
            reasons: verdict.get("reasons"),
        };
        let filter = ".images[0] | {verdict, pinned, proof, reasons}";
        let command = format!("curl -s --json '{body}' http://{}/v1/verdicts | jq '{filter}'", stage.api());
        let output =
            serde_json::to_string_pretty(&shown).map_err(|error| broken("the answer cannot be shown", error))?;
        self.show(&format!("May the {} image be used?", expected.name), &command, &output)?;
        let code = verdict.pointer("/reasons/0/code").and_then(Value::as_str);
        let as_expected =
            verdict.get("verdict").and_then(Value::as_str) == Some(expected.verdict) && code == expected.code;
        self.verdicts.push(json!({
            "image": image, "verdict": verdict.get("verdict"), "code": code, "asExpected": as_expected,
        }));
        Ok(())
    }

    fn add(&mut self, step: Step) -> Result<(), Failure> {
        if self.output.format != Format::Json {
            self.output.text(&step.text())?;
        }
        self.steps.push(step);
        Ok(())
    }

    /// The end: whether every command and every verdict came out as it must.
    fn finish(self) -> Result<bool, Failure> {
        // `policy explain` ends with the exit code of the verdict that it explains.
        let ran =
            |step: &Step| step.exit_code.is_none_or(|code| code == 0 || (code == 12 && step.title.starts_with("Why")));
        let as_expected = self.steps.iter().all(ran)
            && self.verdicts.len() == EXPECTED.len()
            && self.verdicts.iter().all(|verdict| verdict.get("asExpected") == Some(&Value::Bool(true)));
        if self.output.format == Format::Json {
            let version = "hallmark.dev/demo/v1";
            self.output.json(&json!({
                "version": version, "asExpected": as_expected, "steps": self.steps, "verdicts": self.verdicts,
            }))?;
            return Ok(as_expected);
        }
        let mut text = Text::new();
        text.line("");
        for verdict in &self.verdicts {
            let part = |name: &str| verdict.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
            let good = verdict.get("asExpected") == Some(&Value::Bool(true));
            let style = if good { Style::Good } else { Style::Bad };
            let told = if good { "as it must be" } else { "NOT as it must be" };
            text.parts([
                (style, format!("{:<6}", part("verdict"))),
                (Style::Plain, format!(" {} ({}), {told}", part("image"), part("code"))),
            ]);
        }
        self.output.text(&text)?;
        Ok(as_expected)
    }
}

impl Step {
    fn text(&self) -> Text {
        let mut text = Text::new();
        text.line("");
        text.styled(Style::Strong, format!("# {}", self.title));
        if let Some(command) = &self.command {
            text.parts([(Style::Good, "$ ".to_owned()), (Style::Plain, command.clone())]);
        }
        if !self.output.is_empty() {
            text.line(&self.output);
        }
        text
    }
}

fn reference(image: &str) -> Result<ImageReference, Failure> {
    image.parse().map_err(Failure::from)
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
    - name: everything-in-demo
      images: [\"{host}/demo/**\"]
      require: release-team
"
    )
}
