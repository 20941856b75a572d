import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.ConcurrentSkipListSet;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Fills a broker that has queue extensions: messages before and after two groups registered their filters. */
public class ExtStore {
    private static final String TOPIC = "ExtTopic";

    public static void main(String[] arguments) throws Exception {
        Map<String, ConcurrentSkipListSet<String>> received = new ConcurrentSkipListMap<>();
        DefaultMQProducer producer = new DefaultMQProducer("ext-producer");
        producer.start();
        send(producer, 0, 20);
        DefaultMQPushConsumer low = consumer("ext-low", "n < 3", received);
        DefaultMQPushConsumer some = consumer("ext-some", "n BETWEEN 4 AND 6 OR TAGS = 'odd' AND n = 9", received);
        Thread.sleep(3000);
        send(producer, 20, 80);
        Thread.sleep(4000);
        StringBuilder text = new StringBuilder();
        received.forEach((group, bodies) -> text.append(group).append('\t').append(String.join(" ", bodies)).append('\n'));
        Files.write(Path.of(arguments[0]), text.toString().getBytes(StandardCharsets.UTF_8));
        low.shutdown();
        some.shutdown();
        producer.shutdown();
    }

    private static void send(DefaultMQProducer producer, int from, int until) throws Exception {
        for (int number = from; number < until; number++) {
            Message message = new Message(TOPIC, number % 2 == 0 ? "even" : "odd", String.format("%03d", number).getBytes(StandardCharsets.UTF_8));
            message.putUserProperty("n", String.valueOf(number % 10));
            producer.send(message, (queues, sent, queue) -> new MessageQueue(TOPIC, queues.get(0).getBrokerName(), 0), null);
        }
    }

    private static DefaultMQPushConsumer consumer(String group, String sql, Map<String, ConcurrentSkipListSet<String>> received) throws Exception {
        received.put(group, new ConcurrentSkipListSet<>());
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setConsumeFromWhere(org.apache.rocketmq.common.consumer.ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(TOPIC, MessageSelector.bySql(sql));
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                received.get(group).add(new String(message.getBody(), StandardCharsets.UTF_8));
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        return consumer;
    }
}
