//! `hallmark save`: images with everything that is attached to them, as a file or a folder.

use std::path::{Path, PathBuf};

use hallmark_policy::image::ImageReference;
use hallmark_registry::{CopyOptions, Destination, Origin, Registry};

use super::copying::{self, Bar};
use super::interruption::unless_interrupted;
use super::registry_access;
use crate::error::{Exit, Failure};
use crate::output::{self, Output};
use crate::report::{CopyReport, ImageCopied};

const EXAMPLES: &str = "\
What is written is an OCI layout: one tar file when the name ends in `.tar`, a folder otherwise. Each image keeps its \
whole name in it, and everything that is attached to it. The same images always give the same tar file, byte for byte. \
A tar file is written whole or not at all; a folder is added to.

Examples:
  hallmark save registry.example.com/team/app:1.4 --to app.tar
  hallmark save registry.example.com/team/app:1.4 registry.example.com/team/web:2.0 --to release.tar
  hallmark save registry.example.com/team/app:1.4 --to layout/";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// The tar file or the folder to write
    #[arg(long, value_name = "FILE.tar|DIR")]
    to: PathBuf,
    #[command(flatten)]
    copying: copying::Arguments,
    #[command(flatten)]
    registry: registry_access::Arguments,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let mut images = registry_access::images(&arguments.images)?;
    let mut seen = std::collections::BTreeSet::new();
    images.retain(|image| seen.insert(image.to_string()));
    let registry = arguments.registry.registry(&images, output)?;
    let options = arguments.copying.options();
    let is_archive = arguments.to.extension().is_some_and(|extension| extension == "tar");
    if !is_archive && arguments.to.is_file() {
        let hint = "let the name end in `.tar`, or give a folder";
        return Err(Failure::new(Exit::Usage, format!("`{}` is a file", arguments.to.display()), hint));
    }
    let saved = registry_access::wait(unless_interrupted(async {
        let _bar = Bar::start("saving", &options.progress);
        match is_archive {
            true => archive(&registry, &images, &arguments.to, &options).await,
            false => folder(&registry, &images, &arguments.to, &options).await,
        }
    }))??;
    copying::warn_of_missing(saved.iter().map(|image| image.missing.len()).sum(), output);
    let report = CopyReport::new("save", arguments.copying.dry_run, saved);
    match output.format {
        output::Format::Json => output.json(&report)?,
        output::Format::Text | output::Format::Cosign => output.text(&report.text())?,
    }
    Ok(Exit::Success)
}

async fn archive(
    registry: &Registry,
    images: &[ImageReference],
    path: &Path,
    options: &CopyOptions,
) -> Result<Vec<ImageCopied>, Failure> {
    let saved = registry.save_archive(images, path, options).await.map_err(|error| copying::failure(&error))?;
    Ok(saved.into_iter().map(|image| ImageCopied::saved(path, image, options.dry_run)).collect())
}

async fn folder(
    registry: &Registry,
    images: &[ImageReference],
    path: &Path,
    options: &CopyOptions,
) -> Result<Vec<ImageCopied>, Failure> {
    let mut saved = Vec::new();
    for image in images {
        let destination = Destination::Layout {
            path: path.to_owned(),
            name: Some(image.to_string()),
            repository: Some(image.repository().clone()),
        };
        let copied = registry.copy(&Origin::Registry(image.clone()), &destination, options).await;
        let copied = copied.map_err(|error| copying::failure(&error))?;
        saved.push(ImageCopied::new(&image.to_string(), &destination, copied, options.dry_run));
    }
    Ok(saved)
}
