//! Files that the configuration names, read with a bound.

pub(crate) use hallmark_verifier::files::read;

/// Most bytes of a file of certificates or a key: the system's whole list of authorities has about 250 kB.
pub(crate) const MAX_PEM_BYTES: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, RegistryHost, Tls};
    use crate::pipeline::PipelineLoader;

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
