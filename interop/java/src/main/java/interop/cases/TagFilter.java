package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Inbox;
import interop.Lab;
import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.common.message.Message;

/** `A || B` delivers only these, skips the rest also in the offsets, and equal hash codes are told apart. */
public final class TagFilter implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(2);
        List<String> aOrB = new ArrayList<>();
        List<String> all = new ArrayList<>();
        for (int i = 0; i < 200; i++) {
            String tag = List.of("A", "B", "C", "D", "").get(i % 5);
            String body = "tag" + tag + i;
            Message message = tag.isEmpty() ? message(topic, body) : new Message(topic, tag, utf8(body));
            lab.producer().send(message);
            all.add(body);
            if (tag.equals("A") || tag.equals("B")) aOrB.add(body);
        }
        String group = lab.group();
        expect(lab, group, topic, "A || B", aOrB);
        // The 120 others count as consumed, once a suspended pull (15 s) has come back with nothing.
        lab.eventuallyAllCommitted(group, topic);
        expect(lab, lab.group(), topic, "*", all);

        // "Aa" and "BB" have one Java hash code, which is all that the broker filters by.
        String colliding = lab.topic(1);
        lab.producer().send(new Message(colliding, "BB", utf8("not mine")));
        lab.producer().send(new Message(colliding, "Aa", utf8("mine")));
        expect(lab, lab.group(), colliding, "Aa", List.of("mine"));
    }

    private static void expect(Lab lab, String group, String topic, String filter, List<String> bodies) throws Exception {
        Inbox inbox = new Inbox();
        var consumer = inbox.feedFrom(lab.pushConsumer(group));
        consumer.subscribe(topic, filter);
        consumer.start();
        inbox.receivesExactly(bodies, 15);
    }
}
