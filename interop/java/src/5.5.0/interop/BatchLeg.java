package interop;

import static interop.Lab.*;

import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * One leg of interop/store-roundtrip with PROGRAM=BatchLeg: a topic with batch queues goes from broker to broker. The ledger holds
 * a line for every message that a reader gets, at which offset and from which record. Arguments as those of StoreLeg.
 */
public final class BatchLeg {
    private static final String TOPIC = "RoundTripBatch";

    private final Lab lab = Lab.of("BatchLeg");
    private final int leg;
    private DefaultMQPullConsumer reader;

    private BatchLeg(int leg) {
        this.leg = leg;
    }

    public static void main(String[] arguments) {
        Path ledger = Path.of(arguments[0]);
        BatchLeg leg = new BatchLeg(Integer.parseInt(arguments[1]));
        int failed = 1;
        try {
            leg.run(ledger, ledger.resolveSibling(ledger.getFileName() + ".acknowledged"), arguments[5].equals("burst"));
            failed = 0;
        } catch (Throwable problem) {
            System.out.println("FAIL leg " + leg.leg + ": " + problem);
            if (!(problem instanceof Failed)) problem.printStackTrace(System.out);
        }
        leg.lab.close();
        System.exit(failed);
    }

    private void run(Path ledger, Path acknowledged, boolean burst) throws Exception {
        reader = lab.pullConsumer("RoundTripReader");
        List<String> before = leg == 1 ? List.of() : Files.readAllLines(ledger);
        if (leg == 1) {
            // A broker that has just come up has no route yet.
            eventually(20, "the topic can be created", () -> lab.createTopic(TOPIC, 2, "+queue.type=BatchCQ") == 0);
        }
        eventually(20, "the topic has a route", () -> lab.queues(TOPIC).size() == 2);
        if (leg > 1) {
            List<String> now = readAll();
            check(now.containsAll(before), "of %d messages some are gone or others", before.size());
            if (Files.exists(acknowledged)) {
                List<String> expected = Files.readAllLines(acknowledged);
                List<String> places = new ArrayList<>();
                for (String line : now) places.add(line.substring(0, line.indexOf(" id=")));
                for (String one : expected) check(places.contains(one), "an acknowledged message is gone: %s", one);
                System.out.println("ok  leg " + leg + ": " + expected.size() + " messages were acknowledged before the kill and are there");
            }
            System.out.println("ok  leg " + leg + ": all " + before.size() + " older messages are the same, by offset and record");
        }
        List<String> sent = new ArrayList<>();
        for (int i = 0; i < 60; i++) sent.addAll(send(lab.producer(), i % 2, new int[] {10, 1, 3, 1, 40, 2}[i % 6], "leg" + leg + "-" + i));
        List<String> after = readAll();
        check(after.containsAll(before), "older messages changed");
        for (String one : sent) check(after.stream().anyMatch(line -> line.startsWith(one + " ")), "the sent message is not read back: %s", one);
        fromEveryOffset();
        // Message i of a batch of ten stands where the first of it stands.
        check(after.stream().filter(line -> line.startsWith("0/") && line.contains(" at=0 ")).count() == (leg == 1 ? 10 : before.stream()
            .filter(line -> line.startsWith("0/") && line.contains(" at=0 ")).count()), "the first batch is not one record");
        Files.write(ledger, after);
        System.out.println("ok  leg " + leg + ": " + sent.size() + " messages sent, " + after.size() + " there");
        if (burst) sendUntilKilled(acknowledged);
    }

    /** Sends so many at once; gives "queue/offset body" of each. */
    private List<String> send(DefaultMQProducer producer, int queueId, int size, String name) throws Exception {
        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < size; i++) batch.add(new Message(TOPIC, "tag", "key-" + name, utf8(name + "." + i + "." + "x".repeat(i * 7))));
        MessageQueue queue = new MessageQueue(TOPIC, "broker-a", queueId);
        SendResult result = size == 1 ? producer.send(batch.get(0), queue, 3000) : producer.send(batch, queue, 3000);
        equal(SendStatus.SEND_OK, result.getSendStatus(), "send");
        List<String> places = new ArrayList<>();
        for (int i = 0; i < size; i++) places.add(queueId + "/" + (result.getQueueOffset() + i) + " " + text(batch.get(i)));
        return places;
    }

    private List<String> readAll() throws Exception {
        List<String> lines = new ArrayList<>();
        for (int id = 0; id < 2; id++) {
            MessageQueue queue = new MessageQueue(TOPIC, "broker-a", id);
            long end = reader.maxOffset(queue);
            long next = 0;
            // A queue that nothing was sent to says -1 with Java.
            for (long offset = Math.max(0, reader.minOffset(queue)); offset < end;) {
                PullResult pulled = reader.pull(queue, "*", offset, 32);
                equal(PullStatus.FOUND, pulled.getPullStatus(), "pull of " + queue + " at " + offset + " of " + end);
                for (MessageExt message : pulled.getMsgFoundList()) {
                    equal(next++, message.getQueueOffset(), "queue offset in " + queue);
                    lines.add(id + "/" + message.getQueueOffset() + " " + text(message) + " id=" + message.getMsgId() + " at=" + message.getCommitLogOffset()
                        + " kept=" + message.getStoreTimestamp() + message.getStoreHost() + " born=" + message.getBornTimestamp());
                }
                offset = pulled.getNextBeginOffset();
            }
            equal(end, next, "end of " + queue);
        }
        return lines;
    }

    /** A pull at any offset begins with the record that holds it. */
    private void fromEveryOffset() throws Exception {
        MessageQueue queue = new MessageQueue(TOPIC, "broker-a", 0);
        long end = reader.maxOffset(queue);
        for (long offset = 0; offset < end; offset += 3) {
            PullResult pulled = reader.pull(queue, "*", offset, 1);
            equal(PullStatus.FOUND, pulled.getPullStatus(), "pull at " + offset);
            long wanted = offset;
            check(pulled.getMsgFoundList().stream().anyMatch(message -> message.getQueueOffset() == wanted), "the pull at %d gives other messages", offset);
        }
    }

    private void sendUntilKilled(Path acknowledged) throws Exception {
        DefaultMQProducer producer = lab.newProducer();
        producer.setRetryTimesWhenSendFailed(0);
        producer.start();
        try (Writer writer = Files.newBufferedWriter(acknowledged)) {
            for (int i = 0; i < 50_000; i++) {
                List<String> places;
                try {
                    places = send(producer, i % 2, 1 + i % 5, "burst" + leg + "-" + i);
                } catch (Exception killed) {
                    return;
                }
                for (String place : places) writer.write(place + "\n");
                writer.flush();
                Thread.sleep(2);
            }
        }
        throw new Failed("nobody killed the broker");
    }
}
