package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Inbox;
import interop.Lab;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageClientIDSetter;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** A batch is one request, but its messages have offsets, ids, tags and properties of their own. */
public final class BatchBecomesSingleMessages implements Case {
    private static final int COUNT = 40;

    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(2);
        MessageQueue queue = new MessageQueue(topic, "broker-a", 1);
        lab.producer().send(message(topic, "before"), queue);

        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < COUNT; i++) {
            Message message = new Message(topic, "tag" + i % 3, "key" + i, utf8("batch" + i + "✓".repeat(i)));
            message.putUserProperty("number", "№" + i);
            message.setFlag(i);
            batch.add(message);
        }
        SendResult sent = lab.producer().send(batch, queue);
        equal(SendStatus.SEND_OK, sent.getSendStatus(), "status");
        equal(1L, sent.getQueueOffset(), "queue offset of the first of the batch");
        equal(COUNT, sent.getMsgId().split(",").length, "ids in msgId");
        equal(COUNT, new LinkedHashSet<>(List.of(sent.getOffsetMsgId().split(","))).size(), "different ids in offsetMsgId");
        String[] offsetIds = sent.getOffsetMsgId().split(",");

        List<MessageExt> stored = lab.stored(topic);
        equal(COUNT + 1, stored.size(), "messages stored");
        for (int i = 0; i < COUNT; i++) {
            MessageExt got = stored.get(i + 1);
            equal(1L + i, got.getQueueOffset(), "queue offset of message " + i);
            equal("batch" + i + "✓".repeat(i), text(got), "body of message " + i);
            equal("tag" + i % 3, got.getTags(), "tag of message " + i);
            equal("key" + i, got.getKeys(), "key of message " + i);
            equal("№" + i, got.getUserProperty("number"), "property of message " + i);
            equal(i, got.getFlag(), "flag of message " + i);
            equal(MessageClientIDSetter.getUniqID(batch.get(i)), got.getMsgId(), "id of message " + i);
            equal(text(got), text(lab.admin().viewMessage(topic, offsetIds[i])), "message " + i + " by its offset id");
        }

        Inbox inbox = new Inbox();
        var consumer = inbox.feedFrom(lab.pushConsumer(lab.group()));
        consumer.subscribe(topic, "tag1");
        consumer.start();
        List<String> tagged = new ArrayList<>();
        for (int i = 1; i < COUNT; i += 3) tagged.add("batch" + i + "✓".repeat(i));
        inbox.receivesExactly(tagged, 15);
    }
}
