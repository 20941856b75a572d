package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Inbox;
import interop.Lab;
import java.util.List;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** A message that always fails comes again after growing delays, and after the last retry lies in the dead letter topic. */
public final class RetryThenDeadLetter implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(1);
        String group = lab.group();
        Message failing = new Message(topic, "tag", "key-1", utf8("fails"));
        failing.putUserProperty("who", "кто");
        SendResult sent = lab.producer().send(failing);
        lab.producer().send(message(topic, "hopeless"));
        lab.producer().send(message(topic, "fine"));

        Inbox inbox = new Inbox();
        var consumer = lab.pushConsumer(group);
        consumer.setMaxReconsumeTimes(2);
        consumer.setPollNameServerInterval(1000);   // the retry topic is new, its route is found only by polling
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            MessageExt message = messages.get(0);
            inbox.put(message, "only");
            switch (text(message)) {
                case "fine":
                    return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
                case "hopeless":
                    context.setDelayLevelWhenNextConsume(-1);   // no retry, at once to the dead letters
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                default:
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
        });
        consumer.start();

        String deadLetters = "%DLQ%" + group;
        eventually(40, "both failed messages are in " + deadLetters, () -> lab.stored(deadLetters).size() == 2);
        List<Inbox.Delivery> tries = inbox.deliveries().stream().filter(d -> d.body.equals("fails")).collect(Collectors.toList());
        equal(List.of(0, 1, 2), tries.stream().map(d -> d.message.getReconsumeTimes()).collect(Collectors.toList()), "reconsume times seen");
        equal(1L, inbox.bodies().stream().filter("fine"::equals).count(), "deliveries of the good message");
        equal(1L, inbox.bodies().stream().filter("hopeless"::equals).count(), "deliveries of the hopeless message");

        // Retry n waits for delay level 2 + n, which interop/server sets to 1 s and 2 s.
        long firstDelay = tries.get(1).atMillis - tries.get(0).atMillis;
        long secondDelay = tries.get(2).atMillis - tries.get(1).atMillis;
        check(firstDelay >= 1000, "the first retry came after %d ms", firstDelay);
        check(secondDelay >= 2000, "the second retry came after %d ms", secondDelay);
        for (Inbox.Delivery delivery : tries) {
            equal(topic, delivery.message.getTopic(), "topic that the listener sees");
            equal("key-1", delivery.message.getKeys(), "keys");
            equal("tag", delivery.message.getTags(), "tag");
            equal("кто", delivery.message.getUserProperty("who"), "user property");
            equal(sent.getMsgId(), delivery.message.getMsgId(), "msgId");
        }

        MessageExt dead = lab.stored(deadLetters).stream().filter(m -> text(m).equals("fails")).findFirst().orElseThrow();
        equal("key-1", dead.getKeys(), "keys of the dead letter");
        equal("tag", dead.getTags(), "tag of the dead letter");
        equal("кто", dead.getUserProperty("who"), "user property of the dead letter");
        equal(topic, dead.getProperty("RETRY_TOPIC"), "RETRY_TOPIC of the dead letter");
        equal(sent.getOffsetMsgId(), dead.getProperty("ORIGIN_MESSAGE_ID"), "ORIGIN_MESSAGE_ID of the dead letter");
        equal(sent.getMsgId(), dead.getMsgId(), "msgId of the dead letter");
        equal(3, dead.getReconsumeTimes(), "reconsume times of the dead letter");
        lab.eventuallyAllCommitted(group, topic);
    }
}
