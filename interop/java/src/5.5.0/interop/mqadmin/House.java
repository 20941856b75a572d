package interop.mqadmin;

import interop.Dialect;
import interop.Inbox;
import interop.Lab;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/** A cluster with something in it: topics, messages, a producer and a consumer that stay connected. */
final class House {
    static final String CLUSTER = "DefaultCluster";
    static final String BROKER = "broker-a";
    static final int MESSAGES = 40;

    final Lab lab;
    final String topic;
    final String producerGroup;
    final String consumerGroup;
    final String broker;
    final Path directory;
    final DefaultMQProducer producer;
    final DefaultMQPushConsumer consumer;
    final List<SendResult> sent = new ArrayList<>();

    /** {@link #MESSAGES} messages in four queues, all consumed and committed. */
    House(Lab lab) throws Exception {
        this.lab = lab;
        directory = Files.createTempDirectory("mqadmin");
        topic = lab.topic(4);
        broker = lab.brokerAddress(topic);
        producerGroup = lab.fresh("producers");
        producer = lab.newProducer();
        producer.setProducerGroup(producerGroup);
        producer.start();
        List<MessageQueue> queues = lab.queues(topic);
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < MESSAGES; i++) {
            Message message = new Message(topic, i % 2 == 0 ? "even" : "odd", "key" + i, Lab.utf8("body " + i));
            sent.add(producer.send(message, queues.get(i % queues.size())));
            bodies.add("body " + i);
        }
        consumerGroup = lab.group();
        Inbox inbox = new Inbox();
        consumer = inbox.feedFrom(lab.pushConsumer(consumerGroup));
        consumer.setPersistConsumerOffsetInterval(500);
        consumer.subscribe(topic, "*");
        consumer.start();
        inbox.receivesExactly(bodies, 15);
        // The timer's first commit comes after 10 s only.
        consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
        lab.eventuallyAllCommitted(consumerGroup, topic);
    }

    /** A group that has consumed the first half of a topic and has no members. */
    String departedGroup(String topic) throws Exception {
        String group = lab.group();
        Dialect.createGroup(lab.admin(), broker, group, 16);
        // What the heartbeats of its members would have made; the tool looks there for the brokers of a group.
        Dialect.createTopic(producer, "%RETRY%" + group, 1);
        Lab.eventually(10, "the retry topic of " + group + " has a route", () -> lab.queues("%RETRY%" + group).size() == 1);
        for (MessageQueue queue : lab.queues(topic)) {
            lab.admin().updateConsumeOffset(broker, group, queue, producer.maxOffset(queue) / 2);
        }
        return group;
    }

    /** A topic with two queues of ten messages each, for who changes something. */
    String ownTopic() throws Exception {
        String made = lab.topic(2);
        lab.send(made, "own ", 20);
        return made;
    }

    void close() throws Exception {
        try (Stream<Path> files = Files.walk(directory)) {
            files.sorted(Comparator.reverseOrder()).forEach(file -> file.toFile().delete());
        }
    }

    String newTopic(int queues) throws Exception {
        String made = lab.fresh("topic");
        Dialect.createTopic(producer, made, queues);
        return made;
    }

    Path file(String name, String content) throws Exception {
        return Files.writeString(directory.resolve(name), content);
    }
}
