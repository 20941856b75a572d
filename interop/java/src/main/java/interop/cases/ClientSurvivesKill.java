package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Inbox;
import interop.Lab;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * kill -9 in the middle of sending and consuming, then a start. The same producer and consumers go on without help, and every
 * message that was acknowledged is delivered.
 */
public final class ClientSurvivesKill implements Case {
    @Override
    public boolean alone() {
        return true;
    }

    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(4);
        String orderlyTopic = lab.topic(2);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = inbox.feedFrom(lab.pushConsumer(lab.group()));
        consumer.subscribe(topic, "*");
        consumer.start();
        Inbox orderly = new Inbox();
        DefaultMQPushConsumer orderlyConsumer = orderly.feedInOrderFrom(lab.pushConsumer(lab.group()), "orderly", 1);
        orderlyConsumer.subscribe(orderlyTopic, "*");
        orderlyConsumer.start();

        DefaultMQProducer producer = lab.newProducer();
        producer.setSendMsgTimeout(3000);
        producer.start();
        List<String> acknowledged = Collections.synchronizedList(new ArrayList<>());
        List<String> acknowledgedInOrder = Collections.synchronizedList(new ArrayList<>());
        AtomicBoolean sending = new AtomicBoolean(true);
        lab.whenClosed(() -> sending.set(false));
        Thread sender = new Thread(() -> {
            for (int number = 0; sending.get(); number++) {
                send(producer, topic, -1, "m" + number, acknowledged);
                send(producer, orderlyTopic, number % 2, "o" + number, acknowledgedInOrder);
            }
        });
        sender.start();
        eventually(30, "both consumers have messages", () -> inbox.size() > 200 && orderly.size() > 50);

        server("kill");
        int beforeKill = acknowledged.size();
        check(beforeKill > 200, "only %d messages were acknowledged before the kill", beforeKill);
        server("start");

        eventually(60, "the producer sends again by itself", () -> acknowledged.size() > beforeKill + 100 && acknowledgedInOrder.size() > 100);
        sending.set(false);
        sender.join(20_000);
        check(!sender.isAlive(), "a send hangs");
        inbox.receivesAtLeast(acknowledged, 60);
        orderly.receivesAtLeast(acknowledgedInOrder, 60);

        // Deliveries may repeat after the kill, but none is seen first after a later one of its queue.
        int[] last = {-1, -1};
        for (String body : orderly.distinctBodies()) {
            int number = Integer.parseInt(body.substring(1));
            check(number > last[number % 2], "o%d was seen before %s", last[number % 2], body);
            last[number % 2] = number;
        }
    }

    private static void send(DefaultMQProducer producer, String topic, int queue, String body, List<String> acknowledged) {
        try {
            var result = queue < 0 ? producer.send(message(topic, body)) : producer.send(message(topic, body), new MessageQueue(topic, "broker-a", queue));
            if (result.getSendStatus() == SendStatus.SEND_OK) acknowledged.add(body);
            Thread.sleep(1);
        } catch (Exception down) {
            try {
                Thread.sleep(50);
            } catch (InterruptedException ignored) {
                Thread.currentThread().interrupt();
            }
        }
    }
}
