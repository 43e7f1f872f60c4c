//! One image or thousands: what verbs that sign share. The images of a list a few at a time, the images of an index with
//! it, a bar or lines meanwhile, and an interruption that leaves the report true.

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures_util::{StreamExt as _, stream};
use hallmark_policy::image::{ImageReference, PinnedImage};
use hallmark_registry::Registry;

use super::children::children;
use super::interruption::{self, Interruption};
use super::pauses;
use super::sign::list;
use super::signing::resolve;
use crate::error::{Exit, Failure};
use crate::progress::Progress;
use crate::report::ImageSigned;

/// Most images of one index that are signed at one time.
const CHILDREN_AT_ONE_TIME: usize = 8;

/// Which images, and how many at one time.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// The images
    #[arg(value_name = "IMAGE", required_unless_present = "from_file")]
    pub(super) images: Vec<String>,
    /// Read images from this file, too, one a line; `-` is standard input; blank lines and lines that begin with `#` do
    /// not count
    #[arg(long, value_name = "FILE")]
    pub(super) from_file: Option<PathBuf>,
    /// Sign this many images at one time; more than 32 requests to one registry are never under way
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Sign the images of an index, too, each by its own digest (what a build attached to it, such as build-kit's
    /// attestation manifests, is no image and is covered by the index's signature)
    #[arg(short, long)]
    pub(super) recursive: bool,
}

impl Arguments {
    /// All images, each once.
    pub(super) fn images(&self) -> Result<Vec<ImageReference>, Failure> {
        list::images(&self.images, self.from_file.as_deref())
    }

    /// The images of the list, and the file that it names for each.
    pub(super) fn images_with_files(
        &self,
    ) -> Result<(Vec<ImageReference>, BTreeMap<ImageReference, PathBuf>), Failure> {
        let nobody = || Failure::new(Exit::Usage, "there is no list", "name one with `--from-file`");
        list::images_with_files(self.from_file.as_deref().ok_or_else(nobody)?)
    }

    /// Does the work for each image. The reports have the order of the list, whichever image was done first.
    pub(super) async fn each(
        &self,
        doing: &'static str,
        work: &impl Work,
        images: &[ImageReference],
    ) -> Result<Vec<(ImageSigned, Exit)>, Failure> {
        let progress = Progress::start(doing, images.len());
        let interruption = Interruption::listen()?;
        let pieces = images.iter().enumerate().map(|(index, image)| {
            let (interruption, progress) = (&interruption, &progress);
            async move {
                // An image that is begun is finished, so that the report is true.
                if interruption.has_come() {
                    return (index, vec![work.left(image, None, &interruption::failure())]);
                }
                let done = self.with_children(work, image).await;
                for (report, _) in &done {
                    progress.tell(&report.summary());
                }
                progress.advance();
                (index, done)
            }
        });
        let pieces = stream::iter(pieces).buffer_unordered(usize::from(self.jobs)).collect();
        let mut done: Vec<(usize, Vec<(ImageSigned, Exit)>)> =
            pauses::telling(&progress, work.registry(), pieces).await;
        done.sort_by_key(|(index, _)| *index);
        Ok(done.into_iter().flat_map(|(_, done)| done).collect())
    }

    /// One image, and with `--recursive` the images of an index. One that fails does not keep the others from being done.
    async fn with_children(&self, work: &impl Work, image: &ImageReference) -> Vec<(ImageSigned, Exit)> {
        let pinned = match resolve(work.registry(), image).await {
            Ok(pinned) => pinned,
            Err(failure) => return vec![work.left(image, None, &failure)],
        };
        if !self.recursive {
            return vec![work.one(image, &pinned).await];
        }
        let mut children = match children(work.registry(), &pinned).await {
            Ok(children) => children,
            Err(failure) => return vec![work.left(image, Some(&pinned), &failure)],
        };
        children.retain(|child| work.is_meant(child));
        // The index comes last: whoever sees its signature finds those of its images, too.
        let pieces = children.iter().map(|child| work.one(image, child));
        let mut done: Vec<(ImageSigned, Exit)> = stream::iter(pieces).buffered(CHILDREN_AT_ONE_TIME).collect().await;
        // Where nothing is meant for anything here, that is said of what was named.
        if done.is_empty() || work.is_meant(&pinned) {
            done.insert(0, work.one(image, &pinned).await);
        }
        done
    }
}

/// What is done to each image.
pub(super) trait Work {
    /// Where the images are.
    fn registry(&self) -> &Registry;

    /// Whether the work is for this one of the images that were reached by one name.
    fn is_meant(&self, image: &PinnedImage) -> bool;

    /// Does it to an image, which was asked for by `name`.
    async fn one(&self, name: &ImageReference, image: &PinnedImage) -> (ImageSigned, Exit);

    /// What is reported of an image to which nothing was done.
    fn left(&self, name: &ImageReference, image: Option<&PinnedImage>, failure: &Failure) -> (ImageSigned, Exit);
}
