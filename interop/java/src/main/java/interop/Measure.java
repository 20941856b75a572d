package interop;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/** Measures the official client; what it does and prints is told in its twin, {@code crates/client/examples/measure.rs}. */
public final class Measure {
    private static final int BODY_BYTES = 1024;
    private static final int UNDER_WAY = 1024;
    private static final long WARM_UP_NANOS = 5_000_000_000L;
    private static final int WARM_UP_PART = 3;
    private static final double TICKS = 100.0;

    private final String topic;
    private final DefaultMQProducer producer = new DefaultMQProducer("measure-java");
    private long openedNanos;
    private double openedTicks;

    private Measure(String servers, String topic) throws Exception {
        this.topic = topic;
        producer.setNamesrvAddr(servers);
        producer.setSendMsgTimeout(10_000);
        producer.start();
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 4) throw new IllegalArgumentException("NAME-SERVER send|sync|consume TOPIC SECONDS");
        Measure measure = new Measure(arguments[0], arguments[2]);
        long nanos = Long.parseLong(arguments[3]) * 1_000_000_000L;
        switch (arguments[1]) {
            case "send": measure.send(nanos); break;
            case "sync": measure.sync(nanos); break;
            case "consume": measure.consume(arguments[0]); break;
            default: throw new IllegalArgumentException("no such work: " + arguments[1]);
        }
        System.exit(0);
    }

    private void send(long nanos) throws Exception {
        sending(WARM_UP_NANOS);
        open();
        close(sending(nanos), 0);
    }

    private long sending(long nanos) throws Exception {
        byte[] body = body();
        Semaphore permits = new Semaphore(UNDER_WAY);
        AtomicLong confirmed = new AtomicLong();
        SendCallback callback = new SendCallback() {
            @Override
            public void onSuccess(SendResult sent) {
                confirmed.incrementAndGet();
                permits.release();
            }

            @Override
            public void onException(Throwable failure) {
                failure.printStackTrace();
                System.exit(1);
            }
        };
        long begun = System.nanoTime();
        while (System.nanoTime() - begun < nanos) {
            permits.acquire();
            producer.send(new Message(topic, body), callback);
        }
        permits.acquire(UNDER_WAY);
        return confirmed.get();
    }

    private void sync(long nanos) throws Exception {
        oneByOne(WARM_UP_NANOS);
        open();
        long[] times = oneByOne(nanos);
        Arrays.sort(times);
        close(times.length, times[times.length / 2] / 1000.0);
    }

    private long[] oneByOne(long nanos) throws Exception {
        byte[] body = body();
        long[] times = new long[1 << 16];
        int count = 0;
        long begun = System.nanoTime();
        while (System.nanoTime() - begun < nanos) {
            long sent = System.nanoTime();
            producer.send(new Message(topic, body));
            if (count == times.length) times = Arrays.copyOf(times, count * 2);
            times[count++] = System.nanoTime() - sent;
        }
        return Arrays.copyOf(times, count);
    }

    private void consume(String servers) throws Exception {
        long all = 0;
        for (MessageQueue queue : producer.fetchPublishMessageQueues(topic)) all += producer.maxOffset(queue) - producer.minOffset(queue);
        AtomicLong came = new AtomicLong();
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("measure-java-" + ProcessHandle.current().pid());
        consumer.setNamesrvAddr(servers);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (Message message : messages) {
                if (message.getBody().length == BODY_BYTES) came.incrementAndGet();
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        while (came.get() < all / WARM_UP_PART) Thread.sleep(1);
        open();
        long before = came.get();
        // The last messages of the queues do not come evenly.
        long end = all - all / 20;
        while (came.get() < end) Thread.sleep(1);
        close(came.get() - before, 0);
    }

    private static byte[] body() {
        byte[] body = new byte[BODY_BYTES];
        Arrays.fill(body, (byte) 'x');
        return body;
    }

    private void open() throws Exception {
        openedNanos = System.nanoTime();
        openedTicks = ticks();
    }

    private void close(long messages, double medianMicros) throws Exception {
        double seconds = (System.nanoTime() - openedNanos) / 1e9;
        double cpu = (ticks() - openedTicks) / TICKS;
        System.out.println(String.format(Locale.ROOT, "%.0f %.2f %.0f", messages / seconds, cpu * 1e6 / messages, medianMicros));
    }

    /** User and system time of this process, in ticks. */
    private static double ticks() throws Exception {
        String stat = Files.readString(Path.of("/proc/self/stat"));
        String[] fields = stat.substring(stat.lastIndexOf(')') + 1).trim().split("\\s+");
        return Double.parseDouble(fields[11]) + Double.parseDouble(fields[12]);
    }
}
