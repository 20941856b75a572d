package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Inbox;
import interop.Lab;
import java.util.ArrayList;
import java.util.List;
import java.util.function.IntPredicate;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/** Expressions over properties: pushed, pulled, changed, and bad ones refused with a text that says where. */
public final class SqlFilter implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(2);
        for (int i = 0; i < 100; i++) {
            Message message = new Message(topic, i % 2 == 0 ? "even" : "odd", utf8(body(i)));
            message.putUserProperty("n", String.valueOf(i));
            if (i % 10 == 0) message.putUserProperty("region", i % 20 == 0 ? "hang zhou" : "it's");
            lab.producer().send(message);
        }
        String group = lab.group();
        pushed(lab, group, topic, "n BETWEEN 10 AND 19", i -> i >= 10 && i <= 19);
        // What no filter wants counts as consumed.
        lab.eventuallyAllCommitted(group, topic);
        pushed(lab, lab.group(), topic, "TAGS = 'even' AND n < 20 OR region = 'it''s'", i -> i % 2 == 0 && i < 20 || i % 20 == 10);
        pushed(lab, lab.group(), topic, "region IS NULL AND NOT (n > 5)", i -> i <= 5 && i % 10 != 0);
        pushed(lab, lab.group(), topic, "region STARTSWITH 'hang' AND n IN ('0','40','41')", i -> i == 0 || i == 40);
        pulled(lab, topic);
        refused(lab, topic);
    }

    private static String body(int i) {
        return "message " + i;
    }

    private static List<String> bodies(IntPredicate wanted) {
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < 100; i++) {
            if (wanted.test(i)) bodies.add(body(i));
        }
        return bodies;
    }

    private static void pushed(Lab lab, String group, String topic, String expression, IntPredicate wanted) throws Exception {
        Inbox inbox = new Inbox();
        var consumer = inbox.feedFrom(lab.pushConsumer(group));
        consumer.subscribe(topic, MessageSelector.bySql(expression));
        consumer.start();
        inbox.receivesExactly(bodies(wanted), 15);
    }

    /** Has pulled by tag and sent a heartbeat: the client pulls with SQL only where it knows the broker's version from one. */
    private static DefaultMQPullConsumer reader(Lab lab, String topic) throws Exception {
        DefaultMQPullConsumer reader = lab.pullConsumer(lab.group());
        MessageQueue queue = lab.queues(topic).get(0);
        reader.pull(queue, "*", 0, 1);
        // The client asks for SQL only once a heartbeat has told it the broker's version, and sends none while another of its own is under way.
        var client = reader.getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory();
        for (int i = 0; i < 50 && client.findBrokerAddressInSubscribe(queue.getBrokerName(), 0, false).getBrokerVersion() == 0; i++) {
            client.sendHeartbeatToAllBrokerWithLock();
            Thread.sleep(100);
        }
        return reader;
    }

    private static void pulled(Lab lab, String topic) throws Exception {
        var reader = reader(lab, topic);
        List<String> found = new ArrayList<>();
        for (MessageQueue queue : lab.queues(topic)) {
            long offset = 0;
            long end = reader.maxOffset(queue);
            while (offset < end) {
                var result = reader.pull(queue, MessageSelector.bySql("n >= 95.0 OR n = 3.0"), offset, 32);
                if (result.getPullStatus() == PullStatus.FOUND) result.getMsgFoundList().forEach(message -> found.add(text(message)));
                check(result.getNextBeginOffset() > offset, "a pull at %d goes on", offset);
                offset = result.getNextBeginOffset();
            }
        }
        sameElements(bodies(i -> i >= 95 || i == 3), found, "pulled by SQL");
    }

    private static void refused(Lab lab, String topic) throws Exception {
        var reader = reader(lab, topic);
        MessageQueue queue = lab.queues(topic).get(0);
        String remark = Lab.refused(23, "a bad expression", () -> reader.pull(queue, MessageSelector.bySql("n > 5 AND (region = 'x'"), 0, 32));
        check(remark.contains("at character 24"), "the refusal says where: %s", remark);

        var consumer = lab.pushConsumer(lab.group());
        consumer.subscribe(topic, MessageSelector.bySql("n >> 5"));
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> ConsumeConcurrentlyStatus.CONSUME_SUCCESS);
        try {
            consumer.start();
        } catch (MQClientException refusal) {
            check(refusal.getMessage().contains("at character 4"), "the refusal says where: %s", refusal.getMessage());
            return;
        }
        throw new Failed("a consumer with a bad expression started");
    }
}
