//! Content on disk: what is read is what was kept, or nothing.
#![cfg(test)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hallmark_policy::Timestamp;
use hallmark_policy::image::Content;
use hallmark_registry::{Configuration, ContentCache, CredentialSource, Partition, Registry};
use hallmark_verifier::{ContentLimits, ContentStore};

fn open(folder: &Path) -> ContentStore {
    // No memory, so that every answer comes from the disk.
    ContentStore::open(&ContentLimits {
        memory_bytes: 0,
        directory: Some(folder.to_owned()),
        ..ContentLimits::STANDARD
    })
}

fn content(number: usize) -> Content {
    Content::named_by_itself(format!("content {number} {}", "x".repeat(1000)).into_bytes())
}

/// The one partition of most tests.
fn ours() -> Partition {
    Partition::undivided()
}

async fn find(store: &ContentStore, content: &Content) -> Option<Content> {
    store.find(ours(), content.digest()).await
}

/// The files of contents and records.
fn files(folder: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(folder.join("hallmark-evidence-v1")).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.file_name().unwrap() != "salt").collect()
}

#[tokio::test]
async fn what_was_kept_is_there_after_a_restart_and_nobody_else_may_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.keep(ours(), &content(1));
    store.flush().await;
    drop(store);
    let store = open(folder.path());
    assert_eq!(find(&store, &content(1)).await, Some(content(1)));
    assert_eq!(find(&store, &content(2)).await, None);
    let own = folder.path().join("hallmark-evidence-v1");
    assert_eq!(fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&own).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let name = entry.file_name().into_string().unwrap();
        assert!(name == "salt" || (name.len() == 64 && name.bytes().all(|c| c.is_ascii_hexdigit())), "{name}");
        assert!(!name.contains(&content(1).digest().encoded()), "a file name tells what is in it");
    }
}

#[tokio::test]
async fn must_not_show_one_credentials_content_to_another() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()));
    let partition = |password: &str| {
        let configuration = Configuration {
            credentials: CredentialSource::anonymous().with_password("r.example", "tenant", password),
            content_cache: Some(Arc::<ContentStore>::clone(&store)),
            ..Configuration::default()
        };
        let client = Registry::new(configuration, Arc::new(Timestamp::now)).unwrap();
        client.partition(&"r.example/team/app".parse().unwrap())
    };
    store.keep(partition("one"), &content(1));
    store.flush().await;
    assert_eq!(store.find(partition("two"), content(1).digest()).await, None);
    assert_eq!(find(&store, &content(1)).await, None);
    assert_eq!(store.find(partition("one"), content(1).digest()).await, Some(content(1)));
}

#[tokio::test]
async fn must_not_read_a_file_that_was_damaged_cut_swapped_or_linked() {
    type Damage = fn(&Path, &Path);
    let damages: [(&str, Damage); 8] = [
        ("flipped", |file, _| {
            let mut bytes = fs::read(file).unwrap();
            bytes[5] ^= 1;
            fs::write(file, bytes).unwrap();
        }),
        ("cut short", |file, _| fs::write(file, &fs::read(file).unwrap()[..100]).unwrap()),
        ("empty", |file, _| fs::write(file, b"").unwrap()),
        ("longer", |file, _| fs::write(file, [fs::read(file).unwrap(), b"x".to_vec()].concat()).unwrap()),
        ("larger than the limit", |file, _| {
            fs::File::options().write(true).open(file).unwrap().set_len(1 << 33).unwrap()
        }),
        ("swapped", |file, other| {
            fs::copy(other, file).unwrap();
        }),
        ("linked to a copy of itself", |file, _| {
            let copy = file.parent().unwrap().parent().unwrap().join("copy");
            fs::rename(file, &copy).unwrap();
            symlink(&copy, file).unwrap();
        }),
        ("a folder", |file, _| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        }),
    ];
    for (name, damage) in damages {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.keep(ours(), &content(1));
        store.flush().await;
        let file = files(folder.path()).pop().unwrap();
        store.keep(ours(), &content(2));
        store.flush().await;
        let other = files(folder.path()).into_iter().find(|path| *path != file).unwrap();
        assert_eq!(find(&store, &content(1)).await, Some(content(1)), "{name}: before");
        damage(&file, &other);
        assert_eq!(find(&store, &content(1)).await, None, "{name}");
        assert_eq!(store.disk_counts().unwrap().damaged, 1, "{name}");
        assert_eq!(find(&store, &content(2)).await, Some(content(2)), "{name}: its neighbour");
        if name != "a folder" {
            assert!(!file.exists(), "{name}: it is still there");
            store.keep(ours(), &content(1));
            store.flush().await;
            assert_eq!(find(&store, &content(1)).await, Some(content(1)), "{name}: fetched again");
        }
    }
}

#[tokio::test]
async fn a_process_that_was_killed_leaves_nothing_that_counts() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.keep(ours(), &content(1));
    store.flush().await;
    let unfinished = folder.path().join("hallmark-evidence-v1").join(format!("{}.part", "a".repeat(64)));
    fs::write(&unfinished, b"half of it").unwrap();
    let store = open(folder.path());
    assert!(!unfinished.exists());
    assert_eq!(find(&store, &content(1)).await, Some(content(1)));
    // Without the salt that was lost, nothing is found, and nothing fails.
    fs::write(folder.path().join("hallmark-evidence-v1/salt"), b"short").unwrap();
    let store = open(folder.path());
    assert_eq!(find(&store, &content(1)).await, None);
    store.keep(ours(), &content(1));
    store.flush().await;
    assert_eq!(find(&open(folder.path()), &content(1)).await, Some(content(1)));
}

#[tokio::test]
async fn must_not_take_more_room_than_it_may_and_what_was_used_stays() {
    let folder = tempfile::tempdir().unwrap();
    let disk_bytes = 20 * 4096;
    let limits = ContentLimits { memory_bytes: 0, directory: Some(folder.path().to_owned()), disk_bytes };
    let store = ContentStore::open(&limits);
    for number in 0..100 {
        store.keep(ours(), &content(number));
        store.flush().await;
        assert_eq!(find(&store, &content(0)).await, Some(content(0)), "{number}");
        assert!(store.disk_counts().unwrap().bytes <= disk_bytes);
    }
    assert!((10..=20).contains(&files(folder.path()).len()), "{}", files(folder.path()).len());
    assert_eq!(find(&store, &content(1)).await, None);
    assert_eq!(find(&store, &content(99)).await, Some(content(99)));
    let smaller = ContentStore::open(&ContentLimits { disk_bytes: 5 * 4096, ..limits });
    assert!(smaller.disk_counts().unwrap().bytes <= 5 * 4096);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_costs_the_disk_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let in_the_way = folder.path().join("file");
    fs::write(&in_the_way, b"").unwrap();
    let open_to_all = folder.path().join("open");
    fs::create_dir_all(open_to_all.join("hallmark-evidence-v1")).unwrap();
    fs::set_permissions(open_to_all.join("hallmark-evidence-v1"), fs::Permissions::from_mode(0o755)).unwrap();
    let linked = folder.path().join("linked");
    fs::create_dir(&linked).unwrap();
    let elsewhere = folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o700)).unwrap();
    symlink(&elsewhere, linked.join("hallmark-evidence-v1")).unwrap();
    for unusable in [in_the_way, open_to_all, linked] {
        let limits = ContentLimits { directory: Some(unusable.clone()), ..ContentLimits::STANDARD };
        let store = ContentStore::open(&limits);
        assert_eq!(store.disk_counts(), None, "{unusable:?}");
        store.keep(ours(), &content(1));
        store.flush().await;
        assert_eq!(find(&store, &content(1)).await, Some(content(1)), "{unusable:?}");
    }
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[tokio::test]
async fn a_disk_that_fails_later_costs_the_disk_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let limits = ContentLimits { directory: Some(folder.path().to_owned()), ..ContentLimits::STANDARD };
    let store = ContentStore::open(&limits);
    fs::remove_dir_all(folder.path().join("hallmark-evidence-v1")).unwrap();
    for number in 0..10 {
        store.keep(ours(), &content(number));
    }
    store.flush().await;
    let counts = store.disk_counts().unwrap();
    assert_eq!((counts.failed, counts.written), (10, 0));
    assert_eq!(find(&store, &content(1)).await, Some(content(1)), "from memory");
}
