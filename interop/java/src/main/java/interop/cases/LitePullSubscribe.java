package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Lab;
import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** The lite pull consumer that subscribes gets its queues by rebalancing with the others of its group, and commits by itself. */
public final class LitePullSubscribe implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(4);
        String group = lab.group();
        List<DefaultLitePullConsumer> members = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            DefaultLitePullConsumer member = lab.litePullConsumer(group);
            member.setAutoCommitIntervalMillis(1000);
            // A new member that begins at the end asks twice where that is; with a Java server, what comes in between is skipped.
            member.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
            member.subscribe(topic, "wanted");
            member.start();
            members.add(member);
        }
        for (DefaultLitePullConsumer member : members) {
            eventually(30, "two members hold two queues each", () -> member.assignment().size() == 2);
        }

        List<String> wanted = new ArrayList<>();
        for (int i = 0; i < 40; i++) {
            lab.producer().send(new Message(topic, i % 2 == 0 ? "wanted" : "other", utf8("m" + i)), lab.queues(topic).get(i / 2 % 4));
            if (i % 2 == 0) wanted.add("m" + i);
        }
        List<String> got = new ArrayList<>();
        for (DefaultLitePullConsumer member : members) {
            List<String> share = new ArrayList<>();
            eventually(20, "a member gets its half", () -> {
                for (MessageExt message : member.poll(200)) share.add(text(message));
                return share.size() >= wanted.size() / 2;
            });
            got.addAll(share);
        }
        sameElements(wanted, got, "polled by both");
        eventually(20, "the wanted messages are committed", () -> {
            for (DefaultLitePullConsumer member : members) member.poll(10);   // polling is what commits
            long sum = 0;
            for (long offset : lab.committed(group, topic).values()) sum += offset;
            return sum >= 40 - 4;   // a queue may end with a message that is not wanted
        });
    }
}
