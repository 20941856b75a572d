package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Inbox;
import interop.Lab;
import interop.Popping;
import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageRequestMode;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.ResponseCode;

/** Push consumers of a group that pops: they share all queues, or have some; what they acknowledge never comes again. */
public final class PushConsumersPop implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        sharesAllQueues(lab);
        hasSomeQueues(lab);
        filters(lab);
    }

    private static void sharesAllQueues(Lab lab) throws Exception {
        String topic = lab.topic(4);
        String group = lab.group();
        Popping.consumeBy(lab, MessageRequestMode.POP, topic, group, 0);
        List<String> expected = new ArrayList<>(lab.send(topic, "older ", 40));
        Inbox inbox = new Inbox();
        List<DefaultMQPushConsumer> members = new ArrayList<>();
        for (String name : List.of("first", "second")) {
            DefaultMQPushConsumer member = inbox.feedFrom(Popping.consumer(lab, group), name);
            member.setPopInvisibleTime(5000);
            member.subscribe(topic, "*");
            member.start();
            members.add(member);
        }
        for (DefaultMQPushConsumer member : members) {
            eventually(20, "each member pops from all queues", () -> Popping.poppedQueues(member, topic).equals(List.of(-1)));
        }
        // They ask half a second after they know their queues.
        Popping byHand = new Popping(lab, topic, group);
        eventually(20, "both wait", () -> "2".equals(byHand.ask(RequestCode.POLLING_INFO, ResponseCode.SUCCESS).get("pollingNum")));
        for (int round = 0; round < 10; round++) {
            expected.addAll(lab.send(topic, "newer " + round + " ", 20));
        }
        inbox.receivesExactly(expected, 20);
        equal(2L, inbox.deliveries().stream().map(d -> d.member).distinct().count(), "members that received something");
        lab.eventuallyAllCommitted(group, topic);
        // Longer than they would be hidden for.
        Thread.sleep(9000);
        sameElements(expected, inbox.bodies(), "delivered in all");
        for (Inbox.Delivery delivery : inbox.deliveries()) equal(0, delivery.message.getReconsumeTimes(), "reconsume times");
    }

    private static void hasSomeQueues(Lab lab) throws Exception {
        String topic = lab.topic(8);
        String group = lab.group();
        Popping.consumeBy(lab, MessageRequestMode.POP, topic, group, 1);
        Inbox inbox = new Inbox();
        List<DefaultMQPushConsumer> members = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            DefaultMQPushConsumer member = inbox.feedFrom(Popping.consumer(lab, group));
            member.subscribe(topic, "*");
            member.start();
            members.add(member);
        }
        // Its own two queues, and the two of the next member.
        for (DefaultMQPushConsumer member : members) {
            eventually(20, "each member has four queues", () -> {
                Popping.askForQueues(member);
                return Popping.poppedQueues(member, topic).size() == 4 && !Popping.poppedQueues(member, topic).contains(-1);
            });
        }
        inbox.receivesExactly(lab.send(topic, "shared ", 80), 20);
    }

    private static void filters(Lab lab) throws Exception {
        String topic = lab.topic(2);
        String byTag = lab.group();
        String bySql = lab.group();
        for (String group : List.of(byTag, bySql)) Popping.consumeBy(lab, MessageRequestMode.POP, topic, group, 0);
        List<String> tagged = new ArrayList<>();
        List<String> chosen = new ArrayList<>();
        for (int i = 0; i < 60; i++) {
            Message message = new Message(topic, "tag" + i % 3, utf8("message " + i));
            message.putUserProperty("n", String.valueOf(i));
            lab.producer().send(message);
            if (i % 3 != 0) tagged.add(text(message));
            if (i >= 20 && i % 3 == 0) chosen.add(text(message));
        }
        Inbox tags = new Inbox();
        DefaultMQPushConsumer first = tags.feedFrom(Popping.consumer(lab, byTag));
        first.subscribe(topic, "tag1 || tag2");
        first.start();
        Inbox expressions = new Inbox();
        DefaultMQPushConsumer second = expressions.feedFrom(Popping.consumer(lab, bySql));
        second.subscribe(topic, MessageSelector.bySql("n >= 20 AND TAGS = 'tag0'"));
        second.start();
        tags.receivesExactly(tagged, 20);
        expressions.receivesExactly(chosen, 20);
    }
}
