package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Inbox;
import interop.Lab;
import interop.Popping;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageRequestMode;

/**
 * A running group is switched from pulling to popping and back. Nothing is missed, nothing that was consumed comes again, and what
 * failed while it popped comes back while it pulls.
 */
public final class GroupMovesBetweenPullAndPop implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(4);
        String group = lab.group();
        Popping.consumeBy(lab, MessageRequestMode.PULL, topic, group, 0);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = Popping.consumer(lab, group);
        consumer.setPollNameServerInterval(1000);   // the retry topic is new, its route is found only by polling
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (var message : messages) inbox.put(message, "only");
            boolean fails = text(messages.get(0)).startsWith("fails") && messages.get(0).getReconsumeTimes() == 0;
            return fails ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        List<String> expected = new ArrayList<>(lab.send(topic, "pulled ", 40));
        inbox.receivesExactly(expected, 20);

        Popping.consumeBy(lab, MessageRequestMode.POP, topic, group, 0);
        eventually(20, "the group pops", () -> {
            Popping.askForQueues(consumer);
            return assignedQueues(consumer, topic) == 0 && Popping.poppedQueues(consumer, topic).equals(List.of(-1));
        });
        expected.addAll(lab.send(topic, "popped ", 40));
        expected.addAll(lab.send(topic, "fails ", 1));
        inbox.receivesExactly(expected, 20);

        Popping.consumeBy(lab, MessageRequestMode.PULL, topic, group, 0);
        eventually(20, "the group pulls", () -> {
            Popping.askForQueues(consumer);
            return assignedQueues(consumer, topic) == 4 && Popping.poppedQueues(consumer, topic).isEmpty();
        });
        expected.addAll(lab.send(topic, "pulled again ", 40));
        expected.add("fails 0");
        // With each look for its queues the client makes a new version of its subscription to what failed while it popped. A broker
        // refuses pulls that are ahead of the last heartbeat, which comes every two seconds.
        long[] askedAt = {0};
        eventually(60, "all is delivered", () -> {
            if (System.nanoTime() - askedAt[0] > TimeUnit.SECONDS.toNanos(5)) {
                Popping.askForQueues(consumer);
                askedAt[0] = System.nanoTime();
            }
            return inbox.size() >= expected.size();
        });
        inbox.receivesExactly(expected, 1);
        List<Integer> times = inbox.deliveries().stream().filter(d -> d.body.startsWith("fails")).map(d -> d.message.getReconsumeTimes()).collect(Collectors.toList());
        equal(List.of(0, 1), times, "reconsume times of what failed");
        lab.eventuallyAllCommitted(group, topic);
    }
}
