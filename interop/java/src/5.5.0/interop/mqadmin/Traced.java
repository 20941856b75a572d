package interop.mqadmin;

import interop.Inbox;
import interop.Lab;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;

/**
 * A message whose producer and consumer write down what happens to it. Clients send their traces five seconds later at most, and the
 * first one makes the topic for them.
 */
final class Traced {
    final String topic;
    private final String producers;
    private final String consumers;
    final String id;

    Traced(Lab lab) throws Exception {
        topic = lab.topic(1);
        DefaultMQProducer producer = lab.newProducer();
        producers = producer.getProducerGroup();
        producer.setEnableTrace(true);
        producer.start();
        consumers = lab.group();
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = inbox.feedFrom(lab.pushConsumer(consumers));
        consumer.setEnableTrace(true);
        consumer.subscribe(topic, "*");
        consumer.start();
        id = producer.send(Lab.message(topic, "traced")).getMsgId();
        inbox.receivesExactly(List.of("traced"), 20);
    }

    interface Tool {
        Console.Printed ask(String id) throws Exception;
    }

    /** Waits until the tool tells who has sent the message, and who has consumed it. */
    void isShown(Tool tool) throws Exception {
        Lab.eventually(30, "the trace of " + id + " is found", () -> {
            tool.ask(id).matches("^Pub +" + producers + " .* success *$").matches("^Sub +" + consumers + " .* success *$");
            return true;
        });
    }
}
