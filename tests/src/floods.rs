//! Group R of the attack catalogue, from the callers' side: whatever they do to the service, it answers the others,
//! forgets them when they leave, and asks the registry no more than it must.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hallmark_policy::signature::Format;
use serde_json::json;

use crate::harness::hostile::Hostility;
use crate::harness::registry::Options;
use crate::harness::service::Verifier;
use crate::harness::world::{Key, World};

const MEBIBYTE: u64 = 1024 * 1024;
/// How long the service may take to let go of what nobody waits for any more.
const PATIENCE: Duration = Duration::from_secs(60);

/// A registry with one signed image that takes its time, and a service that trusts it.
async fn start(delay: Duration) -> (World, Verifier, String) {
    let key = Key::new(1);
    let hostility = Hostility { delay, ..Hostility::default() };
    let world = World::with(Options { hostility, ..Options::default() });
    world.sign_as_cosign(&key, Format::SigstoreBundle);
    let service = Verifier::start(&key, world.registry.host(), "").await;
    let image = world.pinned().to_string();
    (world, service, image)
}

/// Clients that multiplex, so that a thousand questions need few connections.
fn multiplexing(count: usize) -> Vec<reqwest::Client> {
    let client = || reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    (0..count).map(|_| client()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r13_a_thousand_equal_questions_at_once_are_all_answered_by_one_fetch() {
    let (world, service, image) = start(Duration::from_millis(200)).await;
    let clients = multiplexing(10);
    world.registry.clear();
    let asking = (0..1000).map(|number| service.ask_with(&clients[number % clients.len()], &image));
    let verdicts = futures_util::future::join_all(asking).await;
    for verdict in &verdicts {
        assert_eq!(verdict["verdict"], "allow", "{verdict}");
    }
    // G1: a bundle of another program by digest takes three requests and two that find nothing.
    assert_eq!(world.lines().len(), 5, "{:?}", world.lines());
    // Its twin: another image is another fetch.
    let other = format!("{}/team/other@{}", world.registry.host(), world.digest);
    assert_ne!(service.ask(&other).await["verdict"], "allow");
    assert!(world.lines().len() > 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_callers_that_leave_leave_nothing_behind() {
    let (world, service, image) = start(Duration::from_millis(20)).await;
    assert_eq!(service.ask(&image).await["verdict"], "allow");
    let (descriptors, memory) = (service.descriptors(), service.resident());
    let host = world.registry.host().to_owned();
    let api = service.api().to_owned();
    let digest = world.digest;
    let leaving = tokio::task::spawn_blocking(move || {
        for number in 0..10_000 {
            let mut stream = TcpStream::connect(&api).unwrap();
            // Many images, so that many gatherings are under way when their asker leaves.
            let body = json!({"images": [format!("{host}/team/app{}@{digest}", number % 100)]}).to_string();
            let _ = write!(
                stream,
                "POST /v1/verdicts HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            if number % 2 == 0 {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    });
    leaving.await.unwrap();
    assert_eq!(service.ask(&image).await["verdict"], "allow");
    // The service keeps some connections to the registry, as many as it may have requests there at one time.
    comes_back(&service, descriptors + 40).await;
    let grown = service.resident().saturating_sub(memory);
    assert!(grown < 64 * MEBIBYTE, "{} MiB", grown / MEBIBYTE);
}

/// Waits until the service holds no more than so many files and sockets.
async fn comes_back(service: &Verifier, most: usize) {
    let begun = Instant::now();
    while service.descriptors() > most {
        assert!(begun.elapsed() < PATIENCE, "{} files and sockets, and {most} are right", service.descriptors());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_must_not_make_metrics_of_what_callers_write() {
    let (world, service, image) = start(Duration::ZERO).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask_oddly = async |round: &str| {
        for number in 0..60 {
            let text = format!("attacker-{round}-{number}");
            service.ask(&format!("{}/{text}/app:{text}", world.registry.host())).await;
            service.ask(&format!("{text}.example/app:1")).await;
            let url = format!("http://{}/{text}?{text}={text}", service.api());
            let method = reqwest::Method::from_bytes(text.to_uppercase().as_bytes()).unwrap();
            let _ = client.request(method, &url).header("user-agent", &text).send().await;
            let url = format!("http://{}/v1/verdicts?{text}", service.api());
            let _ = client.post(&url).header("content-type", &text).body(text.clone()).send().await;
            let body = json!({"images": [image], "context": {"namespace": text}}).to_string();
            let url = format!("http://{}/v1/verdicts", service.api());
            let _ = client.post(&url).header("content-type", "application/json").body(body).send().await;
        }
    };
    ask_oddly("first").await;
    let before = service.metrics().await;
    ask_oddly("second").await;
    let after = service.metrics().await;
    assert_eq!(before.lines().count(), after.lines().count(), "{after}");
    assert!(!after.to_lowercase().contains("attacker"), "{after}");
    // Its twin: they are counted all the same.
    assert_ne!(before, after);
    assert!(after.contains("hallmark_verdicts_total"), "{after}");
}

/// One way of being a nuisance, until it is told to stop or nobody takes it any more.
type Nuisance = fn(&str, &AtomicBool);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r08_must_not_keep_others_waiting_whatever_one_caller_does() {
    let nuisances: [(&str, Nuisance); 9] = [
        ("heads that never end", slow_heads),
        ("bodies that never come", slow_bodies),
        ("connections that say nothing", idle),
        ("requests without reading the answers", pipelined),
        ("streams opened and reset", rapid_reset),
        ("headers that go on for ever", continuation),
        ("empty data", empty_data),
        ("pings and settings", pings),
        ("streams without a window", no_window),
    ];
    let (world, service, image) = start(Duration::ZERO).await;
    // One that nobody attacks: what keeps it waiting is the machine, which may have much else to do.
    let spared = Verifier::start(&Key::new(1), world.registry.host(), "").await;
    let ask = async |service: &Verifier, name: &str| {
        let begun = Instant::now();
        assert_eq!(service.ask(&image).await["verdict"], "allow", "{name}");
        begun.elapsed()
    };
    for service in [&service, &spared] {
        ask(service, "nobody").await;
    }
    let (descriptors, memory) = (service.descriptors(), service.resident());
    for (name, nuisance) in nuisances {
        service.forget_peak();
        let stop = Arc::new(AtomicBool::new(false));
        let (api, told) = (service.api().to_owned(), Arc::clone(&stop));
        let attack = std::thread::spawn(move || nuisance(&api, &told));
        let (mut slowest, mut spared_slowest) = (Duration::ZERO, Duration::ZERO);
        let attacked = Instant::now();
        while attacked.elapsed() < Duration::from_millis(600) {
            slowest = slowest.max(ask(&service, name).await);
            spared_slowest = spared_slowest.max(ask(&spared, name).await);
        }
        stop.store(true, Ordering::SeqCst);
        tokio::task::spawn_blocking(move || attack.join().unwrap()).await.unwrap();
        let most = Duration::from_secs(3) + 4 * spared_slowest;
        assert!(slowest < most, "{name}: {slowest:?}, and {spared_slowest:?} where nobody attacks");
        let grown = service.peak().saturating_sub(memory);
        assert!(grown < 64 * MEBIBYTE, "{name}: {} MiB", grown / MEBIBYTE);
        comes_back(&service, descriptors + 8).await;
    }
    let [client] = &multiplexing(1)[..] else { return };
    assert_eq!(service.ask_with(client, &image).await["verdict"], "allow");
}

fn connect(api: &str) -> TcpStream {
    let stream = TcpStream::connect(api).unwrap();
    let _ = stream.set_write_timeout(Some(Duration::from_millis(500)));
    let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
    stream
}

/// Some connections, each of which sends one thing now and one thing again and again.
fn drip(api: &str, stop: &AtomicBool, begin: &str, again: &str) {
    let mut streams: Vec<TcpStream> = (0..200).map(|_| connect(api)).collect();
    for stream in &mut streams {
        let _ = stream.write_all(begin.as_bytes());
    }
    while !stop.load(Ordering::SeqCst) {
        for stream in &mut streams {
            let _ = stream.write_all(again.as_bytes());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn slow_heads(api: &str, stop: &AtomicBool) {
    drip(api, stop, "POST /v1/verdicts HTTP/1.1\r\nhost: x\r\n", "a: b\r\n");
}

fn slow_bodies(api: &str, stop: &AtomicBool) {
    let head =
        "POST /v1/verdicts HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n";
    drip(api, stop, head, " ");
}

fn idle(api: &str, stop: &AtomicBool) {
    drip(api, stop, "", "");
}

/// Sends until nobody takes it, again and again.
fn flood(api: &str, stop: &AtomicBool, begin: &[u8], again: &[u8]) {
    while !stop.load(Ordering::SeqCst) {
        let mut stream = connect(api);
        let _ = stream.write_all(begin);
        for _ in 0..20_000 {
            if stop.load(Ordering::SeqCst) || stream.write_all(again).is_err() {
                break;
            }
        }
        // What was answered is not read, but for a little at the end.
        let _ = stream.read(&mut [0; 1024]);
    }
}

fn pipelined(api: &str, stop: &AtomicBool) {
    flood(api, stop, b"", b"GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n");
}

/// One frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The preface and empty settings (RFC 9113, section 3.4), with some first settings.
fn preface(settings: &[u8]) -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, settings)].concat()
}

/// `POST /v1/verdicts` with JSON, as a header block without compression (RFC 7541, sections 6.1 and 6.2.2).
fn post() -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    for (prefix, value) in [(&[0x04][..], "/v1/verdicts"), (&[0x01], "x"), (&[0x0f, 0x10], "application/json")] {
        block.extend(prefix);
        block.push(u8::try_from(value.len()).unwrap());
        block.extend(value.as_bytes());
    }
    block
}

/// Frames for streams 1, 3, 5 and so on.
fn on_streams(api: &str, stop: &AtomicBool, settings: &[u8], frames: impl Fn(u32) -> Vec<u8>) {
    while !stop.load(Ordering::SeqCst) {
        let mut stream = connect(api);
        let _ = stream.write_all(&preface(settings));
        for number in 0..10_000 {
            if stop.load(Ordering::SeqCst) || stream.write_all(&frames(2 * number + 1)).is_err() {
                break;
            }
        }
        let _ = stream.read(&mut [0; 1024]);
    }
}

fn rapid_reset(api: &str, stop: &AtomicBool) {
    on_streams(api, stop, &[], |stream| {
        let cancel = 8_u32.to_be_bytes();
        [frame(HEADERS, END_HEADERS, stream, &post()), frame(RST_STREAM, 0, stream, &cancel)].concat()
    });
}

fn continuation(api: &str, stop: &AtomicBool) {
    let begin = [preface(&[]), frame(HEADERS, 0, 1, &post())].concat();
    // A header of 16 KiB, again and again, and no end of headers.
    let mut header = vec![0x00, 0x01, b'a', 0x7f, 0x81, 0x7e];
    header.extend(vec![b'x'; 16_000]);
    flood(api, stop, &begin, &frame(CONTINUATION, 0, 1, &header));
}

fn empty_data(api: &str, stop: &AtomicBool) {
    let begin = [preface(&[]), frame(HEADERS, END_HEADERS, 1, &post())].concat();
    flood(api, stop, &begin, &frame(DATA, 0, 1, b"").repeat(64));
}

fn pings(api: &str, stop: &AtomicBool) {
    let one = [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[])].concat();
    flood(api, stop, &preface(&[]), &one.repeat(32));
}

fn no_window(api: &str, stop: &AtomicBool) {
    // SETTINGS_INITIAL_WINDOW_SIZE of 0: no answer's body may be sent.
    let settings = [0, 4, 0, 0, 0, 0];
    on_streams(api, stop, &settings, |stream| {
        let body = br#"{"images":["x"]}"#;
        [frame(HEADERS, END_HEADERS, stream, &post()), frame(DATA, END_STREAM, stream, body)].concat()
    });
}
