package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Lab;
import interop.Popping;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.AckStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.sysflag.MessageSysFlag;

/** A batch of a topic with queue.type=BatchCQ is popped, hidden and acknowledged as one message, which the reader unwraps. */
public final class PoppedBatchIsOneMessage implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topicWith("+queue.type=BatchCQ", 1);
        MessageQueue queue = lab.queues(topic).get(0);
        lab.producer().send(messages(topic, 0, 3), queue);
        lab.producer().send(messages(topic, 3, 1).get(0), queue);
        lab.producer().send(messages(topic, 4, 2), queue);

        Popping group = new Popping(lab, topic, lab.group());
        List<MessageExt> popped = group.popAll(3, Popping.LONG_MILLIS, 10);
        equal(List.of(0L, 3L, 4L), popped.stream().map(MessageExt::getQueueOffset).collect(Collectors.toList()), "first offsets of what was popped");
        equal(List.of("b0", "b1", "b2", "b3", "b4", "b5"), unwrapped(popped), "messages in them");
        for (MessageExt one : popped) equal(AckStatus.OK, group.ack(one), "acknowledgement of offset " + one.getQueueOffset());
        group.popsNothing(5);
    }

    private static List<String> unwrapped(List<MessageExt> records) throws Exception {
        List<String> texts = new ArrayList<>();
        for (MessageExt one : records) {
            List<MessageExt> inner = new ArrayList<>();
            if (MessageSysFlag.check(one.getSysFlag(), MessageSysFlag.INNER_BATCH_FLAG)) MessageDecoder.decodeMessage(one, inner);
            else inner.add(one);
            for (MessageExt each : inner) texts.add(text(each));
        }
        return texts;
    }

    private static List<Message> messages(String topic, int from, int count) {
        List<Message> batch = new ArrayList<>();
        for (int i = from; i < from + count; i++) batch.add(new Message(topic, utf8("b" + i)));
        return batch;
    }
}
