//! `hallmark load`: what `hallmark save` wrote, into a registry.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use hallmark_policy::image::{ImageReference, Repository};
use hallmark_registry::{CopyOptions, Destination, Layout, LayoutImage, LayoutName, Origin, Registry};

use super::copying::{self, Bar};
use super::interruption::unless_interrupted;
use super::registry_access;
use crate::error::{Exit, Failure};
use crate::output::{self, Output};
use crate::report::{CopyReport, ImageCopied};

const EXAMPLES: &str = "\
A target that ends in `/` is put in front of the path that each image has in the file: with `mirror.example.com/eu/`, \
`registry.example.com/team/app:1.4` becomes `mirror.example.com/eu/team/app:1.4`. Any other target is the one \
repository that every image of the file goes to, by its tag. Every digest is checked before anything refers to it. A \
tar file is read where it lies and never unpacked; one with links, devices, or names that lead out of it is refused.

Examples:
  hallmark load release.tar mirror.example.com/
  hallmark load release.tar mirror.example.com/eu/
  hallmark load app.tar mirror.example.com/team/app
  hallmark load --dry-run layout/ mirror.example.com/team/app";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The tar file or the folder
    #[arg(value_name = "FILE.tar|DIR")]
    from: PathBuf,
    /// A registry or a path in it that ends in `/`, or one repository
    #[arg(value_name = "TARGET")]
    target: String,
    #[command(flatten)]
    copying: copying::Arguments,
    #[command(flatten)]
    registry: registry_access::Arguments,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let target = Target::parse(&arguments.target)?;
    let registry = arguments.registry.registry(&[target.example()?], output)?;
    let options = arguments.copying.options();
    let loaded = registry_access::wait(unless_interrupted(load(arguments, &registry, &target, &options)))??;
    let exit = loaded.iter().fold(Exit::Success, |exit, (_, outcome)| exit.worse(*outcome));
    let images: Vec<ImageCopied> = loaded.into_iter().map(|(report, _)| report).collect();
    copying::warn_of_missing(images.iter().map(|image| image.missing.len()).sum(), output);
    let report = CopyReport::new("load", arguments.copying.dry_run, images);
    match output.format {
        output::Format::Json => output.json(&report)?,
        output::Format::Text | output::Format::Cosign => output.text(&report.text())?,
    }
    Ok(exit)
}

async fn load(
    arguments: &Arguments,
    registry: &Registry,
    target: &Target,
    options: &CopyOptions,
) -> Result<Vec<(ImageCopied, Exit)>, Failure> {
    let _bar = Bar::start("loading", &options.progress);
    let layout = Layout::open(&arguments.from).await.map_err(|error| copying::layout_failure(&error))?;
    let images: Vec<LayoutImage> = layout.images().into_iter().filter(LayoutImage::is_image).collect();
    if images.is_empty() {
        let message = format!("nothing in `{}` has a name", arguments.from.display());
        return Err(Failure::new(
            Exit::Invalid,
            message,
            "copy it by its digest: `hallmark copy oci:DIR@sha256:... IMAGE`",
        ));
    }
    // Every name is read before anything is pushed.
    let planned = images.into_iter().map(|image| Ok((target.of(&image)?, image)));
    let planned: Vec<(Destination, LayoutImage)> = planned.collect::<Result<_, Failure>>()?;
    refuse_collisions(&planned)?;
    let layout = Arc::new(layout);
    let mut loaded = Vec::new();
    for (destination, image) in planned {
        let name = image.name.unwrap_or_default();
        let origin = Origin::Layout(Arc::clone(&layout), Some(LayoutName::Name(name.clone())));
        loaded.push(match registry.copy(&origin, &destination, options).await {
            Ok(copied) => (ImageCopied::new(&name, &destination, copied, options.dry_run), Exit::Success),
            Err(error) => {
                let failure = copying::failure(&error);
                (ImageCopied::left(&name, &arguments.target, &failure), failure.exit)
            }
        });
    }
    Ok(loaded)
}

/// No image of the file takes the name of another one away.
fn refuse_collisions(planned: &[(Destination, LayoutImage)]) -> Result<(), Failure> {
    let mut names: BTreeMap<String, &LayoutImage> = BTreeMap::new();
    for (destination, image) in planned {
        let Destination::Registry { repository, tag: Some(tag), .. } = destination else { continue };
        let target = format!("{repository}:{tag}");
        let Some(first) = names.get(&target) else {
            names.insert(target, image);
            continue;
        };
        if first.descriptor.digest != image.descriptor.digest {
            let name = |image: &LayoutImage| image.name.clone().unwrap_or_default();
            let message = format!("`{}` and `{}` would both become `{target}`", name(first), name(image));
            let hint = "load them to a path that ends in `/`, or one by one with `hallmark copy oci:FILE:NAME IMAGE`";
            return Err(Failure::new(Exit::Usage, message, hint));
        }
    }
    Ok(())
}

/// Where the images go.
enum Target {
    /// In front of the path of each image.
    Prefix(String),
    Repository(Repository),
}

impl Target {
    fn parse(text: &str) -> Result<Self, Failure> {
        let target = match text.strip_suffix('/') {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Repository(text.parse().map_err(|error| {
                let hint = "name a repository without a tag, or end a registry or a path with `/`";
                Failure { hint: Some(hint.to_owned()), ..Failure::from(error) }
            })?),
        };
        target.example().map(|_| target)
    }

    /// Any image of it, to know its registry by.
    fn example(&self) -> Result<ImageReference, Failure> {
        match self {
            Self::Prefix(prefix) => Ok(format!("{prefix}/any").parse()?),
            Self::Repository(repository) => Ok(repository.to_string().parse()?),
        }
    }

    fn of(&self, image: &LayoutImage) -> Result<Destination, Failure> {
        let name = image.name.as_deref().unwrap_or_default();
        let whole = name.contains('/').then(|| name.parse::<ImageReference>().ok()).flatten();
        let tag = copying::tag_of_name(name);
        let digest = whole.as_ref().and_then(ImageReference::digest);
        match (self, whole) {
            (Self::Repository(repository), _) => {
                Ok(Destination::Registry { repository: repository.clone(), tag, digest })
            }
            (Self::Prefix(prefix), Some(whole)) => {
                let repository = format!("{prefix}/{}", whole.repository().path()).parse()?;
                Ok(Destination::Registry { repository, tag, digest })
            }
            (Self::Prefix(_), None) => {
                let message = format!("`{name}` in the file is no whole image name, so that it has no path");
                Err(Failure::new(Exit::Usage, message, "name the repository that it goes to, without `/` at the end"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hallmark_policy::image::{Descriptor, media_type};

    use super::*;

    #[test]
    fn must_not_give_one_name_to_two_images() {
        let image = |name: &str, content: &[u8]| LayoutImage {
            name: Some(name.to_owned()),
            descriptor: Descriptor::of(media_type::OCI_MANIFEST, content),
        };
        let refused = |target: &str, images: [LayoutImage; 2]| {
            let target = Target::parse(target).unwrap();
            let planned: Vec<_> = images.into_iter().map(|image| (target.of(&image).unwrap(), image)).collect();
            refuse_collisions(&planned).is_err()
        };
        let (app, web) = (|| image("r.example/app:1", b"app"), || image("r.example/web:1", b"web"));
        assert!(refused("m.example/x", [app(), web()]));
        assert!(!refused("m.example/", [app(), web()]));
        assert!(!refused("m.example/x", [app(), image("r.example/web:2", b"web")]));
        assert!(refused("m.example/", [app(), image("other.example/app:1", b"other")]));
        // The same image under two names.
        assert!(!refused("m.example/x", [app(), image("r.example/web:1", b"app")]));
    }

    #[test]
    fn a_target_is_a_prefix_or_a_repository() {
        let image = |name: &str| LayoutImage {
            name: Some(name.to_owned()),
            descriptor: Descriptor::of(media_type::OCI_MANIFEST, b"image"),
        };
        let of = |target: &str, name: &str| match Target::parse(target).unwrap().of(&image(name)).unwrap() {
            Destination::Registry { repository, tag, .. } => (repository.to_string(), tag.map(|tag| tag.to_string())),
            Destination::Layout { .. } => panic!("{target}"),
        };
        let expected = |repository: &str| (repository.to_owned(), Some("1.4".to_owned()));
        assert_eq!(of("m.example/", "r.example/team/app:1.4"), expected("m.example/team/app"));
        assert_eq!(of("m.example/eu/", "r.example/team/app:1.4"), expected("m.example/eu/team/app"));
        assert_eq!(of("m.example/x", "r.example/team/app:1.4"), expected("m.example/x"));
        assert_eq!(of("m.example/x", "1.4"), expected("m.example/x"));
        assert!(Target::parse("m.example/").unwrap().of(&image("1.4")).is_err());
        for text in ["m.example/x:1", "m.example/X", "", "m.example//"] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }
}
