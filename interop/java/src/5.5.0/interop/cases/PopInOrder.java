package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Lab;
import interop.Popping;
import java.util.List;
import org.apache.rocketmq.client.consumer.AckStatus;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.header.PopMessageRequestHeader;

/**
 * Orderly pops, which the push consumer does not have and proxies use: a queue gives nothing more until all that was popped from
 * it is acknowledged or visible again, except to the same attempt.
 */
public final class PopInOrder implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(1);
        Popping group = new Popping(lab, topic, lab.group());
        lab.send(topic, "m", 6);

        // A Java broker on a busy machine may need a moment until what was sent can be read.
        eventually(10, "m5 can be read", () -> lab.maxOffsets(topic).get(0) == 6);
        List<MessageExt> first = bodies(List.of("m0", "m1"), pop(group, "one", 2, Popping.LONG_MILLIS));
        bodies(List.of(), pop(group, "two", 2, Popping.LONG_MILLIS));
        // The answer may have been lost: the same attempt gets the same.
        first = bodies(List.of("m0", "m1"), pop(group, "one", 2, Popping.LONG_MILLIS));
        equal(AckStatus.OK, group.ack(first.get(0)), "acknowledgement of m0");
        bodies(List.of(), pop(group, "two", 2, Popping.LONG_MILLIS));
        equal(AckStatus.OK, group.ack(first.get(1)), "acknowledgement of m1");

        List<MessageExt> second = bodies(List.of("m2", "m3"), pop(group, "two", 2, Popping.LONG_MILLIS));
        // The first is done with, the second fails: from there on it goes again, and is counted.
        equal(AckStatus.OK, group.ack(second.get(0)), "acknowledgement of m2");
        equal(AckStatus.OK, group.hide(second.get(1), 1000).getStatus(), "hiding m3");
        MessageExt[] third = new MessageExt[2];
        eventually(10, "m3 is visible again", () -> {
            List<MessageExt> found = Popping.found(pop(group, "three", 2, Popping.LONG_MILLIS));
            if (found.isEmpty()) return false;
            equal(List.of("m3", "m4"), Popping.bodies(found), "third pop");
            found.toArray(third);
            return true;
        });
        equal(1, third[0].getReconsumeTimes(), "reconsume times of m3");
        equal(0, third[1].getReconsumeTimes(), "reconsume times of m4");
        for (MessageExt message : third) equal(AckStatus.OK, group.ack(message), "acknowledgement of " + text(message));

        // One that waits hears when the queue is free.
        List<MessageExt> last = bodies(List.of("m5"), pop(group, "four", 2, 2000));
        PopMessageRequestHeader patient = request(group, "five", 2, Popping.LONG_MILLIS);
        patient.setPollTime(15_000);
        PopResult freed = group.result(patient);
        last = bodies(List.of("m5"), freed);
        equal(1, last.get(0).getReconsumeTimes(), "reconsume times of m5");
        equal(AckStatus.OK, group.ack(last.get(0)), "acknowledgement of m5");
        bodies(List.of(), pop(group, "six", 2, Popping.LONG_MILLIS));
        equal(6L, group.committed(0), "offset of the group");
    }

    private static PopMessageRequestHeader request(Popping group, String attempt, int count, long invisibleMillis) {
        PopMessageRequestHeader header = group.request(0, count, invisibleMillis, 0);
        header.setOrder(true);
        header.setAttemptId(attempt);
        return header;
    }

    private static PopResult pop(Popping group, String attempt, int count, long invisibleMillis) throws Exception {
        return group.result(request(group, attempt, count, invisibleMillis));
    }

    private static List<MessageExt> bodies(List<String> expected, PopResult result) {
        List<MessageExt> found = Popping.found(result);
        equal(expected, Popping.bodies(found), "popped in order");
        return found;
    }
}
