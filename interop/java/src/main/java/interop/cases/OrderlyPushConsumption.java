package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Inbox;
import interop.Lab;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.producer.selector.SelectMessageQueueByHash;

/** Messages of one key go to one queue, and an orderly consumer gets them in order, one thread per queue at a time. */
public final class OrderlyPushConsumption implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(3);
        String group = lab.group();
        List<String> sent = new ArrayList<>();
        for (int i = 0; i < 150; i++) {
            String order = "order" + i % 10;
            lab.producer().send(message(topic, order + ":" + i), new SelectMessageQueueByHash(), order);
            sent.add(order + ":" + i);
        }

        Inbox inbox = new Inbox();
        var consumer = inbox.feedInOrderFrom(lab.pushConsumer(group), "only", 1);
        consumer.subscribe(topic, "*");
        consumer.start();
        inbox.receivesExactly(sent, 30);

        Map<String, Integer> last = new HashMap<>();
        Map<String, Integer> queueOf = new HashMap<>();
        for (Inbox.Delivery delivery : inbox.deliveries()) {
            String order = delivery.body.split(":")[0];
            int number = Integer.parseInt(delivery.body.split(":")[1]);
            check(last.getOrDefault(order, -1) < number, "%s came after %d", delivery.body, last.get(order));
            last.put(order, number);
            equal(delivery.message.getQueueId(), queueOf.computeIfAbsent(order, o -> delivery.message.getQueueId()), "queue of " + order);
        }
        consumer.shutdown();   // which commits
        lab.eventuallyAllCommitted(group, topic);
    }
}
