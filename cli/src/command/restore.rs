//! `sluice restore`: writes a recovery point to a file, a device or standard output.

use std::{
    fs::File,
    io::{self, IsTerminal},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agent::{
    JobError, job,
    target::{FileTarget, InPlaceTarget, StreamTarget, Target, TargetError, TargetKind},
};
use anyhow::Context as _;
use repository::Point;
use serde::Serialize;

use super::results::{self, ResultFile};
use crate::{
    args::Restore,
    clock,
    context::Context,
    exit::{Exit, Usage},
    output::{json, print, progress, size::Size, table::Facts, time},
    selection,
};

/// What a restore did. `JSON.md` documents every field.
#[derive(Debug, Serialize)]
struct Done {
    point: String,
    series: String,
    point_finished: String,
    #[serde(skip)]
    finished_ms: u64,
    target: String,
    volume_bytes: u64,
    written_bytes: u64,
    equal_bytes: u64,
    zero_bytes: u64,
    fetched_bytes: u64,
    duration_seconds: f64,
}

pub(super) async fn run(context: &Context, arguments: &Restore) -> anyhow::Result<Exit> {
    let to_stdout = arguments.target == Path::new("-");
    let file = arguments
        .job
        .result
        .as_deref()
        .map(|path| ResultFile::check(path, &[&arguments.target]))
        .transpose()?;
    let outcome = restore(context, arguments, to_stdout, file.as_ref())
        .await
        .map(|done| (done, Exit::Done));
    let (done, exit) = results::finish(file.as_ref(), outcome)?;
    let facts = describe(&done);
    if to_stdout {
        // Line by line, as the screen escapes what is not a line.
        facts
            .to_string()
            .lines()
            .for_each(|line| context.screen.note(line));
    } else if context.json() {
        json::write(&done)?;
    } else {
        print(facts)?;
    }
    Ok(exit)
}

fn check(context: &Context, arguments: &Restore, to_stdout: bool) -> Result<(), Usage> {
    let refuse = |text: &str| Err(Usage(text.to_owned()));
    if to_stdout && arguments.in_place {
        return refuse("--in-place writes into what exists: standard output does not");
    }
    if to_stdout && context.json() {
        return refuse("standard output takes the volume: leave --json out, or use --result FILE");
    }
    if to_stdout && io::stdout().is_terminal() {
        return refuse(
            "standard output is a terminal: send it somewhere, as in `sluice restore latest - > db.img`",
        );
    }
    Ok(())
}

async fn restore(
    context: &Context,
    arguments: &Restore,
    to_stdout: bool,
    result: Option<&ResultFile>,
) -> anyhow::Result<Done> {
    check(context, arguments, to_stdout)?;
    let repository = context.open().await?;
    let points = context.interruptible(repository.points()).await??;
    let point = selection::find_by(
        &context.screen,
        &points,
        &arguments.point,
        &arguments.selection,
    )?;
    if point.bad {
        context.screen.warn(format_args!(
            "{} was found damaged: what cannot be read ends the restore",
            point.id.short()
        ));
    }
    if point.manifest.source.live {
        context.screen.warn(format_args!(
            "{} was made of a source in use: check what is in it",
            point.id.short()
        ));
    }
    let path = named(&arguments.target, point);
    if let Some(result) = result {
        result.check_target(&path)?;
    }
    let (in_place, opening) = (arguments.in_place, path.clone());
    let target = tokio::task::spawn_blocking(move || open(&opening, in_place, to_stdout));
    let target = context.interruptible(target).await???;
    let control = context.control(&arguments.job);
    let location = target.location();
    let left = match target.kind() {
        TargetKind::Fresh => "nothing stays",
        TargetKind::InPlace => "the target is a mixture until it is restored again",
        TargetKind::Stream => "whoever reads gets a part",
    };
    let in_place = matches!(target.kind(), TargetKind::InPlace);
    let job = job::restore(&repository, point, target, &control);
    let watched = progress::watch(&context.screen, "restore", left, &control, job).await;
    let written = watched.as_ref().err().is_some_and(may_have_written);
    // Who asked to stop was told.
    if written && in_place && !control.cancel.is_cancelled() {
        context.screen.warn(
            "the target may be a mixture of old and new now: restore it again, what is right by then is not written twice",
        );
    }
    let report = watched?;
    Ok(Done {
        point: point.id.to_string(),
        series: point.manifest.series.clone(),
        point_finished: time::rfc3339(point.manifest.finished_ms),
        finished_ms: point.manifest.finished_ms,
        target: location,
        volume_bytes: report.volume_bytes,
        written_bytes: report.written_bytes,
        equal_bytes: report.equal_bytes,
        zero_bytes: report.zero_bytes,
        fetched_bytes: report.fetched_bytes,
        duration_seconds: report.duration.as_secs_f64(),
    })
}

/// Whether a restore may have failed after it wrote something.
fn may_have_written(error: &JobError) -> bool {
    !matches!(
        error,
        JobError::NoVolume { .. } | JobError::Target(TargetError::TooSmall { .. })
    )
}

/// In a folder, an image gets the name that it had.
fn named(target: &Path, point: &Point) -> PathBuf {
    let name = Path::new(&point.manifest.source.path).file_name();
    match name.filter(|_| target.is_dir()) {
        Some(name) => target.join(name),
        None => target.to_path_buf(),
    }
}

fn open(path: &Path, in_place: bool, to_stdout: bool) -> anyhow::Result<Arc<dyn Target>> {
    if to_stdout {
        // Not through the buffer that looks for line ends.
        let stdout = io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .context("open standard output")?;
        return Ok(Arc::new(StreamTarget::new(
            "standard output",
            File::from(stdout),
        )));
    }
    if in_place {
        Ok(Arc::new(InPlaceTarget::open(path)?))
    } else {
        Ok(Arc::new(FileTarget::create(path)?))
    }
}

fn describe(done: &Done) -> Facts {
    let mut facts = Facts::default();
    let took = Duration::from_secs_f64(done.duration_seconds);
    facts.add(
        "Restored",
        format!(
            "{} of {}, as of {}",
            &done.point[..8],
            done.series,
            time::absolute(done.finished_ms, &clock::now())
        ),
    );
    facts.add("To", &done.target);
    facts.add(
        "Size",
        format!("{} in {}", Size(done.volume_bytes), time::duration(took)),
    );
    let mut written = format!(
        "{}, {} zeros",
        Size(done.written_bytes),
        Size(done.zero_bytes)
    );
    if done.equal_bytes > 0 {
        written.push_str(&format!(", {} was there already", Size(done.equal_bytes)));
    }
    facts.add("Written", written);
    facts.add("Fetched", Size(done.fetched_bytes).to_string());
    facts
}
