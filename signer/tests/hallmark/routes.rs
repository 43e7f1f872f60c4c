//! Images that are read elsewhere than their name says.

use std::fs;

use crate::registry::TestRegistry;
use crate::run::hallmark;

const PASSPHRASE: &[(&str, &str)] = &[("HALLMARK_PASSWORD", "correct horse")];

#[test]
fn an_image_is_verified_where_the_files_of_other_programs_say_that_it_is() {
    let registry = TestRegistry::start();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    hallmark(path, PASSPHRASE, &["key", "generate"]).done();
    let (image, digest) = registry.push("team/app:1.4");
    hallmark(path, PASSPHRASE, &["sign", "--key", "hallmark.key", &image]).done();
    let conf = format!("[[registry]]\nprefix = \"registry.example.com\"\nlocation = \"{}\"\n", registry.host);
    fs::write(path.join("registries.conf"), conf).unwrap();
    fs::create_dir_all(path.join("certs.d/registry.example.com")).unwrap();
    let hosts = format!("server = \"http://{}\"\n", registry.host);
    fs::write(path.join("certs.d/registry.example.com/hosts.toml"), hosts).unwrap();
    let name = "registry.example.com/team/app:1.4";
    for route in [["--registries-conf", "registries.conf"], ["--registry-hosts-dir", "certs.d"]] {
        let verify = [&["verify", "-o", "json", "--key", "hallmark.pub"], &route[..], &[name]].concat();
        let verdict = hallmark(path, &[], &verify).done().json();
        assert_eq!(verdict["verdict"], "allow");
        assert_eq!(verdict["images"][0]["image"], name);
        assert_eq!(verdict["images"][0]["pinned"], format!("registry.example.com/team/app@{digest}"));
        // Under that name it is not written anywhere.
        let sign = [&["sign", "--key", "hallmark.key"], &route[..], &[name]].concat();
        let signed = hallmark(path, PASSPHRASE, &sign);
        assert_eq!(signed.code, 20, "{}{}", signed.stdout, signed.stderr);
        let told = format!("is read at another location, `{}/team/app`, and written nowhere", registry.host);
        assert!((signed.stdout + &signed.stderr).contains(&told));
    }
}

#[test]
fn must_not_ask_for_what_is_blocked_nor_follow_a_file_that_is_not_understood() {
    let registry = TestRegistry::start();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    hallmark(path, PASSPHRASE, &["key", "generate"]).done();
    let (image, _) = registry.push("team/app:1.4");
    let verify = ["verify", "-o", "json", "--key", "hallmark.pub", "--registries-conf", "registries.conf", &image];
    let write = |text: String| fs::write(path.join("registries.conf"), text).unwrap();
    write(format!("[[registry]]\nlocation = \"{}/team\"\nblocked = true\n", registry.host));
    let verdict = hallmark(path, &[], &verify);
    assert_eq!(verdict.code, 20, "{}", verdict.stderr);
    assert_eq!(verdict.json()["images"][0]["reasons"][0]["code"], "registry-blocked");
    // Its twin: a block of something else.
    write(format!("[[registry]]\nlocation = \"{}/other\"\nblocked = true\n", registry.host));
    assert_eq!(hallmark(path, &[], &verify).code, 10);
    write(format!("[[registry]]\nlocation = \"{}/team\"\nblokced = true\n", registry.host));
    hallmark(path, &[], &verify).refused(21, "blokced");
}
