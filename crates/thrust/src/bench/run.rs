//! One round: connections, threads, the window, and what it cost both sides.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use super::admin::{self, Target};
use super::args::Load;
use super::error::BenchError;
use super::lane::{Lane, Round, Traffic};
use super::live::{self, Live};
use super::process::{self, Usage};
use super::tally::{Tally, Window};

/// By the clock, a thread that has more requests a second than this to send lets them gather. Each by itself would cost
/// both sides their system calls, and the generator the processor that the server needs.
const REQUESTS_APART_MAX: f64 = 20_000.0;
/// For so long. Latency counts from when a request was due, so what this adds is in it.
const GATHER: Duration = Duration::from_micros(500);
const THREAD_STACK_BYTES: usize = 256 << 10;

/// How long, and with how much.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub conns: usize,
    pub threads: usize,
    pub warmup: Duration,
    pub length: Duration,
    /// How long requests and answers gather before a thread looks at them.
    pub gather: Duration,
    /// Whether a person is shown what goes on, if one watches.
    pub live: bool,
}

impl Plan {
    pub fn of(load: &Load) -> Plan {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = load.threads.map_or(cores, |threads| threads as usize);
        Plan {
            conns: load.conns as usize,
            threads: threads.min(load.conns as usize),
            warmup: Duration::from_secs_f64(load.warmup),
            length: Duration::from_secs_f64(load.secs),
            gather: Duration::ZERO,
            live: !load.json && load.row.is_none(),
        }
    }

    /// With so many requests a second by the clock, of all threads.
    pub fn at_rate(self, requests_per_second: Option<f64>) -> Plan {
        let of_thread = requests_per_second.unwrap_or_default() / self.threads as f64;
        let gather = if of_thread > REQUESTS_APART_MAX { GATHER } else { Duration::ZERO };
        Plan { gather, ..self }
    }
}

/// What one round measured.
pub struct Outcome {
    pub tally: Tally,
    /// Length of the window.
    pub length: Duration,
    /// The server's CPU time in the window, and its memory at the end of it.
    pub server: Option<Usage>,
    /// The generator's own.
    pub generator: Usage,
}

/// Connections of one thread, with what goes over each.
type Group<T> = (Vec<TcpStream>, Vec<Lane<T>>);

/// A thread of the round, which gives what it has counted.
type BenchThread<'scope> = ScopedJoinHandle<'scope, Result<Tally, BenchError>>;

/// Runs the load; `traffic` makes that of connection number n.
pub fn run<T: Traffic>(
    target: &Target,
    plan: Plan,
    pids: &[u32],
    mut traffic: impl FnMut(usize, Window) -> T,
) -> Result<Outcome, BenchError> {
    let from_ns = plan.warmup.as_nanos() as u64;
    let window = Window { from_ns, until_ns: from_ns + plan.length.as_nanos() as u64 };
    // A wrong process id is told before the load and not after it.
    process::usage(pids)?;
    let groups = connect_all(target, plan, |conn| traffic(conn, window))?;
    let live = if plan.live { Live::for_terminal() } else { None };
    let live = live.as_ref();
    let stop = AtomicBool::new(false);
    let ended = AtomicUsize::new(0);
    let start = Instant::now();
    let round = Round { start, window, stop: &stop, live, gather: plan.gather };
    std::thread::scope(|scope| {
        let threads = spawn_all(scope, &round, groups, &ended)?;
        let mut watch =
            Watch { threads: plan.threads, ended: &ended, live, start, next_line: start + live::STEP };
        let usage = || process::usage(pids).map(|server| (server, process::own_usage()));
        watch.until(plan.warmup, "warm-up");
        let before = usage();
        watch.until(plan.warmup + plan.length, "measured");
        let after = usage();
        if let Some(live) = live {
            live.clear();
        }

        let tally = tally_of(threads, window)?;
        // Only now: when the server died, the broken connection says more than its missing process.
        let (server_before, own_before) = before?;
        let (server_after, own_after) = after?;
        Ok(Outcome {
            tally,
            length: plan.length,
            server: (!pids.is_empty()).then(|| used(server_before, server_after)),
            generator: used(own_before, own_after),
        })
    })
}

/// Starts a thread for each group, which adds itself to `ended` when it ends, and wakes the caller.
fn spawn_all<'scope, T: Traffic + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    round: &'scope Round<'_>,
    groups: Vec<Group<T>>,
    ended: &'scope AtomicUsize,
) -> Result<Vec<BenchThread<'scope>>, BenchError> {
    let watcher = std::thread::current();
    let mut threads = Vec::with_capacity(groups.len());
    for (streams, mut lanes) in groups {
        let watcher = watcher.clone();
        let body = move || {
            precise_timers();
            let result = round.drive(&streams, &mut lanes);
            if result.is_err() {
                round.stop.store(true, Ordering::Relaxed);
            }
            ended.fetch_add(1, Ordering::Release);
            watcher.unpark();
            result
        };
        let builder = std::thread::Builder::new().name("bench".to_owned()).stack_size(THREAD_STACK_BYTES);
        let thread = builder.spawn_scoped(scope, body).map_err(|cause| {
            round.stop.store(true, Ordering::Relaxed);
            BenchError::Thread(cause)
        })?;
        threads.push(thread);
    }
    Ok(threads)
}

/// All connections, shared out among the threads.
fn connect_all<T: Traffic>(
    target: &Target,
    plan: Plan,
    mut traffic: impl FnMut(usize) -> T,
) -> Result<Vec<Group<T>>, BenchError> {
    let mut groups: Vec<Group<T>> = (0..plan.threads).map(|_| Default::default()).collect();
    for conn in 0..plan.conns {
        let addr = target.broker_of(conn);
        let stream = admin::connect(addr)?;
        stream.set_nonblocking(true).map_err(|cause| BenchError::Io {
            addr: addr.to_owned(),
            doing: "cannot make non-blocking",
            cause,
        })?;
        let (streams, lanes) = &mut groups[conn % plan.threads];
        streams.push(stream);
        lanes.push(Lane::new(addr.to_owned(), traffic(conn)));
    }
    Ok(groups)
}

/// What a thread waits with that does nothing but look at the others, and shows a person how far they are.
struct Watch<'a> {
    threads: usize,
    ended: &'a AtomicUsize,
    live: Option<&'a Live>,
    start: Instant,
    next_line: Instant,
}

impl Watch<'_> {
    /// Waits until so long after the start, or until all threads have ended.
    fn until(&mut self, after: Duration, phase: &str) {
        let deadline = self.start + after;
        while self.ended.load(Ordering::Acquire) < self.threads {
            let now = Instant::now();
            if let Some(live) = self.live.filter(|_| now >= self.next_line) {
                live.show(&format!("{phase} {:.0} s", (now - self.start).as_secs_f64()));
                self.next_line = now + live::STEP;
            }
            let left = deadline.saturating_duration_since(now);
            if left.is_zero() {
                break;
            }
            std::thread::park_timeout(if self.live.is_some() {
                left.min(self.next_line - now)
            } else {
                left
            });
        }
    }
}

/// What all threads have counted, once they have ended.
fn tally_of(threads: Vec<BenchThread<'_>>, window: Window) -> Result<Tally, BenchError> {
    let mut tally = Tally::new(window);
    for thread in threads {
        match thread.join() {
            Ok(result) => tally.add(result?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    tally.settle();
    Ok(tally)
}

fn used(before: Usage, after: Usage) -> Usage {
    Usage { cpu_us: after.cpu_us.saturating_sub(before.cpu_us), ..after }
}

/// Lets timed waits end when they are due and not up to 50 us later, which `--rate` would report as latency.
fn precise_timers() {
    #[cfg(target_os = "linux")]
    {
        // Without it the figures are a little worse; nothing else changes.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    }
}
