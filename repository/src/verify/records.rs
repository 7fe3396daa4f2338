//! Records that count by name, or that somebody may need one day: do they hold what their names say?
//!
//! Nothing that restores a point depends on them. But a delete marker hides a point, and one that nobody with the keys
//! wrote hides it all the same; so a verify of everything opens them all.

use futures::{StreamExt, stream};
use minicbor::Decode;

use super::{Damage, Result, VerifyRun, damage_of};
use crate::{
    error::RepositoryError,
    id::SessionId,
    layout::{self, SessionObject},
    points::DeleteMarker,
    record::RecordKind,
    repository::Repository,
    session::{Checkpoint, Heartbeat, Intent},
    store::{ErrorKind, list_all},
};

/// Records that are read at the same time.
const REQUESTS: usize = 32;

/// What a record is, by its name.
#[derive(Clone, Copy, Debug)]
enum Record {
    DeleteMarker(SessionId),
    BadMark,
    VerifyRun,
    SeriesPoint,
    Session(SessionObject),
}

impl Record {
    /// The record called `name`; `None` for what nobody reads.
    fn of(name: &str) -> Option<Self> {
        let marker = layout::parse_delete_marker(name).map(Self::DeleteMarker);
        let bad = || layout::parse_bad_point(name).map(|_| Self::BadMark);
        let run = || layout::is_verify_run(name).then_some(Self::VerifyRun);
        let entry = || layout::parse_indexed_point(name).map(|_| Self::SeriesPoint);
        let session =
            || layout::parse_session_object(name).map(|(_, object)| Self::Session(object));
        marker
            .or_else(bad)
            .or_else(run)
            .or_else(entry)
            .or_else(session)
    }

    /// What to do about a damaged one.
    fn way_out(self) -> String {
        match self {
            Self::DeleteMarker(point) => format!(
                "it hides point {point}: delete this object to see the point again, and forget the point anew if it is to go"
            ),
            Self::BadMark => {
                "delete this object: a verify marks the point again if it is damaged".to_owned()
            }
            Self::VerifyRun | Self::SeriesPoint | Self::Session(_) => {
                "no point depends on it: delete this object".to_owned()
            }
        }
    }
}

impl Repository {
    /// Opens every record that no point depends on; returns those that are not what their names say.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn check_records(&self) -> Result<Vec<Damage>> {
        let mut damage = Vec::new();
        for prefix in [
            layout::delete_markers(),
            layout::bad_points(),
            layout::verify_runs(),
            layout::points_index(),
            layout::sessions(),
        ] {
            let entries = list_all(&**self.store(), &prefix).await?;
            let named = entries
                .into_iter()
                .filter_map(|entry| Some((Record::of(&entry.name)?, entry.name)));
            let mut checks = stream::iter(named)
                .map(|(record, name)| async move { self.check_record(record, name).await })
                .buffer_unordered(REQUESTS);
            while let Some(checked) = checks.next().await {
                damage.extend(checked?);
            }
        }
        Ok(damage)
    }

    async fn check_record(&self, record: Record, name: String) -> Result<Option<Damage>> {
        use RecordKind as Kind;
        let opened = match record {
            Record::DeleteMarker(_) => self.opens::<DeleteMarker>(&name, Kind::DeleteMarker).await,
            Record::BadMark => self.opens::<u64>(&name, Kind::BadPoint).await,
            Record::VerifyRun => self.opens::<VerifyRun>(&name, Kind::VerifyRun).await,
            Record::SeriesPoint => self.opens::<SessionId>(&name, Kind::SeriesPoint).await,
            Record::Session(SessionObject::Intent) => {
                self.opens::<Intent>(&name, Kind::Intent).await
            }
            Record::Session(SessionObject::Heartbeat) => {
                self.opens::<Heartbeat>(&name, Kind::Heartbeat).await
            }
            Record::Session(SessionObject::Checkpoint(_)) => {
                self.opens::<Checkpoint>(&name, Kind::Checkpoint).await
            }
        };
        let Err(error) = opened else {
            return Ok(None);
        };
        let mut damage = damage_of(name, error)?;
        damage.what = format!("{}; {}", damage.what, record.way_out());
        Ok(Some(damage))
    }

    /// Whether a record opens. One that is gone by now was somebody's to remove.
    async fn opens<T: for<'b> Decode<'b, ()>>(&self, name: &str, kind: RecordKind) -> Result<()> {
        match self.get_record::<T>(name, kind).await {
            Err(RepositoryError::Store(error)) if error.kind() == ErrorKind::NotFound => Ok(()),
            opened => opened.map(drop),
        }
    }
}
