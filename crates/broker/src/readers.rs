//! Reads that wait for the disk, on threads of their own: a consumer that is far behind holds up nobody else.
//!
//! Requests are served on the threads that serve every connection, so a handler only takes what is in memory. A read
//! that needs the disk becomes a job here, and its answer goes through the connection when it is there, like that of
//! a pull that was held. Each job has one of its connection's places for requests that wait.
//!
//! While somebody sends, the threads step back: they are nicer than the others, no more of them work at once than half
//! the processors unless the disk is slow, each rests for twice as long as it has worked, and they do all reads of
//! those who are far behind, in memory or not. They also write their answers to the sockets by themselves instead of
//! leaving that to the threads that serve everybody. With four at work on two processors the p99 of a producer was
//! twice what it is with one.
//!
//! This has a floor, or who falls behind senders without pause would never catch up: those far behind are owed twice
//! the bytes that are sent ([`Owed`]). While they get less, what is in memory is served to them as to everybody, and
//! the threads do not rest.
//!
//! Everything is bounded: threads, jobs that wait, and answers that nobody takes, since a job whose peer leaves too
//! much unread stands aside until it reads. Past the bound of jobs a read is refused with SYSTEM_BUSY, at which clients
//! wait some seconds and ask again.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use remoting::{Channel, ReplyTo};
use tokio::sync::oneshot;
use tokio::time::Instant;
use wire::code::response;

use crate::Broker;
use crate::exchange::{self, Exchange, Outcome, Refusal, Reply, send_refusal};
use crate::owed::Owed;

/// Most reads that wait for a thread.
const WAITING_MAX: usize = 16_384;
/// Time after which a job that stood aside, or that is one too many at once, is looked at again.
const ASIDE: Duration = Duration::from_millis(10);
const STACK_BYTES: usize = 512 << 10;
/// How much nicer than the others these threads are: where both want the processor they get about a tenth of it.
const NICER: i32 = 10;
/// While somebody sends a thread rests for so many times as long as it has worked.
const REST: u32 = 2;
/// For this long after a send it is taken that more will follow.
const SENDS_GO_ON: Duration = Duration::from_millis(100);

/// The threads, and the reads that wait for them.
pub(crate) struct Readers {
    jobs: Mutex<Jobs>,
    wake: Condvar,
    /// Where threads rest.
    rest: Condvar,
    broker: OnceLock<Weak<Broker>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    started: Instant,
    /// When nobody will have sent for a while, unless somebody does; milliseconds after `started`.
    quiet_from_ms: AtomicU64,
    /// What those far behind have coming.
    owed: Owed,
    /// Most jobs at once while somebody sends.
    restrained: usize,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    /// Those whose peer does not read, in their order.
    aside: Vec<Job>,
    /// When the first of these stood aside.
    aside_since: Option<Instant>,
    /// How many are at work, and since when the last of them is.
    running: usize,
    begun: Option<Instant>,
    closed: bool,
}

/// One read.
struct Job {
    /// Who asked for it, with what it takes to refuse it; nobody if it is the broker's own.
    asker: Option<(Arc<Channel>, ReplyTo)>,
    /// Whether it is done also when who asked is gone, or reads no answers.
    decides: bool,
    work: Work,
}

impl Job {
    fn is_wanted(&self) -> bool {
        self.decides || self.asker.as_ref().is_none_or(|(channel, _)| channel.is_open())
    }

    /// Whether the peer has read enough of what it was sent before.
    fn has_room(&self) -> bool {
        self.decides || self.asker.as_ref().is_none_or(|(channel, _)| channel.takes_answers())
    }
}

/// A job that no thread takes. It has the place of its request, and a connection that ends waits for the answers of all
/// that have one: so [`Readers::submit_late`] keeps it until the refusal is sent.
struct Refused {
    why: Refusal,
    _job: Job,
}

/// Reads and answers. Keeps the place of its request until then.
type Work = Box<dyn FnOnce(&Arc<Broker>) + Send>;

impl Readers {
    pub fn new() -> Readers {
        Readers {
            jobs: Mutex::default(),
            wake: Condvar::new(),
            rest: Condvar::new(),
            broker: OnceLock::new(),
            threads: Mutex::default(),
            started: Instant::now(),
            quiet_from_ms: AtomicU64::new(0),
            owed: Owed::default(),
            restrained: std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
        }
    }

    /// Notes that so many bytes were sent.
    pub fn note_send(&self, bytes: u64) {
        self.owed.sent(bytes);
        let quiet_from = self.started.elapsed() + SENDS_GO_ON;
        self.quiet_from_ms.store(quiet_from.as_millis() as u64, Ordering::Relaxed);
    }

    /// Whether somebody has sent a moment ago.
    fn sends_go_on(&self) -> bool {
        (self.started.elapsed().as_millis() as u64) < self.quiet_from_ms.load(Ordering::Relaxed)
    }

    /// Notes that somebody far behind was given so many bytes.
    pub fn note_far_read(&self, bytes: u64) {
        self.owed.given(bytes);
    }

    /// Whether the threads step back at this moment, and who is far behind is left to them.
    pub fn step_back(&self) -> bool {
        self.sends_go_on() && !self.owed.is_due()
    }

    /// Starts the threads. They hold the broker only while they work for it.
    pub fn start(self: &Arc<Self>, broker: Weak<Broker>, count: usize) -> io::Result<()> {
        let _ = self.broker.set(broker);
        let mut threads = self.threads.lock();
        for number in 0..count {
            let readers = Arc::clone(self);
            let thread = std::thread::Builder::new().name(format!("reader-{number}")).stack_size(STACK_BYTES);
            threads.push(thread.spawn(move || readers.run())?);
        }
        Ok(())
    }

    /// Lets a thread do `work`, which answers `reply_to` on `channel`.
    pub fn submit(&self, channel: Arc<Channel>, reply_to: ReplyTo, work: Work) -> Outcome {
        self.push(Job { asker: Some((channel, reply_to)), decides: false, work })
            .map_err(|refused| refused.why)
    }

    /// The same for `work` that decides something for good: a client that has asked for it may leave.
    pub fn submit_decision(&self, channel: Arc<Channel>, reply_to: ReplyTo, work: Work) -> Outcome {
        self.push(Job { asker: Some((channel, reply_to)), decides: true, work })
            .map_err(|refused| refused.why)
    }

    /// The same for a request that its handler has let wait: a refusal is its answer.
    pub fn submit_late(&self, channel: &Arc<Channel>, reply_to: ReplyTo, work: Work) {
        if let Err(refused) =
            self.push(Job { asker: Some((Arc::clone(channel), reply_to)), decides: false, work })
        {
            send_refusal(channel, reply_to, &refused.why);
        }
    }

    /// Lets a thread do some of the broker's own work; `None` if it is refused or fails.
    pub async fn run_own<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Broker>) -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        let work = move |broker: &Arc<Broker>| {
            // Whoever waited may have been told to stop meanwhile.
            let _ = sender.send(work(broker));
        };
        self.push(Job { asker: None, decides: true, work: Box::new(work) }).ok()?;
        receiver.await.ok()
    }

    fn push(&self, job: Job) -> Result<(), Refused> {
        let mut jobs = self.jobs.lock();
        if jobs.closed {
            return Err(Refused { why: stopping(), _job: job });
        }
        if jobs.waiting.len() + jobs.aside.len() >= WAITING_MAX {
            let remark =
                "[OVERLOAD]too many reads wait for the disk (thrust.diskReadThreads); try again later";
            return Err(Refused { why: Refusal::new(response::SYSTEM_BUSY, remark), _job: job });
        }
        jobs.waiting.push_back(job);
        drop(jobs);
        self.wake.notify_one();
        Ok(())
    }

    /// Refuses all reads that wait, and those to come. The ones under way are still answered.
    pub fn close(&self) {
        let refused = {
            let mut jobs = self.jobs.lock();
            jobs.closed = true;
            let mut refused = Vec::from(std::mem::take(&mut jobs.waiting));
            refused.append(&mut jobs.aside);
            refused
        };
        self.wake.notify_all();
        self.rest.notify_all();
        for job in refused {
            if let Some((channel, reply_to)) = &job.asker {
                send_refusal(channel, *reply_to, &stopping());
            }
        }
    }

    /// Waits for the threads to end, after [`Readers::close`].
    pub fn join(&self) {
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that reads from disk panicked");
            }
        }
    }

    fn run(&self) {
        be_nicer();
        while let Some(job) = self.next() {
            let Some(broker) = self.broker.get().and_then(Weak::upgrade) else { return };
            let begun = Instant::now();
            if job.is_wanted() {
                work_for(job, &broker);
            }
            let mut jobs = self.jobs.lock();
            if self.step_back() && !jobs.closed {
                self.rest.wait_for(&mut jobs, (begun.elapsed() * REST).min(ASIDE));
            }
            jobs.running -= 1;
        }
    }

    /// Whether another job at once would take too much from those who send. Jobs that take long wait for a slow disk
    /// and take nothing, so others may join them one by one.
    fn is_enough(&self, jobs: &Jobs) -> bool {
        let swift = jobs.begun.is_some_and(|begun| begun.elapsed() < ASIDE);
        jobs.running >= self.restrained && swift && self.sends_go_on()
    }

    /// The next job whose peer takes answers; `None` when there will be none.
    fn next(&self) -> Option<Job> {
        let mut jobs = self.jobs.lock();
        loop {
            if jobs.closed {
                return None;
            }
            if jobs.aside_since.is_some_and(|since| since.elapsed() >= ASIDE) {
                jobs.aside_since = None;
                let again = std::mem::take(&mut jobs.aside);
                jobs.waiting.extend(again);
            }
            if jobs.waiting.is_empty() && jobs.aside.is_empty() {
                self.wake.wait(&mut jobs);
            } else if jobs.waiting.is_empty() || self.is_enough(&jobs) {
                self.wake.wait_for(&mut jobs, ASIDE);
            } else if let Some(job) = jobs.waiting.pop_front() {
                if job.has_room() {
                    jobs.running += 1;
                    jobs.begun = Some(Instant::now());
                    return Some(job);
                }
                jobs.aside_since.get_or_insert_with(Instant::now);
                jobs.aside.push(job);
            }
        }
    }
}

/// Does a job. A mistake costs its connection and not the thread.
fn work_for(job: Job, broker: &Arc<Broker>) {
    let Job { asker, work, .. } = job;
    if catch_unwind(AssertUnwindSafe(|| work(broker))).is_err() {
        match asker {
            Some((channel, _)) => channel.close("reading for it failed in a way that nobody foresaw"),
            None => tracing::error!("a read of the broker's own failed in a way that nobody foresaw"),
        }
    }
}

impl Broker {
    /// Answers a request for what hangs on the message at a physical offset: at once if that is in memory, else from
    /// one of the threads that may wait for the disk.
    pub(crate) fn answer_with_record(
        &self,
        exchange: &mut Exchange<'_, '_>,
        physical_offset: u64,
        answer: impl FnOnce(&Broker, &mut Reply<'_>) -> Outcome + Send + 'static,
    ) -> Outcome {
        if self.store.is_record_in_memory(physical_offset) {
            return answer(self, &mut exchange.reply());
        }
        self.answer_from_disk(exchange, answer)
    }

    /// Answers a request from one of the threads that may wait for the disk.
    pub(crate) fn answer_from_disk(
        &self,
        exchange: &Exchange<'_, '_>,
        answer: impl FnOnce(&Broker, &mut Reply<'_>) -> Outcome + Send + 'static,
    ) -> Outcome {
        let held = exchange::hold(exchange.channel)?;
        let reply_to = exchange.request.reply_to();
        let work = move |broker: &Arc<Broker>| {
            let mut out = Vec::new();
            let mut reply = Reply { to: reply_to, out: &mut out };
            if let Err(refusal) = answer(broker, &mut reply) {
                reply.refuse(&refusal);
            }
            held.channel().send_directly(&out);
        };
        self.readers.submit(Arc::clone(exchange.channel), reply_to, Box::new(work))
    }
}

/// Lets other threads go first. On Linux a priority is one of the calling thread.
fn be_nicer() {
    let own = rustix::process::getpriority_process(None);
    let nicer = own.and_then(|own| rustix::process::setpriority_process(None, (own + NICER).min(19)));
    if let Err(errno) = nicer {
        tracing::debug!("a thread that reads from disk keeps its priority: {errno}");
    }
}

fn stopping() -> Refusal {
    Refusal::new(response::SYSTEM_BUSY, "the broker is stopping")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_step_back_for_senders_unless_those_far_behind_get_too_little() {
        let readers = Readers::new();
        assert!(!readers.step_back(), "nobody sends");
        // Whatever the clock does between two of these lines: only while sends go on is there anything to see.
        let stepped_back = |readers: &Readers| readers.sends_go_on().then(|| readers.step_back());
        let eventually = |bytes: u64, given: u64| loop {
            readers.note_far_read(u64::MAX);
            readers.note_send(bytes);
            readers.note_far_read(given);
            if let Some(answer) = stepped_back(&readers) {
                return answer;
            }
        };
        assert!(eventually(1_200, 0), "little was sent, nothing is missed");
        assert!(!eventually(16 << 20, 0), "much was sent, and nothing given");
        assert!(eventually(16 << 20, 16 << 20), "and as much given");
    }
}
