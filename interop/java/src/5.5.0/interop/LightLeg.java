package interop;

import static interop.Lab.*;

import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * One leg of interop/store-roundtrip with PROGRAM=LightLeg: two light queues, and the offsets of a group of theirs, go from broker to broker. The
 * ledger holds a line for every message of each queue and the group's offsets.
 */
public final class LightLeg extends Leg {
    private static final String TOPIC = "RoundTripLight";
    private static final List<String> LIGHT = List.of("%LMQ%round-trip-all", "%LMQ%round-trip-some");
    /** Groups of light queues have names of their kind, and offsets in a file of their own. */
    private static final String GROUP = "%LMQ%round-trip-readers";
    private static final int MESSAGES = 30;

    private DefaultMQPullConsumer reader;

    private LightLeg(String[] arguments) {
        super(arguments);
    }

    public static void main(String[] arguments) {
        new LightLeg(arguments).runAndExit();
    }

    @Override
    void run() throws Exception {
        if (leg == 1) {
            eventually(20, "the topic can be created", () -> lab.createTopic(TOPIC, 1, "") == 0);
        }
        eventually(20, "the topic has a route", () -> lab.queues(TOPIC).size() == 1);
        reader = lab.pullConsumer(lab.group());
        if (leg > 1) {
            List<String> before = Files.readAllLines(ledger);
            equal(before, all(), "messages and offsets that the broker before left");
            System.out.println("ok  leg " + leg + ": all " + before.size() + " lines are the same, light queues and offsets");
        }
        MessageQueue queue = lab.queues(TOPIC).get(0);
        for (int i = 0; i < MESSAGES; i++) {
            Message message = message(TOPIC, "leg" + leg + "-" + i);
            MessageAccessor.putProperty(message, "INNER_MULTI_DISPATCH", i % 3 == 0 ? LIGHT.get(0) + "," + LIGHT.get(1) : LIGHT.get(0));
            equal(SendStatus.SEND_OK, lab.producer().send(message, queue).getSendStatus(), "send");
        }
        long end = (long) leg * MESSAGES;
        // Light queues have no route; reading the topic tells the client where the broker is.
        eventually(10, "the topic and the light queue have all of them", () -> read(TOPIC).size() == end && read(LIGHT.get(0)).size() == end);
        for (int i = 0; i < LIGHT.size(); i++) {
            String offset = String.valueOf(end / (i == 0 ? 1 : 3) - 2);
            equal(0, lab.request(lab.brokerAddress(TOPIC), 15, Map.of("consumerGroup", GROUP, "topic", LIGHT.get(i), "queueId", "0", "commitOffset", offset), null)
                .getCode(), "code of a commit");
        }
        List<String> after = all();
        equal(end, after.stream().filter(line -> line.startsWith(LIGHT.get(0) + "/")).count(), "messages of the first light queue");
        equal(end / 3, after.stream().filter(line -> line.startsWith(LIGHT.get(1) + "/")).count(), "messages of the second light queue");
        Files.write(ledger, after);
        // Offsets are saved every second.
        Thread.sleep(1500);
        System.out.println("ok  leg " + leg + ": " + MESSAGES + " messages sent, " + after.size() + " lines");
    }

    private List<String> all() throws Exception {
        List<String> lines = new ArrayList<>(read(TOPIC));
        for (String light : LIGHT) {
            lines.addAll(read(light));
            var answer = lab.request(lab.brokerAddress(TOPIC), 14, Map.of("consumerGroup", GROUP, "topic", light, "queueId", "0", "setZeroIfNotFound", "false"), null);
            lines.add("offset of " + light + ": " + (answer.getCode() == 0 ? answer.getExtFields().get("offset") : "code " + answer.getCode()));
        }
        return lines;
    }

    private List<String> read(String topic) throws Exception {
        MessageQueue queue = new MessageQueue(topic, "broker-a", 0);
        List<String> lines = new ArrayList<>();
        long end = reader.maxOffset(queue);
        for (long offset = 0; offset < end;) {
            PullResult pulled = reader.pull(queue, "*", offset, 32);
            equal(PullStatus.FOUND, pulled.getPullStatus(), "pull of " + queue + " at " + offset + " of " + end);
            for (MessageExt message : pulled.getMsgFoundList()) {
                lines.add(topic + "/" + lines.size() + " " + text(message) + " id=" + message.getMsgId() + " at=" + message.getCommitLogOffset());
            }
            offset = pulled.getNextBeginOffset();
        }
        return lines;
    }
}
