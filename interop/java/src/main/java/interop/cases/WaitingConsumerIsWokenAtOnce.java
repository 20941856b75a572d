package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Inbox;
import interop.Lab;
import java.util.List;
import java.util.stream.Collectors;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/** A consumer that has read everything hangs in a suspended pull; the next message wakes it, not the next poll. */
public final class WaitingConsumerIsWokenAtOnce implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(4);
        Inbox inbox = new Inbox();
        var consumer = inbox.feedFrom(lab.pushConsumer(lab.group()));
        consumer.subscribe(topic, "mine");
        consumer.start();
        for (MessageQueue queue : lab.queues(topic)) lab.producer().send(new Message(topic, "mine", utf8("warm-up")), queue);
        eventually(15, "all queues are read", () -> inbox.size() == 4);
        Thread.sleep(1000);

        for (int i = 0; i < 11; i++) {
            // Others' messages in the same queues do not get in the way.
            lab.producer().send(new Message(topic, "others", utf8("other" + i)));
            lab.producer().send(new Message(topic, "mine", utf8("m" + i)));
            Thread.sleep(300);
        }
        eventually(10, "11 messages are delivered", () -> inbox.size() == 15);
        List<Long> latencies = inbox.deliveries().stream().skip(4).map(d -> d.atMillis - d.message.getBornTimestamp()).sorted().collect(Collectors.toList());
        check(latencies.get(5) < 200, "milliseconds from send to delivery: %s", latencies);
    }
}
