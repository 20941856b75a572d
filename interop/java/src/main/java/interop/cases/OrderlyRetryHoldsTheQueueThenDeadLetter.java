package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Inbox;
import interop.Lab;
import java.util.List;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.message.MessageExt;

/** An orderly listener that fails gets the same message again before any later one; after its retries it is a dead letter. */
public final class OrderlyRetryHoldsTheQueueThenDeadLetter implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(1);
        String group = lab.group();
        lab.send(topic, "m", 3);

        Inbox inbox = new Inbox();
        var consumer = lab.pushConsumer(group);
        consumer.setMaxReconsumeTimes(2);
        consumer.setSuspendCurrentQueueTimeMillis(200);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            inbox.put(messages.get(0), "only");
            return text(messages.get(0)).equals("m1") ? ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT : ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();

        // The client itself sends the exhausted message to the retry topic, with how often it was tried; the broker sees that it is dead.
        String deadLetters = "%DLQ%" + group;
        eventually(40, "the failed message is in " + deadLetters, () -> lab.stored(deadLetters).size() == 1);
        eventually(15, "the next message is delivered", () -> inbox.bodies().contains("m2"));
        equal(List.of("m0", "m1", "m1", "m1", "m2"), inbox.bodies(), "deliveries");
        MessageExt dead = lab.stored(deadLetters).get(0);
        equal("m1", text(dead), "dead letter");
        equal(topic, dead.getProperty("RETRY_TOPIC"), "RETRY_TOPIC of the dead letter");
        lab.eventuallyAllCommitted(group, topic);
    }
}
