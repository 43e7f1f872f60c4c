//! A second opinion on image references: that of the crate `oci-client`. Where we differ, it is on purpose, and the
//! reason stands beside it.

use hallmark_policy::image::ImageReference;
use oci_client::Reference;

#[test]
fn references_mean_the_same_to_another_parser() {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    for text in [
        "nginx",
        "nginx:1.27",
        "library/nginx",
        "docker.io/nginx",
        "docker.io/library/nginx:latest",
        "grafana/grafana:11",
        "localhost/app",
        "localhost:5000/app:1",
        "127.0.0.1:5000/team/app:v1.2.3_4-5",
        "registry.example.com/a/b__c/d-e.f/g---h:T_1",
        "registry.example.com:5000/app",
        &format!("registry.example.com/app@{digest}"),
        &format!("registry.example.com/app:1@{digest}"),
        &format!("nginx@{digest}"),
    ] {
        let (ours, theirs) = (parse(text).unwrap(), second_opinion(text).unwrap());
        assert_eq!(ours, theirs, "{text}");
    }
}

#[test]
fn neither_parser_takes_what_is_no_reference() {
    for text in [
        "",
        " nginx",
        "nginx ",
        "/nginx",
        "nginx/",
        "r.example/a//b",
        "r.example/../etc",
        "r.example/App",
        "r.example/a:",
        "r.example/a:-x",
        "r.example/a___b",
        "r.example/a..b",
        "r.example/a@sha256:0123",
        "r.example/a@md5:d41d8cd98f00b204e9800998ecf8427e",
        "https://r.example/a",
        "user@r.example/a",
        "r.example/a\n",
        "r.example/\u{e9}",
    ] {
        assert_eq!((parse(text), second_opinion(text)), (None, None), "{text:?}");
    }
}

/// What we refuse, or read otherwise, and why.
#[test]
fn divergences_from_the_other_parser_are_these() {
    let hex = "0123456789abcdef".repeat(6);
    for (text, ours, theirs, why) in [
        (
            "Registry.Example.com/app:1",
            Some("registry.example.com/app:1"),
            Some("Registry.Example.com/app:1"),
            "hosts are not case-sensitive, so that one host has one name in policies",
        ),
        (
            "index.docker.io/library/nginx:1",
            Some("docker.io/library/nginx:1"),
            Some("docker.io/library/nginx:1"),
            "both fold this name of Docker Hub",
        ),
        (
            "registry-1.docker.io/library/nginx:1",
            Some("docker.io/library/nginx:1"),
            Some("registry-1.docker.io/library/nginx:1"),
            "the name that Docker Hub is dialled by is Docker Hub, too",
        ),
        (
            "[2001:db8::1]:5000/app:1",
            Some("[2001:db8::1]:5000/app:1"),
            None,
            "addresses of version 6 are hosts (distribution's grammar has them)",
        ),
        ("r.example:99999/a", None, Some("r.example:99999/a:latest"), "there is no such port"),
        ("r.example:080/a", None, Some("r.example:080/a:latest"), "one port has one spelling"),
        (
            &format!("r.example/a@sha384:{hex}"),
            None,
            Some(&format!("r.example/a@sha384:{hex}")),
            "the image specification registers sha256 and sha512 only",
        ),
        (
            &format!("r.example/a@sha256:{}", &"0123456789ABCDEF".repeat(4)),
            None,
            Some(&format!("r.example/a@sha256:{}", &"0123456789ABCDEF".repeat(4))),
            "the image specification has digests in lower case",
        ),
    ] {
        assert_eq!(parse(text).as_deref(), ours, "{text}: {why}");
        assert_eq!(second_opinion(text).as_deref(), theirs, "{text}: the other parser changed; {why}");
    }
}

fn parse(text: &str) -> Option<String> {
    text.parse::<ImageReference>().ok().map(|image| image.to_string())
}

fn second_opinion(text: &str) -> Option<String> {
    Reference::try_from(text).ok().map(|reference| {
        let tag = reference.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = reference.digest().map(|digest| format!("@{digest}")).unwrap_or_default();
        format!("{}/{}{tag}{digest}", reference.registry(), reference.repository())
    })
}
