//! Interrupted `init`, `key`, `forget` and `verify`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use agent::job::BackupRequest;
use repository::{
    CreateOptions, Repository, RepositoryError, Secret, SessionId, layout,
    store::{
        ErrorKind, MemoryStore, SharedStore, Store as _,
        wrap::{Fault, Faulty},
    },
};
use support::{Fleeting, Lives, Model, World, fork, names, noise, show};

const MIB: usize = 1 << 20;
/// More calls than any of these operations makes.
const CALLS_MAX: u64 = 200;

/// Every way to end early: after so many calls, with and without the effect of the last one.
fn lives() -> impl Iterator<Item = Lives> {
    (0..CALLS_MAX).flat_map(|calls| {
        [(false, false), (false, true), (true, false), (true, true)].map(|(reads, reply_lost)| {
            Lives {
                calls,
                reads,
                reply_lost,
            }
        })
    })
}

/// Three points of one series.
async fn world() -> (World, Model, Vec<SessionId>) {
    let world = World::create(Arc::new(MemoryStore::new())).await;
    let (mut model, mut order) = (Model::new(), Vec::new());
    for seed in 0..3 {
        let contents = noise(MIB / 2, seed);
        let report = world
            .backup(&contents, BackupRequest::default())
            .await
            .unwrap();
        model.insert(report.point.id, Arc::new(contents));
        order.push(report.point.id);
    }
    (world, model, order)
}

/// An `init` that was interrupted made a repository, or can be run again, or says what to do first.
#[tokio::test(flavor = "multi_thread")]
async fn init() {
    let secret = Secret::draw_key_file();
    let create = async |store: SharedStore| {
        Repository::create(store, &secret, &CreateOptions::default())
            .await
            .map(drop)
    };
    for lives in lives() {
        let left = MemoryStore::new();
        let (store, fleeting) = Fleeting::new(left.clone(), lives);
        let result = create(store).await;
        if !fleeting.has_stopped() {
            result.unwrap();
            continue;
        }
        let opened = Repository::open(Arc::new(left.clone()), &secret).await;
        match opened {
            Ok(repository) => assert!(
                repository.points().await.unwrap().points.is_empty(),
                "{lives:?}"
            ),
            Err(RepositoryError::NotARepository { .. } | RepositoryError::Unfinished { .. }) => {
                let mut again = create(Arc::new(left.clone())).await;
                if let Err(error @ RepositoryError::Unfinished { .. }) = &again {
                    // As it says.
                    assert!(error.to_string().contains("delete `keys/`"), "{error}");
                    for name in names(&left, "keys/").await {
                        left.delete(&name).await.unwrap();
                    }
                    again = create(Arc::new(left.clone())).await;
                }
                again
                    .unwrap_or_else(|error| panic!("after {lives:?} init again: {}", show(&error)));
                let world = Repository::open(Arc::new(left.clone()), &secret).await;
                world.unwrap_or_else(|error| {
                    panic!("after {lives:?} and init again: {}", show(&error))
                });
            }
            Err(error) => panic!("after {lives:?}: {}", show(&error)),
        }
    }
}

/// One call that fails, while the process goes on: it tidies up behind itself, and only what opens nothing.
#[tokio::test(flavor = "multi_thread")]
async fn init_beside_one_failure() {
    let secret = Secret::draw_key_file();
    let create = async |store: SharedStore| {
        Repository::create(store, &secret, &CreateOptions::default())
            .await
            .map(drop)
    };
    for failing in 0..CALLS_MAX {
        for fault in [
            Fault::Before(ErrorKind::Unreachable),
            Fault::After(ErrorKind::Unreachable),
        ] {
            let left = MemoryStore::new();
            let calls = AtomicU64::new(0);
            let store = Faulty::new(Arc::new(left.clone()), move |_| {
                (calls.fetch_add(1, Ordering::SeqCst) == failing).then_some(fault)
            });
            let first = create(Arc::new(store)).await;
            let again = create(Arc::new(left.clone())).await;
            let opened = Repository::open(Arc::new(left), &secret).await;
            match (&first, &again) {
                (Ok(()), Err(RepositoryError::AlreadyARepository { .. }))
                | (Err(_), Ok(()) | Err(RepositoryError::AlreadyARepository { .. })) => {
                    opened.unwrap_or_else(|error| panic!("{failing} {fault:?}: {}", show(&error)));
                }
                (Err(_), Err(RepositoryError::Unfinished { .. })) => {}
                other => panic!("{failing} {fault:?}: {other:?}"),
            }
        }
    }
}

/// Whatever happened to a new slot, the old secret opens the repository; the new one does if that was reported.
#[tokio::test(flavor = "multi_thread")]
async fn key_add() {
    let (world, model, _) = world().await;
    let added = Secret::draw_key_file();
    for lives in lives() {
        let left = fork(&*world.store).await;
        let (store, fleeting) = Fleeting::new(left.clone(), lives);
        let result = async { world.on(store).open().await?.add_slot(&added, "new").await }.await;
        let left: SharedStore = Arc::new(left);
        world.on(Arc::clone(&left)).check(&model).await.unwrap();
        let opened = Repository::open(left, &added).await;
        assert!(result.is_err() || opened.is_ok(), "{lives:?}: {opened:?}");
        assert!(
            result.is_ok() || fleeting.has_stopped(),
            "{lives:?}: {result:?}"
        );
    }
}

/// Add, then remove: at each moment one of the two secrets opens the repository.
#[tokio::test(flavor = "multi_thread")]
async fn key_change() {
    let (world, _, _) = world().await;
    let added = Secret::draw_key_file();
    let old = world.open().await.unwrap().slots().await.unwrap()[0]
        .id
        .clone();
    for lives in lives() {
        let left = fork(&*world.store).await;
        let (store, fleeting) = Fleeting::new(left.clone(), lives);
        let result = async {
            let repository = world.on(store).open().await?;
            repository.replace_slot(&old, &added, "new").await
        }
        .await;
        assert!(
            result.is_ok() || fleeting.has_stopped(),
            "{lives:?}: {result:?}"
        );
        let left: SharedStore = Arc::new(left);
        let by_old = Repository::open(Arc::clone(&left), world.secret()).await;
        let by_new = Repository::open(left, &added).await;
        assert!(
            by_old.is_ok() || by_new.is_ok(),
            "{lives:?}: nobody can open it any more: {by_new:?}"
        );
        assert!(
            result.is_err() || (by_old.is_err() && by_new.is_ok()),
            "{lives:?}"
        );
    }
}

/// Each point is either forgotten or whole, in the order that was asked for.
#[tokio::test(flavor = "multi_thread")]
async fn forget() {
    let (world, model, order) = world().await;
    for lives in lives() {
        let left = fork(&*world.store).await;
        let (store, fleeting) = Fleeting::new(left.clone(), lives);
        let ids = [order[0], order[1]];
        let result = async {
            world
                .on(store)
                .open()
                .await?
                .forget(&ids, "test", false)
                .await
        }
        .await;
        assert!(
            result.is_ok() || fleeting.has_stopped(),
            "{lives:?}: {result:?}"
        );
        let survivor = world.on(Arc::new(left.clone()));
        let forgotten = names(&left, &layout::delete_markers()).await.len();
        let mut model = model.clone();
        order
            .iter()
            .take(forgotten)
            .for_each(|id| drop(model.remove(id)));
        survivor
            .check(&model)
            .await
            .unwrap_or_else(|what| panic!("{lives:?}: {what}"));
        survivor
            .open()
            .await
            .unwrap()
            .forget(&ids, "test", false)
            .await
            .unwrap();
        model.retain(|id, _| *id == order[2]);
        survivor
            .check(&model)
            .await
            .unwrap_or_else(|what| panic!("{lives:?}, again: {what}"));
    }
}

/// A run that could not write its result damages nothing, and the next one is clean.
#[tokio::test(flavor = "multi_thread")]
async fn verify() {
    let (world, model, _) = world().await;
    for lives in lives().filter(|lives| lives.calls < 60) {
        let left = fork(&*world.store).await;
        let (store, fleeting) = Fleeting::new(left.clone(), lives);
        let result = world.on(store).verify(100).await;
        assert!(
            result.is_ok() || fleeting.has_stopped(),
            "{lives:?}: {result:?}"
        );
        let survivor = world.on(Arc::new(left));
        survivor
            .check(&model)
            .await
            .unwrap_or_else(|what| panic!("{lives:?}: {what}"));
        survivor
            .check_verify(100)
            .await
            .unwrap_or_else(|what| panic!("{lives:?}: {what}"));
    }
}
