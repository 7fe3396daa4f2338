//! Values of arguments, checked while they are read.

use std::{convert::Infallible, fmt, fs, path::PathBuf, str::FromStr};

use clap::builder::{PathBufValueParser, TypedValueParser};
use jiff::Timestamp;
use repository::format::{CHUNK_LOG2_MAX, CHUNK_LOG2_MIN};

use crate::{
    clock,
    output::{size, time},
};

/// Words that will be commands after `backup` and `restore`.
const RESERVED: [&str; 5] = ["create", "logs", "get", "describe", "delete"];

/// A time as people write it.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    time::parse(text, &clock::now())
}

/// A time, given as how long ago it was.
pub(super) fn ago(text: &str) -> Result<Timestamp, String> {
    time::parse_ago(text, &clock::now())
}

/// Memory that a job can work with.
pub(super) fn memory(text: &str) -> Result<u64, String> {
    let bytes = size::parse(text)?;
    if bytes < agent::MEMORY_BYTES_MIN {
        let least = size::Size(agent::MEMORY_BYTES_MIN);
        let hint = if text.ends_with(|last: char| last.is_ascii_digit()) {
            format!("; a number alone means bytes: write `{text}M`")
        } else {
            String::new()
        };
        return Err(format!("a job needs {least} at least{hint}"));
    }
    match machine_memory() {
        Some(most) if bytes > most => Err(format!("this machine has {}", size::Size(most))),
        Some(_) | None => Ok(bytes),
    }
}

/// Memory of this machine: what is asked for beyond it would end the process when it is first touched.
fn machine_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

/// A chunk size, as a power of two.
pub(super) fn chunk_log2(text: &str) -> Result<u8, String> {
    let bytes = size::parse(text)?;
    (CHUNK_LOG2_MIN..=CHUNK_LOG2_MAX)
        .find(|log2| bytes == 1 << log2)
        .ok_or_else(|| "write 64K, 128K, 256K, 512K, 1M, 2M or 4M".to_owned())
}

/// `5%` or `5`.
pub(super) fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    number
        .parse()
        .ok()
        .filter(|percent| *percent <= 100)
        .ok_or_else(|| format!("`{text}` is not a percentage: write 0% to 100%"))
}

/// `KEY=VALUE`.
pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err(format!("`{text}` is not KEY=VALUE")),
    }
}

/// A source or target: a path that is not one of the reserved words.
pub(super) fn path_parser() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(path)
}

fn path(path: PathBuf) -> Result<PathBuf, String> {
    match RESERVED.iter().find(|word| path.as_os_str() == **word) {
        Some(word) => Err(format!(
            "`{word}` is kept for a command to come: write `./{word}` for a file of this name"
        )),
        None => Ok(path),
    }
}

/// Which point is meant, as the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PointName {
    /// All of it.
    pub(crate) text: String,
    /// What it says.
    pub(crate) kind: PointKind,
}

/// The ways to name a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PointKind {
    /// `latest`.
    Latest,
    /// The beginning of an id.
    Id(String),
    /// `SERIES@TIME`, or `SERIES@latest`.
    At {
        series: String,
        time: Option<Timestamp>,
    },
}

impl FromStr for PointName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let id = text.to_ascii_lowercase();
        let kind = if text == "latest" {
            PointKind::Latest
        } else if let Some((series, time)) = text
            .rsplit_once('@')
            .filter(|(series, _)| !series.is_empty())
        {
            let time = if time == "latest" {
                None
            } else {
                Some(moment(time)?)
            };
            PointKind::At {
                series: series.to_owned(),
                time,
            }
        } else if !id.is_empty()
            && id.len() <= 32
            && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            PointKind::Id(id)
        } else {
            let hint = if RESERVED.contains(&text) {
                " (the word is kept for a command to come)"
            } else {
                ""
            };
            return Err(format!(
                "`{text}` names no recovery point{hint}: write the beginning of its id, `latest`, or SERIES@TIME"
            ));
        };
        Ok(Self {
            text: text.to_owned(),
            kind,
        })
    }
}

/// Text that may hold a secret and is never shown.
#[derive(Clone)]
pub(crate) struct Hidden(pub(crate) String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(..)")
    }
}

impl FromStr for Hidden {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Result<PointKind, String> {
        text.parse().map(|name: PointName| name.kind)
    }

    #[test]
    fn points_are_named_three_ways() {
        assert_eq!(name("latest"), Ok(PointKind::Latest));
        assert_eq!(name("3F2a"), Ok(PointKind::Id("3f2a".to_owned())));
        let time = "2026-11-20T14:00:00Z".parse().ok();
        let at = |series: &str, time| {
            Ok(PointKind::At {
                series: series.to_owned(),
                time,
            })
        };
        assert_eq!(
            name("web-1:/srv@2026-11-20T14:00:00Z"),
            at("web-1:/srv", time)
        );
        assert_eq!(name("a@b@latest"), at("a@b", None));
    }

    #[test]
    fn other_names_are_refused() {
        for text in [
            "",
            "newest",
            "xyz",
            "web-1:/srv",
            "@latest",
            "web@teatime",
            "0123456789abcdef0123456789abcdef0",
        ] {
            assert!(name(text).is_err(), "{text}");
        }
        assert!(name("describe").unwrap_err().contains("command to come"));
    }

    #[test]
    fn reserved_words_are_no_paths() {
        for word in RESERVED {
            assert!(
                path(word.into())
                    .unwrap_err()
                    .contains(&format!("./{word}"))
            );
            assert!(path(format!("./{word}").into()).is_ok());
        }
    }

    #[test]
    fn limits_are_checked() {
        assert_eq!(chunk_log2("64K"), Ok(16));
        assert_eq!(chunk_log2("4M"), Ok(22));
        assert!(
            chunk_log2("32K").is_err() && chunk_log2("8M").is_err() && chunk_log2("100K").is_err()
        );
        assert_eq!(memory("48M"), Ok(48 << 20));
        assert!(memory("1000T").is_err_and(|error| error.contains("this machine has")));
        assert!(memory("47M").is_err_and(|error| !error.contains("means bytes")));
        assert!(memory("128").is_err_and(|error| error.contains("write `128M`")));
        assert_eq!(
            (percent("5%"), percent("100"), percent("0%")),
            (Ok(5), Ok(100), Ok(0))
        );
        assert!(percent("101%").is_err() && percent("-1").is_err() && percent("").is_err());
        assert_eq!(key_value("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(key_value("=b").is_err() && key_value("ab").is_err());
    }
}
