//! What only a folder can do wrong: links, leftovers, foreign files, full and read-only disks.
//!
//! Some of it takes root, some of it takes less than that. A test that cannot run here passes, and says `SKIPPED` past the
//! harness, so that it shows on the terminal and in the summary of `.ci/run`.

use std::{
    fs::{self, File, FileTimes},
    io::{self, ErrorKind as IoErrorKind, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use nix::fcntl::OFlag;
use tempfile::TempDir;
use tokio::sync::Notify;

use super::*;
use crate::store::list_all;

fn store() -> (TempDir, DirectoryStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::create(folder.path().join("a/b")).unwrap();
    (folder, store)
}

async fn names(store: &DirectoryStore, prefix: &str) -> Vec<String> {
    list_all(store, prefix)
        .await
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .collect()
}

async fn put(
    store: &DirectoryStore,
    name: &str,
    body: &'static str,
) -> std::result::Result<(), ErrorKind> {
    store
        .put_new(name, Bytes::from_static(body.as_bytes()))
        .await
        .map_err(|error| error.kind())
}

fn temporaries(store: &DirectoryStore) -> usize {
    match fs::read_dir(store.path.join(".tmp")) {
        Err(error) if error.kind() == IoErrorKind::NotFound => 0,
        entries => entries.unwrap().count(),
    }
}

fn noise(bytes: u32) -> Bytes {
    (0..bytes)
        .map(|at| at.wrapping_mul(0x9e37_79b9).to_le_bytes()[3])
        .collect()
}

#[tokio::test]
async fn objects_are_private_and_leave_nothing_behind() {
    let (folder, store) = store();
    put(&store, "d/p/x", "1").await.unwrap();
    assert_eq!(put(&store, "d/p/x", "2").await, Err(ErrorKind::Exists));
    assert_eq!(temporaries(&store), 0);
    let mode = |path: &str| fs::metadata(folder.path().join(path)).unwrap().mode() & 0o777;
    assert_eq!(
        [mode("a"), mode("a/b"), mode("a/b/d/p"), mode("a/b/.tmp")],
        [0o700; 4]
    );
    assert_eq!(mode("a/b/d/p/x"), 0o600);
    assert_eq!(
        fs::metadata(folder.path().join("a/b/d/p/x"))
            .unwrap()
            .nlink(),
        1
    );
}

#[tokio::test]
async fn large_bodies_of_any_length_and_alignment_come_back() {
    let (_folder, store) = store();
    let body = noise(3_200_000);
    let lengths = [
        1_048_576,
        1_048_577,
        2_097_152,
        2_097_151,
        3_145_728 + 4_096,
        3_000_001,
    ];
    for (number, bytes) in lengths.into_iter().enumerate() {
        for start in [0, 1, 8] {
            let (name, part) = (
                format!("{number}/{start}"),
                body.slice(start..start + bytes),
            );
            store.put_new(&name, part.clone()).await.unwrap();
            assert!(
                store.get(&name, bytes as u64).await.unwrap() == part,
                "{bytes} from {start}"
            );
        }
    }
}

#[tokio::test]
async fn hostile_names_are_refused_by_every_verb() {
    let (folder, store) = store();
    fs::write(folder.path().join("a/outside"), "secret").unwrap();
    for name in [
        "../outside",
        "/etc/passwd",
        "x/../../outside",
        ".tmp/x",
        "",
        "x//y",
        "x/",
        "./x",
    ] {
        assert_eq!(
            put(&store, name, "1").await,
            Err(ErrorKind::Other),
            "{name}"
        );
        assert_eq!(
            store.get(name, 100).await.unwrap_err().kind(),
            ErrorKind::Other,
            "{name}"
        );
        assert_eq!(
            store.get_range(name, 0..1).await.unwrap_err().kind(),
            ErrorKind::Other,
            "{name}"
        );
        assert_eq!(
            store.delete(name).await.unwrap_err().kind(),
            ErrorKind::Other,
            "{name}"
        );
    }
    for prefix in ["../", "..", ".tmp/", "/", "/etc/", "x/../"] {
        assert!(names(&store, prefix).await.is_empty(), "{prefix}");
    }
    assert_eq!(
        fs::read_to_string(folder.path().join("a/outside")).unwrap(),
        "secret"
    );
}

#[tokio::test]
async fn links_are_not_followed() {
    let (folder, store) = store();
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("x"), "secret").unwrap();
    symlink(&outside, store.path.join("folder")).unwrap();
    symlink(outside.join("x"), store.path.join("file")).unwrap();
    put(&store, "own", "1").await.unwrap();

    for name in ["file", "folder/x"] {
        assert_eq!(
            store.get(name, 100).await.unwrap_err().kind(),
            ErrorKind::Other,
            "{name}"
        );
    }
    assert_eq!(put(&store, "file", "2").await, Err(ErrorKind::Exists));
    put(&store, "folder/y", "2").await.unwrap_err();
    put(&store, "folder/z/y", "2").await.unwrap_err();
    // There is no such object of ours.
    store.delete("folder/x").await.unwrap();
    assert_eq!(names(&store, "").await, ["own"]);
    assert!(names(&store, "folder/").await.is_empty());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(outside.join("x")).unwrap(), "secret");
}

#[tokio::test]
async fn paths_are_opened_the_same_way_where_openat2_is_missing() {
    let (folder, store) = store();
    put(&store, "d/p/x", "1").await.unwrap();
    put(&store, "y", "2").await.unwrap();
    symlink(folder.path(), store.path.join("d/link")).unwrap();
    for name in ["d/p/x", "y"] {
        let file = File::from(store.root.open_stepwise(name, OFlag::O_RDONLY).unwrap());
        assert_eq!(file.metadata().unwrap().len(), 1, "{name}");
    }
    assert!(store.root.open_stepwise(".", folder::FOLDER).is_ok());
    let through = store
        .root
        .open_stepwise("d/link/a", OFlag::O_RDONLY | OFlag::O_NOFOLLOW);
    assert_eq!(through.unwrap_err(), Errno::ENOTDIR);
}

#[tokio::test]
async fn foreign_files_are_ignored() {
    let (_folder, store) = store();
    put(&store, "d/x", "1").await.unwrap();
    fs::create_dir(store.path.join("lost+found")).unwrap();
    for name in [
        ".nfs000",
        "d/.hidden",
        "d/a b",
        "d/x~",
        "lost+found/x",
        "d/ä",
    ] {
        fs::write(store.path.join(name), "foreign").unwrap();
    }
    nix::unistd::mkfifo(&store.path.join("d/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(names(&store, "").await, ["d/x"]);
    let error = store.get("d/pipe", 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other);
    assert_eq!(
        store.get("d", 10).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[tokio::test]
async fn leftovers_of_dead_writers_are_swept_once_they_are_old() {
    let (_folder, store) = store();
    put(&store, "a", "1").await.unwrap();
    let (old, young) = (store.path.join(".tmp/00"), store.path.join(".tmp/11"));
    fs::write(&old, "left").unwrap();
    fs::write(&young, "being written").unwrap();
    let two_days_ago =
        fs::metadata(&young).unwrap().modified().unwrap() - Duration::from_secs(2 * 24 * 60 * 60);
    File::options()
        .write(true)
        .open(&old)
        .unwrap()
        .set_times(FileTimes::new().set_modified(two_days_ago))
        .unwrap();

    let store = DirectoryStore::open(&store.path).unwrap();
    assert!(old.exists(), "opening alone writes nothing");
    put(&store, "b", "2").await.unwrap();
    assert!(!old.exists() && young.exists());
}

/// Lets this many bytes pass and then nothing.
#[derive(Debug)]
struct Stopping {
    bytes_max: u64,
    bytes: AtomicU64,
    requests: AtomicU64,
    reached: Notify,
}

impl Stopping {
    fn after(bytes_max: u64) -> Arc<Self> {
        let (bytes, requests, reached) = (AtomicU64::new(0), AtomicU64::new(0), Notify::new());
        Arc::new(Self {
            bytes_max,
            bytes,
            requests,
            reached,
        })
    }
}

#[async_trait]
impl Pace for Stopping {
    async fn upload(&self, bytes: u64) {
        if self.bytes.fetch_add(bytes, Ordering::SeqCst) + bytes > self.bytes_max {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
    }

    async fn request(&self) {
        self.requests.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn every_byte_and_request_is_paced() {
    let (_folder, store) = store();
    let pace = Stopping::after(u64::MAX);
    let store = store.with_pace(Arc::clone(&pace) as _);
    store.put_new("a", noise(2_500_000)).await.unwrap();
    store.get("a", u64::MAX).await.unwrap();
    store.get_range("a", 0..1).await.unwrap();
    store.list("", None).await.unwrap();
    store.delete("a").await.unwrap();
    assert_eq!(pace.bytes.load(Ordering::SeqCst), 2_500_000);
    assert_eq!(pace.requests.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn a_put_that_is_given_up_leaves_nothing() {
    let (_folder, store) = store();
    let pace = Stopping::after(1_500_000);
    let store = store.with_pace(Arc::clone(&pace) as _);
    let half_written = async {
        pace.reached.notified().await;
        assert_eq!(temporaries(&store), 1);
    };
    tokio::select! {
        result = store.put_new("a", noise(3_000_000)) => panic!("{result:?}"),
        () = half_written => {}
    }
    assert_eq!(temporaries(&store), 0);
    assert!(names(&store, "").await.is_empty());
}

fn temporary(store: &DirectoryStore, body: &str) -> (Temporary, OwnedFd) {
    let mut temporary = Temporary::create(&store.root, body.len()).unwrap();
    temporary.append(body.as_bytes()).unwrap();
    (temporary, store.root.make_folder("d").unwrap())
}

#[tokio::test]
async fn a_lost_reply_to_a_link_is_found_out() {
    let (_folder, store) = store();
    let (ours, folder) = temporary(&store, "ours");
    let file = fs::read_dir(store.path.join(".tmp"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    fs::hard_link(file, store.path.join("d/x")).unwrap();
    ours.publish(&folder, "x").unwrap();

    let (theirs, folder) = temporary(&store, "theirs");
    assert_eq!(
        theirs.publish(&folder, "x"),
        Err(Failure::System(Errno::EEXIST))
    );
    assert_eq!(store.get("d/x", 10).await.unwrap(), "ours");
    assert_eq!(temporaries(&store), 0);
}

#[tokio::test]
async fn a_lost_reply_to_a_rename_is_found_out() {
    let (_folder, store) = store();
    let (ours, folder) = temporary(&store, "ours");
    ours.rename(&folder, "x").unwrap();
    let (theirs, folder) = temporary(&store, "theirs");
    assert_eq!(theirs.rename(&folder, "x"), Err(Errno::EEXIST));
    ours.publish(&folder, "x").unwrap();
    drop(theirs);
    assert_eq!(store.get("d/x", 10).await.unwrap(), "ours");
    assert_eq!(temporaries(&store), 0);
}

#[tokio::test]
async fn a_missing_or_deleted_folder_is_named_as_such() {
    let (folder, store) = store();
    let missing = |path: &str| {
        DirectoryStore::open(folder.path().join(path))
            .unwrap_err()
            .kind()
    };
    assert_eq!(missing("c"), ErrorKind::NoContainer);
    fs::write(folder.path().join("file"), "").unwrap();
    assert_eq!(missing("file"), ErrorKind::NoContainer);

    put(&store, "d/x", "1").await.unwrap();
    fs::remove_dir_all(&store.path).unwrap();
    assert_eq!(put(&store, "d/y", "1").await, Err(ErrorKind::NoContainer));
    assert_eq!(
        store.get("d/x", 10).await.unwrap_err().kind(),
        ErrorKind::NoContainer
    );
    assert_eq!(
        store.list("", None).await.unwrap_err().kind(),
        ErrorKind::NoContainer
    );
    assert_eq!(
        store.list("d/", None).await.unwrap_err().kind(),
        ErrorKind::NoContainer
    );
    assert_eq!(
        store.delete("d/x").await.unwrap_err().kind(),
        ErrorKind::NoContainer
    );
}

#[tokio::test]
async fn a_folder_that_was_removed_behind_our_back_is_made_again() {
    let (_folder, store) = store();
    put(&store, "d/p/x", "1").await.unwrap();
    fs::remove_dir_all(store.path.join("d")).unwrap();
    put(&store, "d/p/x", "2").await.unwrap();
    assert_eq!(store.get("d/p/x", 10).await.unwrap(), "2");
}

#[tokio::test]
async fn a_folder_without_rights_denies() {
    let (_folder, store) = store();
    put(&store, "a", "1").await.unwrap();
    let mode = |mode| fs::set_permissions(&store.path, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o500);
    if fs::write(store.path.join("x"), "").is_ok() {
        return again_with_fewer_rights("a_folder_without_rights_denies");
    }
    let (written, read) = (put(&store, "b/c", "1").await, store.get("a", 10).await);
    mode(0o700);
    assert_eq!(written, Err(ErrorKind::Denied));
    assert_eq!(read.unwrap(), "1");
}

/// Runs a test in a process that gave up the right to pass by the rights of files, which root has.
fn again_with_fewer_rights(test: &str) {
    // A second filter of the harness, which fits no test: it tells the process that it is the one with fewer rights.
    const FEWER: &str = "with-fewer-rights";
    let module = module_path!().split_once("::").expect("a module").1;
    if std::env::args().any(|argument| argument == FEWER) {
        return skipped(test, "rights of files mean nothing here");
    }
    let output = Command::new("setpriv")
        .args([
            "--inh-caps=-all",
            "--bounding-set=-dac_override,-dac_read_search",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::{test}"), FEWER])
        .output();
    match output {
        Ok(output) if String::from_utf8_lossy(&output.stdout).contains("running 1 test") => {
            io::stderr().write_all(&output.stderr).unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        failed => skipped(
            test,
            &format!("root may do everything, and no setpriv here: {failed:?}"),
        ),
    }
}

/// Says that a test cannot run here. Not with `eprintln!`, which the harness keeps to itself.
fn skipped(test: &str, why: &str) {
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let who = if root { " although this is root" } else { "" };
    let line = format!("\nSKIPPED {test}{who}: {why}\n");
    io::stderr().write_all(line.as_bytes()).unwrap();
}

/// A small file system of its own, which takes root.
struct Mount(TempDir);

impl Mount {
    /// `None` where this test may not make one.
    fn tmpfs(test: &str, options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(folder.path());
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self(folder)),
            failed => {
                skipped(
                    test,
                    &format!("no file system can be mounted here, which takes root: {failed:?}"),
                );
                None
            }
        }
    }

    fn remount_read_only(&self) {
        let status = Command::new("mount")
            .args(["-o", "remount,ro"])
            .arg(self.0.path())
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let status = Command::new("umount")
            .arg("--lazy")
            .arg(self.0.path())
            .status();
        assert!(status.is_ok_and(|status| status.success()));
    }
}

#[tokio::test]
async fn a_full_disk_is_full_and_stays_clean() {
    let Some(mount) = Mount::tmpfs("a_full_disk_is_full_and_stays_clean", "size=4m,mode=700")
    else {
        return;
    };
    let store = DirectoryStore::open(mount.0.path()).unwrap();
    for bytes in [5_000_000, 8_000_000] {
        let error = store.put_new("d/large", noise(bytes)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full);
        assert!(
            error
                .to_string()
                .starts_with("put `d/large`: no space left"),
            "{error}"
        );
    }
    assert_eq!(temporaries(&store), 0);
    assert!(names(&store, "").await.is_empty());
    store.put_new("d/large", noise(3_000_000)).await.unwrap();
    assert_eq!(
        store.get("d/large", u64::MAX).await.unwrap(),
        noise(3_000_000)
    );
}

#[tokio::test]
async fn a_read_only_disk_can_be_read() {
    let Some(mount) = Mount::tmpfs("a_read_only_disk_can_be_read", "size=4m,mode=700") else {
        return;
    };
    let store = DirectoryStore::open(mount.0.path()).unwrap();
    put(&store, "d/x", "1").await.unwrap();
    mount.remount_read_only();
    let store = DirectoryStore::open(mount.0.path()).unwrap();
    assert_eq!(put(&store, "d/y", "1").await, Err(ErrorKind::ReadOnly));
    assert_eq!(put(&store, "e/y", "1").await, Err(ErrorKind::ReadOnly));
    assert_eq!(
        store.delete("d/x").await.unwrap_err().kind(),
        ErrorKind::ReadOnly
    );
    assert_eq!(store.get("d/x", 10).await.unwrap(), "1");
    assert_eq!(names(&store, "").await, ["d/x"]);
}

#[tokio::test]
async fn folders_deeper_than_any_name_are_not_visited() {
    let (_folder, store) = store();
    put(&store, "d/x", "1").await.unwrap();
    // 604 bytes of folders are names still; 805 are not.
    let segment = "s".repeat(200);
    let deep = [segment.as_str(); 4];
    for folders in [&deep[..3], &deep] {
        let folder = store.path.join("d").join(folders.join("/"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("file"), "2").unwrap();
    }
    let listed = names(&store, "d/").await;
    let reached = format!("d/{}/file", deep[..3].join("/"));
    assert_eq!(listed, [reached.as_str(), "d/x"]);
    for name in listed {
        store
            .get(&name, 10)
            .await
            .expect("what is listed can be read");
    }
}
