package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Inbox;
import interop.Lab;
import java.net.InetSocketAddress;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.UtilAll;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Body, keys, tags, flag, user properties in many alphabets, and what the broker adds, as a consumer sees them. */
public final class EverythingOnAMessageRoundTrips implements Case {
    private static final String MANY_ALPHABETS = "žluťoučký кόσμε 消息 メッセージ שלום 🦀𝔘 \"quoted\" {json:[1]} a=b;c,d\ttab\nline \\ %RETRY%";

    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(2);
        Map<String, String> properties = new LinkedHashMap<>();
        properties.put("plain", "value");
        properties.put("ключ-鍵-🔑", MANY_ALPHABETS);
        properties.put("number", "-9223372036854775808");
        properties.put("spaces", "  around  ");
        properties.put("long", "x".repeat(5000));

        byte[] text = utf8(MANY_ALPHABETS);
        byte[] body = Arrays.copyOf(text, text.length + 256);
        for (int i = 0; i < 256; i++) body[text.length + i] = (byte) i;

        Message message = new Message(topic, "таг-标签", body);
        message.setKeys(Arrays.asList("order-1", "заказ-2", "订单-3"));
        message.setFlag(0x5a5a0001);
        message.setBuyerId("buyer");
        properties.forEach(message::putUserProperty);

        long before = System.currentTimeMillis();
        SendResult sent = lab.producer().send(message);
        long after = System.currentTimeMillis();

        String group = lab.group();
        Inbox inbox = new Inbox();
        var consumer = inbox.feedFrom(lab.pushConsumer(group));
        consumer.subscribe(topic, "*");
        consumer.start();
        eventually(15, "the message is delivered", () -> inbox.size() > 0);
        MessageExt got = inbox.deliveries().get(0).message;

        equal(topic, got.getTopic(), "topic");
        check(Arrays.equals(body, got.getBody()), "the body differs");
        equal("таг-标签", got.getTags(), "tags");
        equal("order-1 заказ-2 订单-3", got.getKeys(), "keys");
        equal(0x5a5a0001, got.getFlag(), "flag");
        equal("buyer", got.getBuyerId(), "buyer id");
        for (Map.Entry<String, String> property : properties.entrySet()) {
            equal(property.getValue(), got.getUserProperty(property.getKey()), "property " + property.getKey());
        }
        equal(sent.getMsgId(), got.getMsgId(), "msgId");
        equal(sent.getQueueOffset(), got.getQueueOffset(), "queue offset");
        equal(sent.getMessageQueue().getQueueId(), got.getQueueId(), "queue id");
        equal("broker-a", got.getBrokerName(), "broker name");
        equal(0, got.getReconsumeTimes(), "reconsume times");
        equal(0, got.getSysFlag(), "sysFlag");
        equal(UtilAll.crc32(body), got.getBodyCRC(), "CRC of the body");
        equal(lab.brokerAddress(topic), address(got.getStoreHost()), "store host");
        check(((InetSocketAddress) got.getBornHost()).getAddress().isLoopbackAddress(), "born host is %s", got.getBornHost());
        check(got.getBornTimestamp() >= before && got.getBornTimestamp() <= after, "born timestamp is not when it was sent");
        check(got.getStoreTimestamp() >= before && got.getStoreTimestamp() <= after, "store timestamp is not when it was sent");
        equal("0", got.getProperty("MIN_OFFSET"), "MIN_OFFSET, which the client adds from the pull answer");
        equal("1", got.getProperty("MAX_OFFSET"), "MAX_OFFSET, which the client adds from the pull answer");
        equal("DefaultCluster", got.getProperty("CLUSTER"), "CLUSTER, which the broker adds");
        equal("DefaultRegion", got.getProperty("MSG_REGION"), "MSG_REGION, which the broker adds");
        equal("true", got.getProperty("TRACE_ON"), "TRACE_ON, which the broker adds");
    }

    private static String address(Object socketAddress) {
        InetSocketAddress address = (InetSocketAddress) socketAddress;
        return address.getAddress().getHostAddress() + ":" + address.getPort();
    }
}
