//! A repository with a secret, and what its points must restore to.

use std::{collections::BTreeMap, error::Error, sync::Arc};

use agent::{
    Control, JobError,
    job::{self, BackupReport, BackupRequest, VerifyReport, VerifyRequest},
};
use repository::{
    CreateOptions, Point, Repository, RepositoryError, Secret, SessionId, store::SharedStore,
};

use crate::{MemoryTarget, MemoryVolume};

/// The series that suites back up.
pub const SERIES: &str = "host:/volume";

/// What each point must restore to.
pub type Model = BTreeMap<SessionId, Arc<Vec<u8>>>;

/// A repository on a store, opened anew whenever it is used, as by a new process.
#[derive(Clone, Debug)]
pub struct World {
    /// Where it is.
    pub store: SharedStore,
    secret: Arc<Secret>,
}

impl World {
    /// Makes a repository.
    pub async fn create(store: SharedStore) -> Self {
        let secret = Arc::new(Secret::draw_key_file());
        let options = CreateOptions::default();
        Repository::create(Arc::clone(&store), &secret, &options)
            .await
            .expect("a repository");
        Self { store, secret }
    }

    /// The repository that is there.
    pub fn new(store: SharedStore, secret: Arc<Secret>) -> Self {
        Self { store, secret }
    }

    /// Makes another repository that the same secret opens.
    pub async fn another(&self, store: SharedStore) -> Self {
        let options = CreateOptions::default();
        Repository::create(Arc::clone(&store), &self.secret, &options)
            .await
            .expect("a repository");
        self.on(store)
    }

    /// The same repository, opened with another secret.
    pub fn with(&self, secret: Arc<Secret>) -> Self {
        Self {
            store: Arc::clone(&self.store),
            secret,
        }
    }

    /// The same repository, seen through another store.
    pub fn on(&self, store: SharedStore) -> Self {
        Self {
            store,
            secret: Arc::clone(&self.secret),
        }
    }

    /// What opens it.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Opens it.
    ///
    /// # Errors
    /// What opening says.
    pub async fn open(&self) -> Result<Repository, RepositoryError> {
        Repository::open(Arc::clone(&self.store), &self.secret).await
    }

    /// Backs `contents` up.
    ///
    /// # Errors
    /// What the job says.
    pub async fn backup(
        &self,
        contents: &[u8],
        request: BackupRequest,
    ) -> Result<BackupReport, JobError> {
        self.backup_under(contents, request, &control()).await
    }

    /// Backs `contents` up under a control of the caller's.
    ///
    /// # Errors
    /// What the job says.
    pub async fn backup_under(
        &self,
        contents: &[u8],
        request: BackupRequest,
        control: &Control,
    ) -> Result<BackupReport, JobError> {
        let series = if request.series.is_empty() {
            SERIES.to_owned()
        } else {
            request.series
        };
        let request = BackupRequest { series, ..request };
        let repository = self.open().await?;
        job::backup(&repository, MemoryVolume::new(contents), request, control).await
    }

    /// The points that are there, none of them damaged.
    ///
    /// # Errors
    /// What listing says, or the first damaged register.
    pub async fn points(&self) -> Result<Vec<Point>, RepositoryError> {
        let found = self.open().await?.points().await?;
        match found.damaged.into_iter().next() {
            None => Ok(found.points),
            Some((_, error)) => Err(error),
        }
    }

    /// What a point restores to.
    ///
    /// # Errors
    /// What the job says.
    pub async fn restored(&self, point: &Point) -> Result<Vec<u8>, JobError> {
        let target = MemoryTarget::fresh();
        let repository = self.open().await?;
        job::restore(&repository, point, Arc::clone(&target) as _, &control()).await?;
        Ok(target
            .contents()
            .expect("a restore that succeeds finishes its target"))
    }

    /// Verifies all points and reads so many per cent of the data.
    ///
    /// # Errors
    /// What the job says.
    pub async fn verify(&self, read_data_percent: u8) -> Result<VerifyReport, JobError> {
        let request = VerifyRequest {
            read_data_percent,
            ..VerifyRequest::default()
        };
        job::verify(&self.open().await?, request, &control()).await
    }

    /// Checks that nothing is damaged.
    ///
    /// # Errors
    /// What is damaged, for the message of a test that fails.
    pub async fn check_verify(&self, read_data_percent: u8) -> Result<(), String> {
        let report = self.verify(read_data_percent).await;
        let report = report.map_err(|error| format!("verify: {}", show(&error)))?;
        if report.damage.is_empty() && report.bad_points.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "verify: {:?}, {:?}",
                report.damage, report.bad_points
            ))
        }
    }

    /// Checks that exactly the points of `model` are there and that each restores bit for bit.
    ///
    /// # Errors
    /// What does not hold, for the message of a test that fails.
    pub async fn check(&self, model: &Model) -> Result<(), String> {
        let points = self
            .points()
            .await
            .map_err(|error| format!("points: {}", show(&error)))?;
        let there: Vec<_> = points.iter().map(|point| point.id).collect();
        let missing: Vec<_> = model.keys().filter(|id| !there.contains(id)).collect();
        let extra: Vec<_> = there.iter().filter(|id| !model.contains_key(id)).collect();
        if !missing.is_empty() || !extra.is_empty() {
            return Err(format!(
                "points that are missing: {missing:?}, that should not be there: {extra:?}"
            ));
        }
        for point in &points {
            let restored = self.restored(point).await;
            let restored =
                restored.map_err(|error| format!("restore of {}: {}", point.id, show(&error)))?;
            let expected = &model[&point.id];
            if restored != **expected {
                let at = restored
                    .iter()
                    .zip(expected.iter())
                    .position(|(left, right)| left != right);
                let (got, wanted) = (restored.len(), expected.len());
                return Err(format!(
                    "{} differs at {at:?}: {got} bytes, expected {wanted}",
                    point.id
                ));
            }
        }
        Ok(())
    }
}

/// A small job: one thread that seals, packs of 4 MiB, two of them at most on their way.
pub fn control() -> Control {
    Control {
        memory_bytes: 16 << 20,
        ..Control::default()
    }
}

/// Takes over from writers of this very process, which do run.
pub fn force() -> BackupRequest {
    BackupRequest {
        force: true,
        ..BackupRequest::default()
    }
}

/// An error with its causes.
pub fn show(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
