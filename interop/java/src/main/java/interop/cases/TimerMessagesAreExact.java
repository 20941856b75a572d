package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Dialect;
import interop.Inbox;
import interop.Lab;
import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;

/** Messages with a time of delivery come whole, not before it, and those that are taken back do not come. */
public final class TimerMessagesAreExact implements Case {
    /** From the moment of sending, in milliseconds. */
    private static final int[] DELAYS = {300, 1500, 2000, 3210};

    @Override
    public void run(Lab lab) throws Exception {
        if (!Dialect.TIMERS) {
            return;
        }
        String topic = lab.topic(2);
        Inbox inbox = new Inbox();
        var consumer = inbox.feedFrom(lab.pushConsumer(lab.group()));
        consumer.subscribe(topic, "*");
        consumer.start();
        eventually(15, "all queues are assigned", () -> assignedQueues(consumer, topic) == 2);

        List<String> sent = new ArrayList<>();
        for (String kind : List.of("DELIVER_MS", "DELAY_MS", "DELAY_SEC")) {
            for (int millis : DELAYS) {
                int wanted = kind.equals("DELAY_SEC") ? (millis + 999) / 1000 * 1000 : millis;
                long due = System.currentTimeMillis() + wanted;
                Message message = new Message(topic, "tag", "key", utf8(due + ":" + kind + ":" + wanted));
                message.putUserProperty("who", "кто");
                Dialect.timer(message, kind, wanted);
                SendResult result = lab.producer().send(message, lab.queues(topic).get(1));
                equal(1, result.getMessageQueue().getQueueId(), "queue in the result");
                sent.add(due + ":" + kind + ":" + wanted);
            }
        }
        takeBack(lab, topic);
        refused(13, "three days are the limit", () -> {
            Message message = new Message(topic, utf8("too far"));
            Dialect.timer(message, "DELAY_SEC", (3 * 86_400 + 10) * 1000L);
            return lab.producer().send(message);
        });
        inbox.receivesExactly(sent, 25);
        for (Inbox.Delivery delivery : inbox.deliveries()) {
            String[] parts = delivery.body.split(":");
            long late = delivery.atMillis - Long.parseLong(parts[0]);
            check(late >= 0, "%s came %d ms early", delivery.body, -late);
            check(late < 4000, "%s came only after %d ms", delivery.body, late);
            equal(topic, delivery.message.getTopic(), "topic");
            equal(1, delivery.message.getQueueId(), "queue");
            equal("tag", delivery.message.getTags(), "tag");
            equal("кто", delivery.message.getUserProperty("who"), "user property");
        }
    }

    /** One that must not come: {@code receivesExactly} would see it, for later ones follow. */
    private static void takeBack(Lab lab, String topic) throws Exception {
        Message message = new Message(topic, "tag", "key", utf8("taken back"));
        Dialect.timer(message, "DELAY_MS", 2500);
        SendResult result = lab.producer().send(message, lab.queues(topic).get(0));
        equal(result.getMsgId(), Dialect.recall(lab.producer(), topic, result), "id of what was taken back");
    }
}
