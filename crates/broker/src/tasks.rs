//! The broker's own work beside requests: starting it, and stopping it in an order that loses nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use remoting::Channel;

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
        self.spawn(|broker| async move {
            let period = || broker.settings.load().flush_consumer_offset_interval;
            save_when_changed(&broker.offsets.unsaved, period, || broker.save_offsets()).await;
        });
        self.spawn(|broker| async move {
            let period = || broker.settings.load().flush_delay_offset_interval;
            save_when_changed(&broker.schedule.unsaved, period, || broker.save_delays()).await;
        });
        self.spawn(|broker| async move {
            let period = || broker.settings.load().transaction_metric_flush_interval;
            let counts = &broker.transactions;
            save_when_changed(counts.unsaved_counts(), period, || counts.save_counts()).await;
        });
        self.spawn(|broker| async move {
            save_when_changed(&broker.filters.unsaved, || FILTER_SAVE, || broker.save_filters()).await;
        });
        self.spawn(|broker| async move { broker.run_static_topic_expiry().await });
        self.spawn(|broker| async move { broker.pop.waits.run().await });
        self.spawn(|broker| async move { broker.run_revive().await });
        self.spawn(|broker| async move {
            let period = || broker.settings.load().flush_consumer_offset_interval;
            save_when_changed(&broker.pop.orders.unsaved, period, || broker.save_orders()).await;
        });
        if !self.registered(START_WAIT).await {
            tracing::warn!(
                "not all nameservers have answered within {} s; the broker starts, and its registration goes on",
                START_WAIT.as_secs()
            );
        }
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

/// Saves a period after the first change, and sleeps while nothing changes.
async fn save_when_changed(
    unsaved: &Unsaved,
    period: impl Fn() -> Duration,
    save: impl Fn() -> std::io::Result<()>,
) {
    loop {
        unsaved.noted().await;
        tokio::time::sleep(period()).await;
        if let Err(error) = save() {
            tracing::error!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicU32, Ordering};

    use remoting::{Client, Limits, Server, Service, Turn};
    use sim::{SimClock, SimDisk};
    use tokio::sync::Notify;
    use wire::code::request;

    use super::*;
    use crate::MainPort;
    use crate::testing::{self, broker};

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
