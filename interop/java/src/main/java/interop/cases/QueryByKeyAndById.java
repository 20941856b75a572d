package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Lab;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** A message is found by each of its keys, by the id its client gave it, and by the id that says where it is stored. */
public final class QueryByKeyAndById implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(2);
        String other = lab.topic(1);
        List<SendResult> sent = new ArrayList<>();
        for (int i = 0; i < 30; i++) {
            Message message = new Message(topic, "tag", "order-" + i + " user-" + i % 3, utf8("body" + i));
            message.putUserProperty("number", "" + i);
            sent.add(lab.producer().send(message));
        }
        lab.producer().send(new Message(other, "tag", "order-7", utf8("same key, other topic")));
        long until = System.currentTimeMillis() + 60_000;
        long from = until - 3_600_000;

        eventually(15, "the last key is indexed", () -> bodies(lab, topic, "order-29", from, until).size() == 1);
        equal(List.of("body7"), bodies(lab, topic, "order-7", from, until), "found by order-7");
        equal(10, bodies(lab, topic, "user-2", from, until).size(), "found by user-2");
        for (String body : bodies(lab, topic, "user-2", from, until)) {
            equal(2, Integer.parseInt(body.substring(4)) % 3, "user of " + body);
        }
        equal(4, lab.producer().queryMessage(topic, "user-2", 4, from, until).getMessageList().size(), "found when four are asked for");
        equal(List.of(), bodies(lab, topic, "order-777", from, until), "found by an unknown key");
        equal(List.of(), bodies(lab, topic, "order-7", from, from + 1000), "found in a time without messages");

        for (int i = 0; i < 30; i += 9) {
            SendResult result = sent.get(i);
            for (String id : List.of(result.getOffsetMsgId(), result.getMsgId())) {
                MessageExt found = lab.producer().viewMessage(topic, id);
                equal("body" + i, text(found), "body by id " + id);
                equal("" + i, found.getUserProperty("number"), "property by id " + id);
                equal(result.getQueueOffset(), found.getQueueOffset(), "queue offset by id " + id);
                equal(result.getMessageQueue().getQueueId(), found.getQueueId(), "queue by id " + id);
            }
        }
    }

    private static List<String> bodies(Lab lab, String topic, String key, long from, long until) throws Exception {
        try {
            return lab.producer().queryMessage(topic, key, 32, from, until).getMessageList().stream().map(Lab::text).collect(Collectors.toList());
        } catch (MQClientException nothing) {
            return List.of();
        }
    }
}
