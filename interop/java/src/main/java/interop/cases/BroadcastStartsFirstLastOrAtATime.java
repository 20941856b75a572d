package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Dialect;
import interop.Inbox;
import interop.Lab;
import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.common.UtilAll;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;

/**
 * First, last and timestamp start, as a consumer without any stored offset asks for them. Broadcasting members keep their offsets
 * themselves, so that here the client alone decides (compare YoungTopicIsReadFromItsBeginning).
 */
public final class BroadcastStartsFirstLastOrAtATime implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(2);
        List<String> all = new ArrayList<>(lab.send(topic, "old", 10));
        Thread.sleep(2100);
        // The client's start time has whole seconds: the old messages are before this one, the new ones after.
        String time = UtilAll.timeMillisToHumanString3(System.currentTimeMillis() - 1000);
        List<String> sinceTime = new ArrayList<>(lab.send(topic, "new", 10));
        all.addAll(sinceTime);

        Inbox first = start(lab, topic, ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET, time);
        Inbox timed = start(lab, topic, ConsumeFromWhere.CONSUME_FROM_TIMESTAMP, time);
        Inbox last = start(lab, topic, ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET, time);
        List<String> live = lab.send(topic, "live", 10);
        all.addAll(live);
        sinceTime.addAll(live);

        first.receivesExactly(all, 15);
        timed.receivesExactly(sinceTime, 15);
        last.receivesExactly(live, 15);
    }

    private static Inbox start(Lab lab, String topic, ConsumeFromWhere where, String time) throws Exception {
        Inbox inbox = new Inbox();
        var consumer = inbox.feedFrom(lab.pushConsumer(lab.group()));
        Dialect.broadcast(consumer);
        consumer.setConsumeFromWhere(where);
        consumer.setConsumeTimestamp(time);
        consumer.subscribe(topic, "*");
        consumer.start();
        eventually(15, where + " knows where to start", () -> assignedQueues(consumer, topic) == 2);
        return inbox;
    }
}
