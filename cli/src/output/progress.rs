//! How far a job is: a bar on a terminal, a line now and then elsewhere.

use std::{collections::VecDeque, future::Future, pin::pin, time::Duration};

use agent::{Control, progress::Progress};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{Screen, size::Size, time};

/// How often a bar is drawn.
const BAR_PERIOD: Duration = Duration::from_millis(200);
/// How often a line is written: often enough to see that it lives, rare enough for a log.
const LINE_PERIOD: Duration = Duration::from_secs(10);
/// What the rate is taken over: long enough to be steady, short enough to follow.
const WINDOW: Duration = Duration::from_secs(30);

/// Runs a job to its end and shows how far it is. A first interrupt is acknowledged, with what it leaves; the job ends
/// itself.
pub(crate) async fn watch<T, E>(
    screen: &Screen,
    what: &str,
    left: &str,
    control: &Control,
    job: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let mut job = pin!(job);
    let period = if screen.is_terminal() {
        BAR_PERIOD
    } else {
        LINE_PERIOD
    };
    let began = Instant::now();
    let mut ticks = interval_at(began + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut shown = Shown {
        screen,
        what,
        bar: None,
        meter: Meter::default(),
        sent_before: control.throttle.upload.passed(),
        done_bytes: 0,
    };
    let mut asked = false;
    loop {
        tokio::select! {
            biased;
            () = control.cancel.cancelled(), if !asked => {
                asked = true;
                screen.line(format_args!("stopping: {left}; interrupt again to exit at once"));
            }
            done = &mut job => {
                shown.clear();
                if asked && done.is_ok() {
                    screen.line("it was done before it could be stopped");
                }
                return done;
            }
            _ = ticks.tick(), if screen.shows_progress() => shown.update(control, began.elapsed()),
        }
    }
}

struct Shown<'a> {
    screen: &'a Screen,
    what: &'a str,
    bar: Option<ProgressBar>,
    meter: Meter,
    /// What this process had sent when the job began.
    sent_before: u64,
    /// The most that was shown: what is under way is an estimate, and never goes back.
    done_bytes: u64,
}

impl Shown<'_> {
    fn update(&mut self, control: &Control, elapsed: Duration) {
        let sent = control.throttle.upload.passed() - self.sent_before;
        let mut sample = Sample::of(&control.progress, sent);
        self.done_bytes = self.done_bytes.max(sample.done_bytes);
        sample.done_bytes = self.done_bytes;
        let sample = if self.what == "backup" {
            sample
        } else {
            sample.without_ratio()
        };
        self.meter.add(elapsed, sample.done_bytes);
        let line = line(sample, &self.meter);
        if !self.screen.is_terminal() {
            self.screen.line(format_args!("{}: {line}", self.what));
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{prefix}: {msg} [{wide_bar}]")
                .expect("a template that was tried");
            let bar = self.screen.bars().add(ProgressBar::new(0));
            bar.set_style(style.progress_chars("=> "));
            bar.set_prefix(self.what.to_owned());
            bar
        });
        bar.set_message(line);
        bar.update(|state| {
            state.set_len(sample.total_bytes);
            state.set_pos(sample.done_bytes);
        });
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    total_bytes: u64,
    done_bytes: u64,
    new_bytes: u64,
    stored_bytes: u64,
}

impl Sample {
    /// Without what only a backup has: how much smaller things become.
    fn without_ratio(self) -> Self {
        Self {
            new_bytes: 0,
            ..self
        }
    }

    /// The last chunk of a volume counts as a whole one, which may be more than there is.
    fn of(progress: &Progress, sent_bytes: u64) -> Self {
        let total_bytes = Progress::get(&progress.total_bytes);
        let done_bytes = progress.done_with_uploads(sent_bytes);
        Self {
            total_bytes,
            done_bytes: match total_bytes {
                0 => done_bytes,
                total => done_bytes.min(total),
            },
            new_bytes: Progress::get(&progress.new_bytes),
            stored_bytes: Progress::get(&progress.stored_bytes),
        }
    }
}

/// `31 %, 312 MiB of 1.0 GiB, 95.0 MiB/s, ratio 2.1, 8 s left`.
fn line(sample: Sample, meter: &Meter) -> String {
    let Sample {
        total_bytes,
        done_bytes,
        new_bytes,
        stored_bytes,
    } = sample;
    let mut line = match total_bytes {
        0 => format!("{}", Size(done_bytes)),
        total => {
            let percent = u128::from(done_bytes.min(total)) * 100 / u128::from(total);
            format!("{percent} %, {} of {}", Size(done_bytes), Size(total))
        }
    };
    if let Some(rate) = meter.rate() {
        line.push_str(&format!(", {}/s", Size(rate)));
    }
    if let Some(ratio) = ratio(new_bytes, stored_bytes) {
        line.push_str(&format!(", ratio {ratio}"));
    }
    if let Some(left) = meter.left(total_bytes) {
        line.push_str(&format!(", {} left", time::rough(left)));
    }
    line
}

/// How many times smaller something became: `2.1`.
pub(crate) fn ratio(plain_bytes: u64, stored_bytes: u64) -> Option<String> {
    let (plain, stored) = (u128::from(plain_bytes), u128::from(stored_bytes));
    let tenths = (plain * 10 + stored / 2).checked_div(stored)?;
    (plain_bytes > 0).then(|| format!("{}.{}", tenths / 10, tenths % 10))
}

/// The rate of the last while.
#[derive(Debug, Default)]
struct Meter {
    samples: VecDeque<(Duration, u64)>,
}

impl Meter {
    fn add(&mut self, at: Duration, done_bytes: u64) {
        self.samples.push_back((at, done_bytes));
        // At least two are kept, whatever their age.
        while self.samples.len() > 2
            && self
                .samples
                .front()
                .is_some_and(|(first, _)| at - *first > WINDOW)
        {
            self.samples.pop_front();
        }
    }

    /// Bytes per second; since the beginning while there is but one sample.
    fn rate(&self) -> Option<u64> {
        let (end, done) = self.samples.back()?;
        let (start, before) = match self.samples.len() {
            1 => (Duration::ZERO, 0),
            _ => *self.samples.front()?,
        };
        let ms = (*end - start).as_millis();
        let rate = (u128::from(done.saturating_sub(before)) * 1000).checked_div(ms)?;
        u64::try_from(rate).ok()
    }

    fn left(&self, total_bytes: u64) -> Option<Duration> {
        let done = self.samples.back()?.1;
        let seconds = total_bytes.checked_sub(done)?.checked_div(self.rate()?)?;
        (done < total_bytes).then(|| Duration::from_secs(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn meter(samples: &[(u64, u64)]) -> Meter {
        let mut meter = Meter::default();
        for (seconds, mib) in samples {
            meter.add(Duration::from_secs(*seconds), mib * MIB);
        }
        meter
    }

    #[test]
    fn a_line_says_how_far_how_fast_how_small_and_how_long() {
        let sample = Sample {
            total_bytes: 1024 * MIB,
            done_bytes: 312 * MIB,
            new_bytes: 300 * MIB,
            stored_bytes: 140 * MIB,
        };
        let line = line(sample, &meter(&[(1, 212), (2, 312)]));
        assert_eq!(
            line,
            "30 %, 312 MiB of 1.0 GiB, 100 MiB/s, ratio 2.1, 7 s left"
        );
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        assert_eq!(line(Sample::default(), &Meter::default()), "0 B");
        let stalled = Sample {
            total_bytes: 10 * MIB,
            done_bytes: 5 * MIB,
            ..Sample::default()
        };
        assert_eq!(
            line(stalled, &meter(&[(10, 5), (20, 5)])),
            "50 %, 5.0 MiB of 10.0 MiB, 0 B/s"
        );
        let done = Sample {
            total_bytes: MIB,
            done_bytes: MIB,
            ..Sample::default()
        };
        assert_eq!(
            line(done, &meter(&[(1, 1)])),
            "100 %, 1.0 MiB of 1.0 MiB, 1.0 MiB/s"
        );
    }

    #[test]
    fn what_waits_for_a_slow_upload_is_not_done() {
        let progress = Progress::default();
        Progress::add(&progress.total_bytes, 64 * MIB);
        Progress::add(&progress.read_bytes, 64 * MIB);
        let shown = |sent: u64, samples: &[(u64, u64)]| {
            line(Sample::of(&progress, sent * MIB), &meter(samples))
        };
        assert_eq!(shown(4, &[(0, 0), (8, 0)]), "0 %, 0 B of 64.0 MiB, 0 B/s");
        Progress::add(&progress.done_bytes, 16 * MIB);
        Progress::add(&progress.new_bytes, 16 * MIB);
        Progress::add(&progress.stored_bytes, 8 * MIB);
        Progress::add(&progress.uploading_plain_bytes, 32 * MIB);
        Progress::add(&progress.uploading_bytes, 16 * MIB);
        assert_eq!(
            shown(16, &[(0, 0), (32, 32)]),
            "50 %, 32.0 MiB of 64.0 MiB, 1.0 MiB/s, ratio 2.0, 32 s left"
        );
    }

    #[test]
    fn the_rate_is_that_of_the_last_while() {
        assert_eq!(
            meter(&[(10, 1000), (20, 1010), (60, 1050)]).rate(),
            Some(MIB)
        );
        assert_eq!(
            meter(&[(100, 100), (300, 300)]).rate(),
            Some(MIB),
            "two samples are kept"
        );
        assert_eq!(meter(&[(0, 5)]).rate(), None);
    }
}
