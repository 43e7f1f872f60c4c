//! A disk that is full. A process whose files may not grow beyond a size (`RLIMIT_FSIZE`, its signal ignored) sees what
//! one on a full disk sees: a write that begins, and fails.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hallmark_policy::image::Digest;
use hallmark_policy::{Code, Outcome};
use hallmark_verifier::{ContentLimits, ContentStore, EvidenceLimits, EvidenceSource, Pipeline};

use crate::source::{LONG, Source, ask, now};
use crate::trusting_held_evidence;

/// Tells a child which folder is on the full disk.
const FOLDER: &str = "HALLMARK_TEST_FULL_DISK";

#[test]
fn must_not_lose_a_verdict_on_a_full_disk() {
    // In blocks of 512 bytes: with none, not even the folder's salt can be written; with one, some files can be.
    for (blocks, has_disk) in [(0, false), (1, true)] {
        let folder = tempfile::tempdir().unwrap();
        let limited = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let child = Command::new("sh")
            .args(["-c", &limited])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "full_disk::on_the_full_disk", "--nocapture"])
            .env(FOLDER, folder.path())
            .env("HALLMARK_TEST_HAS_DISK", has_disk.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success(), "{blocks}: {said} {}", String::from_utf8_lossy(&child.stderr));
        assert!(said.contains("1 passed"), "{said}");
        let folder = folder.path().join("hallmark-evidence-v1");
        let left: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".part")), "{left:?}");
    }
}

/// What the child does; without a full disk there is nothing to be seen.
#[tokio::test]
async fn on_the_full_disk() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let has_disk = std::env::var("HALLMARK_TEST_HAS_DISK").unwrap() == "true";
    let source = Source::new(Duration::ZERO);
    let trust = trusting_held_evidence();
    let image = format!("r.example/team/app@{}", Digest::of(b"image"));
    for start in 1..=2 {
        let (pipeline, store) = pipeline_on(Path::new(&folder), &source);
        for question in 1..=2 {
            let verdict = ask(&pipeline, &trust, &image, LONG).await;
            assert_eq!(verdict.outcome(), Outcome::Allow, "start {start}, question {question}");
            store.flush().await;
        }
        assert_eq!(store.disk_counts().is_some(), has_disk);
        assert!(store.disk_counts().is_none_or(|counts| counts.failed > 0), "{:?}", store.disk_counts());
        // What is held is in memory all the same.
        *source.failing.lock().unwrap() = Some(Code::RegistryUnavailable);
        assert_eq!(ask(&pipeline, &trust, &image, LONG).await.outcome(), Outcome::Allow, "held since start {start}");
        *source.failing.lock().unwrap() = None;
    }
    // The twin: nothing was kept, so that a new process knows nothing that the registry does not say.
    *source.failing.lock().unwrap() = Some(Code::RegistryUnavailable);
    let (pipeline, _) = pipeline_on(Path::new(&folder), &source);
    assert_eq!(ask(&pipeline, &trust, &image, LONG).await.outcome(), Outcome::Undetermined);
}

fn pipeline_on(folder: &Path, source: &Arc<Source>) -> (Pipeline, Arc<ContentStore>) {
    let limits = ContentLimits { directory: Some(folder.to_owned()), ..ContentLimits::STANDARD };
    let store = Arc::new(ContentStore::open(&limits));
    let source: Arc<dyn EvidenceSource> = Arc::<Source>::clone(source);
    let each_time = EvidenceLimits { listing_life: Duration::ZERO, ..EvidenceLimits::STANDARD };
    (Pipeline::with_content(source, Arc::new(now), each_time, Some(Arc::clone(&store))), store)
}
