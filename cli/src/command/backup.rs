//! `sluice backup`: makes a recovery point of one volume.

use std::{
    fs::File,
    io::{self, BufReader},
    path::{Component, Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use agent::{
    changes::{Extents, fiemap},
    job::{self, BackupReport, BackupRequest, ChangeHint},
    source::{FileSource, OpenSource, Volume as _},
};
use anyhow::{Context as _, bail};
use repository::store::wrap::Discard;
use serde::Serialize;

use super::results::{self, ResultFile};
use crate::{
    args::{Backup, Compression},
    context::Context,
    exit::Exit,
    output::{
        json, print,
        progress::{self, ratio},
        size::Size,
        table::Facts,
        text::count,
        time,
    },
};

/// What a backup did. `JSON.md` documents every field.
#[derive(Debug, Serialize)]
struct Done {
    /// None on a dry run.
    point: Option<String>,
    series: String,
    parent: Option<String>,
    dry_run: bool,
    method: &'static str,
    fallback: Option<String>,
    volume_bytes: u64,
    read_bytes: u64,
    new_bytes: u64,
    uploaded_bytes: u64,
    adopted_bytes: u64,
    packs: u64,
    resumed_at: Option<u64>,
    sibling: bool,
    live: bool,
    unchecked: Option<String>,
    duration_seconds: f64,
}

pub(super) async fn run(context: &Context, arguments: Backup) -> anyhow::Result<Exit> {
    let file = arguments
        .job
        .result
        .as_deref()
        .map(|path| ResultFile::check(path, &[&arguments.source]))
        .transpose()?;
    let outcome = back_up(context, arguments)
        .await
        .map(|done| (done, Exit::Done));
    let (done, exit) = results::finish(file.as_ref(), outcome)?;
    if context.json() {
        json::write(&done)?;
    } else {
        print(describe(&done))?;
    }
    Ok(exit)
}

async fn back_up(context: &Context, arguments: Backup) -> anyhow::Result<Done> {
    context.throttle.set_upload_rate(arguments.limit_upload);
    let request = request(&arguments)?;
    let (arguments, request, dry_run) = (Arc::new(arguments), request, OnceLock::new());
    let opened = tokio::task::spawn_blocking({
        let arguments = Arc::clone(&arguments);
        move || open(&arguments)
    });
    let Opened {
        source,
        changes,
        no_changes,
    } = context.interruptible(opened).await???;
    for note in source.notes() {
        context.screen.note(note);
    }
    if let Some(reason) = source.facts().unchecked {
        context.screen.warn(reason);
    }
    if let Some(reason) = &no_changes {
        context
            .screen
            .warn(format_args!("{reason}; everything is compared"));
    }
    let repository = context
        .open_through(|store| {
            if arguments.dry_run {
                dry_run
                    .get_or_init(|| Arc::new(Discard::new(store)))
                    .clone()
            } else {
                store
            }
        })
        .await?;
    let control = context.control(&arguments.job);
    let request = BackupRequest {
        changes,
        no_changes,
        ..request
    };
    let job = Box::pin(job::backup(
        &repository,
        Arc::new(source),
        request,
        &control,
    ));
    let report = progress::watch(
        &context.screen,
        "backup",
        "the next run goes on from here",
        &control,
        job,
    )
    .await?;
    Ok(done(report, dry_run.get().is_some()))
}

/// What is needed before the repository is.
struct Opened {
    source: FileSource,
    changes: Option<ChangeHint>,
    /// Why there is no list of changes although one was to be made.
    no_changes: Option<String>,
}

fn open(arguments: &Backup) -> anyhow::Result<Opened> {
    let path = &arguments.source;
    if path.is_dir() {
        bail!(
            "`{}` is a directory: this version backs up block devices and image files; give the device that it is on, \
             better a snapshot of it, or an image file",
            path.display()
        );
    }
    // What is recorded must mean the same elsewhere.
    let path = std::path::absolute(path).with_context(|| format!("find `{}`", path.display()))?;
    let source = FileSource::open(
        &path,
        OpenSource {
            live: arguments.live,
            ..OpenSource::default()
        },
    )?;
    let (mut changes, mut no_changes) = (None, None);
    if let Some(base) = arguments.base.clone() {
        if let Some(list) = &arguments.changed_extents {
            let extents = read_list(list, source.bytes())?;
            changes = Some(ChangeHint { base, extents });
        } else if let Some(copy) = &arguments.reflink_base {
            match fiemap::changed(&path, copy) {
                Ok(extents) => changes = Some(ChangeHint { base, extents }),
                Err(error) => no_changes = Some(crate::exit::line(&error.into())),
            }
        }
    }
    Ok(Opened {
        source,
        changes,
        no_changes,
    })
}

fn read_list(path: &Path, volume_bytes: u64) -> anyhow::Result<Extents> {
    let named = || format!("read `{}`", path.display());
    let extents = if path == Path::new("-") {
        Extents::parse(io::stdin().lock(), volume_bytes)
    } else {
        Extents::parse(
            BufReader::new(File::open(path).with_context(named)?),
            volume_bytes,
        )
    };
    extents.with_context(named)
}

fn request(arguments: &Backup) -> anyhow::Result<BackupRequest> {
    let host = host()?;
    let series = match &arguments.series {
        Some(series) if series.is_empty() => {
            bail!("--series is empty: give the source a name, or leave it out")
        }
        Some(series) => series.clone(),
        None => format!("{host}:{}", absolute(&arguments.source)?.display()),
    };
    Ok(BackupRequest {
        series,
        tags: arguments.tags.clone(),
        host,
        origin: arguments.origin.iter().cloned().collect(),
        handle: arguments.handle.clone(),
        chunk_log2: arguments.chunk_size,
        compression: match arguments.compression {
            Compression::Off => repository::Compression::Off,
            Compression::Auto => repository::Compression::Auto,
            Compression::Better => repository::Compression::Better,
            Compression::Best => repository::Compression::Best,
        },
        force: arguments.force,
        ..BackupRequest::default()
    })
}

fn host() -> anyhow::Result<String> {
    let name = nix::unistd::gethostname().context("find the name of this host")?;
    Ok(name.to_string_lossy().into_owned())
}

/// The path without `.` and `..`. Links stay: `/dev/vg/data` names the same volume when it becomes another `/dev/dm-7`.
fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    let path = std::path::absolute(path).with_context(|| format!("find `{}`", path.display()))?;
    let mut plain = PathBuf::new();
    for component in path.components() {
        if component == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(component);
        }
    }
    Ok(plain)
}

fn done(report: BackupReport, dry_run: bool) -> Done {
    let BackupReport {
        point,
        changes,
        stats,
        ..
    } = report;
    Done {
        point: (!dry_run).then(|| point.id.to_string()),
        series: point.manifest.series.clone(),
        parent: point.manifest.parent.map(|parent| parent.to_string()),
        dry_run,
        method: json::method(changes.method),
        fallback: changes.fallback,
        volume_bytes: point.volume_bytes(),
        read_bytes: stats.read_bytes,
        new_bytes: stats.new_bytes,
        uploaded_bytes: stats.uploaded_bytes,
        adopted_bytes: stats.adopted_bytes,
        packs: stats.packs,
        resumed_at: report.resumed_at,
        sibling: point.sibling,
        live: point.manifest.source.live,
        unchecked: point.manifest.source.unchecked.clone(),
        duration_seconds: report.duration.as_secs_f64(),
    }
}

fn describe(done: &Done) -> Facts {
    let mut facts = Facts::default();
    let short = |id: &str| id.chars().take(8).collect::<String>();
    match &done.point {
        Some(point) => facts.add("Point", format!("{} of {}", short(point), done.series)),
        None => facts.add("Dry run", format!("nothing was stored for {}", done.series)),
    };
    let took = Duration::from_secs_f64(done.duration_seconds);
    let read = format!(
        "{} of {} in {}",
        Size(done.read_bytes),
        Size(done.volume_bytes),
        time::duration(took)
    );
    facts.add("Read", read);
    let parent = done.parent.as_deref().map(short).unwrap_or_default();
    let how = match done.method {
        "everything" => "everything was read".to_owned(),
        "compare" => format!("everything was read and compared with {parent}"),
        _ => format!("only what changed since {parent} was read"),
    };
    facts.add("Changes", how);
    if let Some(reason) = &done.fallback {
        facts.add("Because", reason);
    }
    facts.add("New", Size(done.new_bytes).to_string());
    let packs = count(done.packs, "pack");
    let ratio = ratio(done.new_bytes, done.uploaded_bytes)
        .map(|ratio| format!(", ratio {ratio}"))
        .unwrap_or_default();
    let verb = if done.dry_run {
        "Would upload"
    } else {
        "Uploaded"
    };
    facts.add(
        verb,
        format!("{} in {packs}{ratio}", Size(done.uploaded_bytes)),
    );
    if done.adopted_bytes > 0 {
        facts.add(
            "Adopted",
            format!("{} from an interrupted run", Size(done.adopted_bytes)),
        );
    }
    if done.sibling {
        facts.add(
            "Sibling",
            "another writer made a point from the same parent meanwhile: both are whole",
        );
    }
    if done.live {
        facts.add(
            "Live",
            "the source was in use: what was written meanwhile may be torn",
        );
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_has_one_series_wherever_one_stands() {
        let here = std::env::current_dir().expect("there is one");
        for (path, plain) in [
            ("/srv/./db.img", PathBuf::from("/srv/db.img")),
            ("/srv/a/../db.img", PathBuf::from("/srv/db.img")),
            ("/../db.img", PathBuf::from("/db.img")),
            ("db.img", here.join("db.img")),
            ("./x/../db.img", here.join("db.img")),
        ] {
            assert_eq!(
                absolute(Path::new(path)).expect("it is short"),
                plain,
                "{path}"
            );
        }
    }
}
