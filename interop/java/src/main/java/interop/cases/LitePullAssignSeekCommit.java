package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Lab;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** The lite pull consumer with queues it chose itself: poll, seek back and to the ends, commit, and go on after a restart. */
public final class LitePullAssignSeekCommit implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(2);
        String group = lab.group();
        List<String> sent = lab.send(topic, "m", 40);   // m0, m2, … to queue 0, m1, m3, … to queue 1
        List<MessageQueue> queues = lab.queues(topic);
        MessageQueue even = queues.get(0);
        MessageQueue odd = queues.get(1);

        DefaultLitePullConsumer consumer = lab.litePullConsumer(group);
        consumer.setAutoCommit(false);
        consumer.start();
        sameElements(List.of("0", "1"), consumer.fetchMessageQueues(topic).stream().map(q -> "" + q.getQueueId()).collect(Collectors.toList()), "queues");
        consumer.assign(queues);
        sameElements(sent, poll(consumer, 40), "polled");

        // Only now, with no pull under way that could bring messages: their answers would come beside what a seek asks for.
        consumer.seekToBegin(odd);
        equal(sent.stream().filter(m -> Integer.parseInt(m.substring(1)) % 2 == 1).collect(Collectors.toList()), poll(consumer, 20), "polled after seekToBegin");
        consumer.seek(even, 15);
        equal(evens(15, 20), poll(consumer, 5), "polled after a seek to 15");
        consumer.seekToEnd(odd);
        equal(List.of(), poll(consumer, 0), "polled after seekToEnd");

        consumer.seek(even, 10);
        equal(evens(10, 20), poll(consumer, 10), "polled after a seek to 10");
        eventually(10, "the consumer has committed the ends", () -> {
            consumer.commitSync();   // which skips a queue whose seek is still under way
            return consumer.committed(even) == 20 && consumer.committed(odd) == 20;
        });
        consumer.shutdown();

        lab.send(topic, "later", 2);
        DefaultLitePullConsumer again = lab.litePullConsumer(group);
        again.start();
        equal(20L, again.committed(even), "committed, seen by the next consumer");
        equal(20L, again.committed(odd), "committed, seen by the next consumer");
        again.assign(queues);
        sameElements(List.of("later0", "later1"), poll(again, 2), "polled by the next consumer");

        long now = System.currentTimeMillis();
        equal(0L, again.offsetForTimestamp(even, now - 3_600_000), "offset of an hour ago");
    }

    private static List<String> evens(int from, int until) {
        return IntStream.range(from, until).mapToObj(i -> "m" + 2 * i).collect(Collectors.toList());
    }

    /** Polls until that many have come, then once more: no further one may come. */
    private static List<String> poll(DefaultLitePullConsumer consumer, int count) {
        List<String> bodies = new ArrayList<>();
        long until = System.currentTimeMillis() + 15_000;
        while (bodies.size() < count && System.currentTimeMillis() < until) {
            for (MessageExt message : consumer.poll(500)) bodies.add(text(message));
        }
        for (MessageExt message : consumer.poll(500)) bodies.add(text(message));
        return bodies;
    }
}
