package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Dialect;
import interop.Inbox;
import interop.Lab;
import java.util.List;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;

/** A namespace makes longer names, which the application never sees, also through a retry; the newer kind of 5.x changes no name. */
public final class NamespacesKeepClientsApart implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        namesWithAPrefix(lab);
        if (Dialect.HAS_NAMESPACE_IN_FIELDS) namesWithout(lab);
    }

    private static void namesWithAPrefix(Lab lab) throws Exception {
        String topic = lab.fresh("topic");
        String group = lab.group();
        for (String namespace : List.of("shop", "mall")) {
            DefaultMQProducer producer = lab.newProducer();
            producer.setNamespace(namespace);
            producer.start();
            producer.send(message(topic, "of " + namespace));
        }

        Inbox inbox = new Inbox();
        var consumer = lab.pushConsumer(group);
        consumer.setNamespace("shop");
        consumer.setPollNameServerInterval(1000);   // the retry topic is new, its route is found only by polling
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            MessageExt message = messages.get(0);
            inbox.put(message, "only");
            return message.getReconsumeTimes() == 0 ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        inbox.receivesExactly(List.of("of shop", "of shop"), 40);
        for (Inbox.Delivery delivery : inbox.deliveries()) {
            equal(topic, delivery.message.getTopic(), "topic that the listener sees");
        }
        equal(List.of("of shop"), bodies(lab, "shop%" + topic), "stored for one namespace");
        equal(List.of("of mall"), bodies(lab, "mall%" + topic), "stored for the other");
        equal(List.of("of shop"), bodies(lab, "%RETRY%shop%" + group), "stored in the retry topic");
    }

    private static void namesWithout(Lab lab) throws Exception {
        String topic = lab.topic(1);
        DefaultMQProducer producer = lab.newProducer();
        Dialect.namespaceInFields(producer, "shop");
        producer.start();
        producer.send(message(topic, "in fields"));
        for (String namespace : List.of("shop", "")) {
            Inbox inbox = new Inbox();
            var consumer = inbox.feedFrom(lab.pushConsumer(lab.group()));
            if (!namespace.isEmpty()) Dialect.namespaceInFields(consumer, namespace);
            consumer.subscribe(topic, "*");
            consumer.start();
            inbox.receivesExactly(List.of("in fields"), 15);
            equal(topic, inbox.deliveries().get(0).message.getTopic(), "topic that the listener sees");
        }
    }

    private static List<String> bodies(Lab lab, String topic) throws Exception {
        return lab.stored(topic).stream().map(Lab::text).collect(java.util.stream.Collectors.toList());
    }
}
