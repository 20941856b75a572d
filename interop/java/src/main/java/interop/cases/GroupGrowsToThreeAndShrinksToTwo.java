package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Inbox;
import interop.Lab;
import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;

/** One member, then three, then two, while messages flow: everyone gets a share and nothing is lost. */
public final class GroupGrowsToThreeAndShrinksToTwo implements Case {
    private static final int QUEUES = 6;

    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(QUEUES);
        String group = lab.group();
        Inbox inbox = new Inbox();
        List<String> sent = new ArrayList<>();

        DefaultMQPushConsumer first = member(lab, inbox, group, topic, "first");
        eventually(15, "one member holds all queues", () -> assignedQueues(first, topic) == QUEUES);
        sent.addAll(lab.send(topic, "one-", 60));
        inbox.receivesAtLeast(sent, 15);

        // The broker tells the members of every change; waiting for their own 20 s timer would be too slow here.
        DefaultMQPushConsumer second = member(lab, inbox, group, topic, "second");
        DefaultMQPushConsumer third = member(lab, inbox, group, topic, "third");
        sent.addAll(lab.send(topic, "growing-", 60));
        eventually(15, "three members hold two queues each",
            () -> assignedQueues(first, topic) == 2 && assignedQueues(second, topic) == 2 && assignedQueues(third, topic) == 2);
        sent.addAll(lab.send(topic, "three-", 60));
        inbox.receivesAtLeast(sent, 15);
        for (String member : List.of("first", "second", "third")) {
            equal(20L, inbox.deliveries().stream().filter(d -> d.member.equals(member) && d.body.startsWith("three-")).map(d -> d.body).distinct().count(),
                "share of the " + member + " of three members");
        }

        first.shutdown();
        sent.addAll(lab.send(topic, "shrinking-", 60));
        eventually(15, "the two that stay hold three queues each", () -> assignedQueues(second, topic) == 3 && assignedQueues(third, topic) == 3);
        sent.addAll(lab.send(topic, "two-", 60));
        inbox.receivesAtLeast(sent, 15);
        check(inbox.deliveries().stream().noneMatch(d -> d.member.equals("first") && d.body.startsWith("two-")), "the member that left got messages");

        int repeated = inbox.size() - sent.size();
        check(repeated <= sent.size() / 4, "%d of %d messages were delivered again", repeated, sent.size());
        lab.eventuallyAllCommitted(group, topic);
    }

    private static DefaultMQPushConsumer member(Lab lab, Inbox inbox, String group, String topic, String name) throws Exception {
        DefaultMQPushConsumer consumer = inbox.feedFrom(lab.pushConsumer(group), name);
        consumer.subscribe(topic, "*");
        consumer.start();
        return consumer;
    }
}
