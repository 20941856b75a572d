//! Sends an order and consumes it:  cargo run -p thrustmq-client --example orders -- 127.0.0.1:9876
//!
//! The part between the lines of the README is the one that it shows; a test compares them.

use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let servers = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9876".to_owned());
    // README
    use std::time::Duration;
    use thrustmq_client::{Client, Filter, Message, StartFrom};

    let client = Client::connect(&servers).await?;
    let producer = client.producer("order-service").build()?;
    let receipt = producer.send(Message::new("orders", "order 7 is paid").tag("paid").key("7")).await?;
    println!("stored at {} of queue {}", receipt.offset, receipt.queue.queue_id);

    let consumer = client.consumer("billing").subscribe("orders", Filter::tags(["paid"]));
    let mut orders = consumer.start_from(StartFrom::Earliest).stream().await?;
    if let Some(order) = orders.next().await {
        println!("{}", order.text());
        order.ack();
    }
    orders.close(Duration::from_secs(10)).await;
    // README
    Ok(())
}
