package interop;

import static interop.Lab.*;

import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * One leg of interop/store-roundtrip: what a broker makes of a store that another broker wrote.
 *
 * <p>The ledger holds a line for every message that the legs before have read, with everything about it that a client can see.
 * A leg first reads all queues and compares, looks messages up by id and key, and lets the group go on; then it sends messages of
 * all kinds, reads everything again and writes the ledger for the next leg. Further arguments: whether the broker knows transactions, bytes of a large message, whether the topic of half messages can be read (4.9 does not know its own), and "burst" if the broker will be killed: then it goes on sending
 * until that happens and notes what was acknowledged beside the ledger.
 */
public final class StoreLeg extends Leg {
    private static final String PLAIN = "RoundTrip";
    private static final String LARGE = "RoundTripLarge";
    private static final String LATE = "RoundTripLate";
    private static final String BURST = "RoundTripBurst";
    private static final String GROUP = "RoundTripGroup";
    private static final String RETRY = "%RETRY%" + GROUP;
    private static final String DEAD = "%DLQ%" + GROUP;
    private static final String SCHEDULE = "SCHEDULE_TOPIC_XXXX";
    private static final String HALF = "RMQ_SYS_TRANS_HALF_TOPIC";
    /** Old segments are removed while the brokers run, and each leg lasts long enough for that. */
    private static final boolean EXPIRING = System.getenv("EXPIRING") != null;
    private static final long SEGMENT_BYTES = Long.parseLong(System.getenv("SEGMENT_BYTES"));
    /** Java looks for what has expired from one minute after its start on. */
    private static final int EXPIRY_SECONDS_MAX = 90;
    private static final int LATE_EACH = 3;
    /** 8 s in the messageDelayLevel of the script: falls due while no broker runs, or in the next leg. */
    private static final int LATE_LEVEL = 3;

    private final boolean transactions;
    private final int largeBytes;
    private final boolean halfIsReadable;
    private final boolean isKilled;
    private final Random random;
    private final List<String> sent = Collections.synchronizedList(new ArrayList<>());

    private StoreLeg(String[] arguments) {
        super(arguments);
        transactions = Boolean.parseBoolean(arguments[2]);
        largeBytes = Integer.parseInt(arguments[3]);
        halfIsReadable = Boolean.parseBoolean(arguments[4]);
        isKilled = arguments[5].equals("burst");
        random = new Random(leg);
    }

    public static void main(String[] arguments) {
        new StoreLeg(arguments).runAndExit();
    }

    @Override
    void run() throws Exception {
        readAndSend(ledger);
        if (isKilled) sendUntilKilled(acknowledged(ledger));
    }

    private static Path acknowledged(Path ledger) {
        return ledger.resolveSibling(ledger.getFileName() + ".acknowledged");
    }

    private void readAndSend(Path path) throws Exception {
        Ledger before = leg == 1 ? new Ledger() : Ledger.read(path);
        if (leg > 1) {
            eventually(40, "delayed messages of the leg before are delivered", () -> count(LATE) >= LATE_EACH * (leg - 1));
            // A broker that lost its delay offsets would deliver everything again within this time.
            Thread.sleep(1500);
            equal((long) LATE_EACH * (leg - 1), count(LATE), "delayed messages delivered so far");
            Ledger now = readAll();
            before.checkKept(now);
            before.checkNothingNewBut(now, Set.of(LATE, BURST));
            if (Files.exists(acknowledged(path))) {
                List<String> expected = Files.readAllLines(acknowledged(path));
                for (String one : expected) check(now.places.contains(one), "leg %d: an acknowledged message is gone: %s", leg, one);
                System.out.println("ok  leg " + leg + ": " + expected.size() + " messages were acknowledged before the kill and are there");
            }
            lookUp(before, now.begin());
            goOn(before, now);
            System.out.println("ok  leg " + leg + ": all " + before.size() + " older messages are the same, by queue, id and key");
        } else {
            create(PLAIN, 4);
            create(LARGE, 1);
            create(LATE, 1);
            create(BURST, 2);
            eventually(20, "topics have routes", () -> lab.queues(BURST).size() == 2 && lab.queues(PLAIN).size() == 4 && lab.queues(LARGE).size() == 1 && lab.queues(LATE).size() == 1);
            goOn(before, before);
        }
        Map<String, Long> ends = before.ends();
        sendAllKinds();
        Ledger after = readAll();
        before.checkKept(after);
        // What expires may be gone before it is read.
        for (String expected : EXPIRING ? List.<String>of() : sent) check(after.places.contains(expected), "leg %d: the sent message is not read back: %s", leg, expected);
        for (Map.Entry<String, Long> end : ends.entrySet()) {
            check(after.first(end.getKey()) + after.count(end.getKey()) >= end.getValue(), "queue %s went back", end.getKey());
        }
        after.checkNumbering();
        after.committed = committed();
        after.write(path);
        if (EXPIRING) {
            long begin = before.begin();
            eventually(EXPIRY_SECONDS_MAX, "segments from " + begin + " on have expired", () -> readAll().begin() > begin);
            after.checkKept(readAll());
        }
        after.digests().forEach((queue, digest) -> System.out.println("    " + digest + " " + queue));
        System.out.println("ok  leg " + leg + ": " + after.size() + " messages in all, group at " + after.committed);
    }

    /** A broker may answer before the nameserver knows it. */
    private void create(String topic, int queues) throws Exception {
        eventually(30, "topic " + topic + " is made", () -> {
            Dialect.createTopic(lab.producer(), topic, queues);
            return true;
        });
    }

    // ---- sending -----------------------------------------------------------------------------------------------

    private void sendAllKinds() throws Exception {
        List<MessageQueue> queues = lab.queues(PLAIN);
        for (int i = 0; i < 60; i++) {
            Message message = new Message(PLAIN, utf8("leg" + leg + " plain " + i + " — ünïcödé"));
            if (i % 3 == 0) message.setKeys(key(i) + " shared-" + leg);
            if (i % 4 == 1) message.setTags("tag" + i % 8);
            if (i % 5 == 2) message.putUserProperty("number", "№" + i);
            if (i % 7 == 3) message.setFlag(i);
            if (i % 10 == 9) message.setBody(random(i * 17));
            note(lab.producer().send(message, queues.get(i % 4)));
        }
        for (int i = 0; i < 3; i++) {
            List<Message> batch = new ArrayList<>();
            for (int k = 0; k < 7; k++) batch.add(new Message(PLAIN, "batch", "batch-" + leg + "-" + i + "-" + k, utf8("leg" + leg + " batch " + i + " " + k)));
            equal(SendStatus.SEND_OK, lab.producer().send(batch, queues.get(i)).getSendStatus(), "batch");
        }
        for (String compression : Dialect.COMPRESSIONS) {
            DefaultMQProducer producer = lab.newProducer();
            Dialect.compressWith(producer, compression);
            producer.start();
            note(producer.send(new Message(PLAIN, "squeezed", "squeezed-" + leg + compression, utf8(("leg" + leg + compression).repeat(2000))), queues.get(3)));
        }
        // Not compressible, so that segments fill and roll.
        for (int i = 0; i < 12; i++) note(lab.producer().send(new Message(LARGE, "large", "large-" + leg + "-" + i, random(largeBytes + i))));

        long soon = count(PLAIN);
        for (int i = 0; i < 4; i++) {
            Message message = new Message(PLAIN, "soon", "soon-" + leg + "-" + i, utf8("leg" + leg + " delayed " + i));
            message.setDelayTimeLevel(1);
            equal(SendStatus.SEND_OK, lab.producer().send(message, queues.get(i)).getSendStatus(), "delayed message");
        }
        eventually(15, "messages of delay level 1 are delivered", () -> count(PLAIN) == soon + 4);

        // Sent back: to be retried after level 1, and straight to the dead letters.
        List<MessageExt> victims = lab.stored(PLAIN).stream().filter(message -> text(message).startsWith("leg" + leg + " batch")).collect(java.util.stream.Collectors.toList());
        DefaultMQPullConsumer consumer = lab.pullConsumer(GROUP);
        long retried = count(RETRY);
        for (int i = 0; i < 3; i++) consumer.sendMessageBack(victims.get(i), 1, "broker-a");
        consumer.sendMessageBack(victims.get(3), -1, "broker-a");
        eventually(15, "messages that were sent back are in the retry topic", () -> count(RETRY) == retried + 3);
        eventually(15, "the dead letter is there", () -> count(DEAD) == leg);
        consumer.shutdown();

        if (transactions) sendTransactions();
        for (int i = 0; i < LATE_EACH; i++) {
            Message message = new Message(LATE, "late", "late-" + leg + "-" + i, utf8("leg" + leg + " late " + i));
            message.setDelayTimeLevel(LATE_LEVEL);
            equal(SendStatus.SEND_OK, lab.producer().send(message).getSendStatus(), "late message");
        }
    }

    private void sendTransactions() throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer(lab.group());
        producer.setNamesrvAddr(NAMESRV);
        producer.setInstanceName(lab.fresh("client"));
        lab.whenClosed(producer::shutdown);
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object commit) {
                return (Boolean) commit ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return LocalTransactionState.ROLLBACK_MESSAGE;
            }
        });
        producer.start();
        long before = count(PLAIN);
        for (int i = 0; i < 6; i++) {
            Message message = new Message(PLAIN, "paid", "paid-" + leg + "-" + i, utf8("leg" + leg + " transaction " + i));
            producer.sendMessageInTransaction(message, i % 2 == 0);
        }
        eventually(15, "committed transactions are in their topic", () -> count(PLAIN) == before + 3);
    }

    private void sendUntilKilled(Path acknowledged) throws Exception {
        DefaultMQProducer producer = lab.newProducer();
        producer.setRetryTimesWhenSendFailed(0);
        producer.start();
        try (Writer writer = Files.newBufferedWriter(acknowledged)) {
            for (int i = 0; i < 50_000; i++) {
                SendResult result;
                try {
                    result = producer.send(new Message(BURST, "burst", "burst-" + leg + "-" + i, utf8("leg" + leg + " burst " + i + " " + "x".repeat(i % 300))), 3000);
                } catch (Exception killed) {
                    return;
                }
                writer.write(place(result) + "\n");
                writer.flush();
                Thread.sleep(2);
            }
        }
        throw new Failed("nobody killed the broker");
    }

    private static String place(SendResult result) {
        equal(SendStatus.SEND_OK, result.getSendStatus(), "send");
        MessageQueue queue = result.getMessageQueue();
        return queue.getTopic() + "/" + queue.getQueueId() + "/" + result.getQueueOffset() + " " + result.getMsgId();
    }

    private void note(SendResult result) {
        sent.add(place(result));
    }

    private String key(int i) {
        return "key-" + leg + "-" + i;
    }

    private byte[] random(int length) {
        byte[] bytes = new byte[length];
        random.nextBytes(bytes);
        return bytes;
    }

    // ---- reading -----------------------------------------------------------------------------------------------

    /** Messages that a topic has ever had. */
    private long count(String topic) throws Exception {
        long[] count = new long[1];
        ranges(topic).values().forEach(range -> count[0] += range[1]);
        return count[0];
    }

    /** First and end offset by queue, of topics without a route too. */
    private Map<Integer, long[]> ranges(String topic) throws Exception {
        Map<Integer, long[]> ranges = new TreeMap<>();
        if (!lab.admin().fetchAllTopicList().getTopicList().contains(topic) && !topic.equals(SCHEDULE)) return ranges;
        var stats = client().getTopicStatsInfo(lab.brokerAddress(PLAIN), topic, 5000);
        stats.getOffsetTable().forEach((queue, offsets) -> ranges.put(queue.getQueueId(), new long[] {offsets.getMinOffset(), offsets.getMaxOffset()}));
        return ranges;
    }

    /** What the broker has committed for the group. Lab's way asks for what 4.9 does not know. */
    private Map<Integer, Long> committed() throws Exception {
        Map<Integer, Long> offsets = new TreeMap<>();
        client().getConsumeStats(lab.brokerAddress(PLAIN), GROUP, PLAIN, 5000).getOffsetTable()
            .forEach((queue, at) -> offsets.put(queue.getQueueId(), at.getConsumerOffset()));
        return offsets;
    }

    private MQClientAPIImpl client() throws Exception {
        return lab.admin().getDefaultMQAdminExtImpl().getMqClientInstance().getMQClientAPIImpl();
    }

    private Ledger readAll() throws Exception {
        Ledger found = new Ledger();
        DefaultMQPullConsumer reader = lab.pullConsumer("RoundTripReader");
        List<String> topics = new ArrayList<>(List.of(PLAIN, LARGE, LATE, BURST, RETRY, DEAD, SCHEDULE));
        if (halfIsReadable) topics.add(HALF);
        for (String topic : topics) {
            for (Map.Entry<Integer, long[]> range : ranges(topic).entrySet()) {
                MessageQueue queue = new MessageQueue(topic, "broker-a", range.getKey());
                long offset = range.getValue()[0];
                while (offset < range.getValue()[1]) {
                    PullResult pulled = reader.pull(queue, "*", offset, 32);
                    equal(PullStatus.FOUND, pulled.getPullStatus(), "pull of " + queue + " at " + offset + " of " + range.getValue()[1]);
                    for (MessageExt message : pulled.getMsgFoundList()) found.add(message, topic);
                    offset = pulled.getNextBeginOffset();
                }
            }
        }
        reader.shutdown();
        return found;
    }

    /** Every fifth message by the client's id, by where it is stored and by its first key. */
    private void lookUp(Ledger before, long begin) throws Exception {
        int number = 0;
        for (Map.Entry<String, List<String[]>> queue : before.queues.entrySet()) {
            String topic = queue.getKey().split("/")[0];
            if (topic.startsWith("%") || topic.equals(SCHEDULE) || topic.equals(HALF)) continue;
            for (String[] fields : queue.getValue()) {
                if (number++ % 5 != 0 || Long.parseLong(Ledger.value(fields, "at")) < begin) continue;
                String line = String.join(" ", fields);
                String at = queue.getKey() + "/" + fields[0];
                equal(line, Ledger.line(lab.producer().viewMessage(topic, Ledger.value(fields, "stored"))), at + " by offset id");
                String unique = Ledger.value(fields, "id");
                // All messages of a batch have one id when a 5.x client sends to a broker of 4.9, which gives them the batch's properties.
                Set<String> sharing = before.withId(topic, unique);
                eventually(20, at + " is found by unique key " + unique, () -> sharing.contains(Ledger.line(lab.producer().viewMessage(topic, unique))));
                String key = Ledger.value(fields, "key");
                if (!key.isEmpty()) eventually(20, at + " is found by key " + key, () -> found(topic, key).contains(line));
            }
        }
    }

    private List<String> found(String topic, String key) throws Exception {
        List<String> lines = new ArrayList<>();
        for (MessageExt message : lab.producer().queryMessage(topic, key, 32, 0, System.currentTimeMillis() + 60_000).getMessageList()) lines.add(Ledger.line(message));
        return lines;
    }

    /** The group gets what it had not committed when the last broker stopped, and nothing else. */
    private void goOn(Ledger before, Ledger now) throws Exception {
        List<String> expected = new ArrayList<>();
        for (Map.Entry<String, List<String[]>> queue : now.queues.entrySet()) {
            String[] place = queue.getKey().split("/");
            long committed = place[0].equals(PLAIN) ? before.committed.getOrDefault(Integer.parseInt(place[1]), 0L) : 0;
            if (!place[0].equals(PLAIN)) continue;
            for (String[] fields : queue.getValue()) if (Long.parseLong(fields[0]) >= committed) expected.add(queue.getKey() + "/" + fields[0]);
        }
        if (leg > 1) equal(before.committed, committed(), "committed offsets");
        List<String> received = Collections.synchronizedList(new ArrayList<>());
        DefaultMQPushConsumer consumer = lab.pushConsumer(GROUP);
        consumer.subscribe(PLAIN, "*");
        consumer.setPersistConsumerOffsetInterval(500);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            // What was sent back in earlier legs comes as well, under the name of its topic.
            for (MessageExt message : messages) if (message.getReconsumeTimes() == 0) received.add(PLAIN + "/" + message.getQueueId() + "/" + message.getQueueOffset());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        eventually(60, "the group receives " + expected.size() + " messages", () -> received.size() >= expected.size() && assignedQueues(consumer, PLAIN) == 4);
        Thread.sleep(1500);
        consumer.shutdown();
        sameElements(expected, received, "messages of the group");
        eventually(10, "the group has committed", () -> leg == 1 || committed().equals(lab.maxOffsets(PLAIN)));
    }

    // ---- the ledger --------------------------------------------------------------------------------------------

    private static final class Ledger {
        /** By "topic/queue id": fields of each message, its queue offset first. */
        final Map<String, List<String[]>> queues = new TreeMap<>();
        final Set<String> places = new TreeSet<>();
        Map<Integer, Long> committed = new TreeMap<>();

        void add(MessageExt message, String topic) {
            String queue = topic + "/" + message.getQueueId();
            queues.computeIfAbsent(queue, unused -> new ArrayList<>()).add(line(message).split(" "));
            places.add(queue + "/" + message.getQueueOffset() + " " + message.getMsgId());
        }

        /** Everything about a message that a client can see; no blanks inside fields. */
        static String line(MessageExt message) {
            StringBuilder properties = new StringBuilder();
            new TreeMap<>(message.getProperties()).forEach((name, value) -> {
                // Those two say where the queue ended when it was pulled.
                if (!name.equals(MessageConst.PROPERTY_MIN_OFFSET) && !name.equals(MessageConst.PROPERTY_MAX_OFFSET)) properties.append(name).append('=').append(value).append(';');
            });
            String keys = message.getKeys() == null ? "" : message.getKeys().split(" ")[0];
            String unique = message.getProperty(MessageConst.PROPERTY_UNIQ_CLIENT_MESSAGE_ID_KEYIDX);
            return String.join(" ",
                "" + message.getQueueOffset(), "at=" + message.getCommitLogOffset(), "size=" + message.getStoreSize(), "crc=" + message.getBodyCRC(), "id=" + unique,
                "key=" + keys, "stored=" + offsetId(message), "born=" + message.getBornTimestamp() + message.getBornHost(), "kept=" + message.getStoreTimestamp() + message.getStoreHost(),
                "flags=" + message.getSysFlag() + "," + message.getFlag() + "," + message.getReconsumeTimes() + "," + message.getPreparedTransactionOffset(),
                "body=" + sha1(message.getBody()), "properties=" + sha1(utf8(properties.toString())));
        }

        private static String offsetId(MessageExt message) {
            return message instanceof org.apache.rocketmq.common.message.MessageClientExt
                ? ((org.apache.rocketmq.common.message.MessageClientExt) message).getOffsetMsgId() : message.getMsgId();
        }

        static String value(String[] fields, String name) {
            for (String field : fields) if (field.startsWith(name + "=")) return field.substring(name.length() + 1);
            throw new Failed("no " + name + " in " + String.join(" ", fields));
        }

        int size() {
            return queues.values().stream().mapToInt(List::size).sum();
        }

        /** Where the log begins: 0, or behind the segments that have expired. */
        long begin() {
            if (!EXPIRING || queues.isEmpty()) return 0;
            long first = Long.MAX_VALUE;
            for (List<String[]> lines : queues.values()) first = Math.min(first, Long.parseLong(value(lines.get(0), "at")));
            return first / SEGMENT_BYTES * SEGMENT_BYTES;
        }

        long first(String queue) {
            return Long.parseLong(queues.get(queue).get(0)[0]);
        }

        long count(String queue) {
            return queues.get(queue).size();
        }

        Map<String, Long> ends() {
            Map<String, Long> ends = new HashMap<>();
            queues.forEach((queue, lines) -> ends.put(queue, first(queue) + lines.size()));
            return ends;
        }

        /** Lines of a topic with this unique key. */
        Set<String> withId(String topic, String unique) {
            Set<String> lines = new TreeSet<>();
            queues.forEach((queue, all) -> {
                if (!queue.startsWith(topic + "/")) return;
                for (String[] fields : all) if (value(fields, "id").equals(unique)) lines.add(String.join(" ", fields));
            });
            return lines;
        }

        /** Everything of this ledger is in the other one, in the same place and the same. */
        void checkKept(Ledger now) {
            queues.forEach((queue, lines) -> {
                List<String[]> others = now.queues.getOrDefault(queue, List.of());
                List<String[]> kept = new ArrayList<>(lines);
                kept.removeIf(fields -> Long.parseLong(value(fields, "at")) < now.begin());
                check(others.size() >= kept.size(), "queue %s holds %d messages of %d", queue, others.size(), kept.size());
                for (int i = 0; i < kept.size(); i++) equal(String.join(" ", kept.get(i)), String.join(" ", others.get(i)), "message of " + queue);
            });
        }

        void checkNothingNewBut(Ledger now, Set<String> topics) {
            now.queues.forEach((queue, lines) -> {
                if (topics.contains(queue.split("/")[0])) return;
                equal(ends().getOrDefault(queue, now.first(queue)), now.ends().get(queue), "end of " + queue + ", to which nobody sent");
            });
        }

        void checkNumbering() {
            queues.forEach((queue, lines) -> {
                for (int i = 0; i < lines.size(); i++) equal("" + (first(queue) + i), lines.get(i)[0], "queue offset in " + queue);
            });
        }

        Map<String, String> digests() {
            Map<String, String> digests = new LinkedHashMap<>();
            queues.forEach((queue, lines) -> {
                StringBuilder all = new StringBuilder();
                for (String[] line : lines) all.append(String.join(" ", line)).append('\n');
                digests.put(queue + " " + lines.size(), sha1(utf8(all.toString())));
            });
            return digests;
        }

        void write(Path path) throws Exception {
            StringBuilder text = new StringBuilder();
            committed.forEach((queue, offset) -> text.append("committed ").append(queue).append(' ').append(offset).append('\n'));
            queues.forEach((queue, lines) -> lines.forEach(line -> text.append(queue).append(' ').append(String.join(" ", line)).append('\n')));
            Files.writeString(path, text);
        }

        static Ledger read(Path path) throws Exception {
            Ledger ledger = new Ledger();
            for (String line : Files.readAllLines(path)) {
                String[] parts = line.split(" ", 2);
                if (parts[0].equals("committed")) {
                    String[] numbers = parts[1].split(" ");
                    ledger.committed.put(Integer.parseInt(numbers[0]), Long.parseLong(numbers[1]));
                } else {
                    ledger.queues.computeIfAbsent(parts[0], unused -> new ArrayList<>()).add(parts[1].split(" "));
                }
            }
            return ledger;
        }

        private static String sha1(byte[] bytes) {
            try {
                StringBuilder digits = new StringBuilder();
                for (byte one : MessageDigest.getInstance("SHA-1").digest(bytes)) digits.append(String.format("%02x", one));
                return digits.toString();
            } catch (java.security.NoSuchAlgorithmException impossible) {
                throw new IllegalStateException(impossible);
            }
        }
    }
}
