package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Inbox;
import interop.Lab;
import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;

/** A message with a delay level is delivered whole, to the queue it was sent to, and not before its time. */
public final class DelayLevelIsNotEarly implements Case {
    /** As interop/server sets them: level 1 is 1 s, 4 is 2 s, 5 is 3 s. */
    private static final int[][] LEVEL_AND_MILLIS = {{1, 1000}, {4, 2000}, {5, 3000}, {0, 0}};

    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(3);
        Inbox inbox = new Inbox();
        var consumer = inbox.feedFrom(lab.pushConsumer(lab.group()));
        consumer.subscribe(topic, "tag");
        consumer.start();
        eventually(15, "all queues are assigned", () -> assignedQueues(consumer, topic) == 3);

        List<String> sent = new ArrayList<>();
        for (int[] each : LEVEL_AND_MILLIS) {
            for (int queue = 0; queue < 3; queue++) {
                Message message = new Message(topic, "tag", "key-" + queue, utf8(each[1] + ":" + queue));
                message.setDelayTimeLevel(each[0]);
                message.putUserProperty("who", "кто");
                SendResult result = lab.producer().send(message, lab.queues(topic).get(queue));
                equal(queue, result.getMessageQueue().getQueueId(), "queue in the result");
                sent.add(each[1] + ":" + queue);
            }
        }
        inbox.receivesExactly(sent, 20);
        for (Inbox.Delivery delivery : inbox.deliveries()) {
            int millis = Integer.parseInt(delivery.body.split(":")[0]);
            int queue = Integer.parseInt(delivery.body.split(":")[1]);
            long took = delivery.atMillis - delivery.message.getBornTimestamp();
            check(took >= millis, "%s came after %d ms", delivery.body, took);
            check(took < millis + 4000, "%s came only after %d ms", delivery.body, took);
            equal(topic, delivery.message.getTopic(), "topic");
            equal(queue, delivery.message.getQueueId(), "queue");
            equal("key-" + queue, delivery.message.getKeys(), "keys");
            equal("tag", delivery.message.getTags(), "tag");
            equal("кто", delivery.message.getUserProperty("who"), "user property");
        }
    }
}
