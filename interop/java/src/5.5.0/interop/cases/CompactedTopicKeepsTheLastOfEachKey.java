package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Lab;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Of 1000 messages with 50 keys the last one of each key stays, with its offset, and few of the others. The server has small files of
 * compacted messages and compacts every few seconds.
 */
public final class CompactedTopicKeepsTheLastOfEachKey implements Case {
    private static final int MESSAGES = 1000;
    private static final int KEYS = 50;

    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.fresh("topic");
        TopicConfig config = new TopicConfig(topic, 1, 1);
        config.setAttributes(Map.of("+cleanup.policy", "COMPACTION"));
        lab.admin().createAndUpdateTopicConfig(lab.brokerAddress("TBW102"), config);
        eventually(10, "topic " + topic + " has a route", () -> lab.queues(topic).size() == 1);
        MessageQueue queue = lab.queues(topic).get(0);

        try {
            lab.producer().send(message(topic, "no key"), queue);
            throw new AssertionError("a message without a key was taken");
        } catch (MQBrokerException refused) {
            equal(13, refused.getResponseCode(), "code of the refusal");
        }
        Map<String, String> last = new HashMap<>();
        for (int i = 0; i < MESSAGES; i++) {
            String key = "key" + i % KEYS;
            lab.producer().send(new Message(topic, "", key, utf8(key + " " + i)), queue);
            last.put(key, key + " " + i);
        }

        DefaultMQPullConsumer reader = lab.pullConsumer(lab.group());
        List<MessageExt> found = new ArrayList<>();
        eventually(60, "most of the older messages are gone", () -> {
            found.clear();
            found.addAll(readAll(reader, queue));
            return found.size() <= MESSAGES / 2;
        });
        Map<String, String> kept = new HashMap<>();
        long before = -1;
        for (MessageExt one : found) {
            if (one.getQueueOffset() <= before) throw new AssertionError(one.getQueueOffset() + " comes behind " + before);
            before = one.getQueueOffset();
            equal(one.getKeys() + " " + one.getQueueOffset(), text(one), "body at offset " + before);
            kept.put(one.getKeys(), text(one));
        }
        equal(last, kept, "the last message of each key");
        equal((long) MESSAGES, reader.maxOffset(queue), "end of the queue");
    }

    /** All that a consumer gets which begins at 0. */
    private static List<MessageExt> readAll(DefaultMQPullConsumer reader, MessageQueue queue) throws Exception {
        List<MessageExt> found = new ArrayList<>();
        long offset = 0;
        while (offset < MESSAGES) {
            PullResult pulled = reader.pull(queue, "*", offset, 32);
            if (pulled.getPullStatus() != PullStatus.FOUND) return found;
            found.addAll(pulled.getMsgFoundList());
            offset = pulled.getNextBeginOffset();
        }
        return found;
    }
}
