package interop;

import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.common.message.MessageExt;

/** What listeners were given, in the order in which they were given it. Several consumers may share one. */
public final class Inbox {
    public static final class Delivery {
        public final MessageExt message;
        public final String body;
        public final String member;
        public final String thread = Thread.currentThread().getName();
        public final long atMillis = System.currentTimeMillis();

        Delivery(MessageExt message, String member) {
            this.message = message;
            this.body = Lab.text(message);
            this.member = member;
        }
    }

    private final List<Delivery> deliveries = new ArrayList<>();

    public synchronized void put(MessageExt message, String member) {
        deliveries.add(new Delivery(message, member));
    }

    public synchronized List<Delivery> deliveries() {
        return new ArrayList<>(deliveries);
    }

    public List<String> bodies() {
        return deliveries().stream().map(d -> d.body).collect(Collectors.toList());
    }

    public Set<String> distinctBodies() {
        return new LinkedHashSet<>(bodies());
    }

    public synchronized int size() {
        return deliveries.size();
    }

    /** Waits for these bodies, then a moment longer: nothing else and nothing twice may have come. */
    public void receivesExactly(List<String> expected, int secondsMax) throws InterruptedException {
        try {
            Lab.eventually(secondsMax, "all delivered", () -> size() >= expected.size());
        } catch (Lab.Failed late) {
            Lab.sameElements(expected, bodies(), "delivered within " + secondsMax + " s");
        }
        Thread.sleep(300);
        Lab.sameElements(expected, bodies(), "delivered");
    }

    /** Waits until each of these bodies was delivered at least once. */
    public void receivesAtLeast(List<String> expected, int secondsMax) throws InterruptedException {
        try {
            Lab.eventually(secondsMax, "all delivered", () -> distinctBodies().containsAll(expected));
        } catch (Lab.Failed late) {
            Lab.sameElements(expected, distinctBodies(), "delivered within " + secondsMax + " s");
        }
    }

    /** Makes the consumer, not started yet, put all it gets here under this member's name. */
    public DefaultMQPushConsumer feedFrom(DefaultMQPushConsumer consumer, String member) {
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) put(message, member);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        return consumer;
    }

    public DefaultMQPushConsumer feedFrom(DefaultMQPushConsumer consumer) {
        return feedFrom(consumer, consumer.getInstanceName());
    }

    /** The same with an orderly listener, which takes a little time for each message. */
    public DefaultMQPushConsumer feedInOrderFrom(DefaultMQPushConsumer consumer, String member, int millisEach) {
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            for (MessageExt message : messages) {
                put(message, member);
                try {
                    Thread.sleep(millisEach);
                } catch (InterruptedException stopped) {
                    return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
                }
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });
        return consumer;
    }
}
