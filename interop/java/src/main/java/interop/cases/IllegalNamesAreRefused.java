package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Dialect;
import interop.Lab;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/** Names with illegal characters, over-long ones and the system's own get an error, from the client and, past it, from the broker. */
public final class IllegalNamesAreRefused implements Case {
    private static final int SEND_MESSAGE = 10;
    private static final int UPDATE_AND_CREATE_TOPIC = 17;
    private static final int SUCCESS = 0;
    private static final int NO_PERMISSION = 16;
    private static final int INVALID_PARAMETER = 29;
    private static final List<String> ILLEGAL = List.of("white space", "slash/", "dot.", "umlaut-ü", "x".repeat(128));

    @Override
    public void run(Lab lab) throws Exception {
        String good = lab.topic(1);
        String broker = lab.brokerAddress(good);
        for (String topic : ILLEGAL) {
            clientRefuses("a send to '" + topic + "'", () -> lab.producer().send(message(topic, "body")));
            answers(INVALID_PARAMETER, "a send to '" + topic + "' past the client", rawSend(lab, broker, topic));
            answers(INVALID_PARAMETER, "creating '" + topic + "'", create(lab, broker, topic));
        }
        for (String topic : List.of("SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC")) {
            answers(NO_PERMISSION, "a send to " + topic, rawSend(lab, broker, topic));
            answers(INVALID_PARAMETER, "creating " + topic, create(lab, broker, topic));
        }
        answers(INVALID_PARAMETER, "creating TBW102", create(lab, broker, "TBW102"));
        answers(INVALID_PARAMETER, "creating a topic without a name", create(lab, broker, ""));
        for (String group : List.of("white space", "x".repeat(121))) {
            equal(INVALID_PARAMETER, clientRefuses("creating group '" + group + "'", () -> {
                Dialect.createGroup(lab.admin(), broker, group, 1);
                return null;
            }), "code for creating group '" + group + "'");
        }
        for (String group : List.of("white space", "x".repeat(256))) {
            clientRefuses("a producer in group '" + group + "'", () -> {
                DefaultMQProducer producer = lab.newProducer();
                producer.setProducerGroup(group);
                producer.start();
                return null;
            });
        }

        // The connection, the broker and the good topic are as before.
        answers(SUCCESS, "a send to a good topic the same way", rawSend(lab, broker, good));
        equal("body", text(lab.stored(good).get(0)), "stored");
        check(lab.admin().fetchAllTopicList().getTopicList().stream().noneMatch(ILLEGAL::contains), "an illegal topic is listed");
    }

    private static void answers(int code, String what, RemotingCommand answer) {
        equal(code, answer.getCode(), "code for " + what + " (" + answer.getRemark() + ")");
        check(code == SUCCESS || answer.getRemark() != null, "no remark for %s", what);
    }

    private static RemotingCommand rawSend(Lab lab, String broker, String topic) throws Exception {
        Map<String, String> fields = new HashMap<>();
        fields.put("producerGroup", "group");
        fields.put("topic", topic);
        fields.put("defaultTopic", "TBW102");
        fields.put("defaultTopicQueueNums", "4");
        fields.put("queueId", "0");
        fields.put("sysFlag", "0");
        fields.put("bornTimestamp", "" + System.currentTimeMillis());
        fields.put("flag", "0");
        fields.put("properties", "");
        return lab.request(broker, SEND_MESSAGE, fields, utf8("body"));
    }

    private static RemotingCommand create(Lab lab, String broker, String topic) throws Exception {
        Map<String, String> fields = new HashMap<>();
        fields.put("topic", topic);
        fields.put("defaultTopic", "TBW102");
        fields.put("readQueueNums", "1");
        fields.put("writeQueueNums", "1");
        fields.put("perm", "6");
        fields.put("topicFilterType", "SINGLE_TAG");
        fields.put("topicSysFlag", "0");
        fields.put("order", "false");
        return lab.request(broker, UPDATE_AND_CREATE_TOPIC, fields, null);
    }

    /** Answers the code that came with the exception. */
    private static int clientRefuses(String what, Callable<?> call) throws Exception {
        try {
            call.call();
        } catch (MQClientException refusal) {
            return refusal.getResponseCode();
        }
        throw new Lab.Failed(what + " was accepted");
    }
}
