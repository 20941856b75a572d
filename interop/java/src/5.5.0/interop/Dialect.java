package interop;

import interop.cases.*;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.compression.CompressionType;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** What the 5.x client spells differently from 4.9. */
public final class Dialect {
    /** Cases that 4.9 does not have: its client does not pop, and knows neither compacted topics nor priorities. */
    public static final List<Case> FURTHER_CASES = List.of(
        new GroupMovesBetweenPullAndPop(),
        new PopListenerFailsOrIsSlow(),
        new PushConsumersPop(),
        new PopAndAcknowledgeByHand(),
        new PopInOrder(),
        new PoppedBatchIsOneMessage(),
        new CompactedTopicKeepsTheLastOfEachKey(),
        new UrgentMessagesArePoppedFirst());

    /** The compressions a producer can choose from, the default first. */
    public static final List<String> COMPRESSIONS = List.of("ZLIB", "LZ4", "ZSTD");

    public static void compressWith(DefaultMQProducer producer, String compression) {
        producer.setCompressType(CompressionType.valueOf(compression));
    }

    /** How long a send waits for its answer until it is tried again. */
    public static void sendTimeout(DefaultMQProducer producer, int millis) {
        producer.setSendMsgMaxTimeoutPerRequest(millis);
    }

    /** Whether this client knows messages with a time of delivery. */
    public static final boolean TIMERS = true;

    /** Asks for delivery in that many milliseconds, in one of the three ways. */
    public static void timer(Message message, String kind, long millis) {
        if (kind.equals("DELIVER_MS")) {
            message.setDeliverTimeMs(System.currentTimeMillis() + millis);
        } else if (kind.equals("DELAY_MS")) {
            message.setDelayTimeMs(millis);
        } else {
            message.setDelayTimeSec(millis / 1000);
        }
    }

    /** Takes a message back; gives its id. */
    public static String recall(DefaultMQProducer producer, String topic, SendResult sent) throws Exception {
        return producer.recallMessage(topic, sent.getRecallHandle());
    }

    /** Whether a namespace can stand in header fields and leave names alone. */
    public static final boolean HAS_NAMESPACE_IN_FIELDS = true;

    public static void namespaceInFields(ClientConfig client, String namespace) {
        client.setNamespaceV2(namespace);
    }

    public static void createTopic(DefaultMQProducer producer, String topic, int queues) throws Exception {
        producer.createTopic("TBW102", topic, queues, Map.of());
    }

    public static void broadcast(DefaultMQPushConsumer consumer) {
        consumer.setMessageModel(MessageModel.BROADCASTING);
    }

    /** A push consumer that lets the broker say whether it pops; not started yet. */
    public static DefaultMQPushConsumer popping(Lab lab, String group) {
        return Popping.consumer(lab, group);
    }

    public static void createGroup(DefaultMQAdminExt admin, String broker, String group, int retriesMax) throws Exception {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        config.setRetryMaxTimes(retriesMax);
        admin.createAndUpdateSubscriptionGroupConfig(broker, config);
    }

    public static void deleteTopic(DefaultMQAdminExt admin, String broker, String cluster, String topic) throws Exception {
        admin.deleteTopic(topic, cluster);
    }
}
