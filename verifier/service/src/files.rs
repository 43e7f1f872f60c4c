//! Files that the configuration names, read with a bound.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Most bytes of a file of certificates or a key: the system's whole list of authorities has about 250 kB.
pub(crate) const MAX_PEM_BYTES: u64 = 4 * 1024 * 1024;

/// The bytes of a file that has at most `most` of them, whatever the file system says of its size.
///
/// # Errors
/// What is wrong, as a clause. Nothing is cut off: the first half of a list is another list.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= most => Ok(bytes),
        _ => Err(format!("it is larger than {most} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, RegistryHost, Tls};
    use crate::pipeline::PipelineLoader;

    #[test]
    fn a_file_is_read_up_to_its_bound_and_not_cut_off_there() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "1234").unwrap();
        assert_eq!(read(file.path(), 4), Ok(b"1234".to_vec()));
        assert_eq!(read(file.path(), 3), Err("it is larger than 3 bytes".to_owned()));
        assert!(read(Path::new("/nowhere"), 4).is_err());
    }

    #[test]
    fn must_not_read_without_end_whatever_setting_names_the_file() {
        let endless = Path::new("/dev/zero");
        let error = Config::load(Some(endless), |_| None).unwrap_err();
        assert!(error.to_string().contains("larger than 1048576 bytes"), "{error}");
        let mut config = Config::default();
        let host = RegistryHost { ca_file: Some(endless.to_owned()), ..RegistryHost::default() };
        config.registry.hosts.insert("registry.example.com".to_owned(), host);
        let error = PipelineLoader::new(&config).err().unwrap();
        assert!(error.to_string().contains("larger than 4194304 bytes"), "{error}");
        let (certificate_file, key_file) = (Some(endless.to_owned()), Some(endless.to_owned()));
        let tls = Tls { certificate_file, key_file, ..Tls::default() };
        let error = crate::tls::check_tls(&tls).unwrap_err();
        assert!(error.to_string().contains("larger than 4194304 bytes"), "{error}");
    }
}
