//! Consumers as streams, for the combinators of `tokio-stream` and `futures`.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use super::delivery::{Consumer, Delivered};
use super::pop::{PopConsumer, Popped};

/// The same messages that [`Consumer::next`] gives, for whatever takes a stream. It ends when the consumer is closed.
///
/// A combinator that drops a message, as `filter` does, says by it that the message failed.
///
/// ```no_run
/// # async fn example(client: thrustmq_client::Client) -> Result<(), thrustmq_client::Error> {
/// use std::pin::pin;
/// use std::time::Duration;
/// use thrustmq_client::Filter;
/// use tokio_stream::StreamExt;
///
/// let mut orders = client.consumer("order-service").subscribe("orders", Filter::all()).stream().await?;
/// {
///     // A hundred at a time, or as many as came within a second.
///     let mut some = pin!((&mut orders).take(10_000).chunks_timeout(100, Duration::from_secs(1)));
///     while let Some(orders) = some.next().await {
///         println!("{} orders", orders.len());
///         orders.into_iter().for_each(|order| order.ack());
///     }
/// }
/// orders.close(Duration::from_secs(10)).await;
/// # Ok(()) }
/// ```
impl Stream for Consumer {
    type Item = Delivered;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Delivered>> {
        self.get_mut().intake.poll_next(context)
    }
}

/// The same messages that [`PopConsumer::next`] gives. One that a combinator drops comes again when its time is over.
impl Stream for PopConsumer {
    type Item = Popped;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Popped>> {
        let intake = &mut self.get_mut().intake;
        loop {
            let Some(delivered) = ready!(intake.poll_next(context)) else { return Poll::Ready(None) };
            if let Some(popped) = delivered.into_popped() {
                return Poll::Ready(Some(popped));
            }
        }
    }
}
