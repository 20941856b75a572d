package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Lab;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/** The old pull consumer asks for queue offsets itself, and sees each of the four pull answers. */
public final class PullByQueueOffset implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(1);
        MessageQueue queue = lab.queues(topic).get(0);
        List<String> sent = new ArrayList<>();
        for (int i = 0; i < 50; i++) {
            lab.producer().send(new Message(topic, i < 40 ? "early" : "late", utf8("m" + i)));
            sent.add("m" + i);
        }
        String group = lab.group();
        DefaultMQPullConsumer consumer = lab.pullConsumer(group);
        equal(1, consumer.fetchSubscribeMessageQueues(topic).size(), "queues");

        PullResult ten = consumer.pull(queue, "*", 7, 10);
        equal(PullStatus.FOUND, ten.getPullStatus(), "pull from 7");
        equal(sent.subList(7, 17), bodies(ten), "ten from 7");
        equal(17L, ten.getNextBeginOffset(), "next offset");
        equal(0L, ten.getMinOffset(), "min offset");
        equal(50L, ten.getMaxOffset(), "max offset");
        equal(7L, ten.getMsgFoundList().get(0).getQueueOffset(), "queue offset of the first");

        PullResult late = consumer.pull(queue, "late", 38, 32);
        equal(PullStatus.FOUND, late.getPullStatus(), "filtered pull");
        equal(sent.subList(40, 50), bodies(late), "the late ones");

        PullResult none = consumer.pull(queue, "nobody", 0, 32);
        equal(PullStatus.NO_MATCHED_MSG, none.getPullStatus(), "pull of a tag nobody sent");
        check(none.getNextBeginOffset() > 0, "nothing matches, yet the next offset stays at 0");

        PullResult end = consumer.pull(queue, "*", 50, 32);
        equal(PullStatus.NO_NEW_MSG, end.getPullStatus(), "pull at the end");
        equal(50L, end.getNextBeginOffset(), "next offset at the end");

        PullResult beyond = consumer.pull(queue, "*", 1000, 32);
        equal(PullStatus.OFFSET_ILLEGAL, beyond.getPullStatus(), "pull beyond the end");
        equal(50L, beyond.getNextBeginOffset(), "next offset when beyond the end");

        CompletableFuture<PullResult> waiting = CompletableFuture.supplyAsync(() -> {
            try {
                return consumer.pullBlockIfNotFound(queue, "*", 50, 32);
            } catch (Exception failure) {
                throw new IllegalStateException(failure);
            }
        });
        Thread.sleep(1500);
        check(!waiting.isDone(), "a blocking pull at the end returned at once");
        lab.producer().send(message(topic, "woken"));
        equal(List.of("woken"), bodies(waiting.get(10, TimeUnit.SECONDS)), "what the blocking pull returned");

        consumer.updateConsumeOffset(queue, 33);
        consumer.getDefaultMQPullConsumerImpl().persistConsumerOffset();
        eventually(10, "the committed offset is 33", () -> consumer.fetchConsumeOffset(queue, true) == 33);
        consumer.shutdown();
        equal(33L, lab.pullConsumer(group).fetchConsumeOffset(queue, true), "committed offset, seen by the next consumer");
    }

    private static List<String> bodies(PullResult pulled) {
        return pulled.getMsgFoundList().stream().map(Lab::text).collect(Collectors.toList());
    }
}
