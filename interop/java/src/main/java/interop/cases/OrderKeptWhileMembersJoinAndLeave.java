package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Inbox;
import interop.Lab;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Orderly members join and leave while messages flow. No message is seen before its predecessor in the queue; a replay of the
 * last ones after a change of hands is allowed, as with any at-least-once delivery. The broker's queue locks carry this.
 */
public final class OrderKeptWhileMembersJoinAndLeave implements Case {
    private static final int QUEUES = 4;

    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(QUEUES);
        String group = lab.group();
        Inbox inbox = new Inbox();

        DefaultMQPushConsumer first = member(lab, inbox, group, topic, "first");
        AtomicBoolean sending = new AtomicBoolean(true);
        AtomicReference<Exception> failure = new AtomicReference<>();
        List<String> sent = new ArrayList<>();
        lab.whenClosed(() -> sending.set(false));
        Thread sender = new Thread(() -> {
            try {
                for (int number = 0; sending.get(); number++) {
                    for (int queue = 0; queue < QUEUES; queue++) {
                        lab.producer().send(message(topic, queue + ":" + number), new MessageQueue(topic, "broker-a", queue));
                        sent.add(queue + ":" + number);
                    }
                    Thread.sleep(20);
                }
            } catch (Exception stopped) {
                failure.set(stopped);
            }
        });
        sender.start();

        eventually(30, "the first member gets messages of all queues", () -> queuesOf(inbox, "first").size() == QUEUES);
        member(lab, inbox, group, topic, "second");
        eventually(45, "the second member takes over two queues", () -> queuesOf(inbox, "second").size() == 2);
        first.shutdown();
        eventually(45, "the second member has all queues after the first left", () -> queuesOf(inbox, "second").size() == QUEUES);
        member(lab, inbox, group, topic, "third");
        eventually(45, "the third member takes over two queues", () -> queuesOf(inbox, "third").size() == 2);

        sending.set(false);
        sender.join(20_000);
        equal(null, failure.get(), "failure of the sender");
        inbox.receivesAtLeast(sent, 30);

        Map<Integer, Integer> seen = new HashMap<>();
        int replayed = 0;
        for (Inbox.Delivery delivery : inbox.deliveries()) {
            int queue = Integer.parseInt(delivery.body.split(":")[0]);
            int number = Integer.parseInt(delivery.body.split(":")[1]);
            int expected = seen.getOrDefault(queue, -1) + 1;
            check(number <= expected, "queue %d: %s saw %d while %d had not been seen", queue, delivery.member, number, expected);
            if (number < expected) replayed++;
            seen.put(queue, Math.max(expected - 1, number));
        }
        check(replayed <= sent.size() / 4, "%d of %d deliveries were replays: offsets are not handed over", replayed, inbox.size());
    }

    private static DefaultMQPushConsumer member(Lab lab, Inbox inbox, String group, String topic, String name) throws Exception {
        DefaultMQPushConsumer consumer = inbox.feedInOrderFrom(lab.pushConsumer(group), name, 2);
        consumer.subscribe(topic, "*");
        consumer.start();
        return consumer;
    }

    private static Set<Integer> queuesOf(Inbox inbox, String member) {
        return inbox.deliveries().stream().filter(d -> d.member.equals(member)).map(d -> d.message.getQueueId()).collect(Collectors.toSet());
    }
}
