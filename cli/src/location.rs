//! Where a repository is: a folder, or a bucket on S3.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

#[cfg(feature = "s3")]
use repository::store::s3::{Environment, S3Address, S3Config, S3Store};
use repository::store::{DirectoryStore, Pace, SharedStore};

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// A folder.
    Folder(PathBuf),
    /// A bucket, or a part of one.
    #[cfg(feature = "s3")]
    S3(S3Address),
}

impl FromStr for Location {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text.split_once("://") {
            #[cfg(feature = "s3")]
            Some(("s3", _)) => Ok(Self::S3(text.parse()?)),
            #[cfg(not(feature = "s3"))]
            Some(("s3", _)) => anyhow::bail!("this program was built without S3"),
            Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                anyhow::bail!(
                    "`{scheme}://` is not known: write a path, or s3://BUCKET/PREFIX?endpoint=URL"
                )
            }
            _ if text.starts_with("s3:") => {
                anyhow::bail!(
                    "write s3://BUCKET/PREFIX?endpoint=URL with both slashes, or `./{text}` for a folder of that name"
                )
            }
            _ if text.is_empty() => {
                anyhow::bail!("it is empty: write a path, or s3://BUCKET/PREFIX?endpoint=URL")
            }
            _ => Ok(Self::Folder(text.into())),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            #[cfg(feature = "s3")]
            Self::S3(address) => address.fmt(f),
        }
    }
}

impl Location {
    /// Opens the store of a repository that exists.
    ///
    /// # Errors
    /// When there is no such folder, or settings or credentials are missing.
    pub(crate) async fn open(&self, pace: Arc<dyn Pace>) -> anyhow::Result<SharedStore> {
        self.store(pace, false).await
    }

    /// Opens the store of a repository that is to be made; a folder is made too.
    ///
    /// # Errors
    /// When it cannot be made, or settings or credentials are missing.
    pub(crate) async fn create(&self, pace: Arc<dyn Pace>) -> anyhow::Result<SharedStore> {
        self.store(pace, true).await
    }

    async fn store(&self, pace: Arc<dyn Pace>, create: bool) -> anyhow::Result<SharedStore> {
        match self {
            Self::Folder(path) => {
                let path = path.clone();
                let opened = tokio::task::spawn_blocking(move || {
                    if create {
                        DirectoryStore::create(path)
                    } else {
                        DirectoryStore::open(path)
                    }
                });
                let store = opened.await?.map_err(repository::RepositoryError::Store)?;
                Ok(Arc::new(store.with_pace(pace)))
            }
            #[cfg(feature = "s3")]
            Self::S3(address) => {
                let mut config = S3Config::resolve(address, &Environment::of_process()).await?;
                config.pace = Some(pace);
                Ok(Arc::new(S3Store::new(config).await?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let location = text.parse::<Location>();
        location
            .map(|location| location.to_string())
            .map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn paths_stay_as_they_are_written() {
        for path in ["/backup/db", "relative", "./s3", "with space", "a:b"] {
            assert_eq!(read(path), Ok(path.to_owned()));
        }
    }

    #[test]
    fn other_schemes_are_refused() {
        assert!(
            read("http://host/x")
                .unwrap_err()
                .contains("`http://` is not known")
        );
        assert!(read("").is_err());
    }

    #[cfg(feature = "s3")]
    #[test]
    fn s3_addresses_are_checked_at_once() {
        for whole in [
            "s3://backups/db?endpoint=https://s3.example",
            "s3://backups/db?endpoint=https://s3.example&ca-file=/etc/ca.pem",
        ] {
            assert_eq!(
                read(whole),
                Ok(whole.to_owned()),
                "what is shown can be typed again"
            );
        }
        assert!(read("s3://").is_err());
        assert!(
            read("s3://backups?enpoint=https://s3.example")
                .unwrap_err()
                .contains("enpoint")
        );
    }
}
