package interop;

import java.util.List;
import java.util.Set;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.protocol.heartbeat.MessageModel;
import org.apache.rocketmq.common.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** What the 4.9 client spells differently from 5.x. */
public final class Dialect {
    /** 4.9 does not pop. */
    public static final List<Case> FURTHER_CASES = List.of();

    /** 4.9 always compresses with zlib. */
    public static final List<String> COMPRESSIONS = List.of("ZLIB");

    public static void compressWith(DefaultMQProducer producer, String compression) {
    }

    /** How long a send waits for its answer. 4.9 does not try again then, and says so to the application. */
    public static void sendTimeout(DefaultMQProducer producer, int millis) {
        producer.setSendMsgTimeout(millis);
    }

    /** Whether this client knows messages with a time of delivery. */
    public static final boolean TIMERS = false;

    public static void timer(Message message, String kind, long millis) {
        throw new UnsupportedOperationException();
    }

    public static String recall(DefaultMQProducer producer, String topic, SendResult sent) {
        throw new UnsupportedOperationException();
    }

    /** Whether a namespace can stand in header fields and leave names alone. */
    public static final boolean HAS_NAMESPACE_IN_FIELDS = false;

    public static void namespaceInFields(ClientConfig client, String namespace) {
    }

    public static void createTopic(DefaultMQProducer producer, String topic, int queues) throws Exception {
        producer.createTopic("TBW102", topic, queues);
    }

    public static void broadcast(DefaultMQPushConsumer consumer) {
        consumer.setMessageModel(MessageModel.BROADCASTING);
    }

    public static DefaultMQPushConsumer popping(Lab lab, String group) {
        throw new UnsupportedOperationException();
    }

    public static void createGroup(DefaultMQAdminExt admin, String broker, String group, int retriesMax) throws Exception {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        config.setRetryMaxTimes(retriesMax);
        admin.createAndUpdateSubscriptionGroupConfig(broker, config);
    }

    /** Topic before cluster; 5.x has them the other way round. */
    public static void deleteTopic(DefaultMQAdminExt admin, String broker, String cluster, String topic) throws Exception {
        admin.deleteTopicInBroker(Set.of(broker), topic);
        admin.deleteTopicInNameServer(Set.of(Lab.NAMESRV), topic, cluster);
    }
}
