package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Inbox;
import interop.Lab;
import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.common.UtilAll;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;

/**
 * A new group on a topic that still has its first message, in memory, is given offset 0 by the broker whatever its consume-from
 * setting: scaling out a new service does not lose what was sent before it came up. Only an empty queue lets the setting decide.
 */
public final class YoungTopicIsReadFromItsBeginning implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(2);
        List<String> sent = new ArrayList<>(lab.send(topic, "old", 10));
        for (ConsumeFromWhere where : List.of(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET, ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET,
            ConsumeFromWhere.CONSUME_FROM_TIMESTAMP)) {
            Inbox inbox = new Inbox();
            var consumer = inbox.feedFrom(lab.pushConsumer(lab.group()));
            consumer.setConsumeFromWhere(where);
            consumer.setConsumeTimestamp(UtilAll.timeMillisToHumanString3(System.currentTimeMillis() + 60_000));
            consumer.subscribe(topic, "*");
            consumer.start();
            inbox.receivesExactly(sent, 15);
        }

        String empty = lab.topic(1);
        Inbox inbox = new Inbox();
        var consumer = inbox.feedFrom(lab.pushConsumer(lab.group()));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        consumer.subscribe(empty, "*");
        consumer.start();
        eventually(15, "the empty queue is assigned", () -> assignedQueues(consumer, empty) == 1);
        inbox.receivesExactly(lab.send(empty, "first", 5), 15);
    }
}
