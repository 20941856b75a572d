package interop;

import java.io.File;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** The clients, names and checks of one case. All names are fresh, every client it hands out is closed with it. */
public final class Lab {
    public static final String NAMESRV = System.getenv().getOrDefault("NAMESRV_ADDR", "127.0.0.1:9876");
    private static final String RUN = Long.toString(System.currentTimeMillis(), 36);

    private final String name;
    private final Deque<Runnable> closing = new ArrayDeque<>();
    private int made;
    private DefaultMQProducer producer;
    private DefaultMQAdminExt admin;

    /** For programs that are no list of cases. */
    public static Lab of(String name) {
        return new Lab(name);
    }

    Lab(String name) {
        this.name = name;
    }

    // ---- names -------------------------------------------------------------------------------------------------

    /** A name nobody used before, for a topic that does not exist yet or a group. */
    public synchronized String fresh(String kind) {
        made++;
        return name + "-" + RUN + "-" + kind + made;
    }

    public String group() {
        return fresh("group");
    }

    /** A new topic with this many queues, made through the client and visible in the nameserver. */
    public String topic(int queues) throws Exception {
        String topic = fresh("topic");
        Dialect.createTopic(producer(), topic, queues);
        eventually(10, "topic " + topic + " has a route with " + queues + " queues", () -> queues(topic).size() == queues);
        return topic;
    }

    /** A new topic with these attributes, visible in the nameserver. */
    public String topicWith(String attributes, int queues) throws Exception {
        String topic = fresh("topic");
        equal(0, createTopic(topic, queues, attributes), "code of the answer to the topic's creation");
        eventually(10, "topic " + topic + " has a route with " + queues + " queues", () -> queues(topic).size() == queues);
        return topic;
    }

    /** Asks a broker for a topic with attributes, which the client's own way to create one drops; gives the code of the answer. */
    public int createTopic(String topic, int queues, String attributes) throws Exception {
        String count = String.valueOf(queues);
        Map<String, String> fields = Map.of("topic", topic, "defaultTopic", "TBW102", "readQueueNums", count, "writeQueueNums", count, "perm", "6",
            "topicFilterType", "SINGLE_TAG", "topicSysFlag", "0", "order", "false", "attributes", attributes);
        return request(brokerAddress("TBW102"), 17, fields, null).getCode();
    }

    public List<MessageQueue> queues(String topic) throws Exception {
        return new ArrayList<>(new java.util.TreeSet<>(producer().fetchPublishMessageQueues(topic)));
    }

    // ---- clients -----------------------------------------------------------------------------------------------

    /** The producer of this case, started. */
    public synchronized DefaultMQProducer producer() throws Exception {
        if (producer == null) {
            producer = newProducer();
            producer.start();
        }
        return producer;
    }

    /** A further producer, not started yet. */
    public DefaultMQProducer newProducer() {
        DefaultMQProducer made = configured(new DefaultMQProducer(group()));
        made.setSendMsgTimeout(10_000);
        whenClosed(made::shutdown);
        return made;
    }

    /**
     * A push consumer that begins with the first message, not started yet.
     *
     * The short heartbeat keeps a race of the client from costing 30 s: a rebalance gives its subscription a new version and
     * announces it by a heartbeat, but skips that when the timer's heartbeat is under way; until the next one the broker must
     * answer its pulls with SUBSCRIPTION_NOT_LATEST (25). Both happen about one second after the start.
     */
    public DefaultMQPushConsumer pushConsumer(String group) {
        DefaultMQPushConsumer made = configured(new DefaultMQPushConsumer(group));
        made.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        made.setConsumeThreadMin(4);
        made.setConsumeThreadMax(4);
        made.setHeartbeatBrokerInterval(2000);
        whenClosed(made::shutdown);
        return made;
    }

    public DefaultLitePullConsumer litePullConsumer(String group) {
        DefaultLitePullConsumer made = configured(new DefaultLitePullConsumer(group));
        whenClosed(made::shutdown);
        return made;
    }

    /** The old pull consumer, started. */
    public DefaultMQPullConsumer pullConsumer(String group) throws Exception {
        DefaultMQPullConsumer made = configured(new DefaultMQPullConsumer(group));
        whenClosed(made::shutdown);
        made.start();
        return made;
    }

    public synchronized DefaultMQAdminExt admin() throws Exception {
        if (admin == null) {
            admin = configured(new DefaultMQAdminExt(10_000));
            admin.setAdminExtGroup(group());
            whenClosed(admin::shutdown);
            admin.start();
        }
        return admin;
    }

    private <C extends ClientConfig> C configured(C client) {
        client.setNamesrvAddr(NAMESRV);
        client.setInstanceName(fresh("client"));
        return client;
    }

    public synchronized void whenClosed(Runnable close) {
        closing.push(close);
    }

    public synchronized void close() {
        for (Runnable close : closing) {
            try {
                close.run();
            } catch (Throwable ignored) {
                // A client that never started, or whose server is gone, may complain here: the case has been judged already.
            }
        }
    }

    // ---- shorthands --------------------------------------------------------------------------------------------

    public static Message message(String topic, String body) {
        return new Message(topic, utf8(body));
    }

    public static byte[] utf8(String text) {
        return text.getBytes(java.nio.charset.StandardCharsets.UTF_8);
    }

    public static String text(Message message) {
        return new String(message.getBody(), java.nio.charset.StandardCharsets.UTF_8);
    }

    /** Sends prefix0, prefix1, … to the queues in turn; answers the bodies. Every send must be SEND_OK. */
    public List<String> send(String topic, String prefix, int count) throws Exception {
        List<MessageQueue> queues = queues(topic);
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            SendResult sent = producer().send(message(topic, prefix + i), queues.get(i % queues.size()));
            equal(SendStatus.SEND_OK, sent.getSendStatus(), "send status");
            bodies.add(prefix + i);
        }
        return bodies;
    }

    /** What is stored in a topic: queue by queue, each from its first message to its last. */
    public List<MessageExt> stored(String topic) throws Exception {
        DefaultMQPullConsumer reader = pullConsumer(group());
        List<MessageExt> found = new ArrayList<>();
        try {
            for (MessageQueue queue : new java.util.TreeSet<>(reader.fetchSubscribeMessageQueues(topic))) {
                long offset = reader.minOffset(queue);
                long end = reader.maxOffset(queue);
                while (offset < end) {
                    PullResult pulled = reader.pull(queue, "*", offset, 32);
                    equal(PullStatus.FOUND, pulled.getPullStatus(), "pull of " + queue + " at " + offset + " of " + end);
                    found.addAll(pulled.getMsgFoundList());
                    offset = pulled.getNextBeginOffset();
                }
            }
        } finally {
            reader.shutdown();
        }
        return found;
    }

    /** Offsets the broker keeps for a group, by queue id. */
    public Map<Integer, Long> committed(String group, String topic) throws Exception {
        Map<Integer, Long> offsets = new TreeMap<>();
        admin().examineConsumeStats(group, topic).getOffsetTable().forEach((queue, at) -> offsets.put(queue.getQueueId(), at.getConsumerOffset()));
        return offsets;
    }

    public Map<Integer, Long> maxOffsets(String topic) throws Exception {
        Map<Integer, Long> offsets = new TreeMap<>();
        for (MessageQueue queue : queues(topic)) offsets.put(queue.getQueueId(), producer().maxOffset(queue));
        return offsets;
    }

    /** Waits until the group has committed everything the topic holds. */
    public void eventuallyAllCommitted(String group, String topic) throws Exception {
        eventually(25, "group " + group + " has committed the end of every queue", () -> committed(group, topic).equals(maxOffsets(topic)));
    }

    /** Has this consumer been given queues, and asked from where to read each of them? */
    public static int assignedQueues(DefaultMQPushConsumer consumer, String topic) {
        return (int) consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet().stream()
            .filter(queue -> queue.getTopic().equals(topic)).count();
    }

    public String brokerAddress(String topic) throws Exception {
        return admin().examineTopicRouteInfo(topic).getBrokerDatas().get(0).getBrokerAddrs().get(0L);
    }

    /** A request by its code, over the client's own connection, for what the client's own checks would not let through. */
    public RemotingCommand request(String address, int code, Map<String, String> fields, byte[] body) throws Exception {
        RemotingCommand request = RemotingCommand.createRequestCommand(code, null);
        request.setExtFields(new HashMap<>(fields));
        request.setBody(body);
        return producer().getDefaultMQProducerImpl().getmQClientFactory().getMQClientAPIImpl().getRemotingClient()
            .invokeSync(address, request, 5000);
    }

    /** {@code interop/server start|stop|kill}, with our environment. */
    public static void server(String action) throws Exception {
        script("../server", action);
    }

    /** {@code interop/cluster start|stop 0|1}, with our environment. */
    public static void cluster(String action, int number) throws Exception {
        script("../cluster", action, String.valueOf(number));
    }

    private static void script(String... line) throws Exception {
        String name = String.join(" ", line);
        Process process = new ProcessBuilder(line).redirectErrorStream(true)
            .redirectOutput(new File(System.getProperty("user.home"), name.replaceAll("[^a-z0-9]+", "-") + ".log")).start();
        check(process.waitFor(100, TimeUnit.SECONDS), "%s did not return within 100 s", name);
        equal(0, process.exitValue(), "exit code of " + name);
    }

    // ---- checks ------------------------------------------------------------------------------------------------

    public static final class Failed extends RuntimeException {
        public Failed(String what) {
            super(what);
        }
    }

    public static void check(boolean fine, String what, Object... values) {
        if (!fine) throw new Failed(String.format(what, values));
    }

    public static void equal(Object expected, Object actual, String what) {
        if (!Objects.equals(expected, actual)) {
            throw new Failed(what + ": expected " + brief(expected) + " but got " + brief(actual));
        }
    }

    /** The same elements as often, in any order. */
    public static void sameElements(Collection<String> expected, Collection<String> actual, String what) {
        List<String> missing = new ArrayList<>(expected);
        List<String> surplus = new ArrayList<>();
        for (String one : actual) {
            if (!missing.remove(one)) surplus.add(one);
        }
        if (!missing.isEmpty() || !surplus.isEmpty()) {
            throw new Failed(what + ": missing " + missing.size() + " " + brief(missing) + ", surplus " + surplus.size() + " " + brief(surplus));
        }
    }

    /** Waits, checking twenty times a second; an exception counts as "not yet". */
    public static void eventually(int secondsMax, String what, Callable<Boolean> fine) throws InterruptedException {
        long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(secondsMax);
        Exception last = null;
        while (System.nanoTime() < until) {
            try {
                if (fine.call()) return;
                last = null;
            } catch (InterruptedException stopped) {
                throw stopped;
            } catch (Exception notYet) {
                last = notYet;
            }
            Thread.sleep(50);
        }
        throw new Failed("after " + secondsMax + " s still not so: " + what + (last == null ? "" : ", because " + last));
    }

    /** The call must be refused by the broker with this code. */
    public static String refused(int code, String what, Callable<?> call) throws Exception {
        try {
            call.call();
        } catch (MQBrokerException refusal) {
            equal(code, refusal.getResponseCode(), "code of the refusal of " + what + " (" + refusal.getErrorMessage() + ")");
            return refusal.getErrorMessage();
        }
        throw new Failed(what + " was accepted");
    }

    private static String brief(Object value) {
        String text = String.valueOf(value);
        return text.length() <= 200 ? text : text.substring(0, 200) + "… (" + text.length() + " characters)";
    }
}
