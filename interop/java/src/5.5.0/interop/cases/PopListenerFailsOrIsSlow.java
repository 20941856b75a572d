package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Inbox;
import interop.Lab;
import interop.Popping;
import java.util.List;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageRequestMode;

/** A message whose listener fails comes back after the client's 10 s, one whose listener takes too long after it was hidden. */
public final class PopListenerFailsOrIsSlow implements Case {
    private static final int HIDDEN_MILLIS = 5000;

    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(2);
        String group = lab.group();
        Popping.consumeBy(lab, MessageRequestMode.POP, topic, group, 0);
        Message failing = new Message(topic, "tag", "key-1", utf8("fails"));
        failing.putUserProperty("who", "кто");
        SendResult sent = lab.producer().send(failing);
        lab.producer().send(message(topic, "slow"));
        lab.producer().send(message(topic, "fine"));

        Inbox inbox = new Inbox();
        var consumer = Popping.consumer(lab, group);
        consumer.setPopInvisibleTime(HIDDEN_MILLIS);
        consumer.setPopBatchNums(1);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            var message = messages.get(0);
            inbox.put(message, "only");
            if (message.getReconsumeTimes() > 0 || text(message).equals("fine")) return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            if (text(message).equals("fails")) return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            try {
                Thread.sleep(60_000);
            } catch (InterruptedException closed) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();

        eventually(60, "both come twice", () -> inbox.size() >= 5);
        Thread.sleep(HIDDEN_MILLIS + 3000);
        sameElements(List.of("fails", "fails", "slow", "slow", "fine"), inbox.bodies(), "delivered");
        for (String body : List.of("fails", "slow")) {
            List<Inbox.Delivery> tries = inbox.deliveries().stream().filter(d -> d.body.equals(body)).collect(Collectors.toList());
            equal(List.of(0, 1), tries.stream().map(d -> d.message.getReconsumeTimes()).collect(Collectors.toList()), "reconsume times of " + body);
            long pause = tries.get(1).atMillis - tries.get(0).atMillis;
            // The slow one counts from the pop, which is a little before its listener began.
            check(pause >= (body.equals("fails") ? 9_900 : HIDDEN_MILLIS - 1500), "%s came back after %d ms", body, pause);
            for (Inbox.Delivery delivery : tries) equal(topic, delivery.message.getTopic(), "topic that the listener sees");
        }
        var again = inbox.deliveries().stream().filter(d -> d.body.equals("fails")).skip(1).findFirst().orElseThrow().message;
        equal("key-1", again.getKeys(), "keys");
        equal("tag", again.getTags(), "tag");
        equal("кто", again.getUserProperty("who"), "user property");
        equal(sent.getMsgId(), again.getMsgId(), "msgId");
    }
}
