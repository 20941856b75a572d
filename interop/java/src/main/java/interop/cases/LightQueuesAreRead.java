package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Lab;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** A message names light queues (%LMQ%…) besides its topic, and is found in each of them at an offset of its own. */
public final class LightQueuesAreRead implements Case {
    private static final int COUNT = 40;

    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(1);
        MessageQueue queue = lab.queues(topic).get(0);
        String even = "%LMQ%" + lab.fresh("even");
        String all = "%LMQ%" + lab.fresh("all");
        List<String> bodies = new ArrayList<>();
        List<String> evenBodies = new ArrayList<>();
        for (int i = 0; i < COUNT; i++) {
            SendResult sent = lab.producer().send(light(topic, "message " + i, i % 2 == 0 ? all + "," + even : all), queue);
            equal(SendStatus.SEND_OK, sent.getSendStatus(), "status");
            equal((long) i, sent.getQueueOffset(), "offset in the topic's own queue");
            bodies.add("message " + i);
            if (i % 2 == 0) evenBodies.add("message " + i);
        }

        DefaultMQPullConsumer reader = lab.pullConsumer(lab.group());
        // The route of the topic tells where the broker is; light queues have none.
        reader.fetchSubscribeMessageQueues(topic);
        equal(bodies, read(reader, queue), "messages of the topic");
        equal(bodies, read(reader, new MessageQueue(all, queue.getBrokerName(), 0)), "messages of the first light queue");
        MessageQueue evens = new MessageQueue(even, queue.getBrokerName(), 0);
        equal(evenBodies, read(reader, evens), "messages of the second light queue");
        equal("message 6", text(reader.pull(evens, "*", 3, 1).getMsgFoundList().get(0)), "message at offset 3");
        // Each says where it is; Java writes the numbers without leading zeros.
        MessageExt sixth = reader.pull(evens, "*", 3, 1).getMsgFoundList().get(0);
        equal(all + "," + even, sixth.getProperty("INNER_MULTI_DISPATCH"), "names of its light queues");
        List<Long> offsets = new ArrayList<>();
        for (String offset : sixth.getProperty("INNER_MULTI_QUEUE_OFFSET").split(",")) offsets.add(Long.parseLong(offset));
        equal(List.of(6L, 3L), offsets, "its offsets there");

        // Who waits at the end of a light queue is woken by a message that names it.
        CompletableFuture<PullResult> held = CompletableFuture.supplyAsync(() -> {
            try {
                return reader.pullBlockIfNotFound(evens, "*", COUNT / 2, 32);
            } catch (Exception failure) {
                throw new IllegalStateException(failure);
            }
        });
        Thread.sleep(1000);
        check(!held.isDone(), "a pull at the end of a light queue did not wait");
        lab.producer().send(light(topic, "late", even), queue);
        PullResult woken = held.get(10, TimeUnit.SECONDS);
        equal(PullStatus.FOUND, woken.getPullStatus(), "the pull that waited");
        equal("late", text(woken.getMsgFoundList().get(0)), "what it was woken for");
        equal(PullStatus.NO_NEW_MSG, reader.pull(new MessageQueue(all, queue.getBrokerName(), 0), "*", COUNT, 32).getPullStatus(), "the other light queue");
    }

    private static Message light(String topic, String body, String queues) {
        Message message = message(topic, body);
        MessageAccessor.putProperty(message, "INNER_MULTI_DISPATCH", queues);
        return message;
    }

    private static List<String> read(DefaultMQPullConsumer reader, MessageQueue queue) throws Exception {
        List<String> bodies = new ArrayList<>();
        long end = reader.maxOffset(queue);
        long offset = reader.minOffset(queue);
        equal(0L, offset, "beginning of " + queue);
        while (offset < end) {
            PullResult pulled = reader.pull(queue, "*", offset, 32);
            equal(PullStatus.FOUND, pulled.getPullStatus(), "pull of " + queue + " at " + offset + " of " + end);
            for (MessageExt message : pulled.getMsgFoundList()) bodies.add(text(message));
            offset = pulled.getNextBeginOffset();
        }
        return bodies;
    }
}
