//! The commands and their own options.

use std::{num::NonZeroU64, path::PathBuf};

use clap::{ArgAction, Args, Subcommand, ValueEnum, builder::NonEmptyStringValueParser};
use clap_complete::Shell;
use jiff::Timestamp;

use super::values::{self, Hidden, PointName};
use crate::output::size;

const INIT_EXAMPLES: &str = "\
Examples:
  sluice init -r /backup/db --new-key ~/db.key
  sluice init -r 's3://backups/db?endpoint=https://s3.example.com' --passphrase-file /etc/sluice/passphrase";

const BACKUP_EXAMPLES: &str = "\
Examples:
  sluice backup /dev/vg/db-snapshot --series db --tag nightly
  sluice backup db.img --handle snap-2 --changed-extents changes.txt --base snap-1
  sluice backup copy-2.img --series db --handle 2 --reflink-base copy-1.img --base 1";

const RESTORE_EXAMPLES: &str = "\
Examples:
  sluice restore latest db.img
  sluice restore 3f2a9c1b /dev/vg/db --in-place
  sluice restore latest - --as-of '2h ago' | ssh db1 'dd of=/dev/vg/db'
  sluice restore web-1:/srv/db.img@2026-11-20 .";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a repository
    ///
    /// A key file opens it at once and is best for machines; a passphrase costs 64 MiB of memory and a moment at each start.
    /// More of both can be added later with `sluice key add`. Keep a copy of the key elsewhere: without it nothing can be
    /// restored.
    Init(Init),
    /// Back up a block device or an image file
    ///
    /// Makes a recovery point of one volume. What the last point of its series holds already is not stored again.
    ///
    /// It can be interrupted at any moment: the next run goes on from what was uploaded.
    Backup(Box<Backup>),
    /// Restore a recovery point to a file, a device or standard output
    ///
    /// A new file appears under its name only when it is whole. With --in-place only what differs is written.
    Restore(Restore),
    /// List recovery points
    ///
    /// Oldest first. HOW says how changes were found: everything was read (`everything`), everything was read and compared
    /// with the point before (`compare`), or only named extents were read (`extents`).
    Points(Points),
    /// Show all that is known about a recovery point
    Show(Show),
    /// List what a recovery point holds
    Ls(Show),
    /// Print the ranges in which two recovery points differ
    ///
    /// One `OFFSET LENGTH` in bytes a line, rounded to chunks: what `sluice backup --changed-extents` reads. The sum goes to
    /// standard error.
    Diff(Diff),
    /// Show what each series takes
    Stats(Stats),
    /// Check that recovery points can be restored
    ///
    /// Walks everything that points refer to, and with --read-data reads and opens that part of the data. A point that is
    /// found damaged is marked, and `latest` passes it by. The exit code is 3 when damage was found.
    Verify(Verify),
    /// Forget recovery points
    ///
    /// Points are named, or chosen by what is to be kept. The newest good point of a series is never forgotten without
    /// --force. Space comes back with prune, which this version does not have yet.
    Forget(Forget),
    /// Manage what opens the repository
    #[command(subcommand)]
    Key(Key),
    /// Check a location: is it reachable, what does it guarantee, how fast is it
    ///
    /// Works with and without a repository at the location, and with and without a key. Every finding says what to do about
    /// it. The exit code is 1 when a check failed.
    Doctor(Doctor),
    /// Show the version
    Version,
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Write the man pages into a folder
    Man {
        /// Which folder
        folder: PathBuf,
    },
}

/// A new repository.
#[derive(Debug, Args)]
#[command(after_help = INIT_EXAMPLES)]
pub(crate) struct Init {
    /// Draw a new key, write it to FILE (which must not exist) and use it
    #[arg(long, value_name = "FILE")]
    pub(crate) new_key: Option<PathBuf>,

    /// What the key is called in `sluice key list`
    #[arg(long, value_name = "TEXT", default_value = "first")]
    pub(crate) label: String,

    /// Accept a store where two writers could destroy each other's points
    ///
    /// Such a store takes write-once requests and ignores the condition. With this, the repository records that only one
    /// writer may run at a time, and every command warns.
    #[arg(long)]
    pub(crate) accept_no_write_once: bool,
}

/// How much a job may take.
#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// Memory for all buffers together, 48MiB at least
    #[arg(long, value_name = "SIZE", default_value = "128MiB", value_parser = values::memory)]
    pub(crate) memory: u64,

    /// Bytes read per second at most, of the source or the repository, such as 10MiB
    #[arg(long, value_name = "RATE", value_parser = size::parse_rate)]
    pub(crate) limit_read: Option<NonZeroU64>,

    /// Write what became of it to FILE as JSON, also when it fails; it is empty until then
    #[arg(long, value_name = "FILE")]
    pub(crate) result: Option<PathBuf>,
}

/// A backup.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[command(after_help = BACKUP_EXAMPLES)]
pub(crate) struct Backup {
    /// Block device or image file
    #[arg(value_name = "PATH", value_parser = values::path_parser())]
    pub(crate) source: PathBuf,

    /// Take PATH as one volume of blocks; the only way so far
    #[arg(long)]
    pub(crate) block: bool,

    /// What the points of this source belong to [default: HOST:PATH]
    #[arg(long, value_name = "NAME")]
    pub(crate) series: Option<String>,

    /// Call the point something; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,

    /// Read and compare, but store nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Back up although somebody may be writing to the source; what is stored may be torn
    #[arg(long)]
    pub(crate) live: bool,

    /// Take over from another writer of the series that shows signs of life
    #[arg(long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) job: JobArgs,

    /// Bytes sent to the store per second at most, such as 10MiB
    #[arg(long, value_name = "RATE", value_parser = size::parse_rate)]
    pub(crate) limit_upload: Option<NonZeroU64>,

    /// How hard to compress
    #[arg(long, value_enum, default_value = "auto", value_name = "HOW")]
    pub(crate) compression: Compression,

    /// Chunk size of the series, 64K to 4M [default: as before; 64K for new ones, 256K above 1 TiB]
    #[arg(long, value_name = "SIZE", value_parser = values::chunk_log2)]
    pub(crate) chunk_size: Option<u8>,

    /// Record a fact about where the volume comes from; may be repeated
    #[arg(long = "origin", value_name = "KEY=VALUE", value_parser = values::key_value)]
    pub(crate) origin: Vec<(String, String)>,

    /// Name of the immutable snapshot that is read; a later list of changes can be based on it
    #[arg(
        long,
        value_name = "NEW",
        value_parser = NonEmptyStringValueParser::new(),
        help_heading = "Known changes"
    )]
    pub(crate) handle: Option<String>,

    /// File with what changed since BASE, one `OFFSET LENGTH` a line; `-` for standard input
    #[arg(
        long,
        value_name = "FILE",
        requires = "base",
        group = "changes",
        help_heading = "Known changes"
    )]
    pub(crate) changed_extents: Option<PathBuf>,

    /// Earlier reflink copy of the image that BASE was made from; what changed is found by comparing the two
    #[arg(
        long,
        value_name = "FILE",
        requires = "base",
        group = "changes",
        help_heading = "Known changes"
    )]
    pub(crate) reflink_base: Option<PathBuf>,

    /// Handle of the snapshot that the changes are counted from
    ///
    /// The list is used only when the series' last point was made from it. Otherwise everything is compared, and the
    /// result says so.
    #[arg(
        long,
        value_name = "OLD",
        requires = "changes",
        value_parser = NonEmptyStringValueParser::new(),
        help_heading = "Known changes"
    )]
    pub(crate) base: Option<String>,
}

/// How hard to compress.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Compression {
    /// Not at all
    Off,
    /// Lightly, more while the store is slower than the processor
    Auto,
    /// Harder
    Better,
    /// As hard as is reasonable
    Best,
}

/// Which point.
#[derive(Debug, Args)]
pub(crate) struct PointArgs {
    /// Look among the points of this series
    #[arg(long, value_name = "NAME")]
    pub(crate) series: Option<String>,

    /// Look among the points that were finished by then: 2026-11-20, "2026-11-20 14:00", "2h ago"
    ///
    /// A date alone means the end of that day. Times without a zone are local.
    #[arg(long, value_name = "TIME", value_parser = values::moment)]
    pub(crate) as_of: Option<Timestamp>,
}

/// A restore.
#[derive(Debug, Args)]
#[command(after_help = RESTORE_EXAMPLES)]
pub(crate) struct Restore {
    /// Beginning of the point's id, `latest`, or SERIES@TIME
    #[arg(value_name = "POINT")]
    pub(crate) point: PointName,

    /// New file, folder to make it in, or `-` for standard output; with --in-place a file or device that exists
    #[arg(value_name = "TARGET", value_parser = values::path_parser())]
    pub(crate) target: PathBuf,

    /// Write into what exists, only what differs
    #[arg(long)]
    pub(crate) in_place: bool,

    #[command(flatten)]
    pub(crate) selection: PointArgs,

    #[command(flatten)]
    pub(crate) job: JobArgs,
}

/// A list of points.
#[derive(Debug, Args)]
pub(crate) struct Points {
    /// Only points of this series
    #[arg(long, value_name = "NAME")]
    pub(crate) series: Option<String>,

    /// Only points with this tag; repeated: with all of them
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,

    /// `wide` shows more columns
    #[arg(
        short,
        long,
        value_enum,
        default_value = "table",
        value_name = "FORMAT"
    )]
    pub(crate) output: Layout,
}

/// How a list is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layout {
    /// The usual columns
    Table,
    /// More columns
    Wide,
    /// JSON, as with --json
    Json,
}

/// One point.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Beginning of the point's id, `latest`, or SERIES@TIME
    #[arg(value_name = "POINT")]
    pub(crate) point: PointName,

    #[command(flatten)]
    pub(crate) selection: PointArgs,
}

/// Two points.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// One point: beginning of its id, `latest`, or SERIES@TIME
    #[arg(value_name = "POINT")]
    pub(crate) left: PointName,

    /// The other one
    #[arg(value_name = "OTHER")]
    pub(crate) right: PointName,

    /// Look among the points of this series
    #[arg(long, value_name = "NAME")]
    pub(crate) series: Option<String>,
}

/// Sizes.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Only this series
    #[arg(long, value_name = "NAME")]
    pub(crate) series: Option<String>,
}

/// What to verify.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Points to verify; all when none is named
    #[arg(value_name = "POINT")]
    pub(crate) points: Vec<PointName>,

    /// Look only at the points of this series
    #[arg(long, value_name = "NAME")]
    pub(crate) series: Option<String>,

    /// Share of the data to read too: each run takes another part, so that 5% covers all in 20 runs
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = values::percent)]
    pub(crate) read_data: u8,

    #[command(flatten)]
    pub(crate) job: JobArgs,
}

/// What to forget.
#[derive(Debug, Args)]
pub(crate) struct Forget {
    /// Points to forget
    #[arg(value_name = "POINT", conflicts_with_all = ["keep_last", "keep_within", "tags"])]
    pub(crate) points: Vec<PointName>,

    /// Keep the newest N good points of each series
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keep_last: Option<u32>,

    /// Keep points younger than this: 36h, 30d, 6mo
    #[arg(long, value_name = "TIME", value_parser = values::ago)]
    pub(crate) keep_within: Option<Timestamp>,

    /// Look only at this series
    #[arg(long, value_name = "NAME")]
    pub(crate) series: Option<String>,

    /// Look only at points with this tag; repeated: with all of them
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,

    /// Say what would be forgotten, and forget nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Forget the newest good point of a series too, when it is named
    #[arg(long)]
    pub(crate) force: bool,

    /// Why; recorded with the points
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
}

/// What opens the repository.
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// List the key slots
    List,
    /// Let another key or passphrase open the repository
    Add(NewSecret),
    /// Take a key slot away
    ///
    /// The data is not encrypted anew: whoever opened the repository before may have kept what opens it.
    Remove {
        /// Beginning of the slot's name, from `sluice key list`
        slot: String,
    },
    /// Replace a key or passphrase by another one
    Change {
        #[command(flatten)]
        secret: NewSecret,

        /// Beginning of the name of the slot to replace [default: the one that opened the repository]
        #[arg(long, value_name = "SLOT")]
        replace: Option<String>,
    },
}

/// Another key or passphrase. Asked for on a terminal when none of these is given.
#[derive(Debug, Args)]
pub(crate) struct NewSecret {
    /// Draw a new key and write it to FILE, which must not exist
    #[arg(long, value_name = "FILE", group = "new")]
    pub(crate) new_key: Option<PathBuf>,

    /// Use the key in FILE
    #[arg(long, value_name = "FILE", group = "new")]
    pub(crate) new_key_file: Option<PathBuf>,

    /// Use the passphrase in FILE
    #[arg(long, value_name = "FILE", group = "new")]
    pub(crate) new_passphrase_file: Option<PathBuf>,

    /// Use the passphrase that a command prints, run by `sh -c`
    #[arg(long, value_name = "COMMAND", group = "new")]
    pub(crate) new_passphrase_command: Option<Hidden>,

    /// What it is called in `sluice key list`
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) label: String,
}

/// How to check a location.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Write nothing: what the store guarantees is then not tried
    #[arg(long, action = ArgAction::SetTrue)]
    pub(crate) read_only: bool,
}
