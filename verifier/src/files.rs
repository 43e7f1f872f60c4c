//! Files that a user or a configuration names, read with a bound.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The bytes of a file that has at most `most` of them, whatever the file system says of its size.
///
/// # Errors
/// What is wrong, as a clause. Nothing is cut off: the first half of a file is another file.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    read_from(File::open(path).map_err(|error| error.to_string())?, most)
}

/// The same of what is open already.
///
/// # Errors
/// As [`read`].
pub fn read_from(source: impl Read, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    source.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= most => Ok(bytes),
        _ => Err(format!("it is larger than {most} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound_and_not_cut_off_there() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "1234").unwrap();
        assert_eq!(read(file.path(), 4), Ok(b"1234".to_vec()));
        assert_eq!(read(file.path(), 3), Err("it is larger than 3 bytes".to_owned()));
        assert_eq!(read_from(std::io::repeat(0), 3), Err("it is larger than 3 bytes".to_owned()));
        assert!(read(Path::new("/nowhere"), 4).is_err());
    }
}
