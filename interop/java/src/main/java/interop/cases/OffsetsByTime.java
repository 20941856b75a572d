package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Lab;
import java.util.List;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Min, max, and the offset of a moment: the first message stored at that time or later. */
public final class OffsetsByTime implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(2);
        List<MessageQueue> queues = lab.queues(topic);
        MessageQueue queue = queues.get(0);
        MessageQueue empty = queues.get(1);
        for (int i = 0; i < 20; i++) {
            lab.producer().send(message(topic, "m" + i), queue);
            if (i % 5 == 4) Thread.sleep(30);
        }
        List<MessageExt> stored = lab.stored(topic);
        equal(0L, lab.producer().minOffset(queue), "min");
        equal(20L, lab.producer().maxOffset(queue), "max");
        equal(0L, lab.producer().minOffset(empty), "min of the empty queue");
        equal(0L, lab.producer().maxOffset(empty), "max of the empty queue");
        equal(0L, lab.producer().searchOffset(empty, System.currentTimeMillis()), "search in the empty queue");
        equal(stored.get(0).getStoreTimestamp(), lab.producer().earliestMsgStoreTime(queue), "earliest store time");

        equal(0L, lab.producer().searchOffset(queue, stored.get(0).getStoreTimestamp() - 10_000), "search before the first");
        for (int i = 0; i < 20; i++) {
            long time = stored.get(i).getStoreTimestamp();
            long first = stored.stream().filter(m -> m.getStoreTimestamp() >= time).findFirst().orElseThrow().getQueueOffset();
            equal(first, lab.producer().searchOffset(queue, time), "search at the time of message " + i);
        }
        for (int i = 5; i < 20; i += 5) {
            equal((long) i, lab.producer().searchOffset(queue, stored.get(i - 1).getStoreTimestamp() + 1), "search just after message " + (i - 1));
        }
        equal(20L, lab.producer().searchOffset(queue, stored.get(19).getStoreTimestamp() + 10_000), "search after the last");
    }
}
