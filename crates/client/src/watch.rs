//! Watching which queues there are, or which of them a consumer has.

use std::sync::Arc;

use tokio::sync::watch;
use wire::body::MessageQueue;

use crate::error::Error;
use crate::namespace::Namespace;
use crate::shared::Shared;

/// Queues that change: those of a topic ([`QueueReader::watch_queues`](crate::QueueReader::watch_queues)), or those
/// that a member of a group has ([`Consumer::watch_queues`](crate::Consumer::watch_queues)).
///
/// ```no_run
/// # async fn example() -> Result<(), thrustmq_client::Error> {
/// # use std::time::Duration;
/// use thrustmq_client::Client;
///
/// let client = Client::connect("127.0.0.1:9876").await?;
/// let mut queues = client.reader("audit").watch_queues("orders").await?;
/// let mut consumer = client.lite_pull_consumer("audit").assign(queues.now()).build().await?;
/// loop {
///     tokio::select! {
///         orders = consumer.poll(Duration::from_secs(5)) => println!("{} orders", orders.len()),
///         Some(all) = queues.changed() => consumer.assign(all).await,
///     }
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct QueueWatch(watch::Receiver<Vec<MessageQueue>>);

impl QueueWatch {
    /// The queues of which `queues` tells.
    pub(crate) fn of(queues: &watch::Sender<Vec<MessageQueue>>) -> QueueWatch {
        QueueWatch(queues.subscribe())
    }

    /// As they are now.
    pub fn now(&mut self) -> Vec<MessageQueue> {
        self.0.borrow_and_update().clone()
    }

    /// As they are once they are no longer what this watch has said before; changes that follow each other closely are
    /// told as one. `None` when the client or the consumer is gone. Nothing is missed when the future is dropped.
    pub async fn changed(&mut self) -> Option<Vec<MessageQueue>> {
        self.0.changed().await.ok()?;
        Some(self.now())
    }
}

/// Tells watchers of queues what they are now.
pub(crate) fn tell(watchers: &watch::Sender<Vec<MessageQueue>>, mut queues: Vec<MessageQueue>) {
    queues.sort();
    watchers.send_if_modified(|known| {
        let changed = *known != queues;
        *known = queues;
        changed
    });
}

/// Watches the queues of a topic that can be read, for as long as anybody wants to know and the client is there.
/// `topic` is its complete name, of which `namespace` leaves what the application knows.
pub(crate) async fn watch_topic(
    shared: &Arc<Shared>,
    namespace: Namespace,
    topic: String,
) -> Result<QueueWatch, Error> {
    let mut queues = queues_of(shared, &namespace, &topic).await?;
    queues.sort();
    let (watchers, receiver) = watch::channel(queues);
    let (client, period) = (Arc::downgrade(shared), shared.times.route_refresh);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(period) => (),
                () = watchers.closed() => return,
            }
            let Some(shared) = client.upgrade().filter(|shared| !shared.is_closed()) else { return };
            match queues_of(&shared, &namespace, &topic).await {
                Ok(queues) => tell(&watchers, queues),
                Err(Error::NoRoute { .. }) => tell(&watchers, Vec::new()),
                // What was known holds while nobody answers.
                Err(error) => tracing::debug!(topic, "queues are not looked at: {error}"),
            }
        }
    });
    Ok(QueueWatch(receiver))
}

/// The client asks for routes that it knows again and again, and so this is a look at what it has learnt.
async fn queues_of(shared: &Shared, namespace: &Namespace, topic: &str) -> Result<Vec<MessageQueue>, Error> {
    let queues = shared.route(topic).await?.queues_to_read();
    Ok(queues.into_iter().map(|queue| namespace.unwrap_queue(queue)).collect())
}
