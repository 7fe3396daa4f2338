//! Who asks, and where that is found without asking anybody over the network.

use std::fmt;

use aws_runtime::env_config::section::Profile;
use zeroize::Zeroizing;

use super::{address::S3Address, environment::Environment, error::S3ConfigError};

/// Who asks.
#[derive(Clone)]
pub enum Credentials {
    /// A pair of keys, temporary ones with their session token.
    Keys {
        /// The public half.
        access_key_id: String,
        /// The secret half.
        secret_access_key: Zeroizing<String>,
        /// Comes with temporary keys.
        session_token: Option<Zeroizing<String>>,
    },
    /// The default chain of the AWS SDK: web identity, container and instance credentials, profiles with roles.
    #[cfg(feature = "cloud-credentials")]
    Cloud {
        /// Profile to use instead of the default one.
        profile: Option<String>,
    },
}

impl Credentials {
    /// A pair of long-lived keys.
    pub fn keys(access_key_id: impl Into<String>, secret_access_key: impl Into<String>) -> Self {
        Self::Keys {
            access_key_id: access_key_id.into(),
            secret_access_key: Zeroizing::new(secret_access_key.into()),
            session_token: None,
        }
    }

    /// Finds keys: in the profile that the address names; else in the environment, then in the profile it names.
    pub(super) fn find(
        address: &S3Address,
        environment: &Environment,
        name: &str,
        profile: Option<&Profile>,
    ) -> Result<Credentials, S3ConfigError> {
        let by_variables = || {
            let get = |variable| environment.get(variable);
            key_pair(
                get("AWS_ACCESS_KEY_ID"),
                get("AWS_SECRET_ACCESS_KEY"),
                get("AWS_SESSION_TOKEN"),
                || "the environment".to_owned(),
            )
        };
        let by_profile = || {
            let get = |key| profile.and_then(|profile| profile.get(key));
            key_pair(
                get("aws_access_key_id"),
                get("aws_secret_access_key"),
                get("aws_session_token"),
                || format!("profile `{name}`"),
            )
        };
        let found = if address.profile.is_some() {
            by_profile()?
        } else {
            match by_variables()? {
                None => by_profile()?,
                found => found,
            }
        };
        match found {
            Some(found) => Ok(found),
            None => otherwise(address, name, profile),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys { .. } => f.write_str("Keys(..)"),
            #[cfg(feature = "cloud-credentials")]
            Self::Cloud { .. } => f.write_str("Cloud"),
        }
    }
}

/// Both halves, or neither.
fn key_pair(
    id: Option<&str>,
    secret: Option<&str>,
    token: Option<&str>,
    place: impl Fn() -> String,
) -> Result<Option<Credentials>, S3ConfigError> {
    match (id, secret) {
        (Some(id), Some(secret)) => Ok(Some(Credentials::Keys {
            access_key_id: id.to_owned(),
            secret_access_key: Zeroizing::new(secret.to_owned()),
            session_token: token.map(|token| Zeroizing::new(token.to_owned())),
        })),
        (None, None) => Ok(None),
        _ => Err(S3ConfigError::HalfCredentials { place: place() }),
    }
}

/// Without keys: the SDK's chain.
#[cfg(feature = "cloud-credentials")]
#[expect(
    clippy::unnecessary_wraps,
    reason = "without the feature this is an error"
)]
fn otherwise(
    address: &S3Address,
    _name: &str,
    _profile: Option<&Profile>,
) -> Result<Credentials, S3ConfigError> {
    Ok(Credentials::Cloud {
        profile: address.profile.clone(),
    })
}

/// Without keys: why not, and where they could have been.
#[cfg(not(feature = "cloud-credentials"))]
fn otherwise(
    address: &S3Address,
    name: &str,
    profile: Option<&Profile>,
) -> Result<Credentials, S3ConfigError> {
    let remedy = "this build reads keys only; build it with the feature `cloud-credentials`";
    for method in [
        "role_arn",
        "sso_session",
        "sso_start_url",
        "credential_process",
    ] {
        if profile.is_some_and(|profile| profile.get(method).is_some()) {
            return Err(S3ConfigError::IndirectCredentials {
                profile: name.to_owned(),
                method,
                remedy,
            });
        }
    }
    let profile = format!(
        "profile `{name}` in ~/.aws/credentials and ~/.aws/config (or AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE)"
    );
    let looked_at = if address.profile.is_some() {
        profile
    } else {
        format!("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and {profile}")
    };
    Err(S3ConfigError::NoCredentials { looked_at })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Home(tempfile::TempDir);

    impl Home {
        fn with(credentials: &str) -> Self {
            let home = tempfile::tempdir().unwrap();
            fs::create_dir(home.path().join(".aws")).unwrap();
            fs::write(home.path().join(".aws/credentials"), credentials).unwrap();
            Self(home)
        }

        /// Returns id and token of the keys found, or the error.
        async fn find(
            &self,
            address: &str,
            variables: &[(&str, &str)],
        ) -> Result<(String, Option<String>), S3ConfigError> {
            let home = ("HOME", self.0.path().to_str().unwrap());
            let environment: Environment = [&home]
                .into_iter()
                .chain(variables)
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let address: S3Address = address.parse().unwrap();
            let (name, profile) = environment.profile(address.profile.as_deref()).await?;
            match Credentials::find(&address, &environment, &name, profile.as_ref())? {
                Credentials::Keys {
                    access_key_id,
                    session_token,
                    ..
                } => Ok((access_key_id, session_token.map(|token| token.to_string()))),
                #[cfg(feature = "cloud-credentials")]
                Credentials::Cloud { .. } => Ok(("cloud".to_owned(), None)),
            }
        }
    }

    const TWO: &str = "[default]\naws_access_key_id = usual\naws_secret_access_key = s\n\
                       [ops]\naws_access_key_id = ops\naws_secret_access_key = s\naws_session_token = t\n";

    #[tokio::test]
    async fn the_nearest_keys_win() {
        let home = Home::with(TWO);
        let keys = [("AWS_ACCESS_KEY_ID", "env"), ("AWS_SECRET_ACCESS_KEY", "s")];
        let ops = [("AWS_PROFILE", "ops")];
        assert_eq!(home.find("s3://bucket", &keys).await.unwrap().0, "env");
        assert_eq!(home.find("s3://bucket", &[]).await.unwrap().0, "usual");
        assert_eq!(
            home.find("s3://bucket", &ops).await.unwrap(),
            ("ops".into(), Some("t".into()))
        );
        assert_eq!(
            home.find("s3://bucket?profile=ops", &keys).await.unwrap().0,
            "ops"
        );
    }

    #[tokio::test]
    async fn the_files_may_be_elsewhere() {
        let home = Home::with("");
        let other = home.0.path().join("elsewhere");
        fs::write(&other, TWO).unwrap();
        let variable = ("AWS_SHARED_CREDENTIALS_FILE", other.to_str().unwrap());
        assert_eq!(
            home.find("s3://bucket", &[variable]).await.unwrap().0,
            "usual"
        );
    }

    #[tokio::test]
    async fn an_unknown_profile_is_named() {
        let home = Home::with(TWO);
        for variables in [&[("AWS_PROFILE", "nobody")][..], &[]] {
            let address = if variables.is_empty() {
                "s3://bucket?profile=nobody"
            } else {
                "s3://bucket"
            };
            let error = home.find(address, variables).await.unwrap_err();
            assert!(error.to_string().contains("`nobody`"), "{error}");
        }
    }

    #[tokio::test]
    async fn half_a_pair_is_refused() {
        let home = Home::with(TWO);
        let error = home
            .find("s3://bucket", &[("AWS_ACCESS_KEY_ID", "env")])
            .await
            .unwrap_err();
        assert!(
            matches!(error, S3ConfigError::HalfCredentials { .. }),
            "{error:?}"
        );
    }

    #[cfg(not(feature = "cloud-credentials"))]
    #[tokio::test]
    async fn missing_keys_are_one_line_that_names_every_place() {
        let error = Home::with("")
            .find("s3://bucket", &[])
            .await
            .unwrap_err()
            .to_string();
        for place in [
            "AWS_ACCESS_KEY_ID",
            "`default`",
            "~/.aws/credentials",
            "AWS_CONFIG_FILE",
        ] {
            assert!(error.contains(place), "{error}");
        }
        assert!(!error.contains('\n'));
    }

    #[cfg(not(feature = "cloud-credentials"))]
    #[tokio::test]
    async fn a_profile_with_a_role_says_what_is_missing() {
        let home =
            Home::with("[default]\nrole_arn = arn:aws:iam::1:role/backup\nsource_profile = x\n");
        let error = home.find("s3://bucket", &[]).await.unwrap_err();
        assert!(error.to_string().contains("role_arn"), "{error}");
    }

    #[test]
    fn secrets_are_not_shown() {
        let keys = Credentials::keys("id", "hunter2");
        assert!(!format!("{keys:?}").contains("hunter2"));
    }
}
