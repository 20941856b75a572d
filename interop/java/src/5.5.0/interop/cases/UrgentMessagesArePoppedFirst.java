package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Lab;
import interop.Popping;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;

/** A message with a priority goes to the queue of that number, and pops of all queues take from the highest first. */
public final class UrgentMessagesArePoppedFirst implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.fresh("topic");
        TopicConfig config = new TopicConfig(topic, 4, 4);
        config.setAttributes(Map.of("+message.type", "PRIORITY"));
        lab.admin().createAndUpdateTopicConfig(lab.brokerAddress("TBW102"), config);
        eventually(10, "topic " + topic + " has a route", () -> lab.queues(topic).size() == 4);

        for (int priority : new int[] {1, 0, 3, 2, 9, 0}) {
            Message message = message(topic, "priority " + priority);
            message.setPriority(priority);
            SendResult sent = lab.producer().send(message);
            equal(Math.min(priority, 3), sent.getMessageQueue().getQueueId(), "queue of priority " + priority);
        }
        // A Java broker on a busy machine may need a moment until what was sent can be read.
        eventually(10, "all can be read", () -> lab.maxOffsets(topic).values().stream().mapToLong(Long::longValue).sum() == 6);
        Popping group = new Popping(lab, topic, lab.group());
        equal(List.of("priority 3", "priority 9", "priority 2"), Popping.bodies(group.pop(3, Popping.LONG_MILLIS)), "first pop");
        equal(List.of("priority 1", "priority 0", "priority 0"), Popping.bodies(group.pop(32, Popping.LONG_MILLIS)), "second pop");
    }
}
