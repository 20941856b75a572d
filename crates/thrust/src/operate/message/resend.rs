//! `thrust message resend`: once more for everybody, or for one group alone.

use clap::Args;
use serde_json::json;
use thrustmq_client::{Admin, Message, Received};

use super::search::must_find;
use crate::failure::Failure;
use crate::output::screen::{print_json, print_line};
use crate::target::{Target, route};

/// Group of the producer.
const PRODUCER: &str = "thrust-resend";

#[derive(Debug, Args)]
pub struct ResendArgs {
    /// Id of the message, of any form, or a key of it.
    id: String,
    /// Its topic [default: all are asked].
    #[arg(short, long)]
    topic: Option<String>,
    /// Send the copy to this topic [default: that of the message; for a dead letter the one it was sent to first].
    #[arg(long, value_name = "TOPIC", conflicts_with = "group")]
    to: Option<String>,
    /// Store nothing: let a member of this group that is online consume the message now, and say what it made of it.
    #[arg(short, long)]
    group: Option<String>,
    /// With --group: the client id of the member [default: any].
    #[arg(long, value_name = "CLIENT", requires = "group")]
    member: Option<String>,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    target: Target,
}

pub async fn run(args: &ResendArgs) -> Result<(), Failure> {
    let client = args.target.client().await?;
    let admin = client.admin();
    let mut found = must_find(&admin, &args.id, args.topic.as_deref()).await?.originals();
    if found.len() > 1 {
        let number = found.len();
        return Err(Failure::Arguments(format!(
            "\"{}\" is that of {number} messages; name one by its offset id, which `thrust message find` shows",
            args.id
        )));
    }
    let Some(message) = found.pop() else { return Ok(()) };
    if let Some(group) = &args.group {
        return hand_over(args, &admin, group, &message).await;
    }
    let topic = args.to.as_deref().unwrap_or(message.topic());
    route(&admin, topic).await?;
    args.target.consent(
        &format!("a copy of the message goes to all groups that read topic \"{topic}\""),
        args.yes,
    )?;
    let producer = client.producer(PRODUCER).build()?;
    let sent = producer.send(Message::copy_of(&message, topic)).await;
    producer.close().await;
    let receipt = sent.map_err(|error| Failure::Partly(error.to_string()))?;
    if args.target.json {
        return print_json(&json!({
            "resent": message.message_id(),
            "topic": topic,
            "messageId": receipt.message_id,
            "offsetId": receipt.offset_id,
            "broker": receipt.queue.broker_name,
            "queueId": receipt.queue.queue_id,
            "offset": receipt.offset,
        }));
    }
    let (queue, offset) = (&receipt.queue, receipt.offset);
    let told = format!(
        "sent again to topic {topic}: {} stored as {} in queue {} of {} at {offset}",
        receipt.message_id, receipt.offset_id, queue.queue_id, queue.broker_name
    );
    print_line(&told)
}

/// Client id of a member that is online; Java's brokers do not choose one themselves.
async fn any_member(admin: &Admin, group: &str) -> Result<String, Failure> {
    let online = admin.consumers(group).await?.map(|online| online.connection_set).unwrap_or_default();
    let first = online.into_iter().map(|member| member.client_id).min();
    first.ok_or_else(|| {
        Failure::NotFound(format!(
            "no member of group \"{group}\" is online; start one, or leave --group out to store the message again"
        ))
    })
}

/// Lets a member consume the message outside of its queue.
async fn hand_over(args: &ResendArgs, admin: &Admin, group: &str, message: &Received) -> Result<(), Failure> {
    let member = match &args.member {
        Some(member) => member.clone(),
        None => any_member(admin, group).await?,
    };
    let who = args.member.as_ref().map_or("a member".to_owned(), |member| format!("member {member}"));
    let again =
        format!("{who} of group \"{group}\" consumes the message, whether the group has had it or not");
    args.target.consent(&again, args.yes)?;
    let topic = &message.queue.topic;
    let result = admin.consume_directly(group, &member, topic, &message.offset_id()).await?;
    let is_done = result.consume_result == "CR_SUCCESS";
    if args.target.json {
        print_json(&json!({
            "resent": message.message_id(),
            "group": group,
            "result": result.consume_result,
            "remark": result.remark,
            "spentMs": result.spent_ms,
        }))?;
    } else if is_done {
        print_line(&format!("group {group} has consumed it in {} ms", result.spent_ms))?;
    }
    let remark = result.remark.unwrap_or_default();
    match is_done {
        true => Ok(()),
        false => {
            Err(Failure::Partly(format!("group {group} made {} of it: {remark}", result.consume_result)))
        }
    }
}
