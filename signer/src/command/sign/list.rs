//! The images of a run: from the command line, and from a list with one a line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hallmark_policy::image::ImageReference;

use crate::command::{files, registry_access};
use crate::error::{Exit, Failure};

/// Most bytes of a list: 100,000 images with long names.
const MAX_LIST_BYTES: u64 = 32 * 1024 * 1024;
/// Most images of one run; the report about all of them is held in memory.
const MAX_IMAGES: usize = 100_000;

/// All images, each once, in the order in which they are first named. Nothing is done before every name is read.
pub(in crate::command) fn images(arguments: &[String], list: Option<&Path>) -> Result<Vec<ImageReference>, Failure> {
    let mut images: Vec<ImageReference> = registry_access::images(arguments)?;
    if let Some(path) = list {
        let name = name_of(path);
        images.extend(parse(&read(path, &name)?, &name)?);
    }
    each_once(images)
}

/// The images of a list that names a file behind each, and those files.
pub(in crate::command) fn images_with_files(
    list: &Path,
) -> Result<(Vec<ImageReference>, BTreeMap<ImageReference, PathBuf>), Failure> {
    let name = name_of(list);
    let text = read(list, &name)?;
    let (mut images, mut files) = (Vec::new(), BTreeMap::new());
    for (number, line) in entries(&text) {
        let usage = |message: String| {
            let hint = "write an image and its file a line, such as `registry.example.com/app:1.4 app.json`";
            Failure::new(Exit::Usage, format!("line {number} of {name}: {message}"), hint)
        };
        let Some((image, file)) = line.split_once(char::is_whitespace) else {
            return Err(usage("there is no file behind the image".to_owned()));
        };
        let image = parse_image(image, number, &name)?;
        let file = PathBuf::from(file.trim());
        if is_stdin(&file) {
            return Err(usage("standard input cannot be read for one of many".to_owned()));
        }
        if files.insert(image.clone(), file.clone()).is_some_and(|known| known != file) {
            return Err(usage(format!("`{image}` is there a second time, with another file")));
        }
        images.push(image);
    }
    Ok((each_once(images)?, files))
}

fn each_once(mut images: Vec<ImageReference>) -> Result<Vec<ImageReference>, Failure> {
    if images.is_empty() {
        let hint = "write one image a line, such as `registry.example.com/team/app:1.4`";
        return Err(Failure::new(Exit::Usage, "the list names no image", hint));
    }
    let mut seen = BTreeSet::new();
    images.retain(|image| seen.insert(image.to_string()));
    if images.len() > MAX_IMAGES {
        let message = format!("{} images are more than the {MAX_IMAGES} of one run", images.len());
        return Err(Failure::new(Exit::Usage, message, "split the list"));
    }
    Ok(images)
}

/// A list as text: a file, or standard input.
pub(in crate::command) fn read(path: &Path, name: &str) -> Result<String, Failure> {
    let failure = |problem: String| {
        let hint = "give a text file with one image a line, or `-` for standard input";
        Failure::new(Exit::Usage, format!("cannot read {name}: {problem}"), hint)
    };
    let bytes = match is_stdin(path) {
        true => files::read_from(std::io::stdin(), MAX_LIST_BYTES),
        false => files::read(path, MAX_LIST_BYTES),
    };
    String::from_utf8(bytes.map_err(failure)?).map_err(|error| failure(format!("it is not UTF-8 text: {error}")))
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn name_of(path: &Path) -> String {
    if is_stdin(path) { "the list on standard input".to_owned() } else { format!("`{}`", path.display()) }
}

fn parse(text: &str, name: &str) -> Result<Vec<ImageReference>, Failure> {
    entries(text).map(|(number, line)| parse_image(line, number, name)).collect()
}

/// The lines that say something, each with its number.
fn entries(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = (1_usize..).zip(text.lines().map(str::trim));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

fn parse_image(text: &str, number: usize, name: &str) -> Result<ImageReference, Failure> {
    text.parse().map_err(|error| {
        let failure = Failure::from(error);
        Failure { message: format!("line {number} of {name}: {}", failure.message), ..failure }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_one_image_a_line_and_names_the_line_that_is_wrong() {
        let text = "# patch tuesday\n\nr.example/a:1\r\n  r.example/b:1  \n";
        let images: Vec<String> = parse(text, "`list`").unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(images, ["r.example/a:1", "r.example/b:1"]);
        let failure = parse("r.example/a:1\nr.example/A B\n", "`list`").unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.starts_with("line 2 of `list`: "), "{}", failure.message);
    }

    #[test]
    fn a_list_names_a_file_behind_each_image_and_one_only() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        let read = |text: &str| {
            std::fs::write(&list, text).unwrap();
            images_with_files(&list).map(|(images, files)| {
                let file = |image: &ImageReference| files[image].display().to_string();
                images.iter().map(|image| (image.to_string(), file(image))).collect::<Vec<_>>()
            })
        };
        let pair = |image: &str, file: &str| (image.to_owned(), file.to_owned());
        let good = "# all\nr.example/a:1 a.json\n r.example/b:1\t b c.json \nr.example/a:1 a.json\n";
        assert_eq!(read(good).unwrap(), [pair("r.example/a:1", "a.json"), pair("r.example/b:1", "b c.json")]);
        for (bad, line) in [
            ("r.example/a:1\n", "line 1 of "),
            ("r.example/a:1 a.json\nr.example/a:1 b.json\n", "line 2 of "),
            ("r.example/a:1 -\n", "line 1 of "),
            ("r.example/A a.json\n", "line 1 of "),
            ("# none\n", "the list names no image"),
        ] {
            let failure = read(bad).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{bad}");
            assert!(failure.message.starts_with(line), "{}", failure.message);
        }
    }

    #[test]
    fn an_image_that_is_named_twice_is_signed_once() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        std::fs::write(&list, "r.example/b:1\nr.example/a:1\nr.example/b:1\n").unwrap();
        let images = images(&["r.example/a:1".to_owned()], Some(&list)).unwrap();
        let names: Vec<String> = images.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["r.example/a:1", "r.example/b:1"]);
    }

    #[test]
    fn must_not_take_an_empty_or_missing_list_for_nothing_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        assert_eq!(images(&[], Some(&list)).unwrap_err().exit, Exit::Usage);
        std::fs::write(&list, "# nothing\n").unwrap();
        assert_eq!(images(&[], Some(&list)).unwrap_err().exit, Exit::Usage);
    }
}
