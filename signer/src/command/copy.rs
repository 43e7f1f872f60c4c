//! `hallmark copy`: an image with everything that is attached to it, from one place to another.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use hallmark_policy::image::ImageReference;
use hallmark_registry::{CopyOptions, Destination, Layout, LayoutName, LayoutReference, Origin, Registry};

use super::copying::{self, Bar, Location};
use super::interruption::{self, Interruption};
use super::registry_access;
use super::sign::list;
use crate::error::{Exit, Failure};
use crate::output::{self, Output};
use crate::report::{CopyReport, ImageCopied};

const EXAMPLES: &str = "\
Everything that is attached comes along: signatures of every format, attestations, SBOMs, what refers to them, on the \
image and on every image of an index. All digests are checked on the way, and what is there already is not sent again. \
The tag is written last, so that nobody finds the image without its signatures. When a place cannot be asked, or \
something is missing or wrong, the tag is not written, and the exit code is not 0; running it again goes on.

A layout is a folder, or a tar file to read from: `oci:DIR`, `oci:DIR:NAME`, `oci:DIR@sha256:...`. A target without a \
tag takes the source's.

Examples:
  hallmark copy registry.example.com/team/app:1.4 mirror.example.com/team/app:1.4
  hallmark copy registry.example.com/team/app@sha256:... mirror.example.com/team/app
  hallmark copy registry.example.com/team/app:1.4 oci:backup
  hallmark copy oci:backup:1.4 registry.example.com/team/app:1.4
  hallmark copy --from-file pairs.txt -o json > report.json
  hallmark copy --dry-run registry.example.com/team/app:1.4 mirror.example.com/team/app";

/// How many images are copied at one time; each moves several blobs at one time.
const IMAGES_AT_ONE_TIME: usize = 4;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The image: by tag or digest, or in a layout
    #[arg(value_name = "SOURCE", required_unless_present = "from_file", requires = "target")]
    source: Option<String>,
    /// Where to copy it: an image, a repository, or a layout
    #[arg(value_name = "TARGET")]
    target: Option<String>,
    /// Read pairs from this file, too, one `SOURCE TARGET` a line; `-` is standard input; blank lines and lines that
    /// begin with `#` do not count
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    #[command(flatten)]
    copying: copying::Arguments,
    #[command(flatten)]
    registry: registry_access::Arguments,
}

/// One image that is to be copied.
struct Pair {
    source: Location,
    target: Location,
    /// As they were written.
    names: (String, String),
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let pairs = pairs(arguments)?;
    let ends = pairs.iter().flat_map(|pair| [pair.source.image(), pair.target.image()]);
    let hosts: Vec<ImageReference> = ends.flatten().collect();
    let registry = arguments.registry.registry(&hosts, output)?;
    let options = arguments.copying.options();
    let copied = registry_access::wait(copy_all(&registry, &pairs, &options))??;
    let exit = copied.iter().fold(Exit::Success, |exit, (_, outcome)| exit.worse(*outcome));
    let images: Vec<ImageCopied> = copied.into_iter().map(|(report, _)| report).collect();
    copying::warn_of_missing(images.iter().map(|image| image.missing.len()).sum(), output);
    let report = CopyReport::new("copy", arguments.copying.dry_run, images);
    match output.format {
        output::Format::Json => output.json(&report)?,
        output::Format::Text | output::Format::Cosign => output.text(&report.text())?,
    }
    Ok(exit)
}

/// Copies a few images at a time. The reports have the order of the list.
async fn copy_all(
    registry: &Registry,
    pairs: &[Pair],
    options: &CopyOptions,
) -> Result<Vec<(ImageCopied, Exit)>, Failure> {
    let bar = Bar::start("copying", &options.progress);
    let interruption = Interruption::listen()?;
    let work = pairs.iter().map(|pair| {
        let (bar, interruption) = (&bar, &interruption);
        async move {
            let result = match interruption.has_come() {
                true => Err(interruption::failure()),
                false => pair.copy(registry, options).await,
            };
            let (report, exit) = match result {
                Ok(report) => (report, Exit::Success),
                Err(failure) => (ImageCopied::left(&pair.names.0, &pair.names.1, &failure), failure.exit),
            };
            if pairs.len() > 1 {
                bar.tell(&report.line());
            }
            (report, exit)
        }
    });
    Ok(stream::iter(work).buffered(IMAGES_AT_ONE_TIME).collect().await)
}

impl Pair {
    fn parse(source: &str, target: &str) -> Result<Self, Failure> {
        let names = (source.to_owned(), target.to_owned());
        Ok(Self { source: Location::parse(source)?, target: Location::parse(target)?, names })
    }

    /// The name that is written at the target, where it can be told without looking at the source.
    fn target_name(&self) -> Option<String> {
        let tag = match &self.source {
            Location::Layout(LayoutReference { name: Some(LayoutName::Name(name)), .. }) => copying::tag_of_name(name),
            source => source.image().and_then(|image| image.tag().cloned()),
        };
        match self.target.destination(tag).ok()? {
            Destination::Registry { repository, tag, .. } => tag.map(|tag| format!("{repository}:{tag}")),
            Destination::Layout { path, name, .. } => name.map(|name| format!("oci:{}:{name}", path.display())),
        }
    }

    async fn copy(&self, registry: &Registry, options: &CopyOptions) -> Result<ImageCopied, Failure> {
        let (origin, tag) = match &self.source {
            Location::Layout(reference) => {
                let layout = Layout::open(&reference.path).await.map_err(|error| copying::layout_failure(&error))?;
                let found = layout.resolve(reference.name.as_ref()).map_err(|error| copying::layout_failure(&error))?;
                let tag = found.and_then(|image| copying::tag_of_name(&image.name?));
                (Origin::Layout(Arc::new(layout), reference.name.clone()), tag)
            }
            source => {
                let image = source.image().ok_or_else(|| unreadable(&self.names.0))?;
                let tag = image.tag().cloned();
                (Origin::Registry(image), tag)
            }
        };
        let destination = self.target.destination(tag)?;
        let copied = registry.copy(&origin, &destination, options).await.map_err(|error| copying::failure(&error))?;
        Ok(ImageCopied::new(&self.names.0, &destination, copied, options.dry_run))
    }
}

fn unreadable(name: &str) -> Failure {
    Failure::new(Exit::Usage, format!("`{name}` names nothing that can be copied"), "name an image or a layout")
}

fn pairs(arguments: &Arguments) -> Result<Vec<Pair>, Failure> {
    let mut pairs = Vec::new();
    if let (Some(source), Some(target)) = (&arguments.source, &arguments.target) {
        pairs.push(Pair::parse(source, target)?);
    }
    if let Some(path) = &arguments.from_file {
        let name = format!("`{}`", path.display());
        for (number, line) in (1_usize..).zip(list::read(path, &name)?.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let [source, target] = words.as_slice() else {
                let message = format!("line {number} of {name} has {} words, not 2", words.len());
                return Err(Failure::new(Exit::Usage, message, "write `SOURCE TARGET` on each line"));
            };
            pairs.push(Pair::parse(source, target).map_err(|failure| Failure {
                message: format!("line {number} of {name}: {}", failure.message),
                ..failure
            })?);
        }
    }
    match pairs.is_empty() {
        true => Err(Failure::new(Exit::Usage, "the list names nothing to copy", "write `SOURCE TARGET` on each line")),
        false => refuse_collisions(&pairs).map(|()| pairs),
    }
}

/// No image of the list takes the name of another one away.
fn refuse_collisions(pairs: &[Pair]) -> Result<(), Failure> {
    let mut sources: BTreeMap<String, &str> = BTreeMap::new();
    for pair in pairs {
        let Some(target) = pair.target_name() else { continue };
        let source = pair.names.0.as_str();
        let first = *sources.entry(target.clone()).or_insert(source);
        if first != source {
            let message = format!("`{first}` and `{source}` would both become `{target}`");
            return Err(Failure::new(Exit::Usage, message, "give each image of the list a name of its own"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_give_one_name_to_two_images() {
        let refused = |pairs: [(&str, &str); 2]| {
            refuse_collisions(&pairs.map(|(source, target)| Pair::parse(source, target).unwrap())).is_err()
        };
        assert!(refused([("r.example/app:1", "m.example/app:1"), ("r.example/web:1", "m.example/app:1")]));
        assert!(refused([("r.example/app:1", "m.example/app"), ("r.example/web:1", "m.example/app")]));
        assert!(refused([("r.example/app", "m.example/app"), ("oci:file:latest", "m.example/app")]));
        assert!(refused([("r.example/app:1", "oci:folder"), ("r.example/web:1", "oci:folder:1")]));
        assert!(!refused([("r.example/app:1", "m.example/app"), ("r.example/app:2", "m.example/app")]));
        assert!(!refused([("r.example/app:1", "m.example/app"), ("r.example/app:1", "m.example/app:1")]));
        let digest = format!("r.example/app@sha256:{}", "a".repeat(64));
        assert!(!refused([(digest.as_str(), "m.example/app"), ("r.example/web:1", "m.example/app")]));
    }
}
