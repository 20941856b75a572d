//! The broker's own work beside requests: starting it, and stopping it in an order that loses nothing.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use remoting::Channel;
use tokio::task::JoinError;

use crate::state_file::Unsaved;
use crate::{Broker, BrokerError, registration};

/// How often silent clients are looked for while there are any.
const CLIENT_SCAN: Duration = Duration::from_secs(10);
/// How long after a change `consumerFilter.json` is written.
const FILTER_SAVE: Duration = Duration::from_secs(10);
/// Pause before a task that panicked begins again.
const PANIC_PAUSE: Duration = Duration::from_secs(1);

/// How long a start waits for the nameservers. One that takes connections and never answers shall not keep the broker
/// from its clients.
const START_WAIT: Duration = Duration::from_secs(1);

impl Broker {
    /// Starts the store's workers and the broker's tasks, and registers, waiting a second at most for that. Needs a
    /// tokio runtime.
    pub async fn start(self: &Arc<Self>) {
        self.store.start_workers();
        let threads = self.settings.load().disk_read_threads;
        if let Err(error) = self.readers.start(Arc::downgrade(self), threads) {
            tracing::error!("cannot start all threads that read from disk: {error}");
        }
        self.spawn(|broker| async move { broker.hold.run().await });
        self.spawn(|broker| async move { broker.run_schedule().await });
        self.spawn(|broker| async move { broker.run_transaction_check().await });
        self.spawn(|broker| async move { broker.run_registration(registration::RETRY_PAUSE).await });
        self.spawn(|broker| async move { broker.run_routes().await });
        self.spawn(|broker| async move { broker.run_client_expiry().await });
        self.spawn(|broker| async move { broker.run_broadcast_commits().await });
        self.spawn(|broker| async move { broker.stats.run(&broker.topics).await });
        self.start_saving();
        self.spawn(|broker| async move { broker.run_static_topic_expiry().await });
        self.spawn(|broker| async move { broker.pop.waits.run().await });
        self.spawn(|broker| async move { broker.run_revive().await });
        if !self.registered(START_WAIT).await {
            tracing::warn!(
                "not all nameservers have answered within {} s; the broker starts, and its registration goes on",
                START_WAIT.as_secs()
            );
        }
    }

    /// Starts the tasks that keep the files of state up to date.
    fn start_saving(self: &Arc<Self>) {
        self.spawn(|broker| async move {
            let period = || broker.settings.load().flush_consumer_offset_interval;
            broker.save_when_changed(&broker.offsets.unsaved, period, Broker::save_offsets).await;
        });
        self.spawn(|broker| async move {
            let period = || broker.settings.load().flush_consumer_offset_interval;
            broker.save_when_changed(&broker.pop.orders.unsaved, period, Broker::save_orders).await;
        });
        self.spawn(|broker| async move {
            let period = || broker.settings.load().flush_delay_offset_interval;
            broker.save_when_changed(&broker.schedule.unsaved, period, Broker::save_delays).await;
        });
        self.spawn(|broker| async move {
            let period = || broker.settings.load().transaction_metric_flush_interval;
            let save = |broker: &Broker| broker.transactions.save_counts();
            broker.save_when_changed(broker.transactions.unsaved_counts(), period, save).await;
        });
        self.spawn(|broker| async move {
            let unsaved = &broker.filters.unsaved;
            broker.save_when_changed(unsaved, || FILTER_SAVE, Broker::save_filters).await;
        });
    }

    /// Saves a period after the first change, and sleeps while nothing changes.
    async fn save_when_changed(
        self: &Arc<Self>,
        unsaved: &Unsaved,
        period: impl Fn() -> Duration,
        save: fn(&Broker) -> std::io::Result<()>,
    ) {
        loop {
            unsaved.noted().await;
            tokio::time::sleep(period()).await;
            let broker = Arc::clone(self);
            // The disk may take its time: not on a thread that others wait for.
            let saved = tokio::task::spawn_blocking(move || broker.save_unless_stopped(save)).await;
            match saved.map_err(JoinError::try_into_panic) {
                Ok(Ok(())) => (),
                Ok(Err(error)) => tracing::error!("{error}"),
                Err(Ok(panic)) => resume_unwind(panic),
                // The runtime ends.
                Err(Err(_)) => return,
            }
        }
    }

    fn save_unless_stopped(&self, save: fn(&Broker) -> std::io::Result<()>) -> std::io::Result<()> {
        let saves = self.saves.lock();
        if *saves { save(self) } else { Ok(()) }
    }

    /// Waits for what is being saved, and lets tasks save nothing any more: a stop has the last word.
    fn stop_saving(&self) {
        *self.saves.lock() = false;
    }

    fn save_filters(&self) -> std::io::Result<()> {
        self.filters.save(self.settings.load().filter_data_clean_time_span, self.now_ms())
    }

    /// Saves the offsets of groups. The log goes to the disk first, whatever wrote to it and whenever: an offset relies
    /// on the messages below it, and one that a pop has moved, or that a start took from the revive log, on the
    /// checkpoint there. Otherwise a power cut could take these and leave the offset, and the group would pass over
    /// messages for ever.
    pub(crate) fn save_offsets(&self) -> std::io::Result<()> {
        self.offsets.save(|| {
            let body = self.offsets_with_mark();
            self.store.flush_step().map_err(std::io::Error::other)?;
            Ok(body)
        })
    }

    fn save_orders(&self) -> std::io::Result<()> {
        let exists =
            |topic: &str, group: &str| self.topics.get(topic).is_some() && self.groups.get(group).is_some();
        self.pop.orders.save(self.now_ms(), exists)
    }

    /// Runs a task until the broker stops. One that panics is begun again: without it messages would stay delayed, or
    /// offsets unsaved, for as long as nobody looks into the log.
    fn spawn<F>(self: &Arc<Self>, task: impl Fn(Arc<Broker>) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let broker = Arc::clone(self);
        let work = async move {
            while caught(task(Arc::clone(&broker))).await.is_err() {
                tracing::error!("a task of the broker panicked; it begins again");
                tokio::time::sleep(PANIC_PAUSE).await;
            }
        };
        let mut stopping = self.stopping.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                () = work => (),
                _ = stopping.wait_for(|stopping| *stopping) => (),
            }
        });
    }

    /// First half of a stop: leaves the nameservers, answers who waits, ends the tasks. New requests are still
    /// answered; close the sockets after this and then call [`Broker::finish`].
    pub async fn retire(&self) {
        // First the tasks: none of them shall register again what has left.
        self.stopping.send_replace(true);
        self.leave().await;
        self.hold.close();
        self.pop.waits.close();
        self.readers.close();
    }

    /// Second half of a stop: everything to disk. Waits for reads that are under way. What fails does not keep the
    /// rest from being saved.
    pub fn finish(&self) -> Result<(), BrokerError> {
        self.readers.close();
        self.readers.join();
        self.stop_reviving();
        self.stop_saving();
        self.commit_broadcast_offsets();
        self.note_revived();
        let saved = [
            self.save_offsets(),
            self.save_orders(),
            self.save_delays(),
            self.transactions.save_counts(),
            self.save_filters(),
        ];
        self.store.stop()?;
        saved.into_iter().collect::<Result<(), _>>()?;
        Ok(())
    }

    /// Closes connections whose client has sent no heartbeat for too long (broker.md §13.2).
    async fn run_client_expiry(&self) {
        loop {
            if self.clients.is_empty() {
                self.registration.clients_changed.notified().await;
            }
            tokio::time::sleep(CLIENT_SCAN).await;
            for channel in self.silent_clients() {
                channel.close("its client has sent no heartbeat for too long");
            }
        }
    }

    fn silent_clients(&self) -> Vec<Arc<Channel>> {
        self.clients.silent(self.clock.monotonic(), self.settings.load().channel_expired_timeout)
    }
}

/// Does a task's work; an error says that it panicked.
async fn caught(work: impl Future<Output = ()>) -> std::thread::Result<()> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;
    use std::thread::JoinHandle;

    use remoting::{Client, Limits, Server, Service, Turn};
    use sim::{SimClock, SimDisk};
    use tokio::sync::Notify;
    use tokio::time::Instant;
    use wire::code::request;

    use super::*;
    use crate::MainPort;
    use crate::testing::{self, broker};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A client that is asked nothing.
    struct Unasked;

    impl Service for Unasked {
        fn serve(&self, _: &Arc<Channel>, turn: &mut Turn<'_>) {
            while turn.next_request().is_some() {}
        }

        fn closed(&self, _: &Arc<Channel>) {}
    }

    #[tokio::test]
    async fn a_clock_that_is_set_makes_no_client_silent() {
        let clock = SimClock::default();
        let broker = testing::open(&SimDisk::new(clock.clone()), &clock, |_| ());
        let here = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(here, Limits::default(), Arc::new(MainPort(Arc::clone(&broker)))).unwrap();
        let client = Client::new(Limits::default(), Arc::new(Unasked));
        let heartbeat =
            br#"{"clientID":"c","producerDataSet":[{"groupName":"senders"}],"consumerDataSet":[]}"#;
        let address = server.address().to_string();
        let beaten =
            client.call(&address, request::HEART_BEAT, &[], heartbeat, Duration::from_secs(20)).await;
        assert_eq!(beaten.unwrap().code, 0);
        assert_eq!(broker.clients.producers("senders").len(), 1);
        clock.set_wall(1_700_000_600_000);
        assert_eq!(broker.silent_clients().len(), 0);
        clock.set_wall(1_600_000_000_000);
        clock.advance(Duration::from_secs(120));
        assert_eq!(broker.silent_clients().len(), 0, "it may be silent for so long");
        clock.advance(Duration::from_millis(1));
        assert_eq!(broker.silent_clients().len(), 1);
    }

    #[tokio::test]
    async fn a_task_that_panics_begins_again() {
        let (begun, done) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let all_done = Arc::clone(&done);
        broker().spawn(move |_| {
            let (begun, done) = (Arc::clone(&begun), Arc::clone(&done));
            async move {
                tokio::task::yield_now().await;
                assert!(begun.fetch_add(1, Ordering::Relaxed) > 0, "a mistake");
                done.notify_one();
            }
        });
        tokio::time::timeout(Duration::from_secs(20), all_done.notified()).await.unwrap();
    }

    /// Lets go of a disk that hangs as soon as it is told to, or when a test would hang with it.
    struct Release(mpsc::Sender<()>, JoinHandle<bool>);

    impl Release {
        fn of(disk: &SimDisk) -> Release {
            let (told, hears) = mpsc::channel();
            let disk = disk.clone();
            let waiting = std::thread::spawn(move || {
                let in_time = hears.recv_timeout(PATIENCE).is_ok();
                disk.hold_syncs(false);
                in_time
            });
            Release(told, waiting)
        }

        /// Whether it was told to before it had to.
        fn now(self) -> bool {
            let _ = self.0.send(());
            self.1.join().unwrap()
        }
    }

    /// A broker whose save of an offset hangs.
    async fn saving(disk: &SimDisk, clock: &SimClock) -> Arc<Broker> {
        let broker = testing::open(disk, clock, |settings| {
            settings.flush_consumer_offset_interval = Duration::from_millis(1);
        });
        disk.hold_syncs_of(Some("consumerOffset"));
        broker.start_saving();
        broker.offsets.commit("readers", "orders", 0, 1, 1, 0);
        let deadline = Instant::now() + PATIENCE;
        while disk.held_syncs() == 0 {
            assert!(Instant::now() < deadline, "nothing is saved while others have their turn");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        broker
    }

    #[tokio::test]
    async fn a_save_that_waits_for_the_disk_does_not_hold_up_who_serves_sockets() {
        let clock = SimClock::default();
        let disk = SimDisk::new(clock.clone());
        let release = Release::of(&disk);
        saving(&disk, &clock).await;
        assert!(release.now(), "the only thread of this runtime waited for the disk");
    }

    #[tokio::test]
    async fn a_stop_waits_for_what_is_being_saved_and_saves_last() {
        let clock = SimClock::default();
        let disk = SimDisk::new(clock.clone());
        let release = Release::of(&disk);
        let broker = saving(&disk, &clock).await;
        broker.offsets.commit("readers", "orders", 0, 2, 1, 0);
        let finished = tokio::task::spawn_blocking({
            let broker = Arc::clone(&broker);
            move || broker.finish()
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!finished.is_finished());
        assert!(release.now());
        finished.await.unwrap().unwrap();
        let operations = disk.operations();
        broker.offsets.commit("readers", "orders", 0, 3, 1, 0);
        broker.save_unless_stopped(Broker::save_offsets).unwrap();
        assert_eq!(disk.operations(), operations);
        drop(broker);
        let again = testing::open(&disk.copy(), &clock, |_| ());
        assert_eq!(again.offsets.get("readers", "orders", 0), Some(2));
    }

    /// Each save moves the mark of the revive log, and that is no reason for another one.
    #[tokio::test]
    async fn offsets_that_have_not_changed_do_not_flush_the_log() {
        let broker = broker();
        let save = |offset: i64| {
            // Something is appended every time.
            broker.note_move("readers", "orders", 0, 0).unwrap();
            broker.offsets.commit("readers", "orders", 0, offset, 1, 0);
            broker.save_offsets().unwrap();
            broker.store.flushed_until() == broker.store.log_end()
        };
        assert!(save(1));
        assert!(!save(1));
        assert!(save(2));
    }
}
