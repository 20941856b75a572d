//! Speaks to servers that let nobody in without a password, over TLS, and says what failed; `interop/guarded` has such
//! servers:
//! cargo run -p thrustmq-client --example guarded -- 127.0.0.1:9876 ca.pem topic user password [messages of others]

mod support;

use std::collections::BTreeSet;
use std::error::Error;

use thrustmq_client::{
    Client, ClientBuilder, Compression, Credentials, Filter, Message, StartFrom, Tls, TopicConfig, Trace,
};

use support::{Outcome, PATIENCE, until};

#[tokio::main]
async fn main() -> Outcome {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [servers, authorities, topic, user, password, others @ ..] = &given[..] else {
        return Err("say servers, file of authorities, topic, user and password".into());
    };
    let guarded = |password: &str| -> Result<ClientBuilder, Box<dyn Error>> {
        let client = Client::builder(servers.as_str()).tls(Tls::trusting(authorities)?);
        Ok(client.credentials(Credentials::new(user.as_str(), password)))
    };
    let client = guarded(password)?.trace(Trace::default()).connect().await?;
    let admin = client.admin();
    until("a broker is there", async || admin.masters("").await.is_ok_and(|all| !all.is_empty())).await?;
    match others {
        [count, ..] => read(&client, topic, count.parse()?).await,
        [] => {
            nobody_else_gets_in(servers, topic, guarded("wrong")?).await?;
            send_and_consume(&client, topic).await
        }
    }
}

async fn nobody_else_gets_in(servers: &str, topic: &str, wrong: ClientBuilder) -> Outcome {
    let refused =
        wrong.connect().await?.admin().create_topic("DefaultCluster", &TopicConfig::new(topic, 1, 6)).await;
    match refused {
        Err(error) if error.broker_code().is_some() && !error.maybe_done() => println!("refused: {error}"),
        other => return Err(format!("a wrong password led to {other:?}").into()),
    }
    match Client::connect(servers).await?.admin().topics().await {
        Err(error) => println!("refused: {error}"),
        Ok(_) => return Err("the servers speak to clients that do not encrypt".into()),
    }
    Ok(())
}

async fn send_and_consume(client: &Client, topic: &str) -> Outcome {
    client.admin().create_topic("DefaultCluster", &TopicConfig::new(topic, 1, 6)).await?;
    until("the topic is known", async || client.admin().topic_route(topic).await.is_ok()).await?;
    let kinds = [(Compression::Zlib, "zlib "), (Compression::Lz4, "lz4 "), (Compression::Zstd, "zstd ")];
    let mut sent = BTreeSet::new();
    for (how, word) in kinds {
        let producer = client.producer(format!("{}-p", word.trim())).compression(how).build()?;
        let receipt =
            producer.send(Message::new(topic, word.repeat(2_000)).tag("t").key(word.trim())).await?;
        println!("sent {} {}", word.trim(), receipt.message_id);
        sent.insert(receipt.message_id);
        producer.close().await;
    }
    let consumer = client.consumer(format!("{topic}-c")).subscribe(topic, Filter::all());
    let mut consumer = consumer.start_from(StartFrom::Earliest).stream().await?;
    while !sent.is_empty() {
        let message = tokio::time::timeout(PATIENCE, consumer.next()).await?.ok_or("closed")?;
        if message.body.len() < 8_000 {
            return Err(format!("{} bytes came of {}", message.body.len(), message.message_id()).into());
        }
        sent.remove(&*message.message_id());
        message.ack();
    }
    consumer.close(PATIENCE).await;
    println!("all was consumed");
    Ok(())
}

/// Reads what others have sent.
async fn read(client: &Client, topic: &str, count: usize) -> Outcome {
    let reader = client.reader("readers");
    for queue in reader.queues(topic).await? {
        let pulled = reader.pull(&queue, 0, 32, &Filter::all()).await?;
        for message in &pulled.messages {
            let text = message.text();
            println!("read {} characters: {}", text.len(), text.chars().take(5).collect::<String>());
        }
        if pulled.messages.len() != count {
            return Err(format!("{} messages are there, not {count}", pulled.messages.len()).into());
        }
    }
    Ok(())
}
