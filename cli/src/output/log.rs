//! The log: what the libraries say while they work, on standard error.

use std::fmt;

use anyhow::Context as _;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets, filter_fn},
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer, layer},
    layer::SubscriberExt,
    registry::{LookupSpan, Registry},
    util::SubscriberInitExt,
};

use super::Screen;

/// Our own crates. Others say no more than warnings, since what they trace of a request may hold credentials.
const OURS: [&str; 3] = ["sluice", "agent", "repository"];

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts the log. `directives` (`debug`, `agent=trace,repository=debug`) win over `verbose`.
///
/// # Errors
/// When the directives cannot be read.
pub(crate) fn start(
    directives: Option<&str>,
    verbose: u8,
    format: LogFormat,
    screen: &Screen,
) -> anyhow::Result<()> {
    let targets: Targets = match directives {
        Some(directives) => directives.parse().with_context(|| {
            format!("read SLUICE_LOG: write `debug` or `agent=trace`, not `{directives}`")
        })?,
        None => Targets::new().with_default(match verbose {
            0 => LevelFilter::WARN,
            1 => LevelFilter::INFO,
            2 => LevelFilter::DEBUG,
            3.. => LevelFilter::TRACE,
        }),
    };
    let ours = |target: &str| OURS.contains(&target.split("::").next().unwrap_or_default());
    let discreet =
        filter_fn(move |metadata| *metadata.level() <= Level::WARN || ours(metadata.target()));
    let written = layer().with_writer(screen.clone()).with_ansi(false);
    let registry = Registry::default().with(targets.and_then(discreet));
    match format {
        LogFormat::Text => registry.with(written.event_format(Lines)).init(),
        LogFormat::Json => registry.with(written.json()).init(),
    }
    Ok(())
}

/// `warning: the message field=value`: the way other lines of the command look.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        match *metadata.level() {
            Level::ERROR => write!(writer, "error: ")?,
            Level::WARN => write!(writer, "warning: ")?,
            Level::INFO => {}
            Level::DEBUG => write!(writer, "debug: {}: ", metadata.target())?,
            Level::TRACE => write!(writer, "trace: {}: ", metadata.target())?,
        }
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
