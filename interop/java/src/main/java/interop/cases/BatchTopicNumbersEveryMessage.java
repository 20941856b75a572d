package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Lab;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageClientIDSetter;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * A topic with queue.type=BatchCQ: a 5.x client's batch is stored as one record and unwrapped by the reader, a 4.9 client's is
 * stored message by message; either way each message has its own offset and comes once, in order.
 */
public final class BatchTopicNumbersEveryMessage implements Case {
    private static final int[] BATCHES = {10, 1, 3, 1, 1, 25};

    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topicWith("+queue.type=BatchCQ", 1);
        MessageQueue queue = lab.queues(topic).get(0);

        List<Message> messages = new ArrayList<>();
        for (int size : BATCHES) {
            List<Message> batch = new ArrayList<>();
            for (int i = 0; i < size; i++) {
                Message message = new Message(topic, "tag" + i % 3, "key" + messages.size(), utf8("number " + messages.size()));
                message.putUserProperty("number", "№" + messages.size());
                batch.add(message);
                messages.add(message);
            }
            SendResult sent = size == 1 ? lab.producer().send(batch.get(0), queue) : lab.producer().send(batch, queue);
            equal(SendStatus.SEND_OK, sent.getSendStatus(), "status");
            equal((long) messages.size() - size, sent.getQueueOffset(), "queue offset of the first of a batch of " + size);
        }
        equal((long) messages.size(), lab.producer().maxOffset(queue), "end of the queue");
        equal(0L, lab.producer().minOffset(queue), "beginning of the queue");
        equal(0L, lab.producer().searchOffset(queue, 1), "offset of a time before all of them");

        List<MessageExt> stored = lab.stored(topic);
        equal(messages.size(), stored.size(), "messages stored");
        for (int i = 0; i < stored.size(); i++) {
            MessageExt got = stored.get(i);
            equal((long) i, got.getQueueOffset(), "queue offset");
            equal("number " + i, text(got), "body");
            equal("key" + i, got.getKeys(), "key");
            equal("№" + i, got.getUserProperty("number"), "property");
            equal(MessageClientIDSetter.getUniqID(messages.get(i)), got.getMsgId(), "id");
        }

        // Any offset leads to a pull that holds its message, and the next one begins behind what this one gave.
        DefaultMQPullConsumer reader = lab.pullConsumer(lab.group());
        for (int offset = 0; offset < messages.size(); offset++) {
            PullResult pulled = reader.pull(queue, "*", offset, 32);
            equal(PullStatus.FOUND, pulled.getPullStatus(), "pull at " + offset);
            String wanted = "number " + offset;
            check(pulled.getMsgFoundList().stream().anyMatch(got -> text(got).equals(wanted)), "the pull at %d has no \"%s\"", offset, wanted);
            MessageExt last = pulled.getMsgFoundList().get(pulled.getMsgFoundList().size() - 1);
            equal(last.getQueueOffset() + 1, pulled.getNextBeginOffset(), "next offset of the pull at " + offset);
        }
        equal(PullStatus.NO_NEW_MSG, reader.pull(queue, "*", messages.size(), 32).getPullStatus(), "pull at the end");

        List<String> received = Collections.synchronizedList(new ArrayList<>());
        String group = lab.group();
        var consumer = lab.pushConsumer(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (arrived, context) -> {
            arrived.forEach(one -> received.add(text(one)));
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        eventually(30, "everything is consumed", () -> received.size() >= messages.size());
        List<String> expected = new ArrayList<>();
        for (Message message : messages) expected.add(text(message));
        equal(expected, new ArrayList<>(received), "messages in the order of their arrival");
        lab.eventuallyAllCommitted(group, topic);
    }
}
