//! The images of a run: from the command line, and from a list with one a line.

use std::collections::BTreeSet;
use std::path::Path;

use hallmark_policy::image::ImageReference;

use crate::command::{files, registry_access};
use crate::error::{Exit, Failure};

/// Most bytes of a list: 100,000 images with long names.
const MAX_LIST_BYTES: u64 = 32 * 1024 * 1024;
/// Most images of one run; the report about all of them is held in memory.
const MAX_IMAGES: usize = 100_000;

/// All images, each once, in the order in which they are first named. Nothing is done before every name is read.
pub(super) fn images(arguments: &[String], list: Option<&Path>) -> Result<Vec<ImageReference>, Failure> {
    let mut images: Vec<ImageReference> = registry_access::images(arguments)?;
    if let Some(path) = list {
        let name =
            if is_stdin(path) { "the list on standard input".to_owned() } else { format!("`{}`", path.display()) };
        images.extend(parse(&read(path, &name)?, &name)?);
    }
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

fn parse(text: &str, name: &str) -> Result<Vec<ImageReference>, Failure> {
    let mut images = Vec::new();
    for (number, line) in (1_usize..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        images.push(line.parse().map_err(|error| {
            let failure = Failure::from(error);
            Failure { message: format!("line {number} of {name}: {}", failure.message), ..failure }
        })?);
    }
    Ok(images)
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
