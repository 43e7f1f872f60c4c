//! The requirements of the OCI distribution specification 1.1, one test each, over real HTTP, in memory and on a folder.
//!
//! The headings are those of the specification; a requirement is quoted where its words matter.

#![cfg(test)]

mod server;

use hallmark_embedded_registry::Limits;
use hallmark_policy::image::{Descriptor, Digest, Index, Manifest, media_type};
use reqwest::Method;
use serde_json::{Value, json};
use server::{Answer, Server, on_both, on_both_within};

const ABSENT: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000001";

// --- Determining support ---

#[tokio::test]
async fn the_base_says_that_the_registry_is_one() {
    on_both(async |server| {
        server
            .send(Method::GET, "/v2/", &[], b"")
            .await
            .has(200)
            .header("docker-distribution-api-version", "registry/2.0");
        server.send(Method::HEAD, "/v2/", &[], b"").await.has(200);
        server.send(Method::POST, "/v2/", &[], b"").await.refused(405, "UNSUPPORTED");
        server.send(Method::GET, "/v1/", &[], b"").await.refused(404, "UNSUPPORTED");
        server.send(Method::GET, "/v2/a/unknown/b", &[], b"").await.refused(404, "UNSUPPORTED");
    })
    .await;
}

#[tokio::test]
async fn names_and_digests_that_are_malformed_are_refused() {
    on_both(async |server| {
        for name in ["UPPER", "a..b", "a___b", "-a", "a/_blobs", "..%2fa", "a%00", "é", &"a".repeat(256)] {
            let answer = server.get(&format!("/v2/{name}/tags/list")).await;
            answer.refused(400, "NAME_INVALID");
        }
        for digest in ["sha256:abc", "sha256:..%2f..%2f..%2fetc%2fpasswd", "md5:d41d8cd98f00b204e9800998ecf8427e", "x"]
        {
            let answer = server.get(&format!("/v2/a/blobs/{digest}")).await;
            assert!([400, 404].contains(&answer.status), "{digest}: {}", answer.status);
        }
        server.get("/v2/a/referrers/sha256:abc").await.refused(400, "DIGEST_INVALID");
        server.send(Method::PUT, "/v2/a/manifests/.x", &[], b"{}").await.refused(400, "MANIFEST_INVALID");
    })
    .await;
}

// --- Pulling ---

#[tokio::test]
async fn blobs_are_pulled_whole_and_by_range() {
    on_both(async |server| {
        let digest = server.push_blob("a/b", b"0123456789").await;
        let path = format!("/v2/a/b/blobs/{digest}");
        let whole = server.get(&path).await.has(200);
        whole.header("docker-content-digest", &digest.to_string()).header("content-length", "10");
        assert_eq!(whole.body, b"0123456789");
        let head = server.send(Method::HEAD, &path, &[], b"").await.has(200);
        head.header("docker-content-digest", &digest.to_string()).header("content-length", "10");
        assert_eq!(head.body, b"");
        let part = server.send(Method::GET, &path, &[("range", "bytes=2-4")], b"").await.has(206);
        part.header("content-range", "bytes 2-4/10").header("content-length", "3");
        assert_eq!(part.body, b"234");
        let past = server.send(Method::GET, &path, &[("range", "bytes=10-")], b"").await;
        past.header("content-range", "bytes */10").refused(416, "SIZE_INVALID");
        server.get(&format!("/v2/a/b/blobs/{ABSENT}")).await.refused(404, "BLOB_UNKNOWN");
        server.send(Method::HEAD, &format!("/v2/a/b/blobs/{ABSENT}"), &[], b"").await.has(404);
        // Content belongs to the repository that it was pushed to.
        server.get(&format!("/v2/other/blobs/{digest}")).await.refused(404, "BLOB_UNKNOWN");
    })
    .await;
}

#[tokio::test]
async fn large_blobs_come_back_as_they_were() {
    on_both(async |server| {
        let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let digest = server.push_blob("large", &bytes).await;
        assert!(server.get(&format!("/v2/large/blobs/{digest}")).await.has(200).body == bytes);
        let range = [("range", "bytes=1000000-11999999")];
        let part = server.send(Method::GET, &format!("/v2/large/blobs/{digest}"), &range, b"").await.has(206);
        assert!(part.body == bytes[1_000_000..12_000_000]);
    })
    .await;
}

#[tokio::test]
async fn manifests_are_pulled_by_tag_and_by_digest_byte_for_byte() {
    on_both(async |server| {
        let (config, _) = server.push_empty("a").await;
        // Spaces and an unknown field: "the registry MUST store the manifest in the exact byte representation".
        let bytes = format!(
            "{{ \"schemaVersion\": 2,\n \"mediaType\": \"{}\", \"config\": {}, \"layers\": [], \"extra\": 1 }}",
            media_type::OCI_MANIFEST,
            serde_json::to_string(&config).unwrap()
        );
        let digest = server.push_manifest("a", "v1", media_type::OCI_MANIFEST, bytes.as_bytes()).await;
        for reference in ["v1".to_owned(), digest.to_string()] {
            let path = format!("/v2/a/manifests/{reference}");
            let answer = server.get(&path).await.has(200);
            answer.header("content-type", media_type::OCI_MANIFEST);
            answer.header("docker-content-digest", &digest.to_string());
            assert_eq!(answer.body, bytes.as_bytes());
            let head = server.send(Method::HEAD, &path, &[], b"").await.has(200);
            head.header("content-type", media_type::OCI_MANIFEST);
            head.header("content-length", &bytes.len().to_string());
            head.header("docker-content-digest", &digest.to_string());
            let held = format!("\"{digest}\"");
            server.send(Method::GET, &path, &[("if-none-match", &held)], b"").await.has(304);
        }
        for absent in ["v2", ".INVALID_MANIFEST_NAME", ABSENT] {
            server.get(&format!("/v2/a/manifests/{absent}")).await.refused(404, "MANIFEST_UNKNOWN");
            server.send(Method::HEAD, &format!("/v2/a/manifests/{absent}"), &[], b"").await.has(404);
        }
        server.get("/v2/absent/manifests/v1").await.refused(404, "MANIFEST_UNKNOWN");
        // A manifest is not a blob.
        server.get(&format!("/v2/a/blobs/{digest}")).await.refused(404, "BLOB_UNKNOWN");
    })
    .await;
}

// --- Pushing: blobs ---

#[tokio::test]
async fn a_blob_is_pushed_by_post_then_put() {
    on_both(async |server| {
        let digest = Digest::of(b"monolithic");
        let begun = server.send(Method::POST, "/v2/a/blobs/uploads/", &[], b"").await.has(202);
        let finish = with_digest(&begun.location(), &digest);
        let octets = [("content-type", "application/octet-stream")];
        let done = server.send(Method::PUT, &finish, &octets, b"monolithic").await.has(201);
        done.header("docker-content-digest", &digest.to_string());
        assert_eq!(server.get(&done.location()).await.has(200).body, b"monolithic");
        server.send(Method::PUT, &finish, &octets, b"monolithic").await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    })
    .await;
}

#[tokio::test]
async fn a_blob_is_pushed_by_a_single_post() {
    on_both(async |server| {
        let digest = Digest::of(b"single");
        let path = format!("/v2/a/blobs/uploads/?digest={digest}");
        let done = server.send(Method::POST, &path, &[], b"single").await.has(201);
        assert_eq!(server.get(&done.location()).await.has(200).body, b"single");
        let encoded = path.replace("sha256:", "sha256%3A");
        server.send(Method::POST, &encoded, &[], b"single").await.has(201);
        server.send(Method::POST, &path, &[], b"other").await.refused(400, "DIGEST_INVALID");
        let sha512 = "ee26b0dd4af7e749aa1a8ee3c10ae9923f618980772e473f8819a5d4940e0db27ac185f8a0e1d5f84f88bc887fd67b143732c304cc5fa9ad8e6f57f50028a8ff";
        let path = format!("/v2/a/blobs/uploads/?digest=sha512:{sha512}");
        server.send(Method::POST, &path, &[], b"test").await.has(201);
        server.send(Method::POST, &path, &[], b"tesu").await.refused(400, "DIGEST_INVALID");
    })
    .await;
}

#[tokio::test]
async fn must_not_store_a_blob_under_a_digest_that_it_does_not_have() {
    on_both(async |server| {
        for digest in [ABSENT, "sha256:x", "md5:d41d8cd98f00b204e9800998ecf8427e", ""] {
            let begun = server.send(Method::POST, "/v2/a/blobs/uploads/", &[], b"").await.has(202);
            let finish = format!("{}?digest={digest}", begun.location());
            server.send(Method::PUT, &finish, &[], b"bytes").await.refused(400, "DIGEST_INVALID");
        }
        server.get(&format!("/v2/a/blobs/{ABSENT}")).await.refused(404, "BLOB_UNKNOWN");
        server.get(&format!("/v2/a/blobs/{}", Digest::of(b"bytes"))).await.refused(404, "BLOB_UNKNOWN");
        server.get("/v2/a/tags/list").await.refused(404, "NAME_UNKNOWN");
    })
    .await;
}

#[tokio::test]
async fn a_blob_is_pushed_in_chunks() {
    on_both(async |server| {
        let begun = server.send(Method::POST, "/v2/a/blobs/uploads/", &[], b"").await.has(202);
        let first = server.send(Method::PATCH, &begun.location(), &[("content-range", "0-3")], b"abcd").await.has(202);
        first.header("range", "0-3");
        let status = server.get(&first.location()).await.has(204);
        status.header("range", "0-3");
        // "If a chunk is uploaded out of order, the registry MUST respond with a 416 Requested Range Not Satisfiable".
        for range in ["0-3", "5-8", "3-6"] {
            let answer = server.send(Method::PATCH, &status.location(), &[("content-range", range)], b"efgh").await;
            answer.header("range", "0-3").refused(416, "BLOB_UPLOAD_INVALID");
        }
        for range in ["4-9", "4", "x-y", "4-3"] {
            let answer = server.send(Method::PATCH, &status.location(), &[("content-range", range)], b"efgh").await;
            answer.refused(400, "BLOB_UPLOAD_INVALID");
        }
        let second =
            server.send(Method::PATCH, &status.location(), &[("content-range", "4-7")], b"efgh").await.has(202);
        second.header("range", "0-7");
        let digest = Digest::of(b"abcdefghij");
        let finish = with_digest(&second.location(), &digest);
        let out_of_order = server.send(Method::PUT, &finish, &[("content-range", "0-1")], b"ij").await;
        out_of_order.refused(416, "BLOB_UPLOAD_INVALID");
        let done = server.send(Method::PUT, &finish, &[("content-range", "8-9")], b"ij").await.has(201);
        assert_eq!(server.get(&done.location()).await.has(200).body, b"abcdefghij");
        server.get(&second.location()).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    })
    .await;
}

#[tokio::test]
async fn a_blob_is_pushed_as_a_stream_and_closed_without_a_body() {
    on_both(async |server| {
        let begun = server.send(Method::POST, "/v2/a/blobs/uploads/", &[], b"").await.has(202);
        let streamed = server.send(Method::PATCH, &begun.location(), &[], b"stream").await.has(202);
        let digest = Digest::of(b"stream");
        let done = server.send(Method::PUT, &with_digest(&streamed.location(), &digest), &[], b"").await.has(201);
        assert_eq!(server.get(&done.location()).await.has(200).body, b"stream");
        let empty = Digest::of(b"");
        assert_eq!(server.push_blob("a", b"").await, empty);
        assert_eq!(server.get(&format!("/v2/a/blobs/{empty}")).await.has(200).body, b"");
    })
    .await;
}

#[tokio::test]
async fn an_upload_is_cancelled() {
    on_both(async |server| {
        let begun = server.send(Method::POST, "/v2/a/blobs/uploads/", &[], b"").await.has(202);
        server.send(Method::DELETE, &begun.location(), &[], b"").await.has(204);
        server.get(&begun.location()).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
        server.send(Method::DELETE, &begun.location(), &[], b"").await.refused(404, "BLOB_UPLOAD_UNKNOWN");
        let other = server.send(Method::POST, "/v2/a/blobs/uploads/", &[], b"").await.has(202);
        let elsewhere = other.location().replacen("/v2/a/", "/v2/b/", 1);
        server.send(Method::PATCH, &elsewhere, &[], b"x").await.refused(404, "BLOB_UPLOAD_UNKNOWN");
        server.get("/v2/a/blobs/uploads/..%2f..%2fx").await.has(404);
    })
    .await;
}

#[tokio::test]
async fn a_blob_is_mounted_from_another_repository() {
    on_both(async |server| {
        let digest = server.push_blob("from/here", b"mounted").await;
        let mount = |mount: &str, from: &str| format!("/v2/to/there/blobs/uploads/?mount={mount}&from={from}");
        // "If [...] unable to mount the requested blob, it SHOULD return a 202".
        for path in [
            mount(ABSENT, "from/here"),
            mount(&digest.to_string(), "not/there"),
            mount(&digest.to_string(), "NOT..A-NAME"),
            mount("sha256:x", "from/here"),
            format!("/v2/to/there/blobs/uploads/?mount={digest}"),
        ] {
            let answer = server.send(Method::POST, &path, &[], b"").await.has(202);
            assert!(answer.location().starts_with("/v2/to/there/blobs/uploads/"), "{path}");
        }
        server.get(&format!("/v2/to/there/blobs/{digest}")).await.has(404);
        let done = server.send(Method::POST, &mount(&digest.to_string(), "from/here"), &[], b"").await.has(201);
        assert_eq!(server.get(&done.location()).await.has(200).body, b"mounted");
    })
    .await;
}

// --- Pushing: manifests ---

#[tokio::test]
async fn a_manifest_is_pushed_by_tag_and_by_digest() {
    on_both(async |server| {
        let (config, bytes) = server.push_empty("a").await;
        let digest = Digest::of(&bytes);
        let typed = [("content-type", media_type::OCI_MANIFEST)];
        let done = server.send(Method::PUT, &format!("/v2/a/manifests/{digest}"), &typed, &bytes).await.has(201);
        done.header("docker-content-digest", &digest.to_string());
        assert_eq!(done.headers.get("oci-subject"), None);
        assert_eq!(server.get(&done.location()).await.has(200).body, bytes);
        server.get("/v2/a/tags/list").await.has(200).is_json(&json!({"name": "a", "tags": []}));
        let other = format!("/v2/a/manifests/{ABSENT}");
        server.send(Method::PUT, &other, &typed, &bytes).await.refused(400, "DIGEST_INVALID");
        server.send(Method::PUT, "/v2/a/manifests/t", &typed, &bytes).await.has(201);
        // A tag moves.
        let mut second = Manifest::new(config, Vec::new());
        second.annotations.insert("a".to_owned(), "b".to_owned());
        let moved = server.push_manifest("a", "t", media_type::OCI_MANIFEST, &second.encode()).await;
        assert_ne!(moved, digest);
        server.get("/v2/a/manifests/t").await.has(200).header("docker-content-digest", &moved.to_string());
        server.get(&format!("/v2/a/manifests/{digest}")).await.has(200);
    })
    .await;
}

#[tokio::test]
async fn must_not_take_a_manifest_that_is_malformed_or_too_large() {
    on_both(async |server| {
        let (config, good) = server.push_empty("a").await;
        let config = serde_json::to_string(&config).unwrap();
        for (bytes, content_type) in [
            (String::new(), media_type::OCI_MANIFEST),
            ("blablabla".to_owned(), media_type::OCI_MANIFEST),
            ("[]".to_owned(), media_type::OCI_MANIFEST),
            ("{}".to_owned(), media_type::OCI_MANIFEST),
            (String::from_utf8(good.clone()).unwrap(), media_type::OCI_INDEX),
            (String::from_utf8(good).unwrap() + "x", media_type::OCI_MANIFEST),
            (format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#), "application/json"),
            (format!(r#"{{"schemaVersion":2,"config":{config},"config":{config}}}"#), media_type::OCI_MANIFEST),
        ] {
            let typed = [("content-type", content_type)];
            let answer = server.send(Method::PUT, "/v2/a/manifests/bad", &typed, bytes.as_bytes()).await;
            answer.refused(400, "MANIFEST_INVALID");
        }
        let padded = |size: usize| {
            let text = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#);
            text.clone() + &" ".repeat(size - text.len())
        };
        let typed = [("content-type", media_type::OCI_MANIFEST)];
        let limit = 4 * 1024 * 1024;
        let largest = server.send(Method::PUT, "/v2/a/manifests/big", &typed, padded(limit).as_bytes()).await;
        largest.has(201);
        let larger = server.send(Method::PUT, "/v2/a/manifests/big", &typed, padded(limit + 1).as_bytes()).await;
        larger.refused(413, "SIZE_INVALID");
    })
    .await;
}

#[tokio::test]
async fn what_a_manifest_refers_to_must_be_there_but_for_its_subject() {
    on_both(async |server| {
        let (config, bytes) = server.push_empty("a").await;
        let absent = Descriptor { digest: ABSENT.parse().unwrap(), ..config.clone() };
        let with_layer = Manifest::new(config.clone(), vec![absent.clone()]).encode();
        let with_config = Manifest::new(absent.clone(), Vec::new()).encode();
        let with_child = Index::new(vec![Descriptor::of(media_type::OCI_MANIFEST, &bytes)]).encode();
        let put = async |path: &str, bytes: &[u8]| server.send(Method::PUT, path, &[], bytes).await;
        for bytes in [&with_layer, &with_config, &with_child] {
            put("/v2/a/manifests/t", bytes).await.refused(400, "MANIFEST_BLOB_UNKNOWN");
        }
        // A blob of another repository does not count.
        put("/v2/b/manifests/t", &bytes).await.refused(400, "MANIFEST_BLOB_UNKNOWN");
        put("/v2/a/manifests/child", &bytes).await.has(201);
        let done = put("/v2/a/manifests/t", &with_child).await.has(201);
        server.get(&done.location()).await.has(200).header("content-type", media_type::OCI_INDEX);
        let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip".to_owned();
        let with_foreign = Manifest::new(config.clone(), vec![Descriptor { media_type: foreign, ..absent.clone() }]);
        put("/v2/a/manifests/t", &with_foreign.encode()).await.has(201);
        let mut with_subject = Manifest::new(config, Vec::new());
        with_subject.subject = Some(absent);
        put("/v2/a/manifests/t", &with_subject.encode()).await.has(201).header("oci-subject", ABSENT);
    })
    .await;
}

// --- Content discovery ---

#[tokio::test]
async fn tags_are_listed_in_order_and_in_pages() {
    let limits = |limits: Limits| Limits { tags_per_page: 4, ..limits };
    on_both_within(limits, async |server| {
        server.get("/v2/a/tags/list").await.refused(404, "NAME_UNKNOWN");
        let (_, bytes) = server.push_empty("a").await;
        for tag in ["b", "a", "B", "v1.10", "v1.9", "_x"] {
            server.push_manifest("a", tag, media_type::OCI_MANIFEST, &bytes).await;
        }
        let all = ["B", "_x", "a", "b", "v1.10", "v1.9"];
        let mut seen = Vec::new();
        let mut next = Some("/v2/a/tags/list?n=2".to_owned());
        while let Some(path) = next {
            let page = server.get(&path).await.has(200);
            let tags: Vec<String> = serde_json::from_value(page.json()["tags"].clone()).unwrap();
            assert!(tags.len() <= 2, "{path}");
            seen.extend(tags);
            next = page.next();
        }
        assert_eq!(seen, all);
        let last = server.get("/v2/a/tags/list?n=3&last=_y").await.has(200);
        last.is_json(&json!({"name": "a", "tags": ["a", "b", "v1.10"]}));
        assert!(last.next().is_some());
        let end = server.get("/v2/a/tags/list?last=v1.10").await.has(200);
        end.is_json(&json!({"name": "a", "tags": ["v1.9"]}));
        assert_eq!(end.next(), None);
        // "When n is zero, this endpoint MUST return an empty list, and MUST NOT include a Link header."
        let none = server.get("/v2/a/tags/list?n=0").await.has(200);
        none.is_json(&json!({"name": "a", "tags": []}));
        assert_eq!(none.headers.get("link"), None);
        // Whatever the client asks for, a page is bounded.
        for path in ["/v2/a/tags/list", "/v2/a/tags/list?n=18446744073709551615"] {
            let page = server.get(path).await.has(200);
            assert_eq!(page.json()["tags"].as_array().unwrap().len(), 4);
            assert!(page.next().is_some());
        }
        for bad in ["n=x", "n=-1", "n=1&n=2"] {
            server.get(&format!("/v2/a/tags/list?{bad}")).await.refused(400, "UNSUPPORTED");
        }
    })
    .await;
}

#[tokio::test]
async fn referrers_are_listed_with_their_type_and_annotations() {
    on_both(async |server| {
        let (config, bytes) = server.push_empty("a").await;
        // The subject need not be there yet.
        let subject = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
        let mut typed = Manifest::new(config.clone(), Vec::new());
        typed.subject = Some(subject.clone());
        typed.artifact_type = Some("application/x.typed+json".to_owned());
        typed.annotations.insert("k".to_owned(), "v".to_owned());
        let mut by_config = Manifest::new(config.clone(), Vec::new());
        by_config.subject = Some(subject.clone());
        let mut index = Index::new(Vec::new());
        index.subject = Some(subject.clone());
        let mut index_typed = index.clone();
        index_typed.artifact_type = Some("application/x.index".to_owned());
        let pushed = [
            (media_type::OCI_MANIFEST, typed.encode(), Some("application/x.typed+json"), json!({"k": "v"})),
            (media_type::OCI_MANIFEST, by_config.encode(), Some(media_type::OCI_EMPTY), Value::Null),
            (media_type::OCI_INDEX, index.encode(), None, Value::Null),
            (media_type::OCI_INDEX, index_typed.encode(), Some("application/x.index"), Value::Null),
        ];
        for (content_type, bytes, ..) in &pushed {
            let path = format!("/v2/a/manifests/{}", Digest::of(bytes));
            let answer = server.send(Method::PUT, &path, &[("content-type", content_type)], bytes).await.has(201);
            answer.header("oci-subject", &subject.digest.to_string());
        }
        server.push_manifest("a", "late", media_type::OCI_MANIFEST, &bytes).await;

        let listing = server.get(&format!("/v2/a/referrers/{}", subject.digest)).await.has(200);
        listing.header("content-type", media_type::OCI_INDEX);
        let listed = listing.json();
        assert_eq!((&listed["schemaVersion"], &listed["mediaType"]), (&json!(2), &json!(media_type::OCI_INDEX)));
        let listed = listed["manifests"].as_array().unwrap();
        assert_eq!(listed.len(), pushed.len());
        for (content_type, bytes, artifact_type, annotations) in &pushed {
            let digest = Digest::of(bytes).to_string();
            let descriptor = listed.iter().find(|one| one["digest"] == digest.as_str()).unwrap();
            assert_eq!(descriptor["mediaType"], *content_type);
            assert_eq!(descriptor["size"], bytes.len());
            assert_eq!(descriptor["artifactType"].as_str(), *artifact_type);
            assert_eq!(descriptor["annotations"], *annotations);
        }
    })
    .await;
}

#[tokio::test]
async fn must_not_answer_404_where_nobody_refers_to_a_subject() {
    on_both(async |server| {
        server.push_empty("a").await;
        for name in ["a", "not/there"] {
            let listing = server.get(&format!("/v2/{name}/referrers/{ABSENT}")).await.has(200);
            listing.header("content-type", media_type::OCI_INDEX);
            assert_eq!(listing.json()["manifests"], json!([]));
        }
    })
    .await;
}

#[tokio::test]
async fn referrers_are_filtered_and_paged() {
    let limits = |limits: Limits| Limits { referrers_per_page: 3, ..limits };
    on_both_within(limits, async |server| {
        let subject: Digest = ABSENT.parse().unwrap();
        let mut pushed = Vec::new();
        for number in 0..10 {
            let artifact_type = if number % 2 == 0 { "application/even+x" } else { "application/odd+x" };
            pushed.push(server.push_referrer("a", subject, artifact_type, &number.to_string()).await);
        }
        let all = server.walk_referrers(&format!("/v2/a/referrers/{subject}"), 3).await;
        assert_eq!(all, pushed, "in the order of pushing");
        let path = format!("/v2/a/referrers/{subject}?artifactType=application%2Feven%2Bx");
        let first = server.get(&path).await.has(200);
        first.header("oci-filters-applied", "artifactType");
        let even: Vec<Digest> = pushed.iter().copied().step_by(2).collect();
        assert_eq!(server.walk_referrers(&path, 3).await, even);
        let none = server.get(&format!("/v2/a/referrers/{subject}?artifactType=application/none")).await.has(200);
        assert_eq!(none.json()["manifests"], json!([]));
        none.header("oci-filters-applied", "artifactType");
        let unfiltered = server.get(&format!("/v2/a/referrers/{subject}")).await.has(200);
        assert_eq!(unfiltered.headers.get("oci-filters-applied"), None);
        // What is deleted between two pages neither hides nor repeats another.
        let page = server.get(&format!("/v2/a/referrers/{subject}")).await.has(200);
        server.send(Method::DELETE, &format!("/v2/a/manifests/{}", pushed[2]), &[], b"").await.has(202);
        assert_eq!(server.walk_referrers(&page.next().unwrap(), 3).await, pushed[3..]);
    })
    .await;
}

#[tokio::test]
async fn must_not_send_a_page_of_referrers_that_is_larger_than_a_manifest_may_be() {
    on_both(async |server| {
        let subject: Digest = ABSENT.parse().unwrap();
        let large = "x".repeat(1_500_000);
        for number in 0..5 {
            server.push_referrer("a", subject, "a/b", &format!("{number}{large}")).await;
        }
        let first = server.get(&format!("/v2/a/referrers/{subject}")).await.has(200);
        assert!(first.body.len() < 4 * 1024 * 1024, "{}", first.body.len());
        assert_eq!(server.walk_referrers(&format!("/v2/a/referrers/{subject}"), 2).await.len(), 5);
    })
    .await;
}

// --- Content management ---

#[tokio::test]
async fn tags_manifests_and_blobs_are_deleted() {
    on_both(async |server| {
        let (config, bytes) = server.push_empty("a").await;
        let digest = server.push_manifest("a", "one", media_type::OCI_MANIFEST, &bytes).await;
        server.push_manifest("a", "two", media_type::OCI_MANIFEST, &bytes).await;
        let delete = async |path: &str| server.send(Method::DELETE, path, &[], b"").await;
        delete("/v2/a/manifests/one").await.has(202);
        delete("/v2/a/manifests/one").await.refused(404, "MANIFEST_UNKNOWN");
        server.get(&format!("/v2/a/manifests/{digest}")).await.has(200);
        delete(&format!("/v2/a/manifests/{digest}")).await.has(202);
        server.get("/v2/a/manifests/two").await.refused(404, "MANIFEST_UNKNOWN");
        server.get("/v2/a/tags/list").await.has(200).is_json(&json!({"name": "a", "tags": []}));
        delete(&format!("/v2/a/manifests/{digest}")).await.refused(404, "MANIFEST_UNKNOWN");
        // The same content in another repository stays.
        server.push_empty("b").await;
        let blob = format!("blobs/{}", config.digest);
        delete(&format!("/v2/a/{blob}")).await.has(202);
        delete(&format!("/v2/a/{blob}")).await.refused(404, "BLOB_UNKNOWN");
        server.get(&format!("/v2/a/{blob}")).await.refused(404, "BLOB_UNKNOWN");
        assert_eq!(server.get(&format!("/v2/b/{blob}")).await.has(200).body, b"{}");
        let answer = delete("/v2/a/tags/list").await;
        answer.header("allow", "GET, HEAD").refused(405, "UNSUPPORTED");
    })
    .await;
}

#[tokio::test]
async fn a_deleted_referrer_is_no_longer_listed() {
    on_both(async |server| {
        let subject: Digest = ABSENT.parse().unwrap();
        let path = format!("/v2/a/referrers/{subject}");
        let referrer = server.push_referrer("a", subject, "a/b", "1").await;
        assert_eq!(server.walk_referrers(&path, 100).await, [referrer]);
        server.send(Method::DELETE, &format!("/v2/a/manifests/{referrer}"), &[], b"").await.has(202);
        assert_eq!(server.walk_referrers(&path, 100).await, []);
    })
    .await;
}

// --- Bounds ---

#[tokio::test]
async fn must_not_hold_more_than_its_limits() {
    let limits = |limits: Limits| Limits {
        max_blob_bytes: 100,
        max_total_bytes: 250,
        max_entries: 5,
        max_uploads: 2,
        upload_idle: std::time::Duration::from_secs(600),
        ..limits
    };
    on_both_within(limits, async |server| {
        let post = async |bytes: &[u8]| {
            let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::of(bytes));
            server.send(Method::POST, &path, &[], bytes).await
        };
        post(&[1; 101]).await.refused(413, "SIZE_INVALID");
        post(&[1; 100]).await.has(201);
        post(&[2; 100]).await.has(201);
        post(&[3; 51]).await.refused(403, "DENIED");
        // Deleting makes room.
        let second = format!("/v2/a/blobs/{}", Digest::of(&[2; 100]));
        server.send(Method::DELETE, &second, &[], b"").await.has(202);
        post(&[3; 51]).await.has(201);
        // Uploads in progress count, by number and by bytes, until they are given up.
        let begin = async || server.send(Method::POST, "/v2/a/blobs/uploads/", &[], b"").await;
        let (first, _) = (begin().await.has(202), begin().await.has(202));
        begin().await.refused(429, "TOOMANYREQUESTS");
        server.send(Method::PATCH, &first.location(), &[], &[0; 101]).await.refused(413, "SIZE_INVALID");
        server.send(Method::PATCH, &first.location(), &[], &[0; 90]).await.has(202);
        post(&[4; 10]).await.refused(403, "DENIED");
        server.send(Method::DELETE, &first.location(), &[], b"").await.has(204);
        begin().await.has(202);
        // The repository and two blobs are three entries.
        post(b"4").await.has(201);
        post(b"5").await.has(201);
        post(b"6").await.refused(403, "DENIED");
    })
    .await;
}

// --- The folder ---

#[tokio::test]
async fn what_was_pushed_to_a_folder_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let subject: Digest = ABSENT.parse().unwrap();
    let server = Server::on_folder(folder.path(), Limits::on_folder()).await;
    let (config, bytes) = server.push_empty("deep/er/name").await;
    let digest = server.push_manifest("deep/er/name", "v1", media_type::OCI_MANIFEST, &bytes).await;
    let referrer = server.push_referrer("deep/er/name", subject, "a/b", "1").await;
    server.push_manifest("deep/er/name", "gone", media_type::OCI_MANIFEST, &bytes).await;
    server.send(Method::DELETE, "/v2/deep/er/name/manifests/gone", &[], b"").await.has(202);
    server.send(Method::POST, "/v2/deep/er/name/blobs/uploads/", &[], b"").await.has(202);
    server.stop().await;

    let server = Server::on_folder(folder.path(), Limits::on_folder()).await;
    let manifest = server.get("/v2/deep/er/name/manifests/v1").await.has(200);
    manifest.header("content-type", media_type::OCI_MANIFEST).header("docker-content-digest", &digest.to_string());
    assert_eq!(manifest.body, bytes);
    server.get("/v2/deep/er/name/manifests/gone").await.has(404);
    assert_eq!(server.get(&format!("/v2/deep/er/name/blobs/{}", config.digest)).await.has(200).body, b"{}");
    assert_eq!(server.walk_referrers(&format!("/v2/deep/er/name/referrers/{subject}"), 100).await, [referrer]);
    assert_eq!(std::fs::read_dir(folder.path().join("temporary")).unwrap().count(), 0);
    server.stop().await;
}

#[tokio::test]
async fn must_not_use_a_folder_that_is_damaged_or_somebody_elses() {
    use hallmark_embedded_registry::{OpenError, Registry};
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("precious.txt"), "mine").unwrap();
    assert!(matches!(Registry::on_folder(folder.path()), Err(OpenError::Foreign { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    let folder = tempfile::tempdir().unwrap();
    let server = Server::on_folder(folder.path(), Limits::on_folder()).await;
    let (_, bytes) = server.push_empty("a").await;
    let digest = server.push_manifest("a", "v1", media_type::OCI_MANIFEST, &bytes).await;
    server.stop().await;
    std::fs::write(folder.path().join("blobs/sha256").join(digest.encoded()), "damaged").unwrap();
    assert!(matches!(Registry::on_folder(folder.path()), Err(OpenError::Foreign { .. })));
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing_and_can_go_on() {
    on_both(async |server| {
        let begun = server.send(Method::POST, "/v2/a/blobs/uploads/", &[], b"").await.has(202);
        let request = format!(
            "PATCH {} HTTP/1.1\r\nhost: {}\r\ncontent-length: 100\r\n\r\nabcd",
            begun.location(),
            server.address
        );
        server.send_raw_and_hang_up(request.as_bytes()).await;
        // The next request waits for the broken one to be over, then sees what arrived of it.
        let status: Answer = server.get(&begun.location()).await.has(204);
        let received: usize = status.headers["range"].to_str().unwrap().strip_prefix("0-").unwrap().parse().unwrap();
        let (rest, digest) = if received == 3 { ("efgh", "abcdefgh") } else { ("abcdefgh", "abcdefgh") };
        let finish = with_digest(&begun.location(), &Digest::of(digest.as_bytes()));
        server.send(Method::PUT, &finish, &[], rest.as_bytes()).await.has(201);
    })
    .await;
}

fn with_digest(location: &str, digest: &Digest) -> String {
    format!("{location}?digest={digest}")
}
