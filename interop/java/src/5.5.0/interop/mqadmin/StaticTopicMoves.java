package interop.mqadmin;

import interop.Lab;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * A static topic on two brokers, moved from one to the other and back while a producer sends to it and a consumer reads. Run by
 * {@code interop/cluster}; the brokers are called as its arguments say.
 */
public final class StaticTopicMoves {
    private static final int QUEUES = 4;
    /** The tools begin a generation at a multiple of this. */
    private static final long BLOCK = 10_000;
    /** Clients look for the route every so often here; their default is 30 s. */
    private static final int ROUTE_MS = 1000;
    private static final int TOOL_SECONDS_MAX = 30;

    private final Lab lab = Lab.of("StaticTopicMoves");
    private final String first;
    private final String second;
    private final String topic = lab.fresh("static");
    private final String group = lab.group();
    private final AtomicBoolean sending = new AtomicBoolean(true);
    private final AtomicInteger refused = new AtomicInteger();
    /** Bodies that were acknowledged. */
    private final ConcurrentLinkedQueue<String> sent = new ConcurrentLinkedQueue<>();
    /** Logical offsets by queue and body, as the consumer saw them. */
    private final Map<Integer, Map<Long, String>> got = new ConcurrentHashMap<>();
    private final ConcurrentLinkedQueue<String> wrong = new ConcurrentLinkedQueue<>();

    private StaticTopicMoves(String first, String second) {
        this.first = first;
        this.second = second;
    }

    public static void main(String[] brokers) throws Exception {
        Console.install();
        int code = 0;
        StaticTopicMoves moves = new StaticTopicMoves(brokers[0], brokers[1]);
        try {
            moves.run();
        } catch (Throwable failure) {
            Console.say("FAIL StaticTopicMoves: " + failure);
            failure.printStackTrace();
            code = 1;
        }
        System.exit(code);
    }

    private void run() throws Exception {
        administer("updateStaticTopic", "-b", first, "-t", topic, "-qn", QUEUES);
        Lab.eventually(30, "the static topic has a route", () -> lab.queues(topic).size() == QUEUES);
        for (MessageQueue queue : lab.queues(topic)) {
            Lab.equal("__syslo__global__", queue.getBrokerName(), "the broker's name in a logical queue");
        }
        DefaultMQPushConsumer consumer = consumer(group, false);
        Thread producer = new Thread(this::send, "producer");
        producer.start();
        produced(200);
        move(second);
        produced(200);
        move(first);
        produced(200);
        grow();
        produced(200);
        sending.set(false);
        producer.join(60_000);
        Lab.check(!producer.isAlive(), "the producer hangs");
        Lab.eventually(90, "every message came, of " + sent.size(), () -> seen().containsAll(sent));
        Lab.check(wrong.isEmpty(), "%s", wrong.isEmpty() ? "" : wrong.peek());
        consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
        judgeOffsets();
        consumer.shutdown();
        comesBack();
        readByHand();
        readAsAssigned();
        Console.say(sent.size() + " messages sent, " + refused.get() + " sends refused and repeated, offsets up to " + ends());
        lab.close();
    }

    /** The official tool, or ours if MQADMIN names it. */
    private static void administer(String name, Object... arguments) throws Exception {
        String ours = System.getenv("MQADMIN");
        if (ours == null) {
            Console.run(name, arguments).fine();
            return;
        }
        List<String> line = new ArrayList<>(List.of(ours, "mqadmin", name));
        for (Object argument : arguments) line.add(String.valueOf(argument));
        Process process = new ProcessBuilder(line).inheritIO().start();
        Lab.check(process.waitFor(TOOL_SECONDS_MAX, TimeUnit.SECONDS), "%s does not end", line);
        Lab.equal(0, process.exitValue(), "the exit code of " + line);
    }

    private void move(String broker) throws Exception {
        administer("remappingStaticTopic", "-b", broker, "-t", topic);
        Console.run("topicRoute", "-t", topic).fine().says("\"totalQueues\":" + QUEUES);
    }

    /** More logical queues than before; those that are there stay where they are. */
    private void grow() throws Exception {
        administer("updateStaticTopic", "-b", second, "-t", topic, "-qn", QUEUES + 2);
        Lab.eventually(30, "the topic has grown", () -> lab.queues(topic).size() == QUEUES + 2);
    }

    private DefaultMQPushConsumer consumer(String group, boolean isAssigned) throws Exception {
        DefaultMQPushConsumer consumer = lab.pushConsumer(group);
        consumer.setClientRebalance(!isAssigned);
        consumer.setPollNameServerInterval(ROUTE_MS);
        consumer.setPersistConsumerOffsetInterval(500);
        consumer.setConsumeThreadMin(1);
        consumer.setConsumeThreadMax(1);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) note(message);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        return consumer;
    }

    /** One message has one offset, and one offset has one message. */
    private void note(MessageExt message) {
        String body = Lab.text(message);
        Map<Long, String> queue = got.computeIfAbsent(message.getQueueId(), id -> new ConcurrentHashMap<>());
        String other = queue.putIfAbsent(message.getQueueOffset(), body);
        if (other != null && !other.equals(body)) {
            wrong.add("offset " + message.getQueueOffset() + " is that of " + other + " and of " + body);
        }
    }

    private TreeSet<String> seen() {
        TreeSet<String> seen = new TreeSet<>();
        got.values().forEach(queue -> seen.addAll(queue.values()));
        return seen;
    }

    private void send() {
        try {
            DefaultMQProducer producer = lab.newProducer();
            producer.setPollNameServerInterval(ROUTE_MS);
            producer.setRetryTimesWhenSendFailed(0);
            producer.start();
            Map<Integer, Long> last = new HashMap<>();
            for (int number = 0; sending.get(); number++) {
                String body = String.format("m%06d", number);
                while (!sent(producer, body, last)) Thread.sleep(100);
                Thread.sleep(2);
            }
        } catch (Exception failure) {
            wrong.add("the producer failed: " + failure);
        }
    }

    /** Sends to whatever queue comes next; what is refused is sent again. */
    private boolean sent(DefaultMQProducer producer, String body, Map<Integer, Long> last) {
        try {
            SendResult result = producer.send(new Message(topic, Lab.utf8(body)));
            Lab.equal(SendStatus.SEND_OK, result.getSendStatus(), "the status");
            sent.add(body);
            int queue = result.getMessageQueue().getQueueId();
            long offset = result.getQueueOffset();
            // While a move is not decided the new leader does not know its offsets: it answers -1.
            Long before = offset < 0 ? null : last.put(queue, offset);
            if (before != null && before >= offset) wrong.add("queue " + queue + " went from " + before + " back to " + offset);
            return true;
        } catch (Exception failure) {
            refused.incrementAndGet();
            return false;
        }
    }

    private void produced(int more) throws Exception {
        int until = sent.size() + more;
        Lab.eventually(90, more + " more messages are sent", () -> sent.size() >= until || !wrong.isEmpty());
        Lab.check(wrong.isEmpty(), "%s", wrong.isEmpty() ? "" : wrong.peek());
    }

    /** Every queue that moved has messages in all three generations, each of which begins where the tool says. */
    private void judgeOffsets() {
        for (int id = 0; id < QUEUES; id++) {
            TreeMap<Long, String> queue = new TreeMap<>(got.get(id));
            TreeSet<Long> blocks = new TreeSet<>();
            for (long offset : queue.keySet()) {
                long block = offset / BLOCK;
                // A generation of less than 5,000 messages is followed by one in the next block.
                if (!blocks.contains(block)) Lab.equal(block * BLOCK, offset, "the first offset of a generation of queue " + id);
                blocks.add(block);
            }
            Lab.check(blocks.size() == 3, "queue %d has messages in the blocks %s", id, blocks);
            String before = "";
            for (String body : queue.values()) {
                Lab.check(before.compareTo(body) < 0, "queue %d has %s behind %s", id, body, before);
                before = body;
            }
        }
    }

    private String ends() {
        List<String> ends = new ArrayList<>();
        new TreeMap<>(got).forEach((id, queue) -> ends.add(id + ":" + new TreeMap<>(queue).lastKey()));
        return ends.toString();
    }

    /** A member that comes later begins where the group was: nothing is delivered again but what was sent since. */
    private void comesBack() throws Exception {
        DefaultMQProducer producer = lab.newProducer();
        producer.start();
        got.clear();
        TreeSet<String> late = new TreeSet<>();
        for (int number = 0; number < 20; number++) {
            String body = "late" + number;
            producer.send(new Message(topic, Lab.utf8(body)));
            late.add(body);
            sent.add(body);
        }
        DefaultMQPushConsumer consumer = consumer(group, false);
        Lab.eventually(60, "the late messages came", () -> seen().containsAll(late));
        Thread.sleep(1000);
        Lab.equal(late, seen(), "what came to a member that came later");
        consumer.shutdown();
    }

    /** Each queue from its smallest offset to its largest. */
    private void readByHand() throws Exception {
        DefaultMQPullConsumer consumer = lab.pullConsumer(lab.group());
        TreeSet<String> read = new TreeSet<>();
        for (MessageQueue queue : consumer.fetchSubscribeMessageQueues(topic)) {
            long offset = consumer.minOffset(queue);
            long end = consumer.maxOffset(queue);
            Lab.equal(0L, offset, "the smallest offset of " + queue);
            while (offset < end) {
                PullResult pulled = consumer.pull(queue, "*", offset, 32);
                Lab.check(pulled.getNextBeginOffset() > offset, "%s leads from %d to %s", queue, offset, pulled);
                if (pulled.getPullStatus() == PullStatus.FOUND) {
                    for (MessageExt message : pulled.getMsgFoundList()) {
                        Lab.check(message.getQueueOffset() >= offset, "%s: offset %d before %d", queue, message.getQueueOffset(), offset);
                        offset = message.getQueueOffset() + 1;
                        read.add(Lab.text(message));
                    }
                }
                offset = pulled.getNextBeginOffset();
            }
            Lab.equal(end, offset, "the end of " + queue);
        }
        Lab.equal(new TreeSet<>(sent), read, "what is there to read");
    }
    /** Who lets brokers assign its queues gets the logical ones too. A Java broker assigns physical ones, by which nothing is read. */
    private void readAsAssigned() throws Exception {
        if (!"thrust thrust".equals(System.getenv("KINDS"))) return;
        got.clear();
        DefaultMQPushConsumer consumer = consumer(lab.group(), true);
        Lab.eventually(90, "all came to a consumer whose queues are assigned", () -> seen().containsAll(sent));
        Lab.check(wrong.isEmpty(), "%s", wrong.isEmpty() ? "" : wrong.peek());
        consumer.shutdown();
    }
}
