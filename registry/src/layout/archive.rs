//! A layout in a tar file (POSIX.1-2008, "ustar Interchange Format", with pax and GNU long names). It is read where it
//! lies and never unpacked.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tar::{EntryType, Header};

use super::{LayoutError, Section};
use crate::quote::quote;

/// Most entries of an archive: ten times the manifests and blobs of the largest image, a hundred times over.
const MAX_ENTRIES: usize = 100_000;
/// Most bytes of an extended header: a name has at most 4096.
const MAX_EXTENSION_BYTES: u64 = 64 * 1024;
/// What a tar file consists of.
const BLOCK: u64 = 512;

/// A layout in a tar file.
pub(super) struct Archive {
    file: Arc<File>,
    path: PathBuf,
    /// Where each file's bytes are: offset and length.
    entries: HashMap<String, (u64, u64)>,
}

impl Archive {
    pub(super) fn open(path: &Path) -> Result<Self, LayoutError> {
        let file = File::open(path).map_err(|error| LayoutError::reading(path, error))?;
        let about = file.metadata().map_err(|error| LayoutError::reading(path, error))?;
        if !about.is_file() {
            let problem = "it is neither a folder nor a file".to_owned();
            return Err(LayoutError::NoLayout { path: path.to_owned(), problem });
        }
        let entries = Scan { file: &file, path, length: about.len() }.entries()?;
        Ok(Self { file: Arc::new(file), path: path.to_owned(), entries })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn open_section(&self, name: &str) -> Result<Option<Section>, LayoutError> {
        let section = self.entries.get(name).map(|(offset, length)| Section {
            file: Arc::clone(&self.file),
            path: self.path.clone(),
            offset: *offset,
            length: *length,
        });
        Ok(section)
    }
}

/// One pass over the headers.
struct Scan<'a> {
    file: &'a File,
    path: &'a Path,
    length: u64,
}

impl Scan<'_> {
    fn entries(&self) -> Result<HashMap<String, (u64, u64)>, LayoutError> {
        let mut entries = HashMap::new();
        let (mut offset, mut seen) = (0_u64, 0_usize);
        let mut extended = Extended::default();
        loop {
            let Some(block) = self.block(offset)? else {
                return Err(self.malformed("it ends without the two empty blocks of a whole tar file"));
            };
            offset += BLOCK;
            if block.iter().all(|byte| *byte == 0) {
                return Ok(entries);
            }
            seen += 1;
            if seen > MAX_ENTRIES {
                return Err(self.refused(format!("it has more than {MAX_ENTRIES} entries")));
            }
            let header = self.header(&block, offset)?;
            let size = match extended.size.take() {
                Some(size) => size,
                None => header.entry_size().map_err(|_| self.malformed("an entry has no size"))?,
            };
            let end = offset.checked_add(size).filter(|end| *end <= self.length);
            let Some(end) = end else { return Err(self.malformed("it ends within an entry")) };
            match header.entry_type() {
                EntryType::GNULongName => extended.name = Some(self.long_name(offset, size)?),
                EntryType::XHeader => {
                    extended.read(&self.extension(offset, size)?).map_err(|why| self.malformed(why))?
                }
                EntryType::XGlobalHeader => {}
                EntryType::Directory => {
                    let _ = self.name(header, extended.name.take())?;
                }
                EntryType::Regular | EntryType::Continuous => {
                    let name = self.name(header, extended.name.take())?;
                    if entries.insert(name.clone(), (offset, size)).is_some() {
                        return Err(self.refused(format!("it has `{}` twice", quote(&name))));
                    }
                }
                EntryType::Symlink | EntryType::Link => {
                    let name = self.name(header, extended.name.take())?;
                    return Err(self.refused(format!("`{}` is a link", quote(&name))));
                }
                _ => {
                    let name = self.name(header, extended.name.take())?;
                    return Err(self.refused(format!("`{}` is neither a file nor a folder", quote(&name))));
                }
            }
            offset = end.div_ceil(BLOCK).saturating_mul(BLOCK);
        }
    }

    fn header<'b>(&self, block: &'b [u8; 512], offset: u64) -> Result<&'b Header, LayoutError> {
        if offset == BLOCK && block.starts_with(&[0x1f, 0x8b]) {
            return Err(self.malformed("it is compressed; uncompress it first (`gunzip`)"));
        }
        let header = Header::from_byte_slice(block);
        let (before, after) = (block.get(..148).unwrap_or_default(), block.get(156..).unwrap_or_default());
        // The sum counts its own field as spaces.
        let sum = before.iter().chain(after).fold(8 * 32, |sum: u32, byte| sum + u32::from(*byte));
        match header.cksum() {
            Ok(written) if written == sum => Ok(header),
            _ if offset == BLOCK => Err(self.malformed("it is neither a folder nor a tar file")),
            _ => Err(self.malformed("the sum over an entry's header is wrong")),
        }
    }

    /// An entry's name, which must lie inside of the layout. Nothing is ever written by it.
    fn name(&self, header: &Header, long: Option<Vec<u8>>) -> Result<String, LayoutError> {
        let bytes = long.unwrap_or_else(|| header.path_bytes().into_owned());
        let text = String::from_utf8(bytes).map_err(|_| self.refused("a name is not text".to_owned()))?;
        let refused = |why: &str| self.refused(format!("the name `{}` {why}", quote(&text)));
        if text.starts_with('/') {
            return Err(refused("leads out of it"));
        }
        if text.contains('\0') {
            return Err(refused("has a zero in it"));
        }
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.contains(&"..") {
            return Err(refused("leads out of it"));
        }
        Ok(parts.join("/"))
    }

    fn long_name(&self, offset: u64, size: u64) -> Result<Vec<u8>, LayoutError> {
        let mut name = self.extension(offset, size)?;
        while name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    fn extension(&self, offset: u64, size: u64) -> Result<Vec<u8>, LayoutError> {
        if size > MAX_EXTENSION_BYTES {
            return Err(self.refused(format!("a name has more than {MAX_EXTENSION_BYTES} bytes")));
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, offset).map_err(|error| LayoutError::reading(self.path, error))?;
        Ok(bytes)
    }

    fn block(&self, offset: u64) -> Result<Option<[u8; 512]>, LayoutError> {
        if offset.checked_add(BLOCK).is_none_or(|end| end > self.length) {
            return Ok(None);
        }
        let mut block = [0; 512];
        self.file.read_exact_at(&mut block, offset).map_err(|error| LayoutError::reading(self.path, error))?;
        Ok(Some(block))
    }

    fn malformed(&self, problem: &str) -> LayoutError {
        LayoutError::NoLayout { path: self.path.to_owned(), problem: problem.to_owned() }
    }

    fn refused(&self, problem: String) -> LayoutError {
        LayoutError::Refused { path: self.path.to_owned(), problem }
    }
}

/// What an extended header says of the next entry.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Extended {
    /// Records of the form `LENGTH KEY=VALUE\n` (POSIX.1-2008, "pax Extended Header").
    fn read(&mut self, mut records: &[u8]) -> Result<(), &'static str> {
        const WRONG: &str = "an extended header is malformed";
        while !records.is_empty() {
            let space = records.iter().position(|byte| *byte == b' ').ok_or(WRONG)?;
            let digits = records.get(..space).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or(WRONG)?;
            let length: usize = digits.parse().map_err(|_| WRONG)?;
            let record = records.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n")).ok_or(WRONG)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(WRONG)?;
            let (key, value) = (record.get(..equals).ok_or(WRONG)?, record.get(equals + 1..).ok_or(WRONG)?);
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|size| size.parse().ok());
                    self.size = Some(size.ok_or(WRONG)?);
                }
                key if key.starts_with(b"GNU.sparse.") => return Err("a file in it is sparse, which is not supported"),
                _ => {}
            }
            records = records.get(length..).ok_or(WRONG)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: EntryType, name: &str, content: &[u8]) -> Vec<u8> {
        let mut header = Header::new_ustar();
        let bytes = header.as_mut_bytes();
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len().try_into().unwrap());
        header.set_cksum();
        let mut entry = header.as_bytes().to_vec();
        entry.extend_from_slice(content);
        entry.resize(entry.len().next_multiple_of(512), 0);
        entry
    }

    fn open(parts: &[Vec<u8>]) -> Result<Archive, LayoutError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = parts.concat();
        bytes.extend_from_slice(&[0; 1024]);
        std::fs::write(file.path(), bytes).unwrap();
        Archive::open(file.path())
    }

    fn file(name: &str, content: &[u8]) -> Vec<u8> {
        entry(EntryType::Regular, name, content)
    }

    #[test]
    fn files_are_found_by_their_names_however_those_are_written() {
        let long = "d/".repeat(80) + "x";
        let archive = open(&[
            entry(EntryType::XGlobalHeader, "pax_global_header", b"16 comment=abcd\n"),
            entry(EntryType::Directory, "./", b""),
            file("./oci-layout", b"one"),
            entry(EntryType::GNULongName, "././@LongLink", format!("{long}\0").as_bytes()),
            file("short", b"two"),
            entry(EntryType::XHeader, "pax", b"13 path=a/bc\n"),
            file("short", b"three"),
        ]);
        let archive = archive.unwrap();
        for (name, content) in [("oci-layout", &b"one"[..]), (&long, b"two"), ("a/bc", b"three")] {
            assert_eq!(archive.open_section(name).unwrap().unwrap().whole(100).unwrap(), content, "{name}");
        }
        assert!(archive.open_section("short").unwrap().is_none());
        assert!(matches!(archive.open_section("a/bc").unwrap().unwrap().whole(4), Err(LayoutError::TooLarge { .. })));
    }

    #[test]
    fn must_not_read_links_devices_twins_or_names_that_lead_out() {
        let cases = [
            (vec![entry(EntryType::Symlink, "blobs", b"")], "is a link"),
            (vec![entry(EntryType::Link, "blobs", b"")], "is a link"),
            (vec![entry(EntryType::Char, "null", b"")], "neither a file nor a folder"),
            (vec![entry(EntryType::Fifo, "pipe", b"")], "neither a file nor a folder"),
            (vec![entry(EntryType::GNUSparse, "sparse", b"")], "neither a file nor a folder"),
            (vec![file("../x", b"")], "leads out"),
            (vec![file("a/../../x", b"")], "leads out"),
            (vec![file("/etc/passwd", b"")], "leads out"),
            (vec![entry(EntryType::XHeader, "pax", b"13 path=../x\n"), file("short", b"")], "leads out"),
            (vec![file("index.json", b"{}"), file("./index.json", b"[]")], "twice"),
            (vec![entry(EntryType::GNULongName, "long", &vec![b'a'; 70_000])], "more than 65536 bytes"),
            (vec![entry(EntryType::XHeader, "pax", b"99 path=x\n")], "malformed"),
        ];
        for (parts, problem) in cases {
            let error = open(&parts).err().unwrap_or_else(|| panic!("{problem}"));
            assert!(error.to_string().contains(problem), "{error}");
        }
        assert!(open(&[file("index.json", b"{}")]).is_ok());
    }

    #[test]
    fn must_not_take_a_part_of_an_archive_for_the_whole() {
        let whole = [file("index.json", &[b'x'; 2000]), vec![0; 1024]].concat();
        for length in [100, 512, 1000, 2048] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &whole[..length]).unwrap();
            assert!(Archive::open(file.path()).is_err(), "{length}");
        }
        let mut altered = whole.clone();
        altered[0] = b'j';
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), altered).unwrap();
        assert!(Archive::open(file.path()).is_err());
        std::fs::write(file.path(), [0x1f, 0x8b].repeat(512)).unwrap();
        assert!(Archive::open(file.path()).err().unwrap().to_string().contains("gunzip"));
        std::fs::write(file.path(), whole).unwrap();
        assert!(Archive::open(file.path()).is_ok());
    }
}
