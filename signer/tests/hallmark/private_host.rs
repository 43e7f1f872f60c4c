//! `--registry-private-host`: a host that only a registry names is reached in a private network where that is allowed.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

use crate::run::hallmark;

/// An address of a private network at which nobody is: TEST-NET would be public, and this is as good as unused.
const STORAGE: &str = "10.255.255.1:9";

/// A registry that sends every reader on to its storage.
fn redirecting() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let answer = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{STORAGE}/x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    host
}

#[test]
fn must_not_reach_into_a_private_network_unless_that_host_was_named() {
    let image = format!("{}/team/app@sha256:{}", redirecting(), "a".repeat(64));
    let key = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/testdata/cosign.pub");
    let key = key.to_str().unwrap();
    let verify = |more: &[&str]| {
        let arguments = ["verify", "-o", "json", "--key", key, "--timeout", "2"];
        let run = hallmark(Path::new("."), &[], &[&arguments, more, &[&image]].concat());
        assert_ne!(run.code, 0, "{}{}", run.stdout, run.stderr);
        run.json()["images"][0]["reasons"][0]["code"].as_str().unwrap().to_owned()
    };
    assert_eq!(verify(&[]), "registry-address-refused");
    assert_eq!(verify(&["--registry-private-host", "10.255.255.2:9"]), "registry-address-refused", "another host");
    // Its twin is dialled. Who answers there, if anybody does, is the network's affair.
    assert_ne!(verify(&["--registry-private-host", STORAGE]), "registry-address-refused");
}
