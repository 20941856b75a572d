package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Dialect;
import interop.Lab;
import interop.LossyRelay;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * One answer to a send in twenty is lost and the producer sends again, while the broker is stopped and started, and killed and started.
 * On a topic with dedup.window.ms every message is there, once; on any other many are there twice. SENDS is the number of messages,
 * 20000 if it is not set. The Java broker does not know such topics.
 */
public final class RepeatedSendsAreStoredOnce implements Case {
    private static final int SENDS = Integer.parseInt(System.getenv().getOrDefault("SENDS", "20000"));
    private static final int SENDS_TO_ANY_TOPIC = 2000;
    private static final double LOST_SHARE = 0.05;
    private static final int THREADS = 128;
    private static final int TIMEOUT_MILLIS = 400;
    /** Longer than the broker is away. */
    private static final int ANSWER_SECONDS_MAX = 60;

    @Override
    public boolean alone() {
        return true;
    }

    @Override
    public int secondsMax() {
        return 90 + SENDS / 500;
    }

    @Override
    public void run(Lab lab) throws Exception {
        if (System.getenv().getOrDefault("SERVER", "").startsWith("java")) return;
        String address = lab.brokerAddress("TBW102");
        try (LossyRelay relay = new LossyRelay(address, LOST_SHARE)) {
            DefaultMQProducer producer = lab.newProducer();
            producer.setNamesrvAddr(relay.nameserver());
            producer.setRetryTimesWhenSendFailed(5);
            Dialect.sendTimeout(producer, TIMEOUT_MILLIS);
            producer.start();

            String once = lab.topicWith("+dedup.window.ms=600000", 8);
            long lostBefore = relay.lost();
            FutureTask<Void> interruptions = new FutureTask<>(RepeatedSendsAreStoredOnce::interrupt);
            send(producer, once, SENDS, interruptions);
            interruptions.get();
            long lost = relay.lost() - lostBefore;
            Stored stored = read(lab, once);
            check(lost > SENDS * LOST_SHARE / 2, "only %d answers were lost", lost);
            equal(SENDS, stored.numbers.cardinality(), "different messages on the topic with a window");
            equal((long) SENDS, stored.messages, "messages on the topic with a window");
            equal(SENDS, stored.keys.size(), "different keys on the topic with a window");

            String twice = lab.topic(8);
            lostBefore = relay.lost();
            send(producer, twice, SENDS_TO_ANY_TOPIC, () -> { });
            stored = read(lab, twice);
            equal(SENDS_TO_ANY_TOPIC, stored.numbers.cardinality(), "different messages on any topic");
            check(stored.messages >= SENDS_TO_ANY_TOPIC + (relay.lost() - lostBefore) / 2, "the producer has not repeated: %d messages", stored.messages);
            System.out.printf("    %d sends, %d answers lost, %d messages stored, 0 of them twice; without a window %d of %d%n", SENDS, lost, SENDS,
                stored.messages - SENDS_TO_ANY_TOPIC, SENDS_TO_ANY_TOPIC);
        }
    }

    /** Sends each number until it is answered, as an application does; begins with the interruptions when some are sent. */
    private static void send(DefaultMQProducer producer, String topic, int count, Runnable interruptions) throws Exception {
        AtomicInteger next = new AtomicInteger();
        ExecutorService pool = Executors.newFixedThreadPool(THREADS);
        List<Future<?>> senders = new ArrayList<>();
        for (int i = 0; i < THREADS; i++) {
            senders.add(pool.submit(() -> {
                for (int number = next.getAndIncrement(); number < count; number = next.getAndIncrement()) {
                    if (number == count / 4) new Thread(interruptions, "interruptions").start();
                    untilAnswered(producer, new Message(topic, utf8(String.valueOf(number))));
                }
                return null;
            }));
        }
        for (Future<?> sender : senders) sender.get();
        pool.shutdown();
    }

    /** The same object again, which keeps its unique key. */
    private static void untilAnswered(DefaultMQProducer producer, Message message) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(ANSWER_SECONDS_MAX);
        while (true) {
            try {
                producer.send(message);
                return;
            } catch (InterruptedException stopped) {
                throw stopped;
            } catch (Exception notAnswered) {
                if (System.nanoTime() > end) throw notAnswered;
                Thread.sleep(50);
            }
        }
    }

    private static Void interrupt() throws Exception {
        server("restart");
        Thread.sleep(2000);
        server("kill");
        server("start");
        return null;
    }

    private static final class Stored {
        final BitSet numbers = new BitSet();
        final Set<String> keys = new HashSet<>();
        long messages;
    }

    /** What is in a topic, without keeping all of it. */
    private static Stored read(Lab lab, String topic) throws Exception {
        Stored stored = new Stored();
        DefaultMQPullConsumer reader = lab.pullConsumer(lab.group());
        for (MessageQueue queue : lab.queues(topic)) {
            long offset = reader.minOffset(queue);
            long end = reader.maxOffset(queue);
            while (offset < end) {
                PullResult pulled = reader.pull(queue, "*", offset, 256);
                equal(PullStatus.FOUND, pulled.getPullStatus(), "pull of " + queue + " at " + offset + " of " + end);
                for (MessageExt message : pulled.getMsgFoundList()) {
                    stored.numbers.set(Integer.parseInt(text(message)));
                    stored.keys.add(message.getProperty(MessageConst.PROPERTY_UNIQ_CLIENT_MESSAGE_ID_KEYIDX));
                    stored.messages++;
                }
                offset = pulled.getNextBeginOffset();
            }
        }
        reader.shutdown();
        return stored;
    }
}
