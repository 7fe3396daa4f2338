//! What the AWS environment variables and profile files say, as values, so that tests bring their own.

use std::{collections::HashMap, fmt};

use aws_runtime::env_config::{
    file::EnvConfigFiles,
    section::{EnvConfigSections, Profile},
    source,
};
use aws_types::os_shim_internal::{Env, Fs};

use super::error::S3ConfigError;

/// Environment variables that say how to reach S3.
#[derive(Clone, Default)]
pub struct Environment(HashMap<String, String>);

impl Environment {
    /// Reads this process's `AWS_*` variables, and `HOME`, under which the profile files are.
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        std::env::vars_os()
            .filter_map(text)
            .filter(|(name, _)| name.starts_with("AWS_") || name == "HOME")
            .collect()
    }

    /// The value of a variable; an empty one counts as none, as in the AWS tools.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Reads the profile files that these variables name, or the usual ones.
    ///
    /// Returns the settings of `profile`, of `AWS_PROFILE`, or of `default`, in this order; nothing when there is no
    /// profile `default`.
    pub(super) async fn profile(
        &self,
        profile: Option<&str>,
    ) -> Result<(String, Option<Profile>), S3ConfigError> {
        let asked_for = profile.or_else(|| self.get("AWS_PROFILE"));
        let source = source::load(
            &Env::from(self.0.clone()),
            &Fs::real(),
            &EnvConfigFiles::default(),
        )
        .await
        .map_err(|error| S3ConfigError::Profiles(error.into()))?;
        let sections = EnvConfigSections::parse(source)
            .map_err(|error| S3ConfigError::Profiles(error.into()))?;
        let name = asked_for.unwrap_or("default");
        let found = sections.get_profile(name).cloned();
        if found.is_none() && asked_for.is_some() {
            return Err(S3ConfigError::NoProfile {
                profile: name.to_owned(),
            });
        }
        Ok((name.to_owned(), found))
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// Names only: values may be secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
