package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Inbox;
import interop.Lab;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;

/** One consumer, many threads: a backlog and then live messages, each delivered once, all offsets committed. */
public final class ConcurrentPushConsumption implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(8);
        String group = lab.group();
        List<String> sent = new ArrayList<>(lab.send(topic, "backlog", 400));

        Inbox inbox = new Inbox();
        var consumer = inbox.feedFrom(lab.pushConsumer(group));
        consumer.setPullBatchSize(16);
        consumer.subscribe(topic, "*");
        consumer.start();
        inbox.receivesExactly(sent, 20);

        sent.addAll(lab.send(topic, "live", 200));
        inbox.receivesExactly(sent, 20);

        equal(8L, inbox.deliveries().stream().map(d -> d.message.getQueueId()).distinct().count(), "queues that were read");
        check(inbox.deliveries().stream().map(d -> d.thread).distinct().count() > 1, "only one thread was used");
        for (int queue = 0; queue < 8; queue++) {
            int id = queue;
            List<Long> offsets = inbox.deliveries().stream().filter(d -> d.message.getQueueId() == id)
                .map(d -> d.message.getQueueOffset()).sorted().collect(Collectors.toList());
            equal(0L, offsets.get(0), "first offset of queue " + queue);
            equal((long) offsets.size() - 1, offsets.get(offsets.size() - 1), "last offset of queue " + queue);
        }
        lab.eventuallyAllCommitted(group, topic);
    }
}
