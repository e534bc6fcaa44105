//! `exitlat live`: a table for each interval, then the total.

use std::time::Duration;

use anyhow::Result;

use crate::{
    cli::LiveArgs,
    cmd::{
        DONE, UNSUPPORTED, Usage,
        drive::{self, Schedule, Signals, StopReason, drive},
        select,
        view::Screen,
    },
    kernel::{
        activity::{self, Activity},
        session::{self, Session},
    },
    model::{Interval, Store},
};

/// How long to listen for other events when a measurement has ended without an exit.
const LISTEN: Duration = Duration::from_secs(1);

/// Runs it.
///
/// # Errors
/// See the exit statuses of [`crate::cmd`].
pub async fn run(args: LiveArgs) -> Result<u8> {
    if args.view.by.host {
        return Err(Usage("--by host is for merged dumps; everything here is on this host".into()).into());
    }
    let mut screen = Screen::new(&args.view, true)?;
    let pids = select::pids(&args.trace)?;
    screen.selection.pids.clone_from(&pids);
    let filtered = !pids.is_empty();
    let signals = Signals::catch(false)?;
    let mut session = start(&args.trace, pids)?;
    let schedule = Schedule {
        display: args.interval.unwrap_or(args.trace.display).0,
        duration: args.trace.duration.map(|span| span.0),
        count: if args.once { Some(1) } else { args.count },
        child: None,
    };
    let mut total = Store::default();
    let mut ear = Ear::default();
    let why = drive(&mut session, schedule, signals, |session, interval, _| {
        total.add(interval.with(session.threads()));
        if args.total {
            screen.total(&total)?;
        } else {
            screen.interval(interval.with(session.threads()))?;
        }
        if filtered { Ok(()) } else { ear.heed(session, interval) }
    })
    .await?;
    let several = total.intervals() > 1;
    if !args.total && (several || why == StopReason::Interrupted) {
        screen.total(&total)?;
    }
    if filtered {
        // The chosen processes may just be quiet; the other events know no filter.
        return Ok(DONE);
    }
    ear.conclude(&mut session, why).await
}

/// Loads, attaches, and forwards the programs' log if asked to. Says on standard error when it is ready.
///
/// # Errors
/// Those of [`Session::start`].
pub(super) fn start(args: &crate::cli::TraceArgs, pids: Vec<u32>) -> Result<Session> {
    let options = session::Options {
        attach: args.attach,
        pids,
        slots: args.slots,
        vcpus: args.max_vcpus,
        sched: !args.no_sched,
        guest: args.guest_histogram,
        verbose: args.verbose,
    };
    let mut session = Session::start(&options)?;
    if args.verbose > 0 {
        drive::forward_log(&mut session)?;
        say!("exitlat: attached by {}", session.path());
    }
    Ok(session)
}

/// Listens to KVM's other events for one interval if there are no exits, and says once what that means.
#[derive(Default)]
enum Ear {
    /// No interval has passed yet.
    #[default]
    Fresh,
    /// The other events are being counted.
    Listening(Activity),
    /// They were; whether they fired.
    Explained { moved: bool },
    /// There were exits, so there is nothing to explain.
    HeardExits,
}

impl Ear {
    fn heed(&mut self, session: &mut Session, interval: &Interval) -> Result<()> {
        let exits = !interval.cells.is_empty() || !interval.open.is_empty();
        *self = match std::mem::take(self) {
            Self::Listening(_) if exits => {
                session.stop_listening()?;
                Self::HeardExits
            }
            _ if exits => Self::HeardExits,
            Self::Fresh => Self::Listening(session.listen()?),
            Self::Listening(silence) => Self::explain(session, &silence)?,
            other => other,
        };
        Ok(())
    }

    /// Says what was heard. The programs go: they cost something at each of these events.
    ///
    /// A guest may have begun since the last reading. Its exits come before what they lead to: once the other events are
    /// counted, the vCPUs they belong to can be seen.
    fn explain(session: &mut Session, silence: &Activity) -> Result<Self> {
        let counts = silence.counts()?;
        session.stop_listening()?;
        session.greet();
        if !session.threads().list.is_empty() {
            return Ok(Self::HeardExits);
        }
        say!("exitlat: {}", activity::explain(0, &counts));
        Ok(Self::Explained { moved: activity::moved(&counts) })
    }

    /// The exit status: a host whose KVM works without reporting exits cannot be traced.
    async fn conclude(mut self, session: &mut Session, why: StopReason) -> Result<u8> {
        if why == StopReason::Interrupted {
            // Not listened to for long enough to say anything.
        } else if matches!(self, Self::Fresh | Self::Listening(_)) {
            let silence = match self {
                Self::Listening(silence) => silence,
                _ => session.listen()?,
            };
            tokio::time::sleep(LISTEN).await;
            self = Self::explain(session, &silence)?;
        }
        Ok(if matches!(self, Self::Explained { moved: true }) { UNSUPPORTED } else { DONE })
    }
}
