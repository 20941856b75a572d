package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Inbox;
import interop.Lab;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;

/** A group goes on where it was when its last member left. */
public final class OffsetsKeptOverClientRestart implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(4);
        String group = lab.group();
        List<String> early = lab.send(topic, "early", 80);
        Inbox before = new Inbox();
        DefaultMQPushConsumer consumer = before.feedFrom(lab.pushConsumer(group));
        consumer.subscribe(topic, "*");
        consumer.start();
        before.receivesExactly(early, 15);
        consumer.shutdown();   // which commits
        lab.eventuallyAllCommitted(group, topic);

        List<String> meanwhile = lab.send(topic, "meanwhile", 20);
        Inbox after = new Inbox();
        DefaultMQPushConsumer again = after.feedFrom(lab.pushConsumer(group));
        again.subscribe(topic, "*");
        again.start();
        after.receivesExactly(meanwhile, 15);
        equal(80, before.size(), "deliveries to the consumer that left");
    }
}
