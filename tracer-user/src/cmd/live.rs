//! `exitlat live`: a table for each interval, then the total.

use anyhow::Result;

use crate::{
    cli::LiveArgs,
    cmd::{
        DONE, FAILED, UNSUPPORTED,
        view::{Paint, Screen},
    },
    model::{Interval, Selection, Store},
    run::{
        self, GuestRule, Inputs, KernelSource, NoExitsNotice, Schedule, SigUsr2, Signals, Sink, Source,
        StopReason, Trigger, no_exits::Verdict,
    },
};

/// Runs the command.
///
/// # Errors
/// See the exit statuses of [`crate::cmd`].
pub async fn run(args: LiveArgs) -> Result<u8> {
    let rule = GuestRule::from(&args.trace.vms);
    // The programs hold processes against the rule: all that they trace is shown, VMs that ended included.
    let selection = Selection {
        vcpus: args.exits.vcpu.clone(),
        fields: args.exits.fields.clone(),
        ..Selection::default()
    };
    let everything = rule.is_all();
    let screen = Screen::new(&args.view, args.by, selection, Paint::Over)?;
    let signals = Signals::catch(SigUsr2::Ends)?;
    let mut source = KernelSource::start(&args.trace, rule)?;
    let schedule = Schedule {
        display: args.interval.unwrap_or(args.trace.display),
        duration: args.trace.duration,
        count: if args.once { Some(1) } else { args.count },
        child: None,
    };
    let inputs = Inputs::start(schedule, signals);
    let mut tables = Tables::new(screen, if args.total { Shown::Total } else { Shown::Interval });
    let mut notice = NoExitsNotice::new(|text| say!("exitlat: {text}"));
    let mut sinks: Vec<&mut dyn Sink<KernelSource>> = vec![&mut tables];
    if everything {
        // Chosen processes may just be quiet; the other events know no filter.
        sinks.push(&mut notice);
    }
    let why = run::run(&mut source, inputs, &mut sinks).await?;
    tables.end(why)?;
    let verdict = if everything { notice.conclude(&mut source, why).await? } else { Verdict::Traceable };
    Ok(match verdict {
        Verdict::Traceable => DONE,
        Verdict::Silent => UNSUPPORTED,
        Verdict::Spinning => FAILED,
    })
}

/// The block that is printed after each interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The interval; at the end also the total.
    Interval,
    /// The sum since the start.
    Total,
}

/// Prints a table for each interval.
pub struct Tables {
    screen: Screen,
    shown: Shown,
    total: Store,
}

impl Tables {
    /// Nothing has been measured yet.
    pub fn new(screen: Screen, shown: Shown) -> Self {
        Self { total: Store::default(), screen, shown }
    }

    /// Prints the total, unless it was just printed.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn end(&mut self, why: StopReason) -> Result<()> {
        let several = self.total.intervals() > 1;
        if self.shown == Shown::Interval && (several || why == StopReason::Interrupted) {
            self.screen.total(&self.total)?;
        }
        Ok(())
    }
}

impl<S: Source> Sink<S> for Tables {
    fn take(&mut self, source: &mut S, interval: &Interval, _: Trigger) -> Result<()> {
        let interval = interval.with(source.threads());
        self.total.add(interval);
        match self.shown {
            Shown::Total => self.screen.total(&self.total),
            Shown::Interval => self.screen.interval(interval),
        }
    }
}
