import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Loads a Kafka broker through its official client in the shapes of {@code thrust bench}: so many connections, each with a partition of its
 * own and so many messages of 1 KiB under way on it. {@code main.go} beside it does the same to other brokers.
 *
 * <pre>KafkaLoad send|consume ADDRESS PID CONNECTIONS IN_FLIGHT WARMUP SECS [client property=value]...</pre>
 *
 * Prints messages per second, the median time from a send to its acknowledgement in microseconds (0 for consume), and the CPU time of
 * process PID for each message in microseconds.
 */
public final class KafkaLoad {
    private static final String TOPIC = "bench";
    private static final int BODY_BYTES = 1024;
    /** Of the latencies that are told apart, to the microsecond; what took longer counts as this. */
    private static final int LATENCY_MAX_US = 1_000_000;
    /** CPU time in /proc comes in steps of 10 ms. */
    private static final int TICK_US = 10_000;

    private final String address;
    private final int inFlight;
    private final Properties properties = new Properties();
    private final LongAdder done = new LongAdder();
    /** How many sends took so many microseconds. Each element is written by the threads of all producers, and may miss a few. */
    private final int[] latencies = new int[LATENCY_MAX_US + 1];
    private volatile boolean measuring;
    private volatile boolean over;

    private KafkaLoad(String[] args) {
        address = args[1];
        inFlight = Integer.parseInt(args[4]);
        properties.put("bootstrap.servers", address);
        for (int at = 7; at < args.length; at++) {
            String[] pair = args[at].split("=", 2);
            properties.put(pair[0], pair[1]);
        }
    }

    public static void main(String[] args) throws Exception {
        KafkaLoad load = new KafkaLoad(args);
        int connections = Integer.parseInt(args[3]);
        List<Thread> threads = new ArrayList<>();
        for (int connection = 0; connection < connections; connection++) {
            int partition = connection;
            Runnable work = args[0].equals("send") ? () -> load.send(partition) : () -> load.consume(partition);
            Thread thread = new Thread(work, args[0] + "-" + connection);
            thread.setUncaughtExceptionHandler((failed, cause) -> fail(cause));
            thread.start();
            threads.add(thread);
        }
        load.report(args[2], Double.parseDouble(args[5]), Double.parseDouble(args[6]));
        load.over = true;
        for (Thread thread : threads) {
            thread.join();
        }
    }

    /** Whoever fails ends the measurement: a rate of fewer connections would be a wrong one. */
    private static void fail(Throwable cause) {
        cause.printStackTrace();
        Runtime.getRuntime().halt(1);
    }

    private void send(int partition) {
        Semaphore room = new Semaphore(inFlight);
        byte[] body = new byte[BODY_BYTES];
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer())) {
            while (!over) {
                room.acquireUninterruptibly();
                long sent = System.nanoTime();
                producer.send(new ProducerRecord<>(TOPIC, partition, null, body), (metadata, failure) -> {
                    room.release();
                    if (failure != null) {
                        fail(failure);
                    }
                    if (measuring) {
                        latencies[(int) Math.min((System.nanoTime() - sent) / 1000, LATENCY_MAX_US)]++;
                    }
                    done.increment();
                });
            }
        }
    }

    /** Reads the partition from its start to its end, over and over. */
    private void consume(int partition) {
        List<TopicPartition> own = List.of(new TopicPartition(TOPIC, partition));
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(own);
            long end = consumer.endOffsets(own).get(own.get(0));
            consumer.seekToBeginning(own);
            while (!over) {
                done.add(consumer.poll(Duration.ofMillis(100)).count());
                if (consumer.position(own.get(0)) >= end) {
                    consumer.seekToBeginning(own);
                }
            }
        }
    }

    private void report(String pid, double warmupSeconds, double seconds) throws Exception {
        Thread.sleep((long) (warmupSeconds * 1000));
        measuring = true;
        long cpuBefore = cpuTicks(pid);
        long before = done.sum();
        long from = System.nanoTime();
        Thread.sleep((long) (seconds * 1000));
        long messages = done.sum() - before;
        double elapsed = (System.nanoTime() - from) / 1e9;
        long ticks = cpuTicks(pid) - cpuBefore;
        measuring = false;
        if (messages == 0) {
            throw new IllegalStateException("nothing was acknowledged or received");
        }
        System.out.printf("%.0f %d %.2f%n", messages / elapsed, medianLatencyUs(), (double) ticks * TICK_US / messages);
    }

    private int medianLatencyUs() {
        long all = 0;
        for (int count : latencies) {
            all += count;
        }
        long below = 0;
        for (int us = 0; us <= LATENCY_MAX_US; us++) {
            below += latencies[us];
            if (all > 0 && below * 2 >= all) {
                return us;
            }
        }
        return 0;
    }

    /** User and system time of a process. The name of the program, which may hold spaces, ends with the last parenthesis. */
    private static long cpuTicks(String pid) throws Exception {
        String stat = Files.readString(Path.of("/proc", pid, "stat"));
        String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
        return Long.parseLong(fields[11]) + Long.parseLong(fields[12]);
    }
}
