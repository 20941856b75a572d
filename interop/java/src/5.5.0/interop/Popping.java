package interop;

import static interop.Lab.*;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.AckResult;
import org.apache.rocketmq.client.consumer.AckStatus;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.consumer.PopStatus;
import org.apache.rocketmq.client.impl.ClientRemotingProcessor;
import org.apache.rocketmq.client.impl.mqclient.MQClientAPIExt;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageRequestMode;
import org.apache.rocketmq.remoting.netty.NettyClientConfig;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.header.AckMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ChangeInvisibleTimeRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ConsumerSendMsgBackRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ExtraInfoUtil;
import org.apache.rocketmq.remoting.protocol.header.NotificationRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.PopMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.heartbeat.SubscriptionData;

/** One group's pops and acknowledgements by hand, through the client's interface that the official proxy uses. */
public final class Popping {
    /** Java brings a message back some seconds after its time, when its timer and its reading of the revive log have come to it. */
    public static final int BACK_SECONDS_MAX = 40;
    public static final long LONG_MILLIS = 60_000;
    private static final long TIMEOUT_MILLIS = 5000;
    private static final String BROKER = "broker-a";

    private final MQClientAPIExt client;
    private final Lab lab;
    private final String topic;
    private final String group;
    private final String address;

    public Popping(Lab lab, String topic, String group) throws Exception {
        this.lab = lab;
        this.topic = topic;
        this.group = group;
        this.address = lab.brokerAddress(topic);
        ClientConfig config = new ClientConfig();
        config.setNamesrvAddr(NAMESRV);
        client = new MQClientAPIExt(config, new NettyClientConfig(), new ClientRemotingProcessor(null), null);
        lab.whenClosed(client::shutdown);
        client.start();
    }

    // ---- push consumers that pop -------------------------------------------------------------------------------

    /** How the group consumes the topic from now on; its members hear of it when they ask for their queues. */
    public static void consumeBy(Lab lab, MessageRequestMode mode, String topic, String group, int shareQueues) throws Exception {
        String address = lab.brokerAddress(topic);
        Dialect.createGroup(lab.admin(), address, group, 16);
        lab.admin().setMessageRequestMode(address, topic, group, mode, shareQueues, TIMEOUT_MILLIS);
    }

    /** A push consumer that lets the broker say which queues it has and whether it pops; not started yet. */
    public static DefaultMQPushConsumer consumer(Lab lab, String group) {
        DefaultMQPushConsumer made = lab.pushConsumer(group);
        made.setClientRebalance(false);
        made.setPopInvisibleTime(LONG_MILLIS);
        return made;
    }

    /** Queues of the topic that this consumer pops from; one with id -1 stands for all. */
    public static List<Integer> poppedQueues(DefaultMQPushConsumer consumer, String topic) {
        return consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getPopProcessQueueTable().keySet().stream()
            .filter(queue -> queue.getTopic().equals(topic)).map(queue -> queue.getQueueId()).sorted().collect(Collectors.toList());
    }

    /** Makes the consumer ask for its queues now and not after the 20 s of its timer. */
    public static void askForQueues(DefaultMQPushConsumer consumer) {
        consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().rebalanceImmediately();
    }

    // ---- by hand -----------------------------------------------------------------------------------------------

    /** A pop of the whole topic that does not wait, empty when there is nothing. */
    public List<MessageExt> pop(int count, long invisibleMillis) throws Exception {
        return found(result(request(-1, count, invisibleMillis, 0)));
    }

    public PopMessageRequestHeader request(int queue, int count, long invisibleMillis, long pollMillis) {
        PopMessageRequestHeader header = new PopMessageRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(topic);
        header.setQueueId(queue);
        header.setMaxMsgNums(count);
        header.setInvisibleTime(invisibleMillis);
        header.setPollTime(pollMillis);
        header.setBornTime(System.currentTimeMillis());
        header.setExpType("TAG");
        header.setExp(SubscriptionData.SUB_ALL);
        header.setOrder(false);
        return header;
    }

    public CompletableFuture<PopResult> send(PopMessageRequestHeader header) {
        return client.popMessageAsync(address, BROKER, header, header.getPollTime() + TIMEOUT_MILLIS);
    }

    public PopResult result(PopMessageRequestHeader header) throws Exception {
        return await(send(header));
    }

    public static List<MessageExt> found(PopResult result) {
        return result.getPopStatus() == PopStatus.FOUND ? result.getMsgFoundList() : List.of();
    }

    /** Pops until this many messages have come. */
    public List<MessageExt> popAll(int count, long invisibleMillis, int secondsMax) throws Exception {
        List<MessageExt> all = new ArrayList<>();
        eventually(secondsMax, count + " messages are popped", () -> {
            all.addAll(pop(32, invisibleMillis));
            return all.size() >= count;
        });
        equal(count, all.size(), "messages popped");
        return all;
    }

    /** Pops for this long; nothing may come. */
    public void popsNothing(int seconds) throws Exception {
        long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        while (System.nanoTime() < until) {
            equal(List.of(), bodies(pop(32, LONG_MILLIS)), "popped, though nothing is left");
            Thread.sleep(100);
        }
    }

    public AckStatus ack(MessageExt message) throws Exception {
        return ack(message, handle(message));
    }

    /** With a handle that came from {@link #hide}. */
    public AckStatus ack(MessageExt message, String handle) throws Exception {
        String[] parts = ExtraInfoUtil.split(handle);
        AckMessageRequestHeader header = new AckMessageRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(ExtraInfoUtil.getRealTopic(parts, topic, group));
        header.setQueueId(ExtraInfoUtil.getQueueId(parts));
        header.setOffset(ExtraInfoUtil.getQueueOffset(parts));
        header.setExtraInfo(handle);
        return await(client.ackMessageAsync(address, header, TIMEOUT_MILLIS)).getStatus();
    }

    /** All with one request. */
    public AckStatus ack(List<MessageExt> messages) throws Exception {
        List<String> handles = messages.stream().map(Popping::handle).collect(Collectors.toList());
        return await(client.batchAckMessageAsync(address, topic, group, handles, TIMEOUT_MILLIS)).getStatus();
    }

    /** Lets the message come back so much later from now; its handle is another one then. */
    public AckResult hide(MessageExt message, long millis) throws Exception {
        String[] parts = ExtraInfoUtil.split(handle(message));
        ChangeInvisibleTimeRequestHeader header = new ChangeInvisibleTimeRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(ExtraInfoUtil.getRealTopic(parts, topic, group));
        header.setQueueId(ExtraInfoUtil.getQueueId(parts));
        header.setOffset(ExtraInfoUtil.getQueueOffset(parts));
        header.setExtraInfo(handle(message));
        header.setInvisibleTime(millis);
        return await(client.changeInvisibleTimeAsync(address, BROKER, header, TIMEOUT_MILLIS));
    }

    /** What the proxy does with a message that has failed too often: a dead letter, and then an acknowledgement. */
    public void bury(MessageExt message) throws Exception {
        ConsumerSendMsgBackRequestHeader header = new ConsumerSendMsgBackRequestHeader();
        header.setOffset(message.getCommitLogOffset());
        header.setGroup(group);
        header.setDelayLevel(-1);
        header.setOriginMsgId(message.getMsgId());
        header.setOriginTopic(ExtraInfoUtil.getRealTopic(ExtraInfoUtil.split(handle(message)), topic, group));
        header.setMaxReconsumeTimes(0);
        equal(ResponseCode.SUCCESS, await(client.sendMessageBackAsync(address, header, TIMEOUT_MILLIS)).getCode(), "code of the send back");
        equal(AckStatus.OK, ack(message), "acknowledgement of the buried");
    }

    /** Is there, or will there be within this time, anything to pop? */
    public CompletableFuture<Boolean> notification(long pollMillis) {
        NotificationRequestHeader header = new NotificationRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(topic);
        header.setQueueId(-1);
        header.setPollTime(pollMillis);
        header.setBornTime(System.currentTimeMillis());
        return client.notification(address, header, pollMillis + TIMEOUT_MILLIS);
    }

    /** A request that the client has a code but no call for; fields of its answer. */
    public Map<String, String> ask(int code, int expected, String... further) throws Exception {
        Map<String, String> fields = new HashMap<>(Map.of("consumerGroup", group, "topic", topic, "queueId", "-1"));
        for (int i = 0; i < further.length; i += 2) fields.put(further[i], further[i + 1]);
        var answer = lab.request(address, code, fields, null);
        equal(expected, answer.getCode(), "code of the answer to " + code + " (" + answer.getRemark() + ")");
        return answer.getExtFields() == null ? Map.of() : answer.getExtFields();
    }

    /** The group's offset in a queue of the topic. */
    public long committed(int queue) throws Exception {
        return lab.committed(group, topic).get(queue);
    }

    public static String handle(MessageExt message) {
        return message.getProperty(MessageConst.PROPERTY_POP_CK);
    }

    public static List<String> bodies(List<MessageExt> messages) {
        return messages.stream().map(Lab::text).collect(Collectors.toList());
    }

    public static <T> T await(CompletableFuture<T> future) throws Exception {
        try {
            return future.get(60, TimeUnit.SECONDS);
        } catch (ExecutionException failure) {
            throw failure.getCause() instanceof Exception ? (Exception) failure.getCause() : failure;
        }
    }
}
