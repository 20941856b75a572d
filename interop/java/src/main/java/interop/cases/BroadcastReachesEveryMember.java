package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Dialect;
import interop.Inbox;
import interop.Lab;
import java.util.List;

/** Two broadcasting members of one group both get every message; the broker keeps no offset for them. */
public final class BroadcastReachesEveryMember implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(3);
        String group = lab.group();
        List<Inbox> inboxes = List.of(new Inbox(), new Inbox());
        for (Inbox inbox : inboxes) {
            var consumer = inbox.feedFrom(lab.pushConsumer(group));
            Dialect.broadcast(consumer);
            consumer.subscribe(topic, "*");
            consumer.start();
            eventually(15, "a member holds all queues", () -> assignedQueues(consumer, topic) == 3);
        }
        List<String> sent = lab.send(topic, "to-all-", 45);
        for (Inbox inbox : inboxes) inbox.receivesExactly(sent, 15);
    }
}
