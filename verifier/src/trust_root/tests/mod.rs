//! The attacks that TUF is made against (specification, section 1.5.2), each with its allowed twin; and what becomes of
//! the last good root.

mod published;

use std::time::Duration;

use hallmark_policy::Timestamp;
use hallmark_policy::image::Digest;

use super::refresh::{refresh_from, refresh_in_turn};
use super::{Mirror, RefreshError, RefreshedRoot, RootSource, TrustRootFolder, TrustRoots, refresh};
use published::{PUBLIC_GOOD, Publisher, STAGING, Served};

const NOW: &str = "2026-11-25T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// One repository, who reads it, and where that is kept.
struct World {
    served: Served,
    source: RootSource,
    directory: tempfile::TempDir,
}

impl World {
    fn new(publisher: &Publisher) -> Self {
        let mirror = Mirror::at("https://tuf.example").unwrap();
        let source = RootSource::private("acme", publisher.own_root(), mirror).unwrap();
        Self { served: Served::of(publisher.files()), source, directory: tempfile::tempdir().unwrap() }
    }

    fn folder(&self) -> TrustRootFolder {
        TrustRootFolder::new(self.directory.path().join("trust-roots"))
    }

    async fn refresh(&self) -> Result<RefreshedRoot, RefreshError> {
        self.refresh_at(NOW).await
    }

    async fn refresh_at(&self, now: &str) -> Result<RefreshedRoot, RefreshError> {
        refresh_from(&self.source, Some(&self.folder()), self.served.clone(), at(now)).await
    }

    fn last_good(&self) -> Option<Vec<u8>> {
        self.folder().last_good(&self.source, at("2030-01-01T00:00:00Z")).unwrap().map(|good| good.document)
    }
}

#[tokio::test]
async fn a_root_is_refreshed_and_kept_and_believed_again() {
    let first = Publisher::new();
    let world = World::new(&first);
    assert_eq!(world.last_good(), None);
    let refreshed = world.refresh().await.unwrap();
    assert_eq!(refreshed.document, PUBLIC_GOOD);
    assert_eq!((refreshed.refreshed_at, refreshed.fresh_until), (at(NOW), at(first.expires)));
    assert_eq!(world.last_good().as_deref(), Some(PUBLIC_GOOD));
    world.served.put(first.next(STAGING).files());
    let refreshed = world.refresh().await.unwrap();
    assert_eq!((refreshed.document.as_slice(), refreshed.timestamp_version), (STAGING, 2));
    assert_eq!(world.last_good().as_deref(), Some(STAGING));
    // Nothing new is no failure, and is a new word.
    let later = world.refresh_at("2026-11-26T12:00:00Z").await.unwrap();
    assert_eq!((later.document.as_slice(), later.refreshed_at), (STAGING, at("2026-11-26T12:00:00Z")));
}

#[tokio::test]
async fn must_not_go_back_to_an_older_root() {
    let first = Publisher::new();
    let second = first.next(STAGING);
    let world = World::new(&second);
    world.refresh().await.unwrap();
    let old = Served::of(first.files());
    let rolled_back = refresh_from(&world.source, Some(&world.folder()), old.clone(), at(NOW)).await;
    assert!(matches!(rolled_back, Err(RefreshError::RolledBack { .. })), "{rolled_back:?}");
    assert_eq!(world.last_good().as_deref(), Some(STAGING));
    // A newer timestamp over an older snapshot is the same attack.
    let mut mixed = first.clone();
    mixed.timestamp = 3;
    let rolled_back = refresh_from(&world.source, Some(&world.folder()), Served::of(mixed.files()), at(NOW)).await;
    assert!(matches!(rolled_back, Err(RefreshError::RolledBack { .. })), "{rolled_back:?}");
    assert_eq!(world.last_good().as_deref(), Some(STAGING));
    // The twin: who never saw the second edition takes the first.
    let stranger = World { served: old, ..World::new(&first) };
    assert_eq!(stranger.refresh().await.unwrap().document, PUBLIC_GOOD);
}

/// The service's default: what was seen is remembered for as long as the process runs.
#[tokio::test]
async fn must_not_go_back_to_an_older_root_where_nothing_is_kept() {
    let first = Publisher::new();
    let mut second = first.next(STAGING);
    let served = Served::of(second.files());
    let (address, _) = served.listen().await;
    let source = || RootSource::named("public-good", first.own_root(), Mirror::at(&address).unwrap());
    let roots = TrustRoots::new(vec![source()], None);
    let digest = || roots.digest("public-good");
    assert_eq!(roots.refresh("public-good", at(NOW)).await, Ok(true));
    served.put(first.files());
    let outcome = roots.refresh("public-good", at(NOW)).await;
    assert!(matches!(outcome, Err(RefreshError::RolledBack { .. })), "{outcome:?}");
    assert_eq!(digest(), Some(Digest::of(STAGING)));
    // What was seen by a refresh that failed half way counts as well.
    second.timestamp = 3;
    served.put(second.files());
    assert_eq!(roots.refresh("public-good", at(NOW)).await, Ok(false));
    let mut half = second.next(STAGING);
    served.put(half.files());
    served.take("3.snapshot.json");
    assert!(matches!(roots.refresh("public-good", at(NOW)).await, Err(RefreshError::Unreachable { .. })));
    served.put(second.files());
    let outcome = roots.refresh("public-good", at(NOW)).await;
    assert!(matches!(outcome, Err(RefreshError::RolledBack { .. })), "{outcome:?}");
    // Keys are rotated, and the mirror hides that: the old online key says nothing any more, however new its word.
    (half.root, half.online_key) = (2, 10);
    served.put(half.files());
    served.put([("2.root.json".to_owned(), half.own_root())].into());
    assert_eq!(roots.refresh("public-good", at(NOW)).await, Ok(false));
    served.take("2.root.json");
    let (mut hidden, renewed) = (half.next(PUBLIC_GOOD), half.next(STAGING));
    (hidden.root, hidden.online_key) = (1, 9);
    served.put(hidden.files());
    let outcome = roots.refresh("public-good", at(NOW)).await;
    assert!(matches!(outcome, Err(RefreshError::Untrusted { .. })), "{outcome:?}");
    assert_eq!(digest(), Some(Digest::of(STAGING)));
    // The twins: what is newer is taken, and a process that never saw the newer one takes the older.
    served.put(renewed.files());
    assert_eq!(roots.refresh("public-good", at(NOW)).await, Ok(false));
    served.put(hidden.files());
    assert_eq!(TrustRoots::new(vec![source()], None).refresh("public-good", at(NOW)).await, Ok(true));
}

#[tokio::test]
async fn must_not_be_frozen_and_an_expired_word_takes_nothing_away() {
    let first = Publisher::new();
    let world = World::new(&first);
    assert!(world.refresh_at("2026-12-01T00:00:00Z").await.is_ok(), "the last moment");
    let frozen = world.refresh_at("2026-12-01T00:00:01Z").await;
    assert!(matches!(frozen, Err(RefreshError::Expired { .. })), "{frozen:?}");
    // Four years later, the last good root is still there.
    assert_eq!(world.last_good().as_deref(), Some(PUBLIC_GOOD));
    let mut renewed = first.next(STAGING);
    renewed.expires = "2027-01-01T00:00:00Z";
    world.served.put(renewed.files());
    assert_eq!(world.refresh_at("2026-12-01T00:00:01Z").await.unwrap().document, STAGING);
    // The TUF root itself ends as well.
    let ended = world.refresh_at("2027-06-01T00:00:01Z").await;
    assert!(matches!(ended, Err(RefreshError::Expired { .. })), "{ended:?}");
}

#[tokio::test]
async fn must_not_mix_the_parts_of_two_editions() {
    let first = Publisher::new();
    let second = first.next(STAGING);
    let (old, new) = (first.files(), second.files());
    for (part, instead) in [("2.snapshot.json", "1.snapshot.json"), ("2.targets.json", "1.targets.json")] {
        let world = World::new(&second);
        let mut mixed = new.clone();
        mixed.insert(part.to_owned(), old[instead].clone());
        world.served.put(mixed);
        let outcome = world.refresh().await;
        assert!(matches!(outcome, Err(RefreshError::Untrusted { .. })), "{part}: {outcome:?}");
        world.served.put(new.clone());
        assert_eq!(world.refresh().await.unwrap().document, STAGING, "its twin");
    }
    // A document under the name of another.
    let world = World::new(&second);
    let name = format!("targets/{}.trusted_root.json", Digest::of(STAGING).encoded());
    world.served.put([(name, PUBLIC_GOOD.to_vec())].into());
    let outcome = world.refresh().await;
    assert!(outcome.is_err(), "{outcome:?}");
}

#[tokio::test]
async fn must_not_believe_anybody_else() {
    let first = Publisher::new();
    let mut stranger = first.next(STAGING);
    (stranger.root_keys, stranger.online_key) = (vec![11, 12, 13], 19);
    let world = World::new(&first);
    world.refresh().await.unwrap();
    world.served.put(stranger.files());
    let outcome = world.refresh().await;
    assert!(matches!(outcome, Err(RefreshError::Untrusted { .. })), "{outcome:?}");
    // Their own root, signed by themselves alone, in its right place.
    stranger.root = 2;
    world.served.put([("2.root.json".to_owned(), stranger.own_root())].into());
    let outcome = world.refresh().await;
    assert!(matches!(outcome, Err(RefreshError::Untrusted { .. })), "{outcome:?}");
    assert_eq!(world.last_good().as_deref(), Some(PUBLIC_GOOD));
}

#[tokio::test]
async fn keys_are_rotated_by_enough_of_the_old_and_of_the_new() {
    let first = Publisher::new();
    let mut second = first.next(STAGING);
    (second.root, second.root_keys, second.online_key) = (2, vec![2, 3, 4, 5], 10);
    second.root_threshold = 3;
    // Two of the old keys must sign, and three of the new; one signature may be both.
    for (signers, is_enough) in
        [(&[2, 3, 4][..], true), (&[1, 2, 4, 5], true), (&[3, 4, 5], false), (&[1, 2, 3], false), (&[4, 5], false)]
    {
        let world = World::new(&first);
        world.refresh().await.unwrap();
        world.served.put(second.files());
        world.served.put([("2.root.json".to_owned(), second.root_by(signers))].into());
        let outcome = world.refresh().await;
        assert_eq!(outcome.is_ok(), is_enough, "{signers:?}: {outcome:?}");
        let kept = if is_enough { STAGING } else { PUBLIC_GOOD };
        assert_eq!(world.last_good().as_deref(), Some(kept), "{signers:?}");
    }
    // A version that is left out leads nowhere.
    let world = World::new(&first);
    second.root = 3;
    world.served.put([("2.root.json".to_owned(), second.root_by(&[1, 2, 3, 4]))].into());
    assert!(matches!(world.refresh().await, Err(RefreshError::Untrusted { .. })));
}

/// The last good root is one file: half of a new edition does not take the place of the whole old one.
#[tokio::test]
async fn must_not_lose_the_last_good_root_to_a_refresh_that_fails_half_way() {
    let first = Publisher::new();
    let second = first.next(STAGING);
    for gone in ["2.snapshot.json", "2.targets.json"] {
        let world = World::new(&first);
        world.refresh().await.unwrap();
        world.served.put(second.files());
        world.served.take(gone);
        let outcome = world.refresh().await;
        assert!(matches!(outcome, Err(RefreshError::Unreachable { .. })), "{gone}: {outcome:?}");
        assert_eq!(world.last_good().as_deref(), Some(PUBLIC_GOOD), "{gone}");
        // What was seen of the new edition counts all the same: the old one is too old from now on.
        let old = refresh_from(&world.source, Some(&world.folder()), Served::of(first.files()), at(NOW)).await;
        assert!(matches!(old, Err(RefreshError::RolledBack { .. })), "{gone}: {old:?}");
        world.served.put(second.files());
        assert_eq!(world.refresh().await.unwrap().document, STAGING, "{gone}");
    }
}

#[tokio::test]
async fn must_not_take_what_is_no_trusted_root() {
    let first = Publisher::new();
    let world = World::new(&first);
    world.refresh().await.unwrap();
    for (edition, document) in [(2, &b"{}"[..]), (3, b"[]"), (4, br#"{"mediaType": "application/json"}"#)] {
        let mut next = first.next(document);
        (next.timestamp, next.snapshot, next.targets) = (edition, edition, edition);
        world.served.put(next.files());
        let outcome = world.refresh().await;
        assert!(matches!(outcome, Err(RefreshError::Unusable { .. })), "{outcome:?}");
    }
    assert_eq!(world.last_good().as_deref(), Some(PUBLIC_GOOD));
}

#[tokio::test]
async fn must_not_believe_the_disk() {
    let world = World::new(&Publisher::new());
    let refreshed = world.refresh().await.unwrap();
    let path = world.directory.path().join("trust-roots/acme/last-good.json");
    let good = std::fs::read(&path).unwrap();
    let look = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        world.folder().last_good(&world.source, at(NOW))
    };
    assert_eq!(look(&good).unwrap().unwrap().root.digest(), refreshed.root.digest());
    let value: serde_json::Value = serde_json::from_slice(&good).unwrap();
    for part in ["/trustedRoot", "/metadata/timestamp.json", "/metadata/snapshot.json", "/metadata/targets.json"] {
        for byte in ["A", "B"] {
            let mut changed = value.clone();
            let text = changed.pointer(part).unwrap().as_str().unwrap().to_owned();
            let (start, end) = text.split_at(text.len() / 2);
            let end: String = end.chars().skip(1).collect();
            *changed.pointer_mut(part).unwrap() = format!("{start}{byte}{end}").into();
            let is_same = changed == value;
            assert_eq!(look(changed.to_string().as_bytes()).is_ok(), is_same, "{part}");
        }
    }
    let mut future = value.clone();
    future["refreshedAt"] = "2026-11-25T12:00:01Z".into();
    assert!(look(future.to_string().as_bytes()).unwrap_err().problem.contains("2026-11-25T12:00:01Z"));
    // A word that had expired when it is said to have been fresh.
    future["refreshedAt"] = "2026-12-01T00:00:01Z".into();
    std::fs::write(&path, future.to_string()).unwrap();
    assert!(world.folder().last_good(&world.source, at("2027-01-01T00:00:00Z")).is_err());
    for junk in [&b""[..], b"{}", b"null", &good[..good.len() / 2]] {
        assert!(look(junk).is_err());
    }
    // Another root than the one by which it was entered.
    look(&good).unwrap();
    let mut other = Publisher::new();
    other.root_keys = vec![11, 12, 13];
    other.online_key = 19;
    let other = World::new(&other);
    assert!(world.folder().last_good(&other.source, at(NOW)).is_err());
    // What is in the way is no file, and is not waited for.
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(world.folder().last_good(&world.source, at(NOW)).unwrap_err().problem.contains("not a file"));
}

#[tokio::test]
async fn a_root_is_in_use_also_where_nothing_can_be_kept() {
    let publisher = Publisher::new();
    let world = World::new(&publisher);
    std::fs::write(world.directory.path().join("trust-roots"), "a file where the folder should be").unwrap();
    assert_eq!(world.refresh().await.unwrap().document, PUBLIC_GOOD);
    let without = refresh_from(&world.source, None, world.served.clone(), at(NOW)).await;
    assert_eq!(without.unwrap().document, PUBLIC_GOOD);
}

#[tokio::test]
async fn a_mirror_is_read_over_http_and_within_its_bounds() {
    let publisher = Publisher::new();
    let world = World::new(&publisher);
    let (address, sent) = world.served.listen().await;
    let source = world.source.clone().from_mirror(Mirror::at(&address).unwrap());
    let look = || refresh(&source, None, at(NOW));
    assert_eq!(look().await.unwrap().document, PUBLIC_GOOD);
    assert_eq!(world.served.requests().len(), 5, "the next root, three lists, the document");
    for status in ["500 Internal Server Error", "301 Moved Permanently\r\nlocation: /elsewhere", "404 Not Found"] {
        world.served.put([("timestamp.json".to_owned(), format!("status {status}").into_bytes())].into());
        let outcome = look().await;
        assert!(matches!(outcome, Err(RefreshError::Unreachable { .. })), "{status}: {outcome:?}");
    }
    // An endless data attack: reading ends where the bound is, give or take what is under way.
    for endless in ["timestamp.json", "2.root.json"] {
        world.served.put(publisher.files());
        world.served.put([(endless.to_owned(), b"endless".to_vec())].into());
        *sent.lock().unwrap() = 0;
        let outcome = look().await;
        assert!(
            matches!(&outcome, Err(RefreshError::Unreachable { problem }) if problem.contains("larger")),
            "{outcome:?}"
        );
        assert!(*sent.lock().unwrap() < 16 * 1024 * 1024);
    }
}

#[tokio::test]
async fn a_refreshed_root_is_known_to_policies_by_its_name_and_stays_whatever_fails() {
    let publisher = Publisher::new();
    let world = World::new(&publisher);
    let (address, _) = world.served.listen().await;
    let source = || RootSource::named("public-good", publisher.own_root(), Mirror::at(&address).unwrap());
    let roots = |now| TrustRoots::new(vec![source()], Some(world.folder())).restored(at(now));
    let of = |roots: &TrustRoots| roots.known().find("public-good").unwrap().unwrap().root.digest();
    let (built_in, hour) = (Digest::of(PUBLIC_GOOD), Duration::from_secs(3600));
    let first = roots(NOW);
    assert_eq!((of(&first), first.digest("public-good")), (built_in, None));
    assert!(first.is_due("public-good", hour, at(NOW)));
    world.served.put(publisher.next(STAGING).files());
    assert_eq!(first.refresh("public-good", at(NOW)).await, Ok(true));
    assert_eq!((of(&first), first.digest("public-good")), (Digest::of(STAGING), Some(Digest::of(STAGING))));
    assert_eq!(first.refresh("public-good", at(NOW)).await, Ok(false), "nothing new");
    assert!(!first.is_due("public-good", hour, at("2026-11-25T12:59:59Z")));
    assert!(first.is_due("public-good", hour, at("2026-11-25T13:00:00Z")));
    // The next process begins with it, without a request, when its word has long expired.
    let asked = world.served.requests().len();
    let second = roots("2029-01-01T00:00:00Z");
    assert_eq!((of(&second), world.served.requests().len()), (Digest::of(STAGING), asked));
    assert!(second.refresh("public-good", at("2029-01-01T00:00:00Z")).await.is_err());
    assert_eq!(of(&second), Digest::of(STAGING));
    let report = second.report(&["public-good".to_owned()]).remove(0);
    assert_eq!((report.refreshed, report.failed, report.refreshed_at), (0, 1, Some(at(NOW))));
    assert!(report.failure.unwrap().problem.contains("expired"));
    assert!(!second.is_due("public-good", hour, at("2029-01-01T00:09:59Z")), "not at once again");
    assert!(second.is_due("public-good", hour, at("2029-01-01T00:10:00Z")));
    assert_eq!(second.refresh("unknown", at(NOW)).await, Ok(false));
}

/// Two processes, or the two of a rolling update, that share a directory.
#[tokio::test]
async fn must_not_write_an_older_edition_over_a_newer_one_that_another_process_keeps_meanwhile() {
    let first = Publisher::new();
    let second = first.next(STAGING);
    let world = World::new(&second);
    let turn = world.folder().turn(&world.source).await.unwrap();
    let (folder, source, old) = (world.folder(), world.source.clone(), Served::of(first.files()));
    let late = tokio::spawn(async move { refresh_from(&source, Some(&folder), old, at(NOW)).await });
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
    assert!(!late.is_finished(), "it waits for its turn");
    refresh_in_turn(&world.source, Some(&world.folder()), world.served.clone(), at(NOW)).await.unwrap();
    drop(turn);
    let late = late.await.unwrap();
    assert!(matches!(late, Err(RefreshError::RolledBack { .. })), "{late:?}");
    assert_eq!(world.last_good().as_deref(), Some(STAGING));
    // The twin: two that are given the same edition, at once.
    let folder = world.folder();
    let again = || refresh_from(&world.source, Some(&folder), world.served.clone(), at(NOW));
    let (one, two) = tokio::join!(again(), again());
    assert_eq!((one.unwrap().document, two.unwrap().document), (STAGING.to_vec(), STAGING.to_vec()));
}

#[tokio::test(start_paused = true)]
async fn must_not_wait_for_ever_for_another_process_nor_without_a_directory() {
    let world = World::new(&Publisher::new());
    let turn = world.folder().turn(&world.source).await.unwrap();
    assert_eq!(world.refresh().await.err(), Some(RefreshError::Busy));
    assert!(refresh_from(&world.source, None, world.served.clone(), at(NOW)).await.is_ok());
    assert_eq!(world.last_good(), None);
    drop(turn);
    world.refresh().await.unwrap();
    // A link in the place of the lock leads nowhere.
    let lock = world.directory.path().join("trust-roots/acme/.refreshing");
    std::fs::remove_file(&lock).unwrap();
    let elsewhere = world.directory.path().join("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, &lock).unwrap();
    world.refresh().await.unwrap();
    assert!(!elsewhere.exists());
}

/// A clock that was put back does not make a kept root one of the past, nor what is built in older than it is.
#[tokio::test]
async fn must_not_use_a_kept_root_from_the_future_and_not_fail_by_it() {
    let publisher = Publisher::new();
    let world = World::new(&publisher);
    let (address, _) = world.served.listen().await;
    let source = || RootSource::named("public-good", publisher.own_root(), Mirror::at(&address).unwrap());
    let roots = |now| TrustRoots::new(vec![source()], Some(world.folder())).restored(at(now));
    world.served.put(publisher.next(STAGING).files());
    assert_eq!(roots(NOW).refresh("public-good", at(NOW)).await, Ok(true));
    let back = roots("2026-11-25T11:59:59Z");
    assert_eq!(back.digest("public-good"), None, "what was built in is used");
    // The next refresh replaces it, and goes back to nothing older all the same.
    world.served.put(publisher.files());
    let outcome = back.refresh("public-good", at("2026-11-25T11:59:59Z")).await;
    assert!(matches!(outcome, Err(RefreshError::RolledBack { .. })), "{outcome:?}");
    world.served.put(publisher.next(STAGING).files());
    assert_eq!(back.refresh("public-good", at("2026-11-25T11:59:59Z")).await, Ok(true));
    assert_eq!(roots(NOW).digest("public-good"), Some(Digest::of(STAGING)), "its twin, when the clock is right");
}

/// By a program that was installed since it was kept.
#[tokio::test]
async fn a_kept_root_that_is_older_than_the_built_in_one_is_left_alone() {
    let publisher = Publisher::new();
    let world = World::new(&publisher);
    world.served.put(publisher.next(STAGING).files());
    let mirror = || Mirror::at("https://tuf.example").unwrap();
    let source = || RootSource::named("public-good", publisher.own_root(), mirror());
    refresh_from(&source(), Some(&world.folder()), world.served.clone(), at(NOW)).await.unwrap();
    for (newest_at, is_kept) in [("2026-11-25T12:00:00Z", true), ("2026-11-25T12:00:01Z", false)] {
        let source = || source().with_newest_at(at(newest_at));
        let later = at("2027-02-01T00:00:00Z");
        let roots = TrustRoots::new(vec![source()], Some(world.folder())).restored(later);
        let used = roots.known().find("public-good").unwrap().unwrap().root.digest();
        assert_eq!(used, Digest::of(if is_kept { STAGING } else { PUBLIC_GOOD }), "{newest_at}");
        let kept = world.folder().last_good(&source(), later);
        assert_eq!(kept.is_ok(), is_kept, "{newest_at}");
        assert!(is_kept || kept.unwrap_err().problem.contains("what was built in is newer"));
    }
    // Nor is what the folder has seen forgotten: an older word is refused.
    let source = source().with_newest_at(at("2026-11-25T12:00:01Z"));
    let old = Served::of(publisher.files());
    let rolled_back = refresh_from(&source, Some(&world.folder()), old, at("2026-11-25T12:30:00Z")).await;
    assert!(matches!(rolled_back, Err(RefreshError::RolledBack { .. })), "{rolled_back:?}");
}

/// Who builds in another trusted root also changes since when it is the newest one.
#[test]
fn the_age_of_a_built_in_root_is_that_of_the_data() {
    for (name, digest) in RootSource::digests() {
        let root = hallmark_policy::trust::KnownRoots::embedded().find(name).unwrap().unwrap();
        assert_eq!(root.root.digest().to_string(), digest, "{name}");
        assert!(RootSource::known(name).unwrap().newest_at().unwrap() <= Timestamp::now(), "{name}");
    }
}

#[test]
fn the_known_repositories_can_be_entered() {
    for name in RootSource::names() {
        let source = RootSource::known(name).unwrap();
        let entry = sigstore_tuf::TrustedMetadataSet::from_root(source.entry()).unwrap();
        let at_least = if name == "github" { 9 } else { 15 };
        assert!(entry.root().version >= at_least, "{name}");
        assert!(source.mirror().to_string().starts_with("https://"));
    }
    assert_eq!(RootSource::names().collect::<Vec<_>>(), ["public-good", "staging", "github"]);
    assert_eq!(RootSource::known("gitlab"), None);
}

#[test]
fn must_not_take_any_address_name_or_root() {
    for bad in ["", "tuf.example", "file:///etc", "https://", "https://a?b", "https://a#b", "https://ann:SECRET@a/"] {
        let refused = Mirror::at(bad).unwrap_err();
        assert!(!refused.to_string().contains("SECRET"), "{refused}");
    }
    assert_eq!(Mirror::at("https://tuf.example/a").unwrap().to_string(), "https://tuf.example/a/");
    let mirror = || Mirror::at("https://tuf.example").unwrap();
    let root = Publisher::lasting().own_root();
    for bad in ["", "public-good", "staging", "github", "../x", "a/b", "a.b", &"a".repeat(64)] {
        assert!(RootSource::private(bad, root.clone(), mirror()).is_err(), "{bad}");
    }
    assert!(RootSource::private(&"a".repeat(63), root, mirror()).is_ok());
    let too_few = Publisher::new().root_by(&[1]);
    assert!(RootSource::private("acme", too_few, mirror()).is_err());
}
