package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Inbox;
import interop.Lab;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;

/** An orderly stop and start of the server: messages, topics and committed offsets are as before, clients go on by themselves. */
public final class OffsetsKeptOverBrokerRestart implements Case {
    @Override
    public boolean alone() {
        return true;
    }

    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(4);
        String group = lab.group();
        List<String> sent = new ArrayList<>(lab.send(topic, "before", 60));
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = inbox.feedFrom(lab.pushConsumer(group));
        consumer.subscribe(topic, "*");
        consumer.start();
        inbox.receivesExactly(sent, 15);
        consumer.shutdown();   // which commits
        lab.eventuallyAllCommitted(group, topic);
        Map<Integer, Long> committed = lab.committed(group, topic);

        server("stop");
        server("start");

        eventually(30, "the offsets of the group are as before", () -> lab.committed(group, topic).equals(committed));
        equal(committed, lab.maxOffsets(topic), "ends of the queues");
        sameElements(sent, lab.stored(topic).stream().map(Lab::text).collect(java.util.stream.Collectors.toList()), "stored");

        List<String> after = lab.send(topic, "after", 20);   // by the producer that was there before
        Inbox next = new Inbox();
        DefaultMQPushConsumer again = next.feedFrom(lab.pushConsumer(group));
        again.subscribe(topic, "*");
        again.start();
        next.receivesExactly(after, 20);
    }
}
