//! A real process, really killed, over a real folder.
//!
//! This binary runs itself again as the victim. The victim says each call that it makes to the store; it is killed after
//! a random one, while that call is under way.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use agent::{
    job::{self, BackupRequest},
    source::{FileSource, OpenSource},
};
use repository::{
    Secret, layout,
    layout::PackKind,
    store::{DirectoryStore, SharedStore, wrap::Faulty},
};
use support::{Model, Random, SERIES, World, control, names, noise};

/// Tells this binary that it is the victim, and where its folder is.
const VICTIM: &str = "SLUICE_TEST_VICTIM";
const IMAGE_BYTES: usize = 14 << 20;
const KILLS: u64 = 20;

/// Not a test: what the others run as a process of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    #[expect(
        clippy::disallowed_methods,
        reason = "how a test that runs itself is told what it is"
    )]
    let Ok(folder) = env::var(VICTIM) else { return };
    let folder = PathBuf::from(folder);
    let text = fs::read_to_string(folder.join("key")).unwrap();
    let secret = Arc::new(Secret::parse_key_file(&text).unwrap());
    let store = Faulty::new(open(&folder), |call| {
        // Whoever kills us reads this.
        writeln!(io::stdout(), "call {:?} {}", call.verb, call.name).unwrap();
        None
    });
    let repository = World::new(Arc::new(store), secret).open().await.unwrap();
    let volume = FileSource::open(folder.join("image"), OpenSource::default()).unwrap();
    let request = BackupRequest {
        series: SERIES.to_owned(),
        ..BackupRequest::default()
    };
    let report = job::backup(&repository, Arc::new(volume), request, &control()).await;
    report.unwrap();
}

fn open(folder: &Path) -> SharedStore {
    Arc::new(DirectoryStore::open(folder.join("repository")).unwrap())
}

fn start(folder: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["process::victim", "--exact", "--nocapture"])
        .env(VICTIM, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Runs a victim and kills it once it has made so many calls. Says whether it came to its end before.
fn run(folder: &Path, calls: u64) -> bool {
    let mut child = start(folder);
    let said = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut calls_made = said
        .map_while(Result::ok)
        .filter(|line| line.contains("call "));
    let killed = calls_made.by_ref().zip(0..).any(|(_, call)| call == calls);
    if killed {
        child.kill().unwrap();
    }
    // Not before: it would notice.
    drop(calls_made);
    let status = child.wait().unwrap();
    assert!(
        killed || status.success(),
        "the victim died by itself: {status}"
    );
    !killed
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let store: SharedStore = Arc::new(DirectoryStore::create(path.join("repository")).unwrap());
    let world = World::create(Arc::clone(&store)).await;
    fs::write(path.join("key"), &*world.secret().key_file_text().unwrap()).unwrap();

    let mut random = Random::new(11);
    let mut image = noise(IMAGE_BYTES, 1);
    let (mut model, mut kills) = (Model::new(), 0);
    for round in 0.. {
        let at = usize::try_from(random.below(IMAGE_BYTES as u64 - 6_000_000)).unwrap();
        random.fill(&mut image[at..at + 6_000_000]);
        fs::write(path.join("image"), &image).unwrap();
        // Everything that was killed is run again now and then, and then nothing may be left of it.
        let calls = if round % 5 == 4 {
            u64::MAX
        } else {
            random.below(50)
        };
        let ended = run(path, calls);
        kills += u64::from(!ended);
        let points = world.points().await.unwrap();
        let added = points
            .iter()
            .map(|point| point.id)
            .filter(|id| !model.contains_key(id));
        let added: Vec<_> = added.collect();
        assert!(
            added.len() <= 1 && (!ended || added.len() == 1),
            "round {round}: {added:?}"
        );
        model.extend(added.into_iter().map(|id| (id, Arc::new(image.clone()))));
        if ended {
            let check = async {
                world.check(&model).await?;
                world.check_verify(100).await?;
                only_what_the_format_names(&store).await
            };
            check
                .await
                .unwrap_or_else(|what| panic!("round {round}, {kills} kills: {what}"));
            if kills >= KILLS {
                return;
            }
        }
    }
}

/// After a run that ended well there are only objects that stay, each belonging to a session that ended.
async fn only_what_the_format_names(store: &SharedStore) -> Result<(), String> {
    let mut strange = Vec::new();
    let mut sessions = BTreeMap::new();
    for name in names(&**store, "").await {
        let pack = [PackKind::Data, PackKind::Meta]
            .into_iter()
            .find_map(|kind| layout::parse_pack(kind, &name))
            .or_else(|| layout::parse_slot_table(&name));
        let known = name == layout::SUPERBLOCK
            || name == layout::keyring(0)
            || name.starts_with(layout::KEY_SLOTS)
            || name.starts_with("d/default/i/points/")
            || name.starts_with(&layout::verify_runs())
            || layout::parse_register(&name).is_some();
        match pack {
            Some(pack) => drop(sessions.insert(pack.session(), name)),
            None if known => {}
            None => strange.push(name),
        }
    }
    let registers = names(&**store, &layout::registers()).await;
    for name in registers {
        sessions.remove(&layout::parse_register(&name).ok_or("a strange register")?);
    }
    if strange.is_empty() && sessions.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "not in the format: {strange:?}; of sessions that did not end: {sessions:?}"
        ))
    }
}
