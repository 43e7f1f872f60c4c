//! What `copy`, `save` and `load` share: their flags, their bar, and how failures end the program.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use hallmark_policy::image::{ImageReference, Repository, Tag};
use hallmark_registry::{CopyError, CopyOptions, CopyProgress, Destination, LayoutError, LayoutReference};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::error::{Exit, Failure};
use crate::output::{Output, printable};

/// How often the bar is drawn.
const REDRAW: Duration = Duration::from_millis(100);

/// How images are copied.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// Move this many blobs or manifests of an image at one time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=32))]
    jobs: u16,
    /// Look at both ends, and write nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Leave out manifests that the source names and does not have (and say so), instead of giving up
    #[arg(long)]
    allow_missing: bool,
}

impl Arguments {
    pub(super) fn options(&self) -> CopyOptions {
        CopyOptions {
            jobs: usize::from(self.jobs),
            dry_run: self.dry_run,
            allow_missing: self.allow_missing,
            progress: Arc::new(CopyProgress::default()),
        }
    }
}

/// Why an image was not copied, as the user sees it.
pub(super) fn failure(error: &CopyError) -> Failure {
    let exit = match error {
        CopyError::DigestWanted { .. } => Exit::Usage,
        CopyError::Layout(error) => layout_exit(error),
        error => error.code().map_or(Exit::Unexpected, Exit::Reason),
    };
    Failure::new(exit, error.to_string(), error.hint())
}

/// Why a layout cannot be used, as the user sees it.
pub(super) fn layout_failure(error: &LayoutError) -> Failure {
    Failure::new(layout_exit(error), error.to_string(), error.hint())
}

fn layout_exit(error: &LayoutError) -> Exit {
    match error {
        LayoutError::Ambiguous { .. } => Exit::Usage,
        LayoutError::File { action: "write", .. } | LayoutError::Interrupted => Exit::Unexpected,
        _ => Exit::Invalid,
    }
}

/// One end of a copy, as it is written on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Location {
    Image(ImageReference),
    Layout(LayoutReference),
    /// A repository without a tag: the source's name counts.
    Repository(Repository),
}

impl Location {
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        if text.starts_with(LayoutReference::PREFIX) {
            let hint = "write it as `oci:DIR`, `oci:DIR:NAME` or `oci:DIR@sha256:...`";
            return text.parse().map(Self::Layout).map_err(|error: hallmark_registry::LayoutReferenceError| {
                Failure::new(Exit::Usage, error.to_string(), hint)
            });
        }
        if let Some(scheme) = ["docker://", "docker:", "dir:", "docker-archive:", "oci-archive:", "containers-storage:"]
            .into_iter()
            .find(|scheme| text.starts_with(scheme))
        {
            let hint = "write an image as `registry.example.com/team/app:1.4`, a layout (a folder or a tar file) as `oci:DIR:NAME`";
            return Err(Failure::new(Exit::Usage, format!("`{scheme}` is not needed or not known here"), hint));
        }
        let image: ImageReference = text.parse()?;
        match text.parse::<Repository>() {
            Ok(repository) => Ok(Self::Repository(repository)),
            Err(_) => Ok(Self::Image(image)),
        }
    }

    /// As a source: a repository without a tag is its `latest`, as everywhere.
    pub(super) fn image(&self) -> Option<ImageReference> {
        match self {
            Self::Image(image) => Some(image.clone()),
            Self::Repository(repository) => repository.to_string().parse().ok(),
            Self::Layout(_) => None,
        }
    }

    /// As a target, for a source with this tag.
    pub(super) fn destination(&self, source_tag: Option<Tag>) -> Result<Destination, Failure> {
        match self {
            Self::Image(image) => Ok(Destination::Registry {
                repository: image.repository().clone(),
                tag: image.tag().cloned(),
                digest: image.digest(),
            }),
            Self::Repository(repository) => {
                Ok(Destination::Registry { repository: repository.clone(), tag: source_tag, digest: None })
            }
            Self::Layout(LayoutReference { path, name }) => {
                let name = match name {
                    None => source_tag.map(|tag| tag.to_string()),
                    Some(hallmark_registry::LayoutName::Name(name)) => Some(name.clone()),
                    Some(hallmark_registry::LayoutName::Digest(_)) => {
                        let hint = "write a name for it: `oci:DIR:NAME`";
                        return Err(Failure::new(Exit::Usage, "a digest cannot be the name in a layout", hint));
                    }
                };
                Ok(Destination::Layout { path: path.clone(), name, repository: None })
            }
        }
    }
}

/// The tag in the name of an image in a layout: the name itself, or the tag of a whole reference.
pub(super) fn tag_of_name(name: &str) -> Option<Tag> {
    match name.contains('/') {
        true => name.parse::<ImageReference>().ok()?.tag().cloned(),
        false => name.parse().ok(),
    }
}

/// How many bytes have passed: a bar on a terminal, nothing elsewhere.
pub(super) struct Bar {
    bar: Option<ProgressBar>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Bar {
    pub(super) fn start(verb: &'static str, progress: &Arc<CopyProgress>) -> Self {
        let is_terminal = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        if !is_terminal {
            return Self { bar: None, task: None };
        }
        // Until everything is found, nobody knows how much there is.
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        if let Ok(style) = ProgressStyle::with_template("{msg}: looking for everything  {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(verb);
        let (shown, progress) = (bar.clone(), Arc::clone(progress));
        let task = tokio::spawn(async move {
            while progress.expected_bytes() == 0 {
                shown.tick();
                tokio::time::sleep(REDRAW).await;
            }
            // The bar has what the words leave of a line, so that it never needs a second one.
            let template = "{msg} {wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                shown.set_style(style.progress_chars("=> "));
            }
            loop {
                shown.set_length(progress.expected_bytes());
                shown.set_position(progress.bytes());
                tokio::time::sleep(REDRAW).await;
            }
        });
        Self { bar: Some(bar), task: Some(task) }
    }

    /// A line for a log; on a terminal above the bar.
    pub(super) fn tell(&self, line: &str) {
        // There is nowhere left to tell that stderr is closed.
        let write = || drop(writeln!(std::io::stderr().lock(), "{}", printable(line)));
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Warns of what was left out with the user's leave.
pub(super) fn warn_of_missing(missing: usize, output: Output) {
    if missing > 0 {
        output.warning(&format!("what the source names and does not have was left out (manifests: {missing})"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_an_image_a_repository_or_a_layout() {
        let tag: Tag = "1.4".parse().unwrap();
        let to = |text: &str| Location::parse(text).unwrap().destination(Some(tag.clone())).unwrap();
        let registry = |text: &str, tag: Option<&str>| Destination::Registry {
            repository: text.parse().unwrap(),
            tag: tag.map(|tag| tag.parse().unwrap()),
            digest: None,
        };
        assert_eq!(to("r.example/app"), registry("r.example/app", Some("1.4")));
        assert_eq!(to("r.example/app:2"), registry("r.example/app", Some("2")));
        let layout = |name: &str| Destination::Layout { path: "dir".into(), name: Some(name.into()), repository: None };
        assert_eq!(to("oci:dir"), layout("1.4"));
        assert_eq!(to("oci:dir:x"), layout("x"));
        assert_eq!(Location::parse("r.example/app").unwrap().image().unwrap().to_string(), "r.example/app:latest");
        for text in ["docker://r.example/app", "oci:", "r.example/UPPER", "oci-archive:x.tar"] {
            assert_eq!(Location::parse(text).unwrap_err().exit, Exit::Usage, "{text}");
        }
        assert_eq!(tag_of_name("r.example/app:1.4"), Some(tag.clone()));
        assert_eq!(tag_of_name("1.4"), Some(tag));
        assert_eq!(tag_of_name("a b"), None);
    }
}
